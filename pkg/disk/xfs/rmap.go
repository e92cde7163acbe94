package xfs

import (
	"bytes"
	"cmp"
	"slices"
)

// Owners of blocks that belong to no inode.
const (
	ownerHeaders  = 1<<64 - 3
	ownerLog      = 1<<64 - 4
	ownerTrees    = 1<<64 - 5 // trees of free extents and of owners, and the list of blocks for them
	ownerInoTrees = 1<<64 - 6
	ownerInodes   = 1<<64 - 7
	ownerRefTree  = 1<<64 - 8
)

// Flags in the offset of a reverse mapping.
const (
	rmapAttr = 1 << 63 // of the attribute fork
	rmapTop  = 1 << 62 // of the btree of the fork; there is no offset
)

// A rmap is a reverse mapping: blocks of a group, their owner and their offset
// in it.
type rmap struct{ start, n, owner, offset uint64 }

// mapOwners collects the mappings of blocks that inodes own.
func (w *writer) mapOwners() {
	if !w.geo.features.rmapbt() {
		return
	}
	w.rmaps = make([][]rmap, len(w.groups))
	for _, n := range w.tree.nodes {
		w.mapFork(&n.data, n.ino, 0)
		w.mapFork(n.attr, n.ino, rmapAttr)
	}
}

// mapFork adds the mappings of a fork.
func (w *writer) mapFork(f *fork, owner, flags uint64) {
	add := func(linear, n, offset uint64) {
		k := linear / w.geo.agBlocks
		w.rmaps[k] = append(w.rmaps[k], rmap{linear % w.geo.agBlocks, n, owner, offset | flags})
	}
	for _, m := range f.maps {
		add(m.linear, m.n, m.off)
	}
	for _, block := range f.tree {
		add(block, 1, rmapTop)
	}
}

// groupOwners returns all mappings of a group, with one of a single block for the
// blocks that its trees take from a start on. See growOwner.
func (w *writer) groupOwners(k, start uint64) []rmap {
	all := append(w.rmaps[k], rmap{start, 1, ownerTrees, 0})
	return mergeRmaps(append(all, w.fixedRmaps(k)...))
}

// growOwner extends the mapping that has the first of the taken blocks to all of
// them. Only then their number is known: it depends on the number of mappings.
func growOwner(owners []rmap, taken []uint64) {
	for i, r := range owners {
		if r.owner == ownerTrees && r.start <= taken[0] && taken[0] < r.start+r.n {
			owners[i].n += uint64(len(taken)) - 1
		}
	}
}

// fixedRmaps returns the mappings of blocks that no inode owns.
func (w *writer) fixedRmaps(k uint64) []rmap {
	g, a := w.geo, &w.groups[k]
	root := g.header
	all := []rmap{
		{0, g.header, ownerHeaders, 0}, {root, 2, ownerTrees, 0}, {root + 2, 2, ownerInoTrees, 0}, {root + 4, 1, ownerTrees, 0}, {root + 5, 1, ownerRefTree, 0},
	}
	if k == g.logGroup {
		all = append(all, rmap{g.logStart(), g.logBlocks, ownerLog, 0})
	}
	if a.chunks > 0 {
		all = append(all, rmap{g.chunkStart(k), a.chunks * chunkBlocks, ownerInodes, 0})
	}
	for _, block := range a.inoTree {
		all = append(all, rmap{block, 1, ownerInoTrees, 0})
	}
	return all
}

// mergeRmaps sorts mappings and joins neighbours.
func mergeRmaps(all []rmap) []rmap {
	slices.SortFunc(all, func(a, b rmap) int { return cmp.Compare(a.start, b.start) })
	merged := all[:1]
	for _, r := range all[1:] {
		if last := &merged[len(merged)-1]; last.continues(r) {
			last.n += r.n
		} else {
			merged = append(merged, r)
		}
	}
	return merged
}

// continues reports whether a mapping goes on in the next one.
func (r rmap) continues(next rmap) bool {
	switch {
	case r.start+r.n != next.start || r.owner != next.owner:
		return false
	case next.inFile():
		return r.inFile() && r.offset+r.n == next.offset
	}
	return r.offset == next.offset
}

// inFile reports whether the offset counts blocks of a file.
func (r rmap) inFile() bool { return r.owner < ownerRefTree && r.offset&rmapTop == 0 }

func encodeRmaps(all []rmap) []byte {
	b := make([]byte, 0, len(all)*rmapTree.record)
	for _, r := range all {
		b = be.AppendUint32(be.AppendUint32(b, uint32(r.start)), uint32(r.n))
		b = be.AppendUint64(be.AppendUint64(b, r.owner), r.offset)
	}
	return b
}

// rmapKeys returns the keys of a block: the start of its first mapping, and the
// highest end of any.
func rmapKeys(records []byte) []byte {
	var keys []byte
	for ; len(records) > 0; records = records[rmapTree.record:] {
		one := keysOf(get[rmapRecord](records))
		if keys == nil {
			keys = one
		} else {
			keys = joinKeys(keys, one)
		}
	}
	return keys
}

// keysOf returns the first and the last key of a mapping.
func keysOf(r rmapRecord) []byte {
	low := rmapKey{r.StartBlock, r.Owner, r.Offset}
	high := rmapKey{r.StartBlock + r.BlockCount - 1, r.Owner, r.Offset}
	if (rmap{owner: r.Owner, offset: r.Offset}).inFile() {
		high.Offset += uint64(r.BlockCount) - 1
	}
	return high.append(low.append(nil))
}

func (k rmapKey) append(b []byte) []byte {
	return be.AppendUint64(be.AppendUint64(be.AppendUint32(b, k.StartBlock), k.Owner), k.Offset)
}

// joinKeys returns the keys of two neighbours, a before b.
func joinKeys(a, b []byte) []byte {
	const half = 20
	if bytes.Compare(a[half:], b[half:]) >= 0 {
		return a
	}
	return append(slices.Clone(a[:half]), b[half:]...)
}
