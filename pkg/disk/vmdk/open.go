package vmdk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"github.com/klauspost/compress/zlib"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/internal/blocks"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

const (
	maxGrain = 1 << 20        // more than any writer is known to make
	endSize  = 2 * sectorSize // the footer and the end marker
)

// A reader is the disk inside a file.
type reader struct {
	r         io.ReaderAt
	size      int64         // of the disk
	grain     int64         // bytes
	perTable  int64         // entries of a table
	directory int64         // its place in the file
	packed    bool          // grains are compressed
	cache     *blocks.Cache // of compressed grains, by their sector in the file
}

// Open reads the header of a file in the form streamOptimized or monolithicSparse,
// and its footer if the header refers to it. Tables are read when they are needed:
// a hostile file costs no memory.
func Open(r io.ReaderAt, size int64) (rootfs.Blob, error) {
	f := &reader{r: r}
	if err := f.readHeader(size); err != nil {
		return nil, fmt.Errorf("vmdk: header: %w", err)
	}
	return f, nil
}

func (f *reader) readHeader(size int64) error {
	h, err := readHeader(f.r, 0)
	if err == nil && h.GDOffset == atEnd {
		if h, err = readHeader(f.r, max(size-endSize, 0)); err == nil && h.GDOffset == atEnd {
			err = errors.New("no place of the directory")
		}
		if err != nil {
			err = fmt.Errorf("footer: %w", err)
		}
	}
	if err != nil {
		return err
	}
	f.packed = h.Flags&flagCompressed != 0
	f.grain, f.perTable = int64(h.GrainSize)*sectorSize, int64(h.NumGTEsPerGT)
	if h.Capacity > uint64(1<<32*f.perTable*f.grain/sectorSize) {
		return fmt.Errorf("disk of %d sectors", h.Capacity)
	}
	f.size = int64(h.Capacity) * sectorSize
	entries := (f.size + f.grain*f.perTable - 1) / (f.grain * f.perTable)
	if h.GDOffset > uint64(size/sectorSize) || 4*entries > size-int64(h.GDOffset)*sectorSize {
		return fmt.Errorf("directory of %d tables at sector %d leaves the file", entries, h.GDOffset)
	}
	f.directory = int64(h.GDOffset) * sectorSize
	f.cache = blocks.NewCache(f.grain)
	return nil
}

// readHeader reads and checks the header or its copy at the end.
func readHeader(r io.ReaderAt, off int64) (*header, error) {
	b := make([]byte, sectorSize)
	if err := rootfs.ReadFull(r, b, off); err != nil {
		return nil, err
	}
	h := &header{}
	if _, err := binary.Decode(b, binary.LittleEndian, h); err != nil {
		return nil, err
	}
	const stream = flagCompressed | flagMarkers
	form := h.Flags & stream
	switch {
	case string(h.Magic[:]) != "KDMV":
		return nil, errors.New("not a vmdk file")
	case h.Version < 1 || h.Version > 3:
		return nil, disk.Unsupported("version %d is not known", h.Version)
	case form != stream && form != 0:
		return nil, disk.Unsupported("flags %#x, must be those of streamOptimized or monolithicSparse", h.Flags)
	case form == stream && h.CompressAlgorithm != deflate:
		return nil, disk.Unsupported("compression %d is not known", h.CompressAlgorithm)
	case h.GrainSize < 8 || h.GrainSize > maxGrain/sectorSize || bits.OnesCount64(h.GrainSize) != 1:
		return nil, fmt.Errorf("grains of %d sectors", h.GrainSize)
	case h.NumGTEsPerGT < 1 || h.NumGTEsPerGT > tableSize:
		return nil, fmt.Errorf("tables of %d entries", h.NumGTEsPerGT)
	}
	return h, nil
}

// Size returns the size of the disk.
func (f *reader) Size() int64 { return f.size }

// ReadAt reads from the disk.
func (f *reader) ReadAt(p []byte, off int64) (int, error) {
	return blocks.Layout{Name: "vmdk: grain", Size: f.size, Block: f.grain}.ReadAt(p, off, f.readGrain)
}

// readGrain reads p from within one grain.
func (f *reader) readGrain(p []byte, at int64) error {
	number := at / f.grain
	table, err := f.readEntry(f.directory + number/f.perTable*4)
	if err != nil {
		return fmt.Errorf("directory: %w", err)
	}
	if table == 0 {
		clear(p)
		return nil
	}
	sector, err := f.readEntry(int64(table)*sectorSize + number%f.perTable*4)
	if err != nil {
		return fmt.Errorf("table: %w", err)
	}
	if sector <= 1 { // a hole, or a grain of zeros
		clear(p)
		return nil
	}
	if !f.packed {
		return rootfs.ReadFull(f.r, p, int64(sector)*sectorSize+at%f.grain)
	}
	data, err := f.cache.Get(uint64(sector), func() ([]byte, error) { return f.inflate(int64(sector)*sectorSize, number) })
	if err != nil {
		return err
	}
	copy(p, data[at%f.grain:])
	return nil
}

func (f *reader) readEntry(off int64) (uint32, error) {
	var b [4]byte
	err := rootfs.ReadFull(f.r, b[:], off)
	return binary.LittleEndian.Uint32(b[:]), err
}

// inflate reads the grain of the given number. The last one of a disk may be
// as short as the disk has it.
func (f *reader) inflate(off, number int64) ([]byte, error) {
	var head [12]byte
	if err := rootfs.ReadFull(f.r, head[:], off); err != nil {
		return nil, err
	}
	at, size := binary.LittleEndian.Uint64(head[:]), int64(binary.LittleEndian.Uint32(head[8:]))
	if at != uint64(number*f.grain/sectorSize) || size == 0 || size > 2*f.grain {
		return nil, fmt.Errorf("at %d of the file is one of %d bytes for sector %d", off, size, at)
	}
	packed := make([]byte, size)
	if err := rootfs.ReadFull(f.r, packed, off+int64(len(head))); err != nil {
		return nil, err
	}
	z, err := zlib.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	data := make([]byte, f.grain)
	n, err := io.ReadFull(z, data)
	if err == io.ErrUnexpectedEOF && int64(n) >= f.size-number*f.grain {
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	return data, nil
}
