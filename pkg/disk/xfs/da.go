package xfs

import (
	"fmt"
	"math/bits"
)

// Directories and attributes are found by the hash of their names. Their leaves
// are chained. A tree of nodes stands above several leaves.

// daMax is the number of entries of a leaf of a directory, or of a node.
const daMax = (blockSize - daHead) / entryBytes

// hashName is xfs_da_hashname.
func hashName(name string) uint32 {
	var h uint32
	for ; len(name) >= 4; name = name[4:] {
		h = uint32(name[0])<<21 ^ uint32(name[1])<<14 ^ uint32(name[2])<<7 ^ uint32(name[3]) ^ bits.RotateLeft32(h, 28)
	}
	switch len(name) {
	case 3:
		return uint32(name[0])<<14 ^ uint32(name[1])<<7 ^ uint32(name[2]) ^ bits.RotateLeft32(h, 21)
	case 2:
		return uint32(name[0])<<7 ^ uint32(name[1]) ^ bits.RotateLeft32(h, 14)
	case 1:
		return uint32(name[0]) ^ bits.RotateLeft32(h, 7)
	}
	return h
}

// daLevels returns the number of nodes in each level above some leaves, the
// lowest first. A single leaf has no nodes.
func daLevels(leaves int) (levels []int, err error) {
	for n := leaves; n > 1; {
		n = (n + daMax - 1) / daMax
		levels = append(levels, n)
	}
	if len(levels) > 4 {
		return nil, fmt.Errorf("%d leaves, their nodes would have %d levels, limit is 4", leaves, len(levels))
	}
	return levels, nil
}

// daBlocks returns the number of leaves and of the nodes above them.
func daBlocks(leaves int) (int, error) {
	levels, err := daLevels(leaves)
	for _, n := range levels {
		leaves += n
	}
	return leaves, err
}

// blockInfo returns the start of the header of a node or leaf: number i of the
// blocks of a level, which count from the start of the fork.
func (w *writer) blockInfo(magic uint16, numbers []uint32, i int, f *fork, owner uint64) blockInfo {
	h := blockInfo{Magic: magic, BlkNo: daddr(f.linear(uint64(numbers[i]))), UUID: w.geo.uuid, Owner: owner}
	if i > 0 {
		h.Back = numbers[i-1]
	}
	if i < len(numbers)-1 {
		h.Forw = numbers[i+1]
	}
	return h
}

// emitDA writes a node or leaf to a block of a fork.
func (w *writer) emitDA(f *fork, number uint32, b []byte) {
	seal(b, daCRC)
	w.emit(f.linear(uint64(number)), b)
}

// A nodeEntry is struct xfs_da_node_entry: the largest hash below a block, and
// the block of the fork.
type nodeEntry struct{ hash, before uint32 }

// daNodes writes the nodes above leaves. The root is at block base of the fork.
func (w *writer) daNodes(f *fork, base uint32, below []nodeEntry, owner uint64) {
	levels, _ := daLevels(len(below))
	next := base + 1 + uint32(len(below))
	for level, nodes := range levels {
		numbers := []uint32{base}
		if nodes > 1 {
			numbers = sequence(next, nodes)
			next += uint32(nodes)
		}
		var all []nodeEntry
		for i, number := range numbers {
			part := below[i*len(below)/nodes : (i+1)*len(below)/nodes]
			b := make([]byte, blockSize)
			put(b, &nodeHeader{Info: w.blockInfo(magicNode, numbers, i, f, owner), Count: uint16(len(part)), Level: uint16(level + 1)})
			for j, e := range part {
				be.PutUint32(b[daHead+entryBytes*j:], e.hash)
				be.PutUint32(b[daHead+entryBytes*j+4:], e.before)
			}
			w.emitDA(f, number, b)
			all = append(all, nodeEntry{part[len(part)-1].hash, number})
		}
		below = all
	}
}

// leafNumbers returns the blocks of leaves. The root at block base comes first,
// then the leaves, then the nodes between them.
func leafNumbers(base uint32, leaves int) []uint32 {
	if leaves == 1 {
		return []uint32{base}
	}
	return sequence(base+1, leaves)
}

// sequence returns n numbers from first on.
func sequence(first uint32, n int) []uint32 {
	numbers := make([]uint32, n)
	for i := range numbers {
		numbers[i] = first + uint32(i)
	}
	return numbers
}
