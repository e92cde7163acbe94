// Package vhd writes and reads disks in the format of Virtual PC, which is also Azure's,
// as Microsoft's "Virtual Hard Disk Image Format Specification" describes it.
//
// A file of a fixed disk is the disk followed by a footer of 512 bytes. A file of a
// dynamic disk has only the blocks of 2 MiB with content:
//
//	footer | header | table of the places of blocks | for each block a bitmap of its
//	sectors, and the block | footer
//
// All numbers are big-endian. Differencing disks are left out.
package vhd

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// Options describe the disk in a file.
type Options struct {
	Dynamic bool        // only blocks with content are in the file
	ID      [16]byte    // of the disk
	Time    rootfs.Time // of its creation
}

const (
	sectorSize  = 512
	footerSize  = 512
	headerSize  = 1024
	block       = 2 << 20
	bitmap      = block / sectorSize / 8 // one sector
	tableOffset = footerSize + headerSize
	none        = 1<<64 - 1

	// maxSize is the limit of the table and the geometry.
	maxSize = 2040 << 30

	typeFixed   = 2
	typeDynamic = 3
	epoch       = 946684800 // 2000-01-01, the start of time in a footer
)

// footer is the specification's hard disk footer.
type footer struct {
	Cookie       [8]byte
	Features     uint32
	Version      uint32
	DataOffset   uint64 // of the header; all ones in a fixed disk
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
	Reserved    [984]byte // of a parent disk
}

// Check returns why a disk of a size in bytes cannot be in this format.
func Check(size int64) error {
	if size <= 0 || size%sectorSize != 0 || size > maxSize {
		return fmt.Errorf("vhd: a disk of %s: must be a whole number of sectors of %d, at most %s", rootfs.Bytes(size), sectorSize, rootfs.Bytes(int64(maxSize)))
	}
	return nil
}

// newFooter returns the footer of a disk. The creator is Windows: for its disks
// readers use the size, not the geometry, which is rounded.
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

// checksum returns the checksum of a structure in which that field is zero.
func checksum(b []byte) uint32 {
	var sum uint32
	for _, c := range b {
		sum += uint32(c)
	}
	return ^sum
}

// geometry is the algorithm of the specification.
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

// Format returns a file that holds the disk, itself an image. Check tells which
// sizes of disks are possible.
func Format(img *disk.Image, o Options) (*disk.Image, error) {
	if err := Check(img.Size()); err != nil {
		return nil, err
	}
	if o.Dynamic {
		return dynamicFile(img, o)
	}
	end := newFooter(img.Size(), typeFixed, o)
	return disk.New(img.Size()+footerSize, disk.Extent{Blob: img}, disk.Extent{Off: img.Size(), Blob: bytes.NewReader(end)})
}

// present is the bitmap of a block: the file has all of its sectors.
var present = bytes.Repeat([]byte{0xff}, bitmap)

func dynamicFile(img *disk.Image, o Options) (*disk.Image, error) {
	end := newFooter(img.Size(), typeDynamic, o)
	table := bytes.Repeat([]byte{0xff}, int(tableSize(img.Size())))
	at := tableOffset + int64(len(table))
	var extents []disk.Extent
	for run := range img.Runs(block) {
		for off := run.Off; !run.Hole && off < run.End(); off += block {
			binary.BigEndian.PutUint32(table[off/block*4:], uint32(at/sectorSize))
			extents = append(extents,
				disk.Extent{Off: at, Blob: bytes.NewReader(present)},
				disk.Extent{Off: at + bitmap, Blob: img.Section(off, min(block, img.Size()-off))})
			at += bitmap + block
		}
	}
	head := slices.Concat(end, encode(newHeader(img.Size())), table)
	extents = append(extents, disk.Extent{Blob: bytes.NewReader(head)}, disk.Extent{Off: at, Blob: bytes.NewReader(end)})
	return disk.New(at+footerSize, extents...)
}

// entries returns the number of blocks of a disk.
func entries(size int64) int64 { return (size + block - 1) / block }

// tableSize returns the size of the table in the file: whole sectors.
func tableSize(size int64) int64 { return (4*entries(size) + sectorSize - 1) &^ (sectorSize - 1) }

func newHeader(size int64) header {
	h := header{
		Cookie: [8]byte([]byte("cxsparse")), DataOffset: none, TableOffset: tableOffset, Version: 1 << 16,
		Entries: uint32(entries(size)), BlockSize: block,
	}
	h.Checksum = checksum(encode(h))
	return h
}
