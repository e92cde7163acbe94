package squashfs

import (
	"errors"
	"fmt"
	"io"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// A fragment is a block that holds the ends of several files.
type fragment struct {
	Start uint64
	Size  uint32 // bit 24 is set if it is not compressed
	_     uint32
}

// A content is the content of a file. It is a [rootfs.Blob].
type content struct {
	rd     *reader
	size   int64
	blocks []uint32 // sizes of the data blocks; 0 is a hole
	starts []uint64 // their offsets
	tail   fragment // with the end of the file, if the blocks do not hold it
	offset uint32   // in the tail
}

// readFile reads the rest of a file's inode.
func (rd *reader) readFile(s *stream, in *rootfs.Inode, long bool) error {
	var f longFileInode
	var err error
	if long {
		err = s.decode(&f)
	} else {
		var short fileInode
		err = s.decode(&short)
		f = longFileInode{Block: uint64(short.Block), Size: uint64(short.Size), Fragment: short.Fragment, Offset: short.Offset, Xattr: none}
	}
	if err == nil {
		in.Xattrs, err = rd.readXattrs(f.Xattr)
	}
	if err != nil || f.Size == 0 {
		return err
	}
	c := &content{rd: rd, size: int64(f.Size), offset: f.Offset}
	count := f.Size / uint64(rd.BlockSize)
	if f.Fragment == none {
		count = (f.Size + uint64(rd.BlockSize) - 1) / uint64(rd.BlockSize)
	} else if f.Fragment >= uint32(len(rd.fragments)) {
		return fmt.Errorf("fragment %d of %d", f.Fragment, len(rd.fragments))
	} else {
		c.tail = rd.fragments[f.Fragment]
	}
	if count > maxBlocks || rd.blocks+int(count) > maxBlocks || c.size < 0 {
		return fmt.Errorf("file of %d bytes: files have more than %d blocks", f.Size, maxBlocks)
	}
	rd.blocks += int(count)
	in.Content = c
	return c.readBlocks(s, int(count), f.Block)
}

// readBlocks reads the sizes of the data blocks, which follow each other.
func (c *content) readBlocks(s *stream, count int, start uint64) error {
	for range count {
		b, err := s.take(4)
		if err != nil {
			return err
		}
		size := order.Uint32(b)
		c.blocks, c.starts = append(c.blocks, size), append(c.starts, start)
		start += uint64(size &^ (1 << 24))
	}
	return nil
}

// Size returns the size of the file.
func (c *content) Size() int64 { return c.size }

// ReadAt inflates the blocks that it needs.
func (c *content) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, errors.New("squashfs: negative offset")
	}
	for n < len(p) && off < c.size {
		i, in := off/int64(c.rd.BlockSize), off%int64(c.rd.BlockSize)
		want := min(int64(c.rd.BlockSize), c.size-i*int64(c.rd.BlockSize)) // bytes of the file in the block
		b, err := c.block(int(i), want)
		if err != nil {
			return n, fmt.Errorf("squashfs: %w", err)
		}
		copied := copy(p[n:], b[in:])
		n += copied
		off += int64(copied)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// block returns the want bytes of a block of the file.
func (c *content) block(i int, want int64) (b []byte, err error) {
	at := int64(0)
	switch {
	case i >= len(c.blocks):
		b, err = c.rd.dataBlock(c.tail.Start, c.tail.Size)
		at = int64(c.offset)
	case c.blocks[i] == 0:
		return make([]byte, want), nil
	default:
		b, err = c.rd.dataBlock(c.starts[i], c.blocks[i])
	}
	if err == nil && int64(len(b)) < at+want {
		err = fmt.Errorf("block of %d bytes, want %d", len(b), at+want)
	}
	if err != nil {
		return nil, err
	}
	return b[at:][:want], nil
}
