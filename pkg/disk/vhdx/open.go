package vhdx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/bits"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/internal/blocks"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// Limits of the specification.
const (
	maxEntries  = 2047
	maxBlock    = 256 << 20
	hasParent   = 2 // of the file parameters
	maxMetadata = mib
)

// States of a block, besides present.
const (
	notPresent = 0
	undefined  = 1
	zero       = 2
	unmapped   = 3
)

// A reader is the disk inside a file.
type reader struct {
	r      io.ReaderAt
	end    int64 // size of the file
	size   int64 // of the disk
	block  int64
	sector int64
	bat    int64 // where it is in the file
}

// Open reads the headers of a fixed or dynamic disk. It rejects a file that was not
// closed in order, because its log would have to be replayed. The table of the blocks
// is read when it is needed: a hostile file costs no memory.
func Open(r io.ReaderAt, size int64) (rootfs.Blob, error) {
	f := &reader{r: r, end: size}
	if err := f.open(); err != nil {
		return nil, fmt.Errorf("vhdx: %w", err)
	}
	return f, nil
}

func (f *reader) open() error {
	var id [8]byte
	if err := rootfs.ReadFull(f.r, id[:], 0); err != nil {
		return err
	}
	if string(id[:]) != "vhdxfile" {
		return errors.New("not a vhdx file")
	}
	h, err := f.readHeaders()
	if err != nil {
		return fmt.Errorf("headers: %w", err)
	}
	if h.Log != [16]byte{} {
		return disk.Unsupported("the log has changes that are not in the disk yet; open and close it with Hyper-V or QEMU first")
	}
	bat, metadata, err := f.readRegions()
	if err != nil {
		return fmt.Errorf("regions: %w", err)
	}
	if err := f.readMetadata(metadata); err != nil {
		return fmt.Errorf("metadata: %w", err)
	}
	blocks := (f.size + f.block - 1) / f.block
	if entries := blocks + max(blocks-1, 0)/f.chunkRatio(); int64(bat.Length) < 8*entries {
		return fmt.Errorf("block allocation table of %d bytes, %d entries are needed", bat.Length, entries)
	}
	f.bat = int64(bat.Offset)
	return nil
}

// chunkRatio is the constant of that name for any size of blocks and sectors.
func (f *reader) chunkRatio() int64 { return 1 << 23 * f.sector / f.block }

// readHeaders returns the later one of the valid headers, of two.
func (f *reader) readHeaders() (found *header, err error) {
	for _, off := range []int64{tableSize, 2 * tableSize} {
		b := make([]byte, headerSize)
		if e := f.readSealed(b, off, "head"); e != nil {
			err = e
			continue
		}
		h := &header{}
		get(b, h)
		if found == nil || h.Sequence > found.Sequence {
			found = h
		}
	}
	switch {
	case found == nil:
		return nil, err
	case found.Version != 1 || found.LogVersion != 0:
		return nil, disk.Unsupported("version %d with a log of version %d is not known", found.Version, found.LogVersion)
	}
	return found, nil
}

// readSealed reads a structure that has a signature and a checksum.
func (f *reader) readSealed(b []byte, off int64, signature string) error {
	if err := rootfs.ReadFull(f.r, b, off); err != nil {
		return err
	}
	if string(b[:4]) != signature {
		return fmt.Errorf("at %d: no %q", off, signature)
	}
	said := binary.LittleEndian.Uint32(b[4:])
	clear(b[4:8])
	if is := crc32.Checksum(b, castagnoli); is != said {
		return fmt.Errorf("at %d: checksum %#08x, want %#08x", off, is, said)
	}
	return nil
}

// get is the reverse of put.
func get(b []byte, v any) {
	if _, err := binary.Decode(b, binary.LittleEndian, v); err != nil {
		panic(err) // the caller gave it too few bytes
	}
}

// readRegions returns the two required regions, from the first valid table of two.
func (f *reader) readRegions() (bat, metadata regionEntry, err error) {
	b := make([]byte, tableSize)
	if err := f.readSealed(b, 3*tableSize, "regi"); err != nil {
		if f.readSealed(b, 4*tableSize, "regi") != nil {
			return bat, metadata, err
		}
	}
	var h regionHeader
	get(b, &h)
	if h.Count > maxEntries {
		return bat, metadata, fmt.Errorf("%d of them", h.Count)
	}
	entries := make([]regionEntry, h.Count)
	get(b[16:], entries)
	for _, e := range entries {
		if e.Offset < mib || e.Offset%mib != 0 || e.Offset > uint64(f.end) || int64(e.Length) > f.end-int64(e.Offset) {
			return bat, metadata, fmt.Errorf("one of %d bytes at %d", e.Length, e.Offset)
		}
		switch {
		case e.ID == regionBAT:
			bat = e
		case e.ID == regionMetadata:
			metadata = e
		case e.Required&1 != 0:
			return bat, metadata, fmt.Errorf("%x is required and not known", e.ID)
		}
	}
	if bat.Length == 0 || metadata.Length < tableSize {
		err = errors.New("no block allocation table, or no metadata")
	}
	return bat, metadata, err
}

func (f *reader) readMetadata(region regionEntry) error {
	b := make([]byte, min(region.Length, maxMetadata))
	if err := rootfs.ReadFull(f.r, b, int64(region.Offset)); err != nil {
		return err
	}
	var h metadataHeader
	get(b, &h)
	if string(h.Signature[:]) != "metadata" || h.Count > maxEntries {
		return errors.New("no table")
	}
	entries := make([]metadataEntry, h.Count)
	get(b[32:], entries)
	var parameters [2]uint32
	var size uint64
	var sector uint32
	for _, e := range entries {
		var err error
		switch e.ID {
		case fileParameters:
			err = item(b, e, &parameters)
		case diskSize:
			err = item(b, e, &size)
		case logicalSector:
			err = item(b, e, &sector)
		case page83, physicalSector:
		default:
			if e.Flags&required != 0 {
				err = fmt.Errorf("%x is required and not known", e.ID)
			}
		}
		if err != nil {
			return err
		}
	}
	switch block := parameters[0]; {
	case parameters[1]&hasParent != 0:
		return disk.Unsupported("the disk has a parent: differencing disks are not supported")
	case block < mib || block > maxBlock || bits.OnesCount32(block) != 1:
		return fmt.Errorf("blocks of %d bytes", block)
	case sector != 512 && sector != 4096:
		return fmt.Errorf("sectors of %d bytes", sector)
	case size == 0 || size > maxSize || size%uint64(sector) != 0:
		return fmt.Errorf("disk of %s", rootfs.Bytes(size))
	}
	f.block, f.sector, f.size = int64(parameters[0]), int64(sector), int64(size)
	return nil
}

// item reads one value of the metadata.
func item(region []byte, e metadataEntry, v any) error {
	n := binary.Size(v)
	if e.Offset < tableSize || int64(e.Offset)+int64(n) > int64(len(region)) || int64(e.Length) < int64(n) {
		return fmt.Errorf("%x of %d bytes at %d", e.ID, e.Length, e.Offset)
	}
	get(region[e.Offset:], v)
	return nil
}

// Size returns the size of the disk.
func (f *reader) Size() int64 { return f.size }

// ReadAt reads from the disk.
func (f *reader) ReadAt(p []byte, off int64) (int, error) {
	return blocks.Layout{Name: "vhdx: block", Size: f.size, Block: f.block}.ReadAt(p, off, f.readBlock)
}

// readBlock reads p from within one block.
func (f *reader) readBlock(p []byte, at int64) error {
	n := at / f.block
	var b [8]byte
	if err := rootfs.ReadFull(f.r, b[:], f.bat+8*(n+n/f.chunkRatio())); err != nil {
		return fmt.Errorf("table: %w", err)
	}
	entry := binary.LittleEndian.Uint64(b[:])
	switch entry & 7 {
	case notPresent, undefined, zero, unmapped:
		clear(p)
		return nil
	case present:
		off := entry &^ (mib - 1)
		if off == 0 || off > uint64(f.end) || f.block > f.end-int64(off) {
			return fmt.Errorf("at %d leaves the file", off)
		}
		return rootfs.ReadFull(f.r, p, int64(off)+at%f.block)
	}
	return fmt.Errorf("bad entry %#x", entry)
}
