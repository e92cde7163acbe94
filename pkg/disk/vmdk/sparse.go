package vmdk

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// maxFile is the size that the 32-bit sector numbers of the tables allow.
const maxFile = int64(1) << 32 * sectorSize

// Format returns a file that holds the disk in the form monolithicSparse, itself an
// image. Check tells which sizes of disks are possible; the file is limited to 2 TiB.
func Format(img *disk.Image, o Options) (*disk.Image, error) {
	if err := Check(img.Size()); err != nil {
		return nil, err
	}
	text, err := describe("monolithicSparse", "RW %d SPARSE %q", img.Size(), o)
	if err != nil {
		return nil, err
	}
	l := newSparse(img.Size())
	extents := []disk.Extent{{Blob: bytes.NewReader(encode(l.header()))}, {Off: sectorSize, Blob: bytes.NewReader([]byte(text))}}
	for _, first := range []int64{l.redundant, l.directory} {
		extents = append(extents, disk.Extent{Off: first, Blob: bytes.NewReader(l.directoryAt(first))})
	}
	at := l.overhead
	var tables tables
	for run := range img.Runs(grain) {
		if run.Hole {
			continue
		}
		if run.Len > maxFile-at {
			return nil, fmt.Errorf("vmdk: the file would be larger than %s", rootfs.Bytes(maxFile))
		}
		tables.add(run, at)
		extents = append(extents, disk.Extent{Off: at, Blob: img.Section(run.Off, run.Len)})
		at += (run.Len + grain - 1) &^ (grain - 1)
	}
	for i, table := range tables.list {
		for _, first := range []int64{l.redundant, l.directory} {
			extents = append(extents, disk.Extent{Off: l.table(first, tables.numbers[i]), Blob: bytes.NewReader(encode(table))})
		}
	}
	return disk.New(at, extents...)
}

// A sparse file has two directories with all grain tables behind each. Its fields
// are bytes of the file.
type sparse struct {
	size      int64 // of the disk
	redundant int64 // the directory that recovery tools read
	directory int64
	overhead  int64 // to the first grain
}

func newSparse(size int64) sparse {
	l := sparse{size: size, redundant: sectorSize + descriptor}
	l.directory = l.table(l.redundant, l.tables())
	l.overhead = (l.table(l.directory, l.tables()) + grain - 1) &^ (grain - 1)
	return l
}

// tables returns the number of grain tables.
func (l sparse) tables() int64 { return (l.size + tableSpan - 1) / tableSpan }

// table returns the place of a grain table behind a directory.
func (l sparse) table(directory, n int64) int64 {
	return directory + (4*l.tables()+sectorSize-1)&^(sectorSize-1) + n*tableBytes
}

// directoryAt returns the directory that stands at an offset.
func (l sparse) directoryAt(off int64) []byte {
	b := make([]byte, 4*l.tables())
	for i := range l.tables() {
		binary.LittleEndian.PutUint32(b[4*i:], uint32(l.table(off, i)/sectorSize))
	}
	return b
}

func (l sparse) header() header {
	h := newHeader(l.size)
	h.Version, h.Flags = 1, flagNewLine|flagRedundant
	h.RGDOffset, h.GDOffset, h.OverHead = uint64(l.redundant/sectorSize), uint64(l.directory/sectorSize), uint64(l.overhead/sectorSize)
	return h
}

// tables are the grain tables with entries, in ascending order.
type tables struct {
	numbers []int64
	list    []*[tableSize]uint32
}

// add records a run of the disk that stands at an offset of the file.
func (t *tables) add(run disk.Run, at int64) {
	for off := run.Off; off < run.End(); off += grain {
		number := off / tableSpan
		if n := len(t.numbers); n == 0 || t.numbers[n-1] != number {
			t.numbers = append(t.numbers, number)
			t.list = append(t.list, new([tableSize]uint32))
		}
		t.list[len(t.list)-1][off%tableSpan/grain] = uint32(at / sectorSize)
		at += grain
	}
}

// Descriptor returns the first of the two files of a disk in the form
// monolithicFlat. The second one is the disk as it is, under the name o.Name in the
// same directory.
func Descriptor(img *disk.Image, o Options) ([]byte, error) {
	if err := Check(img.Size()); err != nil {
		return nil, err
	}
	text, err := describe("monolithicFlat", "RW %d FLAT %q 0", img.Size(), o)
	return []byte(text), err
}
