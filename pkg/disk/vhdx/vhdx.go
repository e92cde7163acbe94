// Package vhdx writes and reads dynamic disks in the format of Hyper-V, as Microsoft's
// [MS-VHDX] describes it:
//
//	file identifier, two headers, two region tables   1 MiB
//	log, which is empty                               1 MiB
//	metadata: sizes of the disk, its sectors, blocks  1 MiB
//	block allocation table: the place of each block   whole MiB
//	blocks of 1 MiB with content
//
// All numbers are little-endian. Fixed disks are read and not written;
// differencing disks, and logs that must be replayed, are left out.
package vhdx

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"unicode/utf16"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// Options describe the disk in a file.
type Options struct {
	ID [16]byte // of the disk: page 83 data
}

const (
	mib   = 1 << 20
	block = mib

	headerSize = 4 << 10
	tableSize  = 64 << 10 // of a region table, and of the metadata table
	logOffset  = 1 * mib
	logSize    = 1 * mib
	metaOffset = 2 * mib
	metaSize   = 1 * mib
	batOffset  = 3 * mib
	maxSize    = 64 << 40
	present    = 6 // PAYLOAD_BLOCK_FULLY_PRESENT

	sectorSize = 512
	// chunkRatio is the number of blocks that share a block of sector bitmaps. The
	// table has an entry for it, although a disk without a parent has no such block.
	chunkRatio = 1 << 23 * sectorSize / block
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type header struct {
	Signature  [4]byte
	Checksum   uint32
	Sequence   uint64
	FileWrite  [16]byte
	DataWrite  [16]byte
	Log        [16]byte // zeros: there is nothing to replay
	LogVersion uint16
	Version    uint16
	LogLength  uint32
	LogOffset  uint64
}

type regionHeader struct {
	Signature [4]byte
	Checksum  uint32
	Count     uint32
	Reserved  uint32
}

type regionEntry struct {
	ID       guid
	Offset   uint64
	Length   uint32
	Required uint32
}

type metadataHeader struct {
	Signature [8]byte
	Reserved  uint16
	Count     uint16
	Reserved2 [20]byte
}

type metadataEntry struct {
	ID       guid
	Offset   uint32 // in the region
	Length   uint32
	Flags    uint32
	Reserved uint32
}

// Flags of metadata.
const (
	aboutDisk = 2
	required  = 4
)

// A guid is in its order on disk, its first three parts little-endian.
type guid struct {
	A    uint32
	B, C uint16
	D    [8]byte
}

var (
	regionBAT      = guid{0x2DC27766, 0xF623, 0x4200, [8]byte{0x9D, 0x64, 0x11, 0x5E, 0x9B, 0xFD, 0x4A, 0x08}}
	regionMetadata = guid{0x8B7CA206, 0x4790, 0x4B9A, [8]byte{0xB8, 0xFE, 0x57, 0x5F, 0x05, 0x0F, 0x88, 0x6E}}

	fileParameters = guid{0xCAA16737, 0xFA36, 0x4D43, [8]byte{0xB3, 0xB6, 0x33, 0xF0, 0xAA, 0x44, 0xE7, 0x6B}}
	diskSize       = guid{0x2FA54224, 0xCD1B, 0x4876, [8]byte{0xB2, 0x11, 0x5D, 0xBE, 0xD8, 0x3B, 0xF4, 0xB8}}
	page83         = guid{0xBECA12AB, 0xB2E6, 0x4523, [8]byte{0x93, 0xEF, 0xC3, 0x09, 0xE0, 0x00, 0xC7, 0x46}}
	logicalSector  = guid{0x8141BF1D, 0xA96F, 0x4709, [8]byte{0xBA, 0x47, 0xF2, 0x33, 0xA8, 0xFA, 0xAB, 0x5F}}
	physicalSector = guid{0xCDA348C7, 0x445D, 0x4471, [8]byte{0x9C, 0xC9, 0xE9, 0x88, 0x52, 0x51, 0xC5, 0x56}}
)

// literal returns an extent of metadata. Zeros at its end are a hole.
func literal(off int64, b []byte) disk.Extent {
	return disk.Extent{Off: off, Blob: bytes.NewReader(bytes.TrimRight(b, "\x00"))}
}

// batSize is the size of the block allocation table in the file.
func batSize(size int64) int64 {
	blocks := (size + block - 1) / block
	entries := blocks + (blocks-1)/chunkRatio
	return (8*entries + mib - 1) &^ (mib - 1)
}

// Check returns why a disk of a size in bytes cannot be written.
func Check(size int64) error {
	if size <= 0 || size%sectorSize != 0 || size > maxSize {
		return fmt.Errorf("vhdx: a disk of %s: must be a whole number of sectors of %d, at most %s", rootfs.Bytes(size), sectorSize, rootfs.Bytes(int64(maxSize)))
	}
	return nil
}

// Format returns a file that holds the disk, itself an image. Check tells which
// sizes of disks are possible.
func Format(img *disk.Image, o Options) (*disk.Image, error) {
	if err := Check(img.Size()); err != nil {
		return nil, err
	}
	extents := []disk.Extent{
		literal(0, front(img, o)),
		literal(metaOffset, metadata(img, o)),
		literal(batOffset, table(img)),
	}
	at := batOffset + batSize(img.Size())
	for run := range img.Runs(block) {
		if run.Hole {
			continue
		}
		extents = append(extents, disk.Extent{Off: at, Blob: img.Section(run.Off, run.Len)})
		at += (run.Len + block - 1) &^ (block - 1)
	}
	return disk.New(at, extents...)
}

// front is the first MiB: identifier, headers and region tables.
func front(img *disk.Image, o Options) []byte {
	b := make([]byte, mib)
	copy(b, "vhdxfile")
	for i, c := range utf16.Encode([]rune("ohp-assemble")) {
		binary.LittleEndian.PutUint16(b[8+2*i:], c)
	}
	for i := range uint64(2) { // the later one counts
		at := (1 + i) * tableSize
		put(b[at:], header{
			Signature: [4]byte([]byte("head")), Sequence: i, FileWrite: o.ID, DataWrite: o.ID,
			Version: 1, LogLength: logSize, LogOffset: logOffset,
		})
		seal(b[at:][:headerSize])
		regions := b[(3+i)*tableSize:][:tableSize]
		put(regions, regionHeader{Signature: [4]byte([]byte("regi")), Count: 2})
		put(regions[16:], []regionEntry{
			{regionBAT, batOffset, uint32(batSize(img.Size())), 1}, {regionMetadata, metaOffset, metaSize, 1},
		})
		seal(regions)
	}
	return b
}

// seal puts the checksum of a structure in its place.
func seal(b []byte) { binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b, castagnoli)) }

func put(to []byte, v any) {
	if _, err := binary.Encode(to, binary.LittleEndian, v); err != nil {
		panic(err) // a structure of this package without a fixed size
	}
}

func metadata(img *disk.Image, o Options) []byte {
	b := make([]byte, metaSize)
	put(b, metadataHeader{Signature: [8]byte([]byte("metadata")), Count: 5})
	at := uint32(tableSize)
	for i, item := range []struct {
		id    guid
		flags uint32
		value any
	}{
		{fileParameters, required, [2]uint32{block, 0}},
		{diskSize, required | aboutDisk, uint64(img.Size())},
		{page83, required | aboutDisk, o.ID},
		{logicalSector, required | aboutDisk, uint32(sectorSize)},
		{physicalSector, required | aboutDisk, uint32(4096)},
	} {
		size := uint32(binary.Size(item.value))
		put(b[32+32*i:], metadataEntry{ID: item.id, Offset: at, Length: size, Flags: item.flags})
		put(b[at:], item.value)
		at += size
	}
	return b
}

// table is the block allocation table.
func table(img *disk.Image) []byte {
	b := make([]byte, batSize(img.Size()))
	at := int64(batOffset + len(b))
	for r := range img.Runs(block) {
		for off := r.Off; !r.Hole && off < r.End(); off += block {
			n := off / block
			binary.LittleEndian.PutUint64(b[8*(n+n/chunkRatio):], uint64(at)|present)
			at += block
		}
	}
	return b
}
