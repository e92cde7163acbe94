package squashfs

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
)

// An inflater returns the content of a compressed block of at most limit bytes.
type inflater func(b []byte, limit int) ([]byte, error)

// newInflater returns the inflater of a compression in the superblock.
func newInflater(compression uint16) (inflater, error) {
	switch compression {
	case 1:
		return inflateZlib, nil
	case 4:
		return inflateXz, nil
	case 6:
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(2<<20))
		if err != nil {
			return nil, err
		}
		return func(b []byte, limit int) ([]byte, error) {
			out, err := d.DecodeAll(b, make([]byte, 0, limit))
			if err == nil && len(out) > limit {
				err = errTooLong
			}
			return out, err
		}, nil
	}
	name := map[uint16]string{2: "lzma", 3: "lzo", 5: "lz4"}[compression]
	return nil, disk.Unsupported("compression %d %s is not supported", compression, name)
}

var errTooLong = errors.New("a block is too long when it is inflated")

func inflateZlib(b []byte, limit int) ([]byte, error) {
	r, err := zlib.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return readLimited(r, limit)
}

func inflateXz(b []byte, limit int) ([]byte, error) {
	if err := checkXz(b); err != nil {
		return nil, err
	}
	r, err := xz.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return readLimited(r, limit)
}

func readLimited(r io.Reader, limit int) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	if err == nil && len(b) > limit {
		err = errTooLong
	}
	return b, err
}

// checkXz refuses an xz stream with another filter than LZMA2 with a dictionary
// of at most 1 MiB, the largest block: the library allocates as much as the
// stream claims. The block header follows a stream header of 12 bytes:
// https://tukaani.org/xz/xz-file-format.txt, 3.1.
func checkXz(b []byte) error {
	if len(b) < 14 {
		return io.ErrUnexpectedEOF
	}
	flags, b := b[13], b[14:]
	for _, sized := range []bool{flags&0x40 != 0, flags&0x80 != 0} { // compressed and inflated
		if _, n := binary.Uvarint(b); sized && n > 0 {
			b = b[n:]
		}
	}
	const (
		lzma2 = 0x21
		mib   = 16 // in the coding of LZMA2: 2<<(16/2+11) bytes
	)
	switch {
	case len(b) < 3:
		return io.ErrUnexpectedEOF
	case flags&0x3F != 0 || b[0] != lzma2 || b[1] != 1:
		return disk.Unsupported("xz with filters other than LZMA2 is not supported")
	case b[2] > mib:
		return errors.New("xz: dictionary of more than 1 MiB")
	}
	return nil
}

// A block is an inflated block of the file.
type block struct {
	content []byte
	end     int64 // offset of the next metadata block
}

// A cache keeps the blocks that were read last. It can be used by several
// goroutines.
type cache struct {
	sync.Mutex
	blocks map[int64]block
	recent []int64 // in the order in which they were read
}

const cached = 16 // blocks in a cache

// get returns the block at an offset, which read reads.
func (c *cache) get(at int64, read func() (block, error)) (block, error) {
	c.Lock()
	defer c.Unlock()
	if b, ok := c.blocks[at]; ok {
		return b, nil
	}
	b, err := read()
	if err != nil {
		return block{}, fmt.Errorf("block at %d: %w", at, err)
	}
	if c.blocks == nil {
		c.blocks = map[int64]block{}
	}
	if len(c.recent) == cached {
		delete(c.blocks, c.recent[0])
		c.recent = c.recent[1:]
	}
	c.blocks[at] = b
	c.recent = append(c.recent, at)
	return b, nil
}

// metaBlock returns the metadata block at an offset of the file.
func (rd *reader) metaBlock(at int64) (block, error) {
	return rd.metadata.get(at, func() (block, error) {
		b, err := rd.raw(uint64(at), 2)
		if err != nil {
			return block{}, err
		}
		head := order.Uint16(b)
		size := int64(head & 0x7FFF)
		if b, err = rd.raw(uint64(at)+2, size); err != nil {
			return block{}, err
		}
		if head&0x8000 == 0 {
			b, err = rd.inflate(b, metaSize)
		}
		if err == nil && (len(b) == 0 || len(b) > metaSize) {
			err = fmt.Errorf("metadata block of %d bytes", len(b))
		}
		return block{b, at + 2 + size}, err
	})
}

// dataBlock returns a data block or fragment. Bit 24 of the size is set if it is
// not compressed.
func (rd *reader) dataBlock(at uint64, size uint32) ([]byte, error) {
	b, err := rd.data.get(int64(at), func() (block, error) {
		n := size &^ (1 << 24)
		if n > rd.BlockSize {
			return block{}, fmt.Errorf("block of %d bytes", n)
		}
		b, err := rd.raw(at, int64(n))
		if err == nil && size == n {
			b, err = rd.inflate(b, int(rd.BlockSize))
		}
		return block{content: b}, err
	})
	return b.content, err
}

// A stream reads a table across its metadata blocks.
type stream struct {
	rd   *reader
	next int64 // offset of the next block
	rest []byte
}

// at returns a stream that begins at a reference into a table.
func (rd *reader) at(table uint64, ref uint64) (*stream, error) {
	s := &stream{rd: rd, next: int64(table + ref>>16)}
	_, err := s.take(int(ref & 0xFFFF))
	return s, err
}

// take returns the next n bytes.
func (s *stream) take(n int) ([]byte, error) {
	var b []byte
	for len(b)+len(s.rest) < n {
		b = append(b, s.rest...)
		next, err := s.rd.metaBlock(s.next)
		if err != nil {
			return nil, err
		}
		s.rest, s.next = next.content, next.end
	}
	if b == nil {
		b, s.rest = s.rest[:n:n], s.rest[n:]
		return b, nil
	}
	n -= len(b)
	b, s.rest = append(b, s.rest[:n]...), s.rest[n:]
	return b, nil
}

// decode decodes the next structure.
func (s *stream) decode(v any) error {
	b, err := s.take(binary.Size(v))
	if err == nil {
		_, err = binary.Decode(b, order, v)
	}
	return err
}
