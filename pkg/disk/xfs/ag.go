package xfs

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
)

// totals are what the superblock counts.
type totals struct{ inodes, freeInodes, freeBlocks uint64 }

// What the superblock says of versions and features.
const (
	versionNumber = 0xb4b5 // 5, and nlink, align, logv2, extflg, dirv2, attr, morebits
	versionSector = 0x800  // sectors of other than 512 bytes
	features2     = 0x18a  // lazy counters, attr2, projid32, crc

	roFinobt, roRmapbt, roReflink, roInobtcount             = 1, 2, 4, 8
	incompatFtype, incompatSparse, incompatBigtime, nrext64 = 1, 2, 8, 0x20
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
		w.pieces = append(w.pieces, disk.Extent{Off: w.sectorOf(uint64(i), 0), Blob: bytes.NewReader(super)})
	}
	w.writeLog()
}

// sectorOf is where a sector of a group stands.
func (w *writer) sectorOf(group uint64, sector int) int64 {
	return int64(group*w.geo.agBlocks)*blockSize + int64(sector*w.geo.sector)
}

// writeGroup writes what a group knows of itself.
func (w *writer) writeGroup(k uint64) {
	g, a := w.geo, &w.groups[k]
	root := g.header
	inodes, freeInodes := w.chunkRecords(k)
	if a.chunks > 0 {
		w.emit(k*g.agBlocks+g.chunkStart(k), a.inodes)
	}
	// The trees of free extents take blocks of the largest one, which must not
	// vanish by that: at the end of a group there are always some.
	f := g.features
	free := a.freeRuns(g.length(k))
	last := len(free) - 1
	inner := bnoTree.inner(uint64(len(free)))
	levels := uint64(len(bnoTree.levels(len(free))))
	list := 2 * (levels + 1) // the blocks that the trees may need to grow
	var rmaps []rmap
	rmapInner := 0
	if f.rmapbt() {
		rmaps = append(w.rmaps[k], rmap{free[last].start, 1, ownerTrees, 0}) // of the blocks that are taken now
		rmaps = mergeRmaps(append(rmaps, w.fixedRmaps(k)...))
		rmapInner = rmapTree.inner(uint64(len(rmaps)))
		list += uint64(len(rmapTree.levels(len(rmaps)))) + 1
	}
	taken := make([]uint64, uint64(2*inner+rmapInner)+list)
	for i := range taken {
		taken[i] = free[last].start + uint64(i)
	}
	free[last].start += uint64(len(taken))
	free[last].n -= uint64(len(taken))
	for i := range rmaps {
		if rmaps[i].owner == ownerTrees && rmaps[i].start <= taken[0] && taken[0] < rmaps[i].start+rmaps[i].n {
			rmaps[i].n += uint64(len(taken)) - 1
		}
	}

	var freeBlocks, longest uint64
	for _, r := range free {
		freeBlocks += r.n
		longest = max(longest, r.n)
	}
	records := func(runs []run) (b []byte) {
		for _, r := range runs {
			b = be.AppendUint32(be.AppendUint32(b, uint32(r.start)), uint32(r.n))
		}
		return b
	}
	bnoLevels := bnoTree.write(w, k, root, taken[:inner], records(free))
	slices.SortFunc(free, func(x, y run) int { return cmp.Or(cmp.Compare(x.n, y.n), cmp.Compare(x.start, y.start)) })
	cntLevels := cntTree.write(w, k, root+1, taken[inner:2*inner], records(free))
	inoLevels := inoTree.write(w, k, root+2, a.inoTree, inodes)
	finoLevels := finoTree.write(w, k, root+3, nil, freeInodes)
	next := root + 4
	var rmapRoot, rmapLevels, rmapBlocks uint32
	if f.rmapbt() {
		rmapRoot, rmapBlocks = uint32(next), uint32(1+rmapInner)
		rmapLevels = rmapTree.write(w, k, next, taken[2*inner:][:rmapInner], encodeRmaps(rmaps))
		next++
	}
	var refRoot, refLevels uint32
	if f.reflink() {
		refRoot, refLevels = uint32(next), refTree.write(w, k, next, nil, nil)
	}

	agf := make([]byte, g.sector)
	copy(agf, "XAGF")
	put32(agf[4:], 1, uint32(k), uint32(g.length(k)), uint32(root), uint32(root+1), rmapRoot, bnoLevels, cntLevels, rmapLevels,
		0, uint32(list-1), uint32(list), uint32(freeBlocks), uint32(longest), uint32(2*inner+rmapInner))
	copy(agf[64:], g.uuid[:])
	put32(agf[80:], rmapBlocks, refLevels, refRoot, refLevels) // an empty tree has one block
	seal(agf, 216)

	agi := make([]byte, g.sector)
	copy(agi, "XAGI")
	newest := uint32(null32)
	if a.chunks > 0 {
		newest = uint32(g.chunkStart(k)+(a.chunks-1)*chunkBlocks) << 3
	}
	put32(agi[4:], 1, uint32(k), uint32(g.length(k)), uint32(a.chunks*chunkInodes), uint32(root+2), inoLevels, uint32(a.free), newest, null32)
	for i := range 64 { // inodes that are unlinked and open
		be.PutUint32(agi[40+4*i:], null32)
	}
	copy(agi[296:], g.uuid[:])
	put32(agi[328:], uint32(root+3), finoLevels)
	if f.inobtcount() {
		put32(agi[336:], uint32(1+len(a.inoTree)), 1)
	}
	seal(agi, 312)

	agfl := make([]byte, g.sector)
	copy(agfl, "XAFL")
	be.PutUint32(agfl[4:], uint32(k))
	copy(agfl[8:], g.uuid[:])
	for i := 36; i < len(agfl); i += 4 {
		be.PutUint32(agfl[i:], null32)
	}
	for i, b := range taken[2*inner+rmapInner:] {
		be.PutUint32(agfl[36+4*i:], uint32(b))
	}
	seal(agfl, 32)
	for i, sector := range [][]byte{agf, agi, agfl} {
		w.pieces = append(w.pieces, disk.Extent{Off: w.sectorOf(k, 1+i), Blob: bytes.NewReader(sector)})
	}
	w.totals.inodes += a.chunks * chunkInodes
	w.totals.freeInodes += a.free
	w.totals.freeBlocks += freeBlocks + list + uint64(2*inner+rmapInner)
}

func put32(to []byte, values ...uint32) {
	for i, v := range values {
		be.PutUint32(to[4*i:], v)
	}
}

// freeRuns are what nothing in a group uses.
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

// chunkRecords are the records of a group's chunks, and of those with a free
// inode: the inodes that are used come first.
func (w *writer) chunkRecords(k uint64) (all, free []byte) {
	a := &w.groups[k]
	used := a.chunks*chunkInodes - a.free
	for i := range a.chunks {
		in := min(chunkInodes, used-min(used, i*chunkInodes))
		record := be.AppendUint32(nil, uint32((w.geo.chunkStart(k)+i*chunkBlocks)<<3))
		record = append(record, 0, 0, chunkInodes, byte(chunkInodes-in))
		record = be.AppendUint64(record, ^uint64(0)<<in)
		all = append(all, record...)
		if in < chunkInodes {
			free = append(free, record...)
		}
	}
	return all, free
}

// superblock is that of every group: mkfs.xfs leaves some fields of the copies
// empty, which nobody reads.
func (w *writer) superblock() []byte {
	g := w.geo
	b := make([]byte, g.sector)
	copy(b, "XFSB")
	be.PutUint32(b[4:], blockSize)
	be.PutUint64(b[8:], g.blocks)
	copy(b[32:], g.uuid[:])
	be.PutUint64(b[48:], g.fsbno(g.logGroup*g.agBlocks+g.logStart()))
	root := w.tree.nodes[0].ino
	for i := range uint64(3) {
		be.PutUint64(b[56+8*i:], root+i)
	}
	put32(b[80:], 1, uint32(g.agBlocks), uint32(g.groups), 0, uint32(g.logBlocks))
	version := uint16(versionNumber)
	sectorLog := byte(9)
	if g.sector != 512 {
		version |= versionSector
		sectorLog = 12
	}
	be.PutUint16(b[100:], version)
	be.PutUint16(b[102:], uint16(g.sector))
	be.PutUint16(b[104:], inodeSize)
	be.PutUint16(b[106:], blockSize/inodeSize)
	copy(b[108:120], g.label)
	copy(b[120:], []byte{12, sectorLog, 9, 3, byte(g.agLog), 0, 0, inodePercent(g.blocks * blockSize)})
	be.PutUint64(b[128:], w.totals.inodes)
	be.PutUint64(b[136:], w.totals.freeInodes)
	be.PutUint64(b[144:], w.totals.freeBlocks)
	// No quota inodes, in the form that the kernel gives it.
	be.PutUint64(b[160:], 1<<64-1)
	be.PutUint64(b[168:], 1<<64-1)
	be.PutUint64(b[232:], 1<<64-1)
	be.PutUint32(b[180:], chunkBlocks)
	be.PutUint32(b[196:], 1)
	if g.sector != 512 { // the log has the same
		b[193] = sectorLog
		be.PutUint16(b[194:], uint16(g.sector))
		be.PutUint32(b[196:], uint32(g.sector))
	}
	put32(b[200:], features2, features2, 0, g.features.roCompat(), g.features.incompat())
	be.PutUint32(b[228:], chunkBlocks/2) // alignment of sparse chunks
	seal(b, 224)
	return b
}

// roCompat are the features without which a file system can be read.
func (f Features) roCompat() uint32 {
	bits := uint32(roFinobt)
	for bit, has := range map[uint32]bool{roRmapbt: f.rmapbt(), roReflink: f.reflink(), roInobtcount: f.inobtcount()} {
		if has {
			bits |= bit
		}
	}
	return bits
}

// incompat are those without which it cannot.
func (f Features) incompat() uint32 {
	bits := uint32(incompatFtype | incompatSparse)
	if f.bigtime() {
		bits |= incompatBigtime
	}
	if f.nrext64() {
		bits |= nrext64
	}
	return bits
}

// inodePercent is how much of a file system the kernel gives to inodes at most.
func inodePercent(size uint64) byte {
	switch {
	case size < 1<<40:
		return 25
	case size < 50<<40:
		return 5
	}
	return 1
}

// writeLog writes a log that was closed cleanly: one record, which says so. All
// behind it must be zeros.
func (w *writer) writeLog() {
	g := w.geo
	b := make([]byte, max(2*512, g.sector)) // a header and a sector, or what the log is written in
	put32(b, 0xfeedbabe, 1, 2, uint32(len(b)-512), 1, 0, 1, 0, 0, null32, 1)
	copy(b[44:], "\xb0\xc0\xd0\xd0")
	be.PutUint32(b[300:], 1)
	copy(b[304:], g.uuid[:])
	be.PutUint32(b[320:], 0x8000)
	copy(b[512:], "\x00\x00\x00\x01\x00\x00\x00\x08\xaa\x20\x00\x00\x6e\x55\x00\x00")
	for at := 1024; at < len(b); at += 512 {
		be.PutUint32(b[at:], 1)
	}
	w.pieces = append(w.pieces, disk.Extent{
		Off:  int64(g.logGroup*g.agBlocks+g.logStart()) * blockSize,
		Blob: bytes.NewReader(b),
	})
}
