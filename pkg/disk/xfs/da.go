package xfs

import (
	"fmt"
	"math/bits"
)

// Directories and attributes are found by the hash of their names. Their leaves
// are chained, and where there are several a tree of nodes stands above them.

const (
	daNode    = 0x3ebe
	attrLeaf  = 0x3bee
	dirLeaf1  = 0x3df1 // the only leaf, with the free space of all data blocks
	dirLeafN  = 0x3dff
	daHead    = 64 // of nodes and leaves of directories
	daMax     = (blockSize - daHead) / 8
	daCRC     = 12
	minRemote = 3072 // size of an attribute that has blocks of its own
)

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

// daLevels are the numbers of nodes in each level above so many leaves, the
// lowest first; none above a single one.
func daLevels(leaves int) (levels []int, err error) {
	for n := leaves; n > 1; {
		n = (n + daMax - 1) / daMax
		levels = append(levels, n)
	}
	if len(levels) > 4 {
		return nil, fmt.Errorf("%d leaves are too many", leaves)
	}
	return levels, nil
}

// daBlocks counts leaves and the nodes above them.
func daBlocks(leaves int) (int, error) {
	levels, err := daLevels(leaves)
	for _, n := range levels {
		leaves += n
	}
	return leaves, err
}

// leafNumber is the block of a leaf, counted from the root: the root comes
// first, then the leaves, then the nodes between them.
func leafNumber(leaf, leaves int) int {
	if leaves == 1 {
		return 0
	}
	return 1 + leaf
}

// daHeader writes what begins every node and leaf. Blocks are those of the
// fork; zero is none, which is where the root stands of attributes, and what
// stands before a directory's data.
func (w *writer) daHeader(b []byte, magic uint16, forw, back uint32, linear, owner uint64) {
	be.PutUint32(b, forw)
	be.PutUint32(b[4:], back)
	be.PutUint16(b[8:], magic)
	be.PutUint64(b[16:], daddr(linear))
	copy(b[32:], w.geo.uuid[:])
	be.PutUint64(b[48:], owner)
}

// daNodes writes the nodes above leaves, whose largest hashes are given. The
// root is at block base of the fork.
func (w *writer) daNodes(f *fork, base uint32, last []uint32, owner uint64) {
	leaves := len(last)
	levels, _ := daLevels(leaves)
	children := make([]uint32, leaves)
	for i := range children {
		children[i] = base + uint32(leafNumber(i, leaves))
	}
	next := base + 1 + uint32(leaves)
	for level, nodes := range levels {
		var upLast, upChildren []uint32
		numbers := make([]uint32, nodes)
		for i := range numbers {
			if nodes == 1 {
				numbers[i] = base
			} else {
				numbers[i] = next
				next++
			}
		}
		for i, number := range numbers {
			from, end := i*len(last)/nodes, (i+1)*len(last)/nodes
			b := make([]byte, blockSize)
			linear := f.linear(uint64(number))
			w.daHeader(b, daNode, neighbour(numbers, i+1), neighbour(numbers, i-1), linear, owner)
			be.PutUint16(b[56:], uint16(end-from))
			be.PutUint16(b[58:], uint16(level+1))
			for j := from; j < end; j++ {
				be.PutUint32(b[daHead+(j-from)*8:], last[j])
				be.PutUint32(b[daHead+(j-from)*8+4:], children[j])
			}
			seal(b, daCRC)
			w.emit(linear, b)
			upLast, upChildren = append(upLast, last[end-1]), append(upChildren, number)
		}
		last, children = upLast, upChildren
	}
}

func neighbour(numbers []uint32, i int) uint32 {
	if i < 0 || i == len(numbers) {
		return 0
	}
	return numbers[i]
}
