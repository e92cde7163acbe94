package xfs

import (
	"cmp"
	"slices"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// A directory takes the first of these forms that has room for it:
//
//	local   names in the inode
//	block   one block: entries, and at its end their hashes
//	leaf    blocks of entries, one leaf of hashes with what is free in each block
//	node    blocks of entries, leaves, nodes above them, blocks of what is free
//
// The parts of a fork are at these blocks of it.
const (
	leafBase = 1 << 23
	freeBase = 1 << 24

	dirHead  = 64 // of data and free blocks
	dotsSize = 32 // "." and ".."
	freeMax  = (blockSize - dirHead) / 2
	dirCRC   = 4
)

// entrySize is what a name takes in a data block.
func entrySize(name int) int { return (12 + name + 7) &^ 7 }

// A leafEntry is where the entry of a hash is, in units of 8 bytes.
type leafEntry struct{ hash, address uint32 }

// dirSize is that of the data blocks.
func (n *node) dirSize() uint64 {
	var blocks uint64
	for _, m := range n.data.maps {
		if m.off < leafBase {
			blocks += m.n
		}
	}
	return blocks * blockSize
}

func fileType(mode uint32) byte {
	switch mode & rootfs.ModeType {
	case rootfs.ModeFile:
		return 1
	case rootfs.ModeDir:
		return 2
	case rootfs.ModeChar:
		return 3
	case rootfs.ModeBlock:
		return 4
	case rootfs.ModeFIFO:
		return 5
	case rootfs.ModeSocket:
		return 6
	}
	return 7
}

// planDir chooses the form of a directory and writes its blocks.
func (w *writer) planDir(n *node) error {
	if local := n.localDir(); len(local) <= n.dataRoom() {
		n.format, n.inline = formatLocal, local
		return nil
	}
	total := dotsSize
	for _, name := range n.names {
		total += entrySize(len(name))
	}
	count := len(n.names) + 2
	if dirHead+total+8*count+8 <= blockSize {
		runs, err := w.take(1)
		if err != nil {
			return err
		}
		n.data.add(0, runs)
		w.blockDir(n, runs[0].start)
		return nil
	}
	return w.bigDir(n)
}

// localDir is a directory as it stands in the inode. If a number needs 8 bytes,
// all have them.
func (n *node) localDir() []byte {
	if len(n.names) > 255 {
		return make([]byte, blockSize) // more than any inode has room for
	}
	large := 0
	if n.parent.ino > null32 {
		large++
	}
	for _, name := range n.names {
		if n.nodes[name].ino > null32 {
			large++
		}
	}
	number := func(b []byte, ino uint64) []byte {
		if large > 0 {
			return be.AppendUint64(b, ino)
		}
		return be.AppendUint32(b, uint32(ino))
	}
	b := number([]byte{byte(len(n.names)), byte(large)}, n.parent.ino)
	at := dirHead + dotsSize // where the entry would be in a block
	for _, name := range n.names {
		child := n.nodes[name]
		b = append(b, byte(len(name)))
		b = be.AppendUint16(b, uint16(at))
		b = append(b, name...)
		b = number(append(b, fileType(child.in.Mode)), child.ino)
		at += entrySize(len(name))
	}
	return b
}

// dataBlocks makes the data blocks of a directory, without header, and the
// entries of its leaves by hash. Of each block it tells where what is free begins.
func (n *node) dataBlocks() (blocks [][]byte, free []int, leaves []leafEntry) {
	at := blockSize
	add := func(name string, ino uint64, kind byte) {
		size := entrySize(len(name))
		if at+size > blockSize {
			if blocks != nil {
				free = append(free, at)
			}
			blocks = append(blocks, make([]byte, blockSize))
			at = dirHead
		}
		b := blocks[len(blocks)-1][at:][:size]
		be.PutUint64(b, ino)
		b[8] = byte(len(name))
		copy(b[9:], name)
		b[9+len(name)] = kind
		be.PutUint16(b[size-2:], uint16(at))
		leaves = append(leaves, leafEntry{hashName(name), uint32(((len(blocks)-1)*blockSize + at) / 8)})
		at += size
	}
	add(".", n.ino, 2)
	add("..", n.parent.ino, 2)
	for _, name := range n.names {
		child := n.nodes[name]
		add(name, child.ino, fileType(child.in.Mode))
	}
	free = append(free, at)
	slices.SortFunc(leaves, func(a, b leafEntry) int {
		return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.address, b.address))
	})
	return blocks, free, leaves
}

// dataHeader finishes a data block that is free from one offset to another.
func (w *writer) dataHeader(b []byte, magic string, from, to int, linear, owner uint64) {
	copy(b, magic)
	be.PutUint64(b[8:], daddr(linear))
	copy(b[24:], w.geo.uuid[:])
	be.PutUint64(b[40:], owner)
	if to > from {
		be.PutUint16(b[48:], uint16(from))
		be.PutUint16(b[50:], uint16(to-from))
		be.PutUint16(b[from:], 0xffff)
		be.PutUint16(b[from+2:], uint16(to-from))
		be.PutUint16(b[to-2:], uint16(from))
	}
	seal(b, dirCRC)
	w.emit(linear, b)
}

func putLeaves(to []byte, leaves []leafEntry) {
	for i, l := range leaves {
		be.PutUint32(to[8*i:], l.hash)
		be.PutUint32(to[8*i+4:], l.address)
	}
}

func (w *writer) blockDir(n *node, linear uint64) {
	blocks, free, leaves := n.dataBlocks()
	b := blocks[0]
	end := blockSize - 8 - 8*len(leaves)
	putLeaves(b[end:], leaves)
	be.PutUint32(b[blockSize-8:], uint32(len(leaves)))
	w.dataHeader(b, "XDB3", free[0], end, linear, n.ino)
}

// bigDir writes a directory of several blocks.
func (w *writer) bigDir(n *node) error {
	blocks, free, leaves := n.dataBlocks()
	single := dirHead+8*len(leaves)+2*len(blocks)+4 <= blockSize
	count, frees := 1, 0
	if !single {
		count = (len(leaves) + daMax - 1) / daMax
		frees = (len(blocks) + freeMax - 1) / freeMax
	}
	da, err := daBlocks(count)
	if err != nil {
		return err
	}
	for _, part := range []struct {
		base uint64
		size int
	}{{0, len(blocks)}, {leafBase, da}, {freeBase, frees}} {
		runs, err := w.take(uint64(part.size))
		if err != nil {
			return err
		}
		n.data.add(part.base, runs)
	}
	if err := w.placeMap(&n.data, n.dataRoom()); err != nil {
		return err
	}
	for i, b := range blocks {
		w.dataHeader(b, "XDD3", free[i], blockSize, n.data.linear(uint64(i)), n.ino)
	}
	if single {
		b := make([]byte, blockSize)
		linear := n.data.linear(leafBase)
		w.daHeader(b, dirLeaf1, 0, 0, linear, n.ino)
		be.PutUint16(b[56:], uint16(len(leaves)))
		putLeaves(b[daHead:], leaves)
		be.PutUint32(b[blockSize-4:], uint32(len(blocks)))
		for i := range blocks {
			be.PutUint16(b[blockSize-4-2*(len(blocks)-i):], uint16(blockSize-free[i]))
		}
		seal(b, daCRC)
		w.emit(linear, b)
		return nil
	}
	w.dirLeaves(n, leaves, count)
	for i := range frees {
		part := free[i*freeMax : min((i+1)*freeMax, len(free))]
		b := make([]byte, blockSize)
		linear := n.data.linear(freeBase + uint64(i))
		copy(b, "XDF3")
		be.PutUint64(b[8:], daddr(linear))
		copy(b[24:], w.geo.uuid[:])
		be.PutUint64(b[40:], n.ino)
		be.PutUint32(b[48:], uint32(i*freeMax))
		be.PutUint32(b[52:], uint32(len(part)))
		be.PutUint32(b[56:], uint32(len(part)))
		for j, from := range part {
			be.PutUint16(b[dirHead+2*j:], uint16(blockSize-from))
		}
		seal(b, dirCRC)
		w.emit(linear, b)
	}
	return nil
}

// dirLeaves writes the leaves of a node directory and the nodes above them.
func (w *writer) dirLeaves(n *node, leaves []leafEntry, count int) {
	numbers, last := make([]uint32, count), make([]uint32, count)
	for i := range numbers {
		numbers[i] = leafBase + uint32(leafNumber(i, count))
		last[i] = leaves[(i+1)*len(leaves)/count-1].hash
	}
	for i, number := range numbers {
		part := leaves[i*len(leaves)/count : (i+1)*len(leaves)/count]
		b := make([]byte, blockSize)
		linear := n.data.linear(uint64(number))
		w.daHeader(b, dirLeafN, neighbour(numbers, i+1), neighbour(numbers, i-1), linear, n.ino)
		be.PutUint16(b[56:], uint16(len(part)))
		putLeaves(b[daHead:], part)
		seal(b, daCRC)
		w.emit(linear, b)
	}
	w.daNodes(&n.data, leafBase, last, n.ino)
}
