package qcow2

import (
	"encoding/binary"
	"fmt"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// A layout is the number of clusters of each kind in the file, and so their place.
type layout struct {
	bits        int   // logarithm of the cluster size; a field so that tests can shrink it
	size        int64 // of the disk
	compression uint8

	tables []int64 // L1 entries that have an L2 table, ascending
	data   int64   // clusters of data

	blocks   int64 // refcount blocks
	refTable int64 // clusters of the refcount table
}

// newLayout maps the image. The fields that depend on the number of data clusters are
// set by place.
func newLayout(img *disk.Image, bits int) *layout {
	l := &layout{bits: bits, size: img.Size()}
	for run := range img.Runs(l.cluster()) {
		if run.Hole {
			continue
		}
		first, last := run.Off>>bits, (run.End()-1)>>bits
		l.data += last - first + 1
		for i := first / l.perTable(); i <= last/l.perTable(); i++ {
			if len(l.tables) == 0 || l.tables[len(l.tables)-1] < i {
				l.tables = append(l.tables, i)
			}
		}
	}
	return l
}

func (l *layout) cluster() int64    { return 1 << l.bits }
func (l *layout) perTable() int64   { return l.cluster() / 8 } // entries of an L1, L2 or refcount table's cluster
func (l *layout) perBlock() int64   { return l.cluster() / 2 } // entries of a refcount block
func (l *layout) l1Entries() int64  { return ceil(ceil(l.size, l.cluster()), l.perTable()) }
func (l *layout) l1Clusters() int64 { return ceil(l.l1Entries(), l.perTable()) }

// Numbers of clusters of the file, in its order. The header is cluster 0.
func (l *layout) blockStart() int64 { return 1 + l.refTable }
func (l *layout) l1Start() int64    { return l.blockStart() + l.blocks }
func (l *layout) l2Start() int64    { return l.l1Start() + l.l1Clusters() }
func (l *layout) dataStart() int64  { return l.l2Start() + int64(len(l.tables)) }
func (l *layout) clusters() int64   { return l.dataStart() + l.data }

// offset returns where a cluster of the file starts.
func (l *layout) offset(cluster int64) uint64 { return uint64(cluster) << l.bits }

func ceil(n, by int64) int64 { return n/by + min(1, n%by) }

// place makes room for the refcounts of all clusters, their own included.
func (l *layout) place() {
	for {
		blocks := ceil(l.clusters(), l.perBlock())
		table := ceil(blocks, l.perTable())
		if blocks == l.blocks && table == l.refTable {
			return
		}
		l.blocks, l.refTable = blocks, table
	}
}

func (l *layout) check() error {
	switch {
	case l.size%512 != 0:
		return fmt.Errorf("disk of %s is not whole sectors", rootfs.Bytes(l.size))
	case l.l1Entries()*8 > maxL1Bytes:
		return fmt.Errorf("disk of %s is too large", rootfs.Bytes(l.size))
	}
	return nil
}

// metadata returns the bytes before the data. It asks for the refcount of each
// data cluster and for the L2 entry of each cluster with content, both in
// ascending order.
func (l *layout) metadata(img *disk.Image, refcount func(data int64) uint16, entry func(content int64) uint64) []byte {
	t := &tables{b: make([]byte, 0, l.dataStart()<<l.bits)}
	l.putHeader(t)
	l.putRefcountTable(t)
	l.putRefcountBlocks(t, refcount)
	l.putL1(t)
	l.putL2(t, img, entry)
	return t.b
}

// tables are the bytes of a file so far.
type tables struct{ b []byte }

func (t *tables) put(v uint64)  { t.b = binary.BigEndian.AppendUint64(t.b, v) }
func (t *tables) zeros(n int64) { t.b = append(t.b, make([]byte, n)...) }

func (l *layout) putHeader(t *tables) {
	h := header{
		Magic:                 magic,
		Version:               3,
		ClusterBits:           uint32(l.bits),
		Size:                  uint64(l.size),
		L1Size:                uint32(l.l1Entries()),
		L1TableOffset:         l.offset(l.l1Start()),
		RefcountTableOffset:   l.offset(1),
		RefcountTableClusters: uint32(l.refTable),
		RefcountOrder:         refcountOrder,
		HeaderLength:          headerLength,
		CompressionType:       l.compression,
	}
	if l.compression != compressionDeflate {
		h.IncompatibleFeatures |= featureCompression
	}
	t.b = encode(t.b, h)
	t.zeros(l.cluster() - int64(len(t.b))) // zeros end the list of header extensions
}

func (l *layout) putRefcountTable(t *tables) {
	for i := range l.blocks {
		t.put(l.offset(l.blockStart() + i))
	}
	t.zeros((l.refTable*l.perTable() - l.blocks) * 8)
}

func (l *layout) putRefcountBlocks(t *tables, refcount func(data int64) uint16) {
	for i := range l.clusters() {
		n := uint16(1)
		if i >= l.dataStart() {
			n = refcount(i - l.dataStart())
		}
		t.b = binary.BigEndian.AppendUint16(t.b, n)
	}
	t.zeros((l.blocks*l.perBlock() - l.clusters()) * 2)
}

func (l *layout) putL1(t *tables) {
	next := int64(0)
	for i, table := range l.tables {
		t.zeros((table - next) * 8)
		t.put(l.offset(l.l2Start()+int64(i)) | entryCopied)
		next = table + 1
	}
	t.zeros((l.l1Clusters()*l.perTable() - next) * 8)
}

func (l *layout) putL2(t *tables, img *disk.Image, entry func(content int64) uint64) {
	content := int64(0)
	table, next := -1, int64(0) // the current table, and its next entry
	finish := func() {
		if table >= 0 {
			t.zeros((l.perTable() - next) * 8)
		}
		table, next = table+1, 0
	}
	for run := range img.Runs(l.cluster()) {
		if run.Hole {
			continue
		}
		for c := run.Off >> l.bits; c <= (run.End()-1)>>l.bits; c++ {
			if table < 0 || c/l.perTable() != l.tables[table] {
				finish()
			}
			t.zeros((c%l.perTable() - next) * 8)
			t.put(entry(content))
			next = c%l.perTable() + 1
			content++
		}
	}
	finish()
}
