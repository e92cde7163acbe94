package vhd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/internal/blocks"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// Limits of the files that Open reads.
const (
	minBlock = 4 << 10
	maxBlock = 256 << 20
	unused   = 1<<32 - 1 // entry of a block that is not in the file
)

// Open reads the footer of a fixed or dynamic disk. The size of the disk is that in
// the footer, not the product of its geometry. The table is read when it is needed:
// a hostile file costs no memory.
func Open(r io.ReaderAt, size int64) (rootfs.Blob, error) {
	blob, err := open(r, size)
	if err != nil {
		return nil, fmt.Errorf("vhd: %w", err)
	}
	return blob, nil
}

func open(r io.ReaderAt, size int64) (rootfs.Blob, error) {
	var f footer
	if err := read(r, &f, &f.Checksum, size-footerSize); err != nil {
		return nil, fmt.Errorf("footer: %w", err)
	}
	switch {
	case string(f.Cookie[:]) != "conectix":
		return nil, errors.New("footer: not a vhd file")
	case f.Version>>16 != 1:
		return nil, disk.Unsupported("footer: version %d is not known", f.Version>>16)
	case f.CurrentSize > maxSize || f.CurrentSize%sectorSize != 0:
		return nil, fmt.Errorf("footer: disk of %s", rootfs.Bytes(f.CurrentSize))
	}
	switch end := size - footerSize; f.Type {
	case typeFixed:
		if int64(f.CurrentSize) > end {
			return nil, fmt.Errorf("disk of %s in a file of %s", rootfs.Bytes(f.CurrentSize), rootfs.Bytes(size))
		}
		return io.NewSectionReader(r, 0, int64(f.CurrentSize)), nil
	case typeDynamic:
		return openDynamic(r, end, &f)
	}
	return nil, disk.Unsupported("footer: disk type %d, must be 2 (fixed) or 3 (dynamic); differencing disks (4) are not supported", f.Type)
}

// read reads a structure and verifies its checksum.
func read(r io.ReaderAt, v any, sum *uint32, off int64) error {
	b := make([]byte, binary.Size(v))
	if err := rootfs.ReadFull(r, b, off); err != nil {
		return err
	}
	if _, err := binary.Decode(b, binary.BigEndian, v); err != nil {
		return err
	}
	said := *sum
	*sum = 0
	if is := checksum(encode(v)); is != said {
		return fmt.Errorf("checksum %#08x, want %#08x", is, said)
	}
	return nil
}

// A dynamic disk in a file.
type dynamic struct {
	r     io.ReaderAt
	size  int64 // of the disk
	end   int64 // of the blocks, in the file
	block int64
	table int64 // where it is in the file
}

func openDynamic(r io.ReaderAt, end int64, f *footer) (rootfs.Blob, error) {
	if f.DataOffset > uint64(end) {
		return nil, fmt.Errorf("footer: header at %d leaves the file", f.DataOffset)
	}
	var h header
	if err := read(r, &h, &h.Checksum, int64(f.DataOffset)); err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	d := &dynamic{r: r, size: int64(f.CurrentSize), end: end, block: int64(h.BlockSize), table: int64(h.TableOffset)}
	switch {
	case string(h.Cookie[:]) != "cxsparse":
		return nil, errors.New("header: not that of a dynamic disk")
	case h.Version>>16 != 1:
		return nil, fmt.Errorf("header: version %d is not known", h.Version>>16)
	case d.block < minBlock || d.block > maxBlock || bits.OnesCount32(h.BlockSize) != 1:
		return nil, fmt.Errorf("header: blocks of %d bytes", d.block)
	case int64(h.Entries) < (d.size+d.block-1)/d.block:
		return nil, fmt.Errorf("header: a table of %d entries for a disk of %s", h.Entries, rootfs.Bytes(d.size))
	case h.TableOffset > uint64(end) || 4*int64(h.Entries) > end-d.table:
		return nil, fmt.Errorf("header: table at %d leaves the file", h.TableOffset)
	}
	return d, nil
}

// Size returns the size of the disk.
func (d *dynamic) Size() int64 { return d.size }

// ReadAt reads from the disk.
func (d *dynamic) ReadAt(p []byte, off int64) (int, error) {
	return blocks.Layout{Name: "vhd: block", Size: d.size, Block: d.block}.ReadAt(p, off, d.readBlock)
}

// readBlock reads p from within one block.
func (d *dynamic) readBlock(p []byte, at int64) error {
	var b [4]byte
	if err := rootfs.ReadFull(d.r, b[:], d.table+at/d.block*4); err != nil {
		return fmt.Errorf("table: %w", err)
	}
	entry := binary.BigEndian.Uint32(b[:])
	if entry == unused {
		clear(p)
		return nil
	}
	start := int64(entry) * sectorSize
	content := start + (d.block/sectorSize/8+sectorSize-1)&^(sectorSize-1)
	within := at % d.block
	if content+within+int64(len(p)) > d.end {
		return fmt.Errorf("at %d leaves the file", start)
	}
	if err := rootfs.ReadFull(d.r, p, content+within); err != nil {
		return err
	}
	return d.clearUnwritten(p, start, within)
}

// clearUnwritten clears the sectors that are not in the bitmap of a block.
func (d *dynamic) clearUnwritten(p []byte, bitmap, within int64) error {
	first, last := within/sectorSize, (within+int64(len(p))-1)/sectorSize
	bits := make([]byte, last/8-first/8+1)
	if err := rootfs.ReadFull(d.r, bits, bitmap+first/8); err != nil {
		return fmt.Errorf("bitmap: %w", err)
	}
	for s := first; s <= last; s++ {
		if bits[s/8-first/8]&(0x80>>(s%8)) == 0 {
			from, to := max(s*sectorSize-within, 0), min((s+1)*sectorSize-within, int64(len(p)))
			clear(p[from:to])
		}
	}
	return nil
}
