package xfs

import (
	"bytes"
	"cmp"
	"slices"
)

// Owners of blocks that no inode owns.
const (
	ownerHeaders  = 1<<64 - 3
	ownerLog      = 1<<64 - 4
	ownerTrees    = 1<<64 - 5 // of free extents and of owners, and what they may grow by
	ownerInoTrees = 1<<64 - 6
	ownerInodes   = 1<<64 - 7
	ownerRefTree  = 1<<64 - 8
)

// What an offset of a reverse mapping says besides.
const (
	rmapAttr = 1 << 63 // of the attribute fork
	rmapTop  = 1 << 62 // of the fork's btree; there is no offset
)

const rmapMagic = "RMB3"

// A rmap is a reverse mapping: who owns blocks of a group, and for what.
type rmap struct{ start, n, owner, offset uint64 }

// mapOwners collects what inodes own.
func (w *writer) mapOwners() {
	if !w.geo.features.rmapbt() {
		return
	}
	w.rmaps = make([][]rmap, len(w.groups))
	add := func(linear, n, owner, offset uint64) {
		k := linear / w.geo.agBlocks
		w.rmaps[k] = append(w.rmaps[k], rmap{linear % w.geo.agBlocks, n, owner, offset})
	}
	for _, node := range w.tree.nodes {
		for _, f := range []struct {
			*fork
			flags uint64
		}{{&node.data, 0}, {&node.attr, rmapAttr}} {
			for _, m := range f.maps {
				add(m.linear, m.n, node.ino, m.off|f.flags)
			}
			for _, block := range f.tree {
				add(block, 1, node.ino, rmapTop|f.flags)
			}
		}
	}
}

// fixedRmaps are those of what every group has.
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

// mergeRmaps sorts mappings and joins those that follow each other.
func mergeRmaps(all []rmap) []rmap {
	slices.SortFunc(all, func(a, b rmap) int { return cmp.Compare(a.start, b.start) })
	merged := all[:1]
	for _, r := range all[1:] {
		last := &merged[len(merged)-1]
		if last.start+last.n == r.start && last.owner == r.owner && (last.offset == r.offset && !r.inFile() || r.inFile() && last.inFile() && last.offset+last.n == r.offset) {
			last.n += r.n
		} else {
			merged = append(merged, r)
		}
	}
	return merged
}

// inFile reports whether the offset counts.
func (r rmap) inFile() bool { return r.owner < ownerRefTree && r.offset&rmapTop == 0 }

func encodeRmaps(all []rmap) []byte {
	b := make([]byte, 0, len(all)*rmapTree.record)
	for _, r := range all {
		b = be.AppendUint32(be.AppendUint32(b, uint32(r.start)), uint32(r.n))
		b = be.AppendUint64(be.AppendUint64(b, r.owner), r.offset)
	}
	return b
}

// rmapKey is the key of a block: where its first mapping starts, and the most
// that any ends at.
func rmapKey(records []byte) []byte {
	var key []byte
	for at := 0; at < len(records); at += rmapTree.record {
		b := records[at:]
		r := rmap{uint64(be.Uint32(b)), uint64(be.Uint32(b[4:])), be.Uint64(b[8:]), be.Uint64(b[16:])}
		one := appendRmapKey(nil, r)
		if r.inFile() {
			r.offset += r.n - 1
		}
		r.start += r.n - 1
		one = appendRmapKey(one, r)
		if key == nil {
			key = one
		} else {
			key = joinKeys(key, one)
		}
	}
	return key
}

func appendRmapKey(b []byte, r rmap) []byte {
	return be.AppendUint64(be.AppendUint64(be.AppendUint32(b, uint32(r.start)), r.owner), r.offset)
}

// joinKeys is the key of what has both keys, the first of which is the lower.
func joinKeys(a, b []byte) []byte {
	const half = 20
	if bytes.Compare(a[half:], b[half:]) >= 0 {
		return a
	}
	return append(slices.Clone(a[:half]), b[half:]...)
}
