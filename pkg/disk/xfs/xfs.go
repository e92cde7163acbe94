// Package xfs makes XFS file systems.
//
// It makes version 5, with 4 KiB blocks and 512-byte inodes, and the [Features]
// that mkfs.xfs had by default when a kernel was released. What is made is laid
// out one after the other:
//
//	AG 0   superblock, AGF, AGI, AGFL | roots of the trees | inodes | directories,
//	       attributes, links | content of files | free
//	AG n   the same with a copy of the superblock; the one in the middle has the
//	       log behind the roots
//
// Left out are parent pointers and exchange of ranges, which mkfs.xfs has since
// 6.18, quota inodes, which the kernel makes when it is asked for them, realtime
// devices and other sizes of blocks.
//
// The format is that of fs/xfs/libxfs/xfs_format.h and xfs_da_format.h of Linux,
// see also "XFS Algorithms & Data Structures". All of it is big-endian but for
// checksums.
package xfs

import (
	"errors"
	"fmt"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// Options say how a file system is made.
type Options struct {
	Size       int64    // bytes; required, at least [MinSize]
	Label      string   // at most 12 bytes
	UUID       [16]byte // of the file system
	SectorSize int      // 512 or 4096; zero means 512
	Groups     int      // allocation groups; zero means as few as can be, at least 2
	Features   Features // zero means those of Linux 6.1

	stride uint64 // every so many blocks one stays free, for tests
}

// Features are what a kernel must know of to mount a file system. They have the
// names of the configuration files lts_*.conf of mkfs.xfs: what was the default
// when that long-term kernel was released.
type Features int

// All have checksums, free inode trees and sparse inodes.
const (
	LTS6_1  Features = iota // as LTS5_10, and times up to 2486, counts of inode trees: from Linux 5.15 on
	LTS4_19                 // nothing else: from Linux 4.10 on
	LTS5_10                 // reflink
	LTS6_6                  // as LTS6_1, and reverse mappings, 64-bit counts of extents
)

func (f Features) bigtime() bool    { return f == LTS6_1 || f == LTS6_6 }
func (f Features) inobtcount() bool { return f.bigtime() }
func (f Features) reflink() bool    { return f != LTS4_19 }
func (f Features) rmapbt() bool     { return f == LTS6_6 }
func (f Features) nrext64() bool    { return f == LTS6_6 }

// roots is how many trees each allocation group has.
func (f Features) roots() uint64 {
	n := uint64(4) // bnobt, cntbt, inobt, finobt
	if f.rmapbt() {
		n++
	}
	if f.reflink() {
		n++
	}
	return n
}

// MinSize is the least size in bytes of a file system, as for mkfs.xfs.
const MinSize = 300 << 20

const (
	blockSize   = 4096
	inodeSize   = 512
	forkRoom    = inodeSize - coreSize
	chunkInodes = 64
	chunkBlocks = chunkInodes * inodeSize / blockSize
)

var errTooSmall = errors.New("too small")

// Format lays out the tree below root. It reads no file content.
//
// All times of an inode are its MTime. When the tree does not fit, the error
// says how many bytes it needs.
func Format(root *rootfs.Inode, o Options) (*disk.Image, error) {
	t, err := scan(root)
	if err != nil {
		return nil, fmt.Errorf("xfs: %w", err)
	}
	img, err := t.format(o)
	if errors.Is(err, errTooSmall) {
		err = fmt.Errorf("%s are too small: need %s", rootfs.Bytes(o.Size), rootfs.Bytes(t.size(o.Features)))
	}
	if err != nil {
		return nil, fmt.Errorf("xfs: %w", err)
	}
	return img, nil
}

// Size returns how many bytes a file system of some features needs at most for
// the tree below root, with what the kernel reserves for its own trees and
// little room for anything else.
func Size(root *rootfs.Inode, f Features) (int64, error) {
	t, err := scan(root)
	if err != nil {
		return 0, fmt.Errorf("xfs: %w", err)
	}
	return t.size(f), nil
}

// reserve is what the kernel keeps to itself of a file system, so that its
// trees can grow: of one that is fuller nothing can be used.
func (f Features) reserve(size int64) int64 {
	if f.rmapbt() {
		return 32<<20 + size/45
	}
	return 26<<20 + size/100
}

// size is an upper bound: blocks are counted as if each file of a directory
// had a directory block of its own to end in.
func (t *tree) size(f Features) int64 {
	need := t.bytes + 1<<20
	size := int64(MinSize)
	for size-f.reserve(size)-logSize(size) < need {
		size += max(need/64, 1<<20) &^ (blockSize - 1)
	}
	return size
}

func (t *tree) format(o Options) (*disk.Image, error) {
	geo, err := newGeometry(o)
	if err != nil {
		return nil, err
	}
	w := &writer{geo: geo, tree: t, stride: o.stride}
	if err := w.number(); err != nil {
		return nil, err
	}
	if err := w.layout(); err != nil {
		return nil, err
	}
	if o.stride == 0 && int64(w.free())*blockSize < o.Features.reserve(o.Size) {
		return nil, errTooSmall
	}
	w.finish()
	return disk.New(o.Size, w.pieces...)
}
