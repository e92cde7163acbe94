// Package squashfs reads squashfs 4.0 file systems with gzip, xz, zstd or no
// compression: the root file systems of live media.
//
//	superblock | data blocks | inodes | directories | fragments | ids | xattrs
//
// All tables are sequences of metadata blocks: up to 8 KiB each, compressed one
// by one. A reference is the offset of such a block in its table, shifted left by
// 16 bits, and an offset in the inflated block. Source: fs/squashfs/squashfs_fs.h
// of Linux.
//
// go-diskfs has a reader, too. Version 1.9.4 inflates blocks without a limit, so
// that a small file can take all memory; it loses setuid bits and the prefixes
// of extended attributes, and fails on files with three of them. It is the
// second opinion in tests.
package squashfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/internal/walk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

const (
	magic     = 0x73717368 // "hsqs"
	metaSize  = 8192       // of a metadata block, inflated
	absent    = ^uint64(0) // offset of a table that is missing
	none      = ^uint32(0) // index of a fragment or of attributes that are missing
	maxTable  = 1 << 20    // entries of a table
	maxBlocks = 1 << 22    // data blocks of all files: 512 GiB at the usual 128 KiB
)

// limits bound the tree that [Read] returns.
var limits = walk.Limits{Names: 1 << 20, Path: walk.Default.Path, Bytes: 256 << 20}

// A superblock is struct squashfs_super_block.
type superblock struct {
	Magic       uint32
	Inodes      uint32
	Time        uint32
	BlockSize   uint32
	Fragments   uint32
	Compression uint16
	BlockLog    uint16
	Flags       uint16
	IDs         uint16
	Major       uint16
	Minor       uint16
	RootInode   uint64
	BytesUsed   uint64
	IDTable     uint64
	XattrTable  uint64
	InodeTable  uint64
	DirTable    uint64
	FragTable   uint64
	ExportTable uint64
}

var order = binary.LittleEndian

// A reader reads one file system.
type reader struct {
	superblock
	r         io.ReaderAt
	size      int64
	inflate   inflater
	metadata  cache // inflated metadata blocks
	data      cache // inflated data blocks and fragments
	ids       []uint32
	fragments []fragment
	xattrs    []xattrID
	xattrData int64 // offset of the table of names and values

	blocks int // of all files
}

// Read returns the tree of a squashfs file system in size bytes. Content is not
// read: inodes refer to blocks of r, which are inflated when they are read. A
// directory has one parent, so a loop is an error.
func Read(r io.ReaderAt, size int64) (*rootfs.Inode, error) {
	root, err := read(r, size)
	if err != nil {
		return nil, fmt.Errorf("squashfs: %w", err)
	}
	return root, nil
}

func read(r io.ReaderAt, size int64) (*rootfs.Inode, error) {
	rd := &reader{r: r, size: size}
	b := make([]byte, binary.Size(rd.superblock))
	if err := rootfs.ReadFull(r, b, 0); err != nil {
		return nil, fmt.Errorf("superblock: %w", err)
	}
	if _, err := binary.Decode(b, order, &rd.superblock); err != nil {
		return nil, err
	}
	if err := rd.check(); err != nil {
		return nil, fmt.Errorf("superblock: %w", err)
	}
	if err := rd.readTables(); err != nil {
		return nil, err
	}
	return walk.Tree(rd, rd.RootInode, limits)
}

// check returns an error if the superblock is not that of a file system that
// this package reads.
func (rd *reader) check() error {
	s := &rd.superblock
	switch {
	case s.Magic != magic:
		return errors.New("no signature")
	case s.Major != 4 || s.Minor != 0:
		return disk.Unsupported("version %d.%d, only 4.0 is supported", s.Major, s.Minor)
	case s.BlockSize < 4096 || s.BlockSize > 1<<20 || s.BlockSize != 1<<s.BlockLog:
		return fmt.Errorf("invalid block size %d", s.BlockSize)
	case s.BytesUsed > uint64(rd.size):
		return fmt.Errorf("%d bytes are used, the file has %d: it was cut short", s.BytesUsed, rd.size)
	}
	var err error
	rd.inflate, err = newInflater(s.Compression)
	return err
}

// readTables reads the tables of owners, fragments and extended attributes.
func (rd *reader) readTables() (err error) {
	if rd.ids, err = readTable[uint32](rd, rd.IDTable, int64(rd.IDs)); err != nil {
		return fmt.Errorf("table of owners: %w", err)
	}
	if rd.Fragments > 0 {
		if rd.fragments, err = readTable[fragment](rd, rd.FragTable, int64(rd.Fragments)); err != nil {
			return fmt.Errorf("table of fragments: %w", err)
		}
	}
	if rd.XattrTable == absent {
		return nil
	}
	var head struct {
		Data  uint64
		Count uint32
		_     uint32
	}
	b, err := rd.raw(rd.XattrTable, int64(binary.Size(head)))
	if err == nil {
		_, err = binary.Decode(b, order, &head)
	}
	if err == nil {
		rd.xattrData = int64(head.Data)
		rd.xattrs, err = readTable[xattrID](rd, rd.XattrTable+uint64(len(b)), int64(head.Count))
	}
	if err != nil {
		return fmt.Errorf("table of extended attributes: %w", err)
	}
	return nil
}

// readTable reads a table of records: the offsets of its metadata blocks are at
// an offset of the file.
func readTable[T any](rd *reader, at uint64, count int64) ([]T, error) {
	var record T
	size := int64(binary.Size(record))
	if count > maxTable {
		return nil, fmt.Errorf("%d entries, at most %d are read", count, maxTable)
	}
	blocks := (count*size + metaSize - 1) / metaSize
	index, err := rd.raw(at, blocks*8)
	if err != nil {
		return nil, err
	}
	table := []T{}
	for ; len(index) > 0; index = index[8:] {
		n := min(count-int64(len(table)), metaSize/size)
		b, err := (&stream{rd: rd, next: int64(order.Uint64(index))}).take(int(n * size))
		if err != nil {
			return nil, err
		}
		part := make([]T, n)
		if _, err := binary.Decode(b, order, part); err != nil {
			return nil, err
		}
		table = append(table, part...)
	}
	return table, nil
}

// raw returns bytes of the file.
func (rd *reader) raw(at uint64, n int64) ([]byte, error) {
	if at > uint64(rd.size) || n > rd.size-int64(at) {
		return nil, fmt.Errorf("%d bytes at %d are outside the file system of %d bytes", n, at, rd.size)
	}
	b := make([]byte, n)
	return b, rootfs.ReadFull(rd.r, b, int64(at))
}
