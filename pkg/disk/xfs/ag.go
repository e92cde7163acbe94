package xfs

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
)

// finish writes inodes, allocation groups, superblocks and the log.
func (w *writer) finish() {
	w.encodeRealtime()
	w.mapOwners()
	for i := range w.groups {
		w.writeGroup(uint64(i))
	}
	super := w.superblock()
	for i := range w.groups {
		w.emitSector(uint64(i), 0, super)
	}
	w.writeLog()
}

// emitSector puts a header to one of the four first sectors of a group.
func (w *writer) emitSector(group uint64, sector int, b []byte) {
	off := int64(group*w.geo.agBlocks)*blockSize + int64(sector*w.geo.sector)
	w.pieces = append(w.pieces, disk.Extent{Off: off, Blob: bytes.NewReader(b)})
}

// A treeRoot is the place of a tree in the headers of its group.
type treeRoot struct{ root, level uint32 }

// groupTrees are the trees of a group. A tree that the features lack is zero.
type groupTrees struct{ bno, cnt, ino, fino, rmap, ref treeRoot }

// writeGroup writes the inodes, trees and headers of a group.
func (w *writer) writeGroup(k uint64) {
	g, a := w.geo, &w.groups[k]
	if a.chunks > 0 {
		a.inodes.seal()
		w.emitBlob(k*g.agBlocks+g.chunkStart(k), a.inodes)
	}
	space := w.freeSpace(k)
	trees := w.writeTrees(k, space)
	w.emitSector(k, 1, w.agf(k, space, trees))
	w.emitSector(k, 2, w.agi(k, trees))
	w.emitSector(k, 3, w.agfl(k, space.list))
	w.totals.inodes += a.chunks * chunkInodes
	w.totals.freeInodes += a.free
	// The superblock counts these blocks as free, because they hold only free space.
	w.totals.freeBlocks += space.blocks() + uint64(len(space.list)) + uint64(space.treeBlocks())
}

// A freeSpace is the free space of a group, and the blocks of it that its own
// trees take.
type freeSpace struct {
	runs           []run // free extents, in order
	owners         []rmap
	bno, cnt, rmap []uint64 // blocks of the trees, without their roots
	list           []uint64 // blocks that the trees may need to grow
}

// freeSpace takes the blocks that the trees of a group need from its last free
// extent. It must not vanish by that: number keeps some blocks at the end of each
// group.
func (w *writer) freeSpace(k uint64) freeSpace {
	s := freeSpace{runs: w.groups[k].freeRuns(w.geo.length(k))}
	last := &s.runs[len(s.runs)-1]
	inner := bnoTree.inner(len(s.runs))
	list := 2 * (len(bnoTree.levels(len(s.runs))) + 1)
	rmapInner := 0
	if w.geo.features.rmapbt() {
		s.owners = w.groupOwners(k, last.start)
		rmapInner = rmapTree.inner(len(s.owners))
		list += len(rmapTree.levels(len(s.owners))) + 1
	}
	taken := make([]uint64, 2*inner+rmapInner+list)
	for i := range taken {
		taken[i] = last.start + uint64(i)
	}
	last.start += uint64(len(taken))
	last.n -= uint64(len(taken))
	growOwner(s.owners, taken)
	s.bno, taken = taken[:inner], taken[inner:]
	s.cnt, taken = taken[:inner], taken[inner:]
	s.rmap, s.list = taken[:rmapInner], taken[rmapInner:]
	return s
}

// treeBlocks counts the blocks of the trees, without their roots.
func (s freeSpace) treeBlocks() int { return len(s.bno) + len(s.cnt) + len(s.rmap) }

// blocks counts the blocks of the free extents.
func (s freeSpace) blocks() (n uint64) {
	for _, r := range s.runs {
		n += r.n
	}
	return n
}

// longest returns the blocks of the largest free extent.
func (s freeSpace) longest() (n uint64) {
	for _, r := range s.runs {
		n = max(n, r.n)
	}
	return n
}

// freeRecords returns the records of free extents.
func freeRecords(runs []run) []byte {
	b := make([]byte, 0, len(runs)*bnoTree.record)
	for _, r := range runs {
		b = be.AppendUint32(be.AppendUint32(b, uint32(r.start)), uint32(r.n))
	}
	return b
}

// writeTrees writes the trees of a group. Their roots follow the headers.
func (w *writer) writeTrees(k uint64, s freeSpace) (t groupTrees) {
	next := w.geo.header
	write := func(tree btree, blocks []uint64, records []byte) treeRoot {
		root := treeRoot{uint32(next), tree.write(w, k, next, blocks, records)}
		next++
		return root
	}
	inodes, freeInodes := w.chunkRecords(k)
	bySize := slices.Clone(s.runs)
	slices.SortFunc(bySize, func(x, y run) int { return cmp.Or(cmp.Compare(x.n, y.n), cmp.Compare(x.start, y.start)) })
	t.bno = write(bnoTree, s.bno, freeRecords(s.runs))
	t.cnt = write(cntTree, s.cnt, freeRecords(bySize))
	t.ino = write(inoTree, w.groups[k].inoTree, inodes)
	t.fino = write(finoTree, nil, freeInodes)
	if w.geo.features.rmapbt() {
		t.rmap = write(rmapTree, s.rmap, encodeRmaps(s.owners))
	}
	if w.geo.features.reflink() {
		t.ref = write(refTree, nil, nil)
	}
	return t
}

// agf returns the header of the free space of a group.
func (w *writer) agf(k uint64, s freeSpace, t groupTrees) []byte {
	g := w.geo
	h := agf{
		Magicnum: magicAGF, VersionNum: 1, SeqNo: uint32(k), Length: uint32(g.length(k)), UUID: g.uuid,
		BnoRoot: t.bno.root, CntRoot: t.cnt.root, RmapRoot: t.rmap.root,
		BnoLevel: t.bno.level, CntLevel: t.cnt.level, RmapLevel: t.rmap.level,
		FLLast: uint32(len(s.list) - 1), FLCount: uint32(len(s.list)),
		FreeBlks: uint32(s.blocks()), Longest: uint32(s.longest()), BtreeBlks: uint32(s.treeBlocks()),
		RefcountRoot: t.ref.root, RefcountLevel: t.ref.level, RefcountBlocks: t.ref.level, // an empty tree has one block
	}
	if g.features.rmapbt() {
		h.RmapBlocks = uint32(1 + len(s.rmap))
	}
	b := make([]byte, g.sector)
	put(b, &h)
	seal(b, agfCRC)
	return b
}

// agi returns the header of the inodes of a group.
func (w *writer) agi(k uint64, t groupTrees) []byte {
	g, a := w.geo, &w.groups[k]
	h := agi{
		Magicnum: magicAGI, VersionNum: 1, SeqNo: uint32(k), Length: uint32(g.length(k)), UUID: g.uuid,
		Count: uint32(a.chunks * chunkInodes), FreeCount: uint32(a.free), NewIno: null32, DirIno: null32,
		Root: t.ino.root, Level: t.ino.level, FreeRoot: t.fino.root, FreeLevel: t.fino.level,
	}
	if a.chunks > 0 {
		h.NewIno = uint32(g.chunkStart(k)+(a.chunks-1)*chunkBlocks) << 3
	}
	for i := range h.Unlinked {
		h.Unlinked[i] = null32
	}
	if g.features.inobtcount() {
		h.IBlocks, h.FBlocks = uint32(1+len(a.inoTree)), 1
	}
	b := make([]byte, g.sector)
	put(b, &h)
	seal(b, agiCRC)
	return b
}

// agfl returns the list of blocks that the trees of a group may need to grow.
func (w *writer) agfl(k uint64, list []uint64) []byte {
	b := make([]byte, w.geo.sector)
	put(b, &agfl{Magicnum: magicAGFL, SeqNo: uint32(k), UUID: w.geo.uuid})
	for i := range (len(b) - agflHead) / 4 {
		block := uint32(null32)
		if i < len(list) {
			block = uint32(list[i])
		}
		be.PutUint32(b[agflHead+4*i:], block)
	}
	seal(b, agflCRC)
	return b
}

// freeRuns returns the unused extents of a group, ascending.
func (a *group) freeRuns(length uint64) (free []run) {
	var at uint64
	for _, r := range append(a.usedRuns(), run{length, 0}) {
		if r.start > at {
			free = append(free, run{at, r.start - at})
		}
		at = r.start + r.n
	}
	return free
}

// chunkRecords returns the records of all chunks of a group, and of the chunks
// with a free inode. Used inodes come first.
func (w *writer) chunkRecords(k uint64) (all, free []byte) {
	a := &w.groups[k]
	used := a.chunks*chunkInodes - a.free
	record := make([]byte, inoTree.record)
	for i := range a.chunks {
		n := min(chunkInodes, used-min(used, i*chunkInodes))
		put(record, &inodeRecord{
			StartIno: uint32((w.geo.chunkStart(k) + i*chunkBlocks) << 3),
			Count:    chunkInodes, FreeCount: uint8(chunkInodes - n), Free: ^uint64(0) << n,
		})
		all = append(all, record...)
		if n < chunkInodes {
			free = append(free, record...)
		}
	}
	return all, free
}
