package ext4

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// A run is contiguous blocks.
type run struct{ start, len uint64 }

func (r run) end() uint64 { return r.start + r.len }

// A geometry is the place of all metadata that depends only on the size of the
// file system.
type geometry struct {
	block          uint64 // size of a block in bytes
	blocks         uint64
	first          uint64 // the block of the primary superblock
	perGroup       uint64 // blocks of a group
	groups         uint64
	descBlocks     uint64
	reservedGDT    uint64 // blocks kept behind the descriptors so that they can grow
	inodesPerGroup uint64
	tableBlocks    uint64 // inode table of a group
	resizeInode    bool

	blockBitmap []uint64 // by group
	inodeBitmap []uint64
	inodeTable  []uint64
	fixed       []run // all of the above, ascending, disjoint
}

// errTooSmall says that a plan does not fit into the file system.
var errTooSmall = errors.New("too small")

const (
	kiB = 1 << 10
	miB = 1 << 20
	tiB = 1 << 40
)

// blockSize returns the default block size of a file system of size bytes.
func (o Options) blockSize(size int64) int64 {
	if o.BlockSize != 0 {
		return int64(o.BlockSize)
	}
	if size < 512*miB {
		return kiB
	}
	return 4 * kiB
}

// bytesPerInode returns the inode_ratio of mke2fs, for its types floppy, small,
// default, big and huge.
func bytesPerInode(size uint64) uint64 {
	switch {
	case size < 3*miB:
		return 8192
	case size < 512*miB:
		return 4096
	case size < 4*tiB:
		return 16384
	case size < 16*tiB:
		return 32768
	}
	return 65536
}

// minLastGroup returns the least number of free blocks of the last group. Like
// mke2fs, a smaller group is left out.
const minLastGroup = 50

// newGeometry divides size bytes into groups that have at least the given
// number of inodes.
func newGeometry(size int64, o Options, inodes uint64) (*geometry, error) {
	g := &geometry{block: uint64(o.blockSize(size))}
	g.blocks = uint64(size) / g.block
	if g.block == kiB {
		g.first = 1 // block 0 ends where the superblock starts
	}
	g.perGroup = 8 * g.block
	if g.blocks < g.first+minLastGroup {
		return nil, errTooSmall
	}
	want := max(inodes, uint64(o.Inodes))
	if o.Inodes == 0 {
		want = max(inodes, g.blocks*g.block/bytesPerInode(g.blocks*g.block))
	}
	for {
		if err := g.divide(want); err != nil {
			return nil, err
		}
		rest := (g.blocks - g.first) % g.perGroup
		if rest == 0 {
			break
		}
		need := 2 + g.tableBlocks + g.superBlocks(g.groups-1) + minLastGroup
		if rest >= need {
			break
		}
		if g.groups == 1 {
			return nil, errTooSmall
		}
		g.blocks -= rest
	}
	if g.groups*g.inodesPerGroup < inodes {
		return nil, errTooSmall
	}
	return g, g.place()
}

// divide computes the number of groups and the metadata of each.
func (g *geometry) divide(inodes uint64) error {
	ceil := func(a, b uint64) uint64 { return (a + b - 1) / b }
	g.groups = ceil(g.blocks-g.first, g.perGroup)
	perBlock := g.block / descSize
	g.descBlocks = ceil(g.groups, perBlock)

	// The resize inode maps blocks by 32-bit numbers, one indirect block
	// holds the reserved blocks, and growth by 1024 is the choice of mke2fs.
	const max32 = 1<<32 - 1
	g.resizeInode = g.blocks <= max32
	g.reservedGDT = 0
	if g.resizeInode {
		grown := uint64(max32)
		if g.blocks < max32/1024 {
			grown = g.blocks * 1024
		}
		g.reservedGDT = min(ceil(ceil(grown-g.first, g.perGroup), perBlock)-g.descBlocks, g.block/4)
	}
	if 1+g.descBlocks+g.reservedGDT > g.perGroup/2 {
		return fmt.Errorf("%s need %d blocks of group descriptors in a group of %d blocks: use larger blocks", rootfs.Bytes(g.blocks*g.block), g.descBlocks, g.perGroup)
	}

	perTableBlock := g.block / inodeSize
	g.inodesPerGroup = max(min(ceil(inodes, g.groups), 8*g.block), 16)
	g.tableBlocks = ceil(g.inodesPerGroup, perTableBlock)
	g.inodesPerGroup = g.tableBlocks * perTableBlock &^ 7 // whole bytes of bitmap
	g.tableBlocks = ceil(g.inodesPerGroup, perTableBlock)
	if g.groups*g.inodesPerGroup > max32 {
		return fmt.Errorf("%d inodes, limit is %d", g.groups*g.inodesPerGroup, uint64(max32))
	}
	return nil
}

func (g *geometry) groupStart(group uint64) uint64 { return g.first + group*g.perGroup }

func (g *geometry) groupEnd(group uint64) uint64 {
	return min(g.groupStart(group+1), g.blocks)
}

func (g *geometry) groupOf(block uint64) uint64 { return (block - g.first) / g.perGroup }

// hasSuper reports whether a group has a copy of the superblock and of the group
// descriptors: with sparse_super 0, 1 and the powers of 3, 5 and 7.
func hasSuper(group uint64) bool {
	if group <= 1 {
		return true
	}
	for _, base := range []uint64{3, 5, 7} {
		n := base
		for n < group {
			n *= base
		}
		if n == group {
			return true
		}
	}
	return false
}

// superBlocks returns the number of blocks of superblock, group descriptors and
// their reserve at the start of a group.
func (g *geometry) superBlocks(group uint64) uint64 {
	if !hasSuper(group) {
		return 0
	}
	return 1 + g.descBlocks + g.reservedGDT
}

// place puts the bitmaps and inode tables of each 16 groups together behind
// the superblock of the first of them.
func (g *geometry) place() error {
	g.blockBitmap = make([]uint64, g.groups)
	g.inodeBitmap = make([]uint64, g.groups)
	g.inodeTable = make([]uint64, g.groups)
	for group := range g.groups {
		if n := g.superBlocks(group); n > 0 {
			g.fixed = append(g.fixed, run{g.groupStart(group), n})
		}
	}
	for flex := uint64(0); flex < g.groups; flex += groupsPerFlex {
		at := g.groupStart(flex)
		end := min(flex+groupsPerFlex, g.groups)
		put := func(to []uint64, blocks uint64) {
			for group := flex; group < end; group++ {
				at = g.skipSupers(at, blocks)
				to[group] = at
				g.fixed = append(g.fixed, run{at, blocks})
				at += blocks
			}
		}
		put(g.blockBitmap, 1)
		put(g.inodeBitmap, 1)
		put(g.inodeTable, g.tableBlocks)
		if at > g.groupEnd(end-1) {
			return errTooSmall
		}
	}
	g.fixed = merge(g.fixed)
	return nil
}

// skipSupers returns the first block, from at on, of n blocks without a copy of the
// superblock.
func (g *geometry) skipSupers(at, n uint64) uint64 {
	for group := g.groupOf(at); g.groupStart(group) < at+n; group++ {
		if end := g.groupStart(group) + g.superBlocks(group); at < end {
			at = end
		}
	}
	return at
}

// merge sorts runs and joins those that touch.
func merge(runs []run) []run {
	slices.SortFunc(runs, func(a, b run) int { return cmp.Compare(a.start, b.start) })
	out := runs[:0]
	for _, r := range runs {
		if n := len(out); n > 0 && out[n-1].end() == r.start {
			out[n-1].len += r.len
		} else {
			out = append(out, r)
		}
	}
	return out
}

// An allocator hands out the blocks between taken runs, in ascending order.
type allocator struct {
	taken  []run // runs behind the cursor
	at     uint64
	end    uint64 // of the file system
	stride uint64 // if not zero, leave a gap after this many blocks: tests fragment files so
	used   []run
}

// take returns n blocks in as few runs as possible, or errTooSmall.
func (a *allocator) take(n uint64) ([]run, error) {
	var runs []run
	for n > 0 {
		for len(a.taken) > 0 && a.taken[0].start <= a.at {
			a.at = max(a.at, a.taken[0].end())
			a.taken = a.taken[1:]
		}
		limit := a.end
		if len(a.taken) > 0 {
			limit = a.taken[0].start
		}
		if a.at >= limit {
			return nil, errTooSmall
		}
		r := run{a.at, min(n, limit-a.at)}
		if a.stride > 0 {
			r.len = min(r.len, a.stride)
		}
		n -= r.len
		a.at += r.len
		runs = append(runs, r)
		a.note(r)
		if a.stride > 0 {
			a.at++
		}
	}
	return runs, nil
}

// note remembers r as used.
func (a *allocator) note(r run) {
	if n := len(a.used); n > 0 && a.used[n-1].end() == r.start {
		a.used[n-1].len += r.len
	} else {
		a.used = append(a.used, r)
	}
}
