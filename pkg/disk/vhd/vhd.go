// Package vhd writes and reads disks in the format of Virtual PC, which is also Azure's,
// as Microsoft's "Virtual Hard Disk Image Format Specification" describes it.
//
// A fixed disk is the disk itself and a footer of 512 bytes. A dynamic one has
// only the blocks of 2 MiB with content:
//
//	footer | header | table of where blocks are | for each block a bitmap of its
//	sectors, and the block | footer
//
// All numbers are big-endian. Left out are differencing disks.
package vhd

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// Options say what a file tells of its disk.
type Options struct {
	ID   [16]byte    // of the disk
	Time rootfs.Time // when it was made
}

const (
	sectorSize  = 512
	footerSize  = 512
	headerSize  = 1024
	block       = 2 << 20
	bitmap      = block / sectorSize / 8 // one sector
	tableOffset = footerSize + headerSize
	none        = 1<<64 - 1

	// maxSize is what the table and the geometry can tell.
	maxSize = 2040 << 30
	chunk   = 1 << 20

	typeFixed   = 2
	typeDynamic = 3
	epoch       = 946684800 // 2000-01-01, from which times are counted
)

// footer is the specification's hard disk footer.
type footer struct {
	Cookie       [8]byte
	Features     uint32
	Version      uint32
	DataOffset   uint64 // of the header; none in a fixed disk
	Time         uint32
	Creator      [4]byte
	CreatorVer   uint32
	CreatorOS    [4]byte
	OriginalSize uint64
	CurrentSize  uint64
	Cylinders    uint16
	Heads        uint8
	Sectors      uint8
	Type         uint32
	Checksum     uint32
	ID           [16]byte
	SavedState   uint8
	Reserved     [427]byte
}

// header is the dynamic disk header.
type header struct {
	Cookie      [8]byte
	DataOffset  uint64
	TableOffset uint64
	Version     uint32
	Entries     uint32
	BlockSize   uint32
	Checksum    uint32
	Reserved    [984]byte // of a parent, which there is none of
}

// Check returns why a disk cannot be one of this format.
func Check(size int64) error {
	if size <= 0 || size%sectorSize != 0 || size > maxSize {
		return fmt.Errorf("vhd: a disk of %s: must be a whole number of sectors of %d, at most %s", rootfs.Bytes(size), sectorSize, rootfs.Bytes(int64(maxSize)))
	}
	return nil
}

// newFooter returns the footer of a disk. The creator is Windows, of whose
// disks readers take the size as it stands, and not as its geometry rounds it.
func newFooter(size int64, kind uint32, o Options) []byte {
	cylinders, heads, sectors := geometry(size / sectorSize)
	f := footer{
		Cookie: [8]byte([]byte("conectix")), Features: 2, Version: 1 << 16, DataOffset: none,
		Time: uint32(min(max(o.Time.Sec-epoch, 0), math.MaxUint32)), Creator: [4]byte([]byte("win ")), CreatorVer: 10 << 16, CreatorOS: [4]byte([]byte("Wi2k")),
		OriginalSize: uint64(size), CurrentSize: uint64(size), Cylinders: cylinders, Heads: heads, Sectors: sectors, Type: kind, ID: o.ID,
	}
	if kind == typeDynamic {
		f.DataOffset = footerSize
	}
	f.Checksum = checksum(encode(f))
	return encode(f)
}

func encode(v any) []byte {
	b, err := binary.Append(nil, binary.BigEndian, v)
	if err != nil {
		panic(err) // a structure of this package without a fixed size
	}
	return b
}

// checksum is that of a structure whose checksum is zero.
func checksum(b []byte) uint32 {
	var sum uint32
	for _, c := range b {
		sum += uint32(c)
	}
	return ^sum
}

// geometry is the specification's, for systems that ask for cylinders.
func geometry(total int64) (cylinders uint16, heads, sectors uint8) {
	total = min(total, 65535*16*255)
	var perTrack, cylinderTimesHeads, h int64
	if total >= 65535*16*63 {
		perTrack, h = 255, 16
		cylinderTimesHeads = total / perTrack
	} else {
		perTrack = 17
		cylinderTimesHeads = total / perTrack
		h = max((cylinderTimesHeads+1023)/1024, 4)
		if cylinderTimesHeads >= h*1024 || h > 16 {
			perTrack, h = 31, 16
			cylinderTimesHeads = total / perTrack
		}
		if cylinderTimesHeads >= h*1024 {
			perTrack, h = 63, 16
			cylinderTimesHeads = total / perTrack
		}
	}
	return uint16(cylinderTimesHeads / h), uint8(h), uint8(perTrack)
}

// FixedSize returns how many bytes a fixed disk has.
func FixedSize(img *disk.Image) int64 { return img.Size() + footerSize }

// Fixed returns a fixed disk, itself a plan.
func Fixed(img *disk.Image, o Options) (*disk.Image, error) {
	if err := Check(img.Size()); err != nil {
		return nil, err
	}
	end := newFooter(img.Size(), typeFixed, o)
	return disk.New(FixedSize(img), disk.Extent{Blob: img}, disk.Extent{Off: img.Size(), Blob: bytes.NewReader(end)})
}

// DynamicSize returns how many bytes WriteDynamic writes.
func DynamicSize(img *disk.Image) int64 {
	var blocks int64
	for r := range img.Runs(block) {
		if !r.Hole {
			blocks += (r.Len + block - 1) / block
		}
	}
	return dataOffset(img) + blocks*(bitmap+block) + footerSize
}

// dataOffset is where the blocks begin.
func dataOffset(img *disk.Image) int64 {
	entries := (img.Size() + block - 1) / block
	return tableOffset + (4*entries+sectorSize-1)&^(sectorSize-1)
}

// WriteDynamic writes a dynamic disk to w from start to end.
func WriteDynamic(w io.Writer, img *disk.Image, o Options) error {
	if err := Check(img.Size()); err != nil {
		return err
	}
	end := newFooter(img.Size(), typeDynamic, o)
	head := header{
		Cookie: [8]byte([]byte("cxsparse")), DataOffset: none, TableOffset: tableOffset, Version: 1 << 16,
		Entries: uint32((img.Size() + block - 1) / block), BlockSize: block,
	}
	head.Checksum = checksum(encode(head))
	b := bufio.NewWriterSize(w, chunk) // keeps the first error until Flush
	b.Write(end)
	b.Write(encode(head))
	at := dataOffset(img)
	table := make([]byte, at-tableOffset)
	for i := range table {
		table[i] = 0xff
	}
	for r := range img.Runs(block) {
		for off := r.Off; !r.Hole && off < r.End(); off += block {
			binary.BigEndian.PutUint32(table[off/block*4:], uint32(at/sectorSize))
			at += bitmap + block
		}
	}
	b.Write(table)
	if err := writeBlocks(b, img); err != nil {
		return fmt.Errorf("vhd: %w", err)
	}
	b.Write(end)
	if err := b.Flush(); err != nil {
		return fmt.Errorf("vhd: %w", err)
	}
	return nil
}

// writeBlocks writes the blocks with content. All their sectors are marked as
// there.
func writeBlocks(w *bufio.Writer, img *disk.Image) error {
	var present [bitmap]byte
	for i := range present {
		present[i] = 0xff
	}
	for c, err := range img.Chunks(block, block, nil) {
		if err != nil {
			return err
		}
		if c.Hole {
			continue
		}
		w.Write(present[:])
		if err := w.Flush(); err != nil {
			return err
		}
		if _, err := w.Write(c.Data); err != nil {
			return err
		}
		w.Write(make([]byte, block-len(c.Data))) // the last block of the disk may be short
	}
	return nil
}
