// Package xfs writes and reads XFS file systems.
//
// [Format] lays out version 5, with 4 KiB blocks and 512-byte inodes, and the
// [Features] that mkfs.xfs had by default when a kernel was released. The result
// is a plan: metadata is in memory, and the content of files is only referred to.
// A device has allocation groups (AG):
//
//	AG 0   superblock, AGF, AGI, AGFL | roots of the trees | inodes | directories,
//	       attributes, links | content of files | free
//	AG n   the same with a copy of the superblock; the group in the middle has the
//	       log behind the roots
//
// Not supported are parent pointers and exchange of ranges, which mkfs.xfs has
// since 6.18, quota inodes, which the kernel makes on demand, realtime devices and
// other block sizes.
//
// The files of the package:
//
//	format.go                        on-disk structures
//	tree.go, geometry.go, writer.go  the tree, the division of the device, placement
//	inode.go, fork.go, da.go,        inodes, their extents, and the blocks of
//	dir.go, attr.go                  directories and attributes
//	ag.go, btree.go, rmap.go         headers and trees of allocation groups
//	super.go, log.go                 the superblock and the log
//	read*.go                         [Read]
//
// The code is our own because no Go library writes XFS; go-diskfs neither writes
// nor reads it.
//
// The format is that of fs/xfs/libxfs/xfs_format.h and xfs_da_format.h of Linux,
// see also "XFS Algorithms & Data Structures". It is big-endian, except checksums.
package xfs

import (
	"errors"
	"fmt"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// Options are the properties of a file system.
type Options struct {
	Size       int64    // bytes; required, at least [MinSize]
	Label      string   // at most 12 bytes
	UUID       [16]byte // of the file system
	SectorSize int      // 512 or 4096; zero means 512
	Groups     int      // allocation groups; zero means the fewest possible, at least 2
	Features   Features // zero means those of Linux 6.1

	stride uint64 // leave a gap after so many blocks: tests break files into pieces
}

// Features are the features that a kernel must know to mount a file system. They
// have the names of the configuration files lts_*.conf of mkfs.xfs, which hold the
// defaults at the release of that long-term kernel.
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

// roots returns the number of trees of an allocation group.
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

// MinSize is the least size of a file system in bytes, that of mkfs.xfs.
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
// All times of an inode are its MTime. If the tree does not fit, the error names
// the size that it needs.
func Format(root *rootfs.Inode, o Options) (*disk.Image, error) {
	t, err := scan(root)
	if err != nil {
		return nil, fmt.Errorf("xfs: %w", err)
	}
	img, err := t.format(o)
	if errors.Is(err, errTooSmall) {
		err = fmt.Errorf("size of %s is too small, need %s", rootfs.Bytes(o.Size), rootfs.Bytes(t.size(o.Features)))
	}
	if err != nil {
		return nil, fmt.Errorf("xfs: %w", err)
	}
	return img, nil
}

// Size returns an upper bound of the bytes that a file system of some features
// needs for the tree below root. It includes the blocks that the kernel reserves
// for its own trees, and little room for anything else.
func Size(root *rootfs.Inode, f Features) (int64, error) {
	t, err := scan(root)
	if err != nil {
		return 0, fmt.Errorf("xfs: %w", err)
	}
	return t.size(f), nil
}

// reserve returns the bytes that the kernel reserves for its trees to grow. A
// file system with less free space cannot be written to.
func (f Features) reserve(size int64) int64 {
	if f.rmapbt() {
		return 32<<20 + size/45
	}
	return 26<<20 + size/100
}

// size returns an upper bound of the bytes that a file system needs for the tree.
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
