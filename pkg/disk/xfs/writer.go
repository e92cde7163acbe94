package xfs

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"slices"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

var (
	be         = binary.BigEndian
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// seal puts the checksum of an object in its place. It is the one thing that is
// little-endian.
func seal(b []byte, at int) { binary.LittleEndian.PutUint32(b[at:], sealOf(b, at)) }

// sealOf is the checksum of a piece of metadata that has it in a place.
func sealOf(b []byte, at int) uint32 {
	sum := crc32.Update(0, castagnoli, b[:at])
	sum = crc32.Update(sum, castagnoli, make([]byte, 4))
	return crc32.Update(sum, castagnoli, b[at+4:])
}

const null32 = 0xffffffff

// A run is a piece of the device, in blocks counted from its start.
type run struct{ start, n uint64 }

// A group is an allocation group on its way.
type group struct {
	at, end uint64 // blocks of the group that are still to be given away
	used    []run  // in the group's own numbers, ascending
	pieces  uint64 // that were given away
	chunks  uint64
	inodes  []byte // the chunks
	inoTree []uint64
	free    uint64 // inodes in chunks that are not used
}

// A writer makes a file system of a tree.
type writer struct {
	geo    *geometry
	tree   *tree
	stride uint64
	groups []group
	at     int // the group that blocks are taken from
	pieces []disk.Extent
	totals totals
	rmaps  [][]rmap // of what inodes own, by group
}

// number gives every inode its number: the chunks are spread over the groups,
// and stand together in each. Behind the root come the two inodes of a realtime
// device that there is none of.
func (w *writer) number() error {
	g := w.geo
	slots := uint64(len(w.tree.nodes)) + 2
	chunks := (slots + chunkInodes - 1) / chunkInodes
	each := (chunks + g.groups - 1) / g.groups
	w.groups = make([]group, g.groups)
	for i := range w.groups {
		a := &w.groups[i]
		k := uint64(i)
		a.chunks = min(each, chunks-min(chunks, k*each))
		a.at = g.chunkStart(k) + a.chunks*chunkBlocks
		// Some blocks of each group are left for the trees that are made last.
		if left := 24 + w.stride*g.length(k)/64; a.at+left < g.length(k) {
			a.end = g.length(k) - left
		} else {
			return errTooSmall
		}
		a.used = append(a.used, run{0, g.header + g.features.roots()})
		if k == g.logGroup {
			a.used = append(a.used, run{g.logStart(), g.logBlocks})
		}
		a.inodes = make([]byte, a.chunks*chunkInodes*inodeSize)
		if a.chunks > 0 {
			a.used = append(a.used, run{g.chunkStart(k), a.chunks * chunkBlocks})
		}
		for range inoTree.inner(a.chunks) {
			a.inoTree = append(a.inoTree, a.at)
			a.used = append(a.used, run{a.at, 1})
			a.at++
		}
		if a.at > a.end {
			return errTooSmall
		}
		for slot := range a.chunks * chunkInodes {
			w.emptyInode(k, slot)
		}
		a.free = a.chunks * chunkInodes
	}
	for i, n := range w.tree.nodes {
		slot := uint64(i)
		if i > 0 {
			slot += 2
		}
		chunk := slot / chunkInodes
		n.ino = w.inodeNumber(chunk/each, chunk%each*chunkInodes+slot%chunkInodes)
		w.groups[chunk/each].free--
	}
	w.groups[0].free -= 2
	return nil
}

// inodeNumber is the number of an inode in the chunks of a group.
func (w *writer) inodeNumber(group, slot uint64) uint64 {
	return group<<(w.geo.agLog+3) | w.geo.chunkStart(group)<<3 + slot
}

// inodeAt is where an inode is encoded.
func (w *writer) inodeAt(ino uint64) []byte {
	group := ino >> (w.geo.agLog + 3)
	slot := ino&(1<<(w.geo.agLog+3)-1) - w.geo.chunkStart(group)<<3
	return w.groups[group].inodes[slot*inodeSize:][:inodeSize]
}

// take gives away blocks, in as few runs as can be.
func (w *writer) take(n uint64) ([]run, error) {
	var runs []run
	for n > 0 {
		if w.at == len(w.groups) {
			return nil, errTooSmall
		}
		a := &w.groups[w.at]
		end := a.end
		if w.geo.features.rmapbt() { // each may be a reverse mapping
			end -= min(end, a.pieces/80)
		}
		if a.at >= end {
			w.at++
			continue
		}
		some := min(n, end-a.at)
		a.pieces++
		if w.stride > 0 {
			some = min(some, w.stride)
		}
		start := uint64(w.at) * w.geo.agBlocks
		if k := len(runs) - 1; k >= 0 && runs[k].start+runs[k].n == start+a.at {
			runs[k].n += some
		} else {
			runs = append(runs, run{start + a.at, some})
		}
		if k := len(a.used) - 1; a.used[k].start+a.used[k].n == a.at {
			a.used[k].n += some
		} else {
			a.used = append(a.used, run{a.at, some})
		}
		a.at += some
		n -= some
		if w.stride > 0 {
			a.at++
		}
	}
	return runs, nil
}

// free is how many blocks were not given away.
func (w *writer) free() (n uint64) {
	for i := range w.groups {
		n += w.geo.length(uint64(i))
		for _, r := range w.groups[i].used {
			n -= r.n
		}
	}
	return n
}

// emit puts bytes at a linear block.
func (w *writer) emit(linear uint64, b []byte) {
	w.pieces = append(w.pieces, disk.Extent{Off: int64(linear) * blockSize, Blob: bytes.NewReader(b)})
}

// layout places directories, attributes and links, and then what files hold.
func (w *writer) layout() error {
	for _, n := range w.tree.nodes {
		if err := w.plan(n); err != nil {
			return n.fail(err)
		}
	}
	for _, n := range w.tree.nodes {
		if n.in.IsFile() && n.in.Size() > 0 {
			if err := w.file(n); err != nil {
				return err
			}
		}
		w.encode(n)
	}
	return nil
}

// file places the content of a file.
func (w *writer) file(n *node) error {
	size := n.in.Size()
	runs, err := w.take(uint64(size+blockSize-1) / blockSize)
	if err != nil {
		return err
	}
	var off int64
	for _, r := range runs {
		length := min(int64(r.n)*blockSize, size-off)
		w.pieces = append(w.pieces, disk.Extent{Off: int64(r.start) * blockSize, Blob: rootfs.Section(n.in.Content, off, length)})
		off += length
	}
	n.data.add(0, runs)
	return w.placeMap(&n.data, n.dataRoom())
}

// usedRuns are those of a group, ascending and merged.
func (a *group) usedRuns() []run {
	slices.SortFunc(a.used, func(x, y run) int {
		if x.start < y.start {
			return -1
		}
		return 1
	})
	var merged []run
	for _, r := range a.used {
		if k := len(merged) - 1; k >= 0 && merged[k].start+merged[k].n == r.start {
			merged[k].n += r.n
		} else {
			merged = append(merged, r)
		}
	}
	return merged
}
