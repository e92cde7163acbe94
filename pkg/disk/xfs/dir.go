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
//	leaf    blocks of entries, and one leaf of hashes and of the free space in each block
//	node    blocks of entries, leaves, nodes above them, and blocks of free space
//
// Leaves and blocks of free space start at these blocks of the fork.
const (
	leafBase = 1 << 23
	freeBase = 1 << 24

	dotsSize = 32 // bytes of the entries "." and ".."
	freeMax  = (blockSize - dirHead) / 2
)

// entrySize returns the bytes of the entry of a name in a data block.
func entrySize(name int) int { return (12 + name + 7) &^ 7 }

// dirSize returns the size of a directory: that of its data blocks.
func (n *node) dirSize() uint64 {
	var blocks uint64
	for _, m := range n.data.maps {
		if m.off < leafBase {
			blocks += m.n
		}
	}
	return blocks * blockSize
}

// fileType returns the type in an entry of a directory, XFS_DIR3_FT_*.
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
		n.format, n.local = formatLocal, string(local)
		return nil
	}
	total := dotsSize
	for _, name := range n.names {
		total += entrySize(len(name))
	}
	count := len(n.names) + 2
	if dirHead+total+entryBytes*count+blockTail <= blockSize {
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

// localDir returns a directory in the form of an inode. If one inode number
// needs 8 bytes, all have 8.
func (n *node) localDir() []byte {
	if len(n.names) > 255 {
		return make([]byte, blockSize) // too large for any inode
	}
	large := 0
	if n.parent.ino > null32 {
		large++
	}
	for _, child := range n.kids {
		if child.ino > null32 {
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
	at := dirHead + dotsSize // the offset that the entry would have in a block
	for i, name := range n.names {
		child := n.kids[i]
		b = append(b, byte(len(name)))
		b = be.AppendUint16(b, uint16(at))
		b = append(b, name...)
		b = number(append(b, fileType(child.in.Mode)), child.ino)
		at += entrySize(len(name))
	}
	return b
}

// A dirData is the data blocks of a directory, without headers.
type dirData struct {
	blocks [][]byte
	free   []int // where the free space of each block begins
	leaves []leafEntry
}

// add appends an entry.
func (d *dirData) add(name string, ino uint64, kind byte) {
	size := entrySize(len(name))
	last := len(d.blocks) - 1
	if last < 0 || d.free[last]+size > blockSize {
		d.blocks, d.free = append(d.blocks, make([]byte, blockSize)), append(d.free, dirHead)
		last++
	}
	at := d.free[last]
	b := d.blocks[last][at:][:size]
	be.PutUint64(b, ino)
	b[8] = byte(len(name))
	copy(b[9:], name)
	b[9+len(name)] = kind
	be.PutUint16(b[size-2:], uint16(at))
	d.leaves = append(d.leaves, leafEntry{hashName(name), uint32((last*blockSize + at) / 8)})
	d.free[last] += size
}

// dirData returns the data blocks of a directory. Leaves are in the order of
// their hashes.
func (n *node) dirData() *dirData {
	d := &dirData{}
	d.add(".", n.ino, 2)
	d.add("..", n.parent.ino, 2)
	for i, name := range n.names {
		child := n.kids[i]
		d.add(name, child.ino, fileType(child.in.Mode))
	}
	slices.SortFunc(d.leaves, func(a, b leafEntry) int {
		return cmp.Or(cmp.Compare(a.HashVal, b.HashVal), cmp.Compare(a.Address, b.Address))
	})
	return d
}

// dirHeader returns the start of the header of a data or free block.
func (w *writer) dirHeader(magic uint32, linear, owner uint64) dirHeader {
	return dirHeader{Magic: magic, BlkNo: daddr(linear), UUID: w.geo.uuid, Owner: owner}
}

// emitDir writes a data or free block.
func (w *writer) emitDir(linear uint64, b []byte) {
	seal(b, dirCRC)
	w.emit(linear, b)
}

// dataBlock finishes and writes a data block that is free from one offset to
// another.
func (w *writer) dataBlock(b []byte, magic uint32, from, to int, linear, owner uint64) {
	h := dataHeader{Hdr: w.dirHeader(magic, linear, owner)}
	if to > from { // an unused entry: a tag, its length, and at its end its offset
		h.BestFree[0] = span{uint16(from), uint16(to - from)}
		be.PutUint16(b[from:], null16)
		be.PutUint16(b[from+2:], uint16(to-from))
		be.PutUint16(b[to-2:], uint16(from))
	}
	put(b, &h)
	w.emitDir(linear, b)
}

func putLeaves(to []byte, leaves []leafEntry) {
	for i, l := range leaves {
		be.PutUint32(to[entryBytes*i:], l.HashVal)
		be.PutUint32(to[entryBytes*i+4:], l.Address)
	}
}

// blockTail is the size of struct xfs_dir2_block_tail: the number of hashes,
// and of unused ones.
const blockTail = 8

// blockDir writes a directory of one block.
func (w *writer) blockDir(n *node, linear uint64) {
	d := n.dirData()
	b := d.blocks[0]
	end := blockSize - blockTail - entryBytes*len(d.leaves)
	putLeaves(b[end:], d.leaves)
	be.PutUint32(b[blockSize-blockTail:], uint32(len(d.leaves)))
	w.dataBlock(b, magicBlock, d.free[0], end, linear, n.ino)
}

// bigDir writes a directory of several blocks.
func (w *writer) bigDir(n *node) error {
	d := n.dirData()
	leaves, frees := 1, 0
	single := daHead+entryBytes*len(d.leaves)+2*len(d.blocks)+leafTail <= blockSize
	if !single {
		leaves = (len(d.leaves) + daMax - 1) / daMax
		frees = (len(d.blocks) + freeMax - 1) / freeMax
	}
	if err := w.placeDir(n, len(d.blocks), leaves, frees); err != nil {
		return err
	}
	for i, b := range d.blocks {
		w.dataBlock(b, magicData, d.free[i], blockSize, n.data.linear(uint64(i)), n.ino)
	}
	if single {
		w.dirLeaf(n, d)
		return nil
	}
	w.dirLeaves(n, d.leaves, leaves)
	for i := range frees {
		w.freeBlock(n, i*freeMax, d.free[i*freeMax:min((i+1)*freeMax, len(d.free))])
	}
	return nil
}

// placeDir takes blocks for data, for leaves with the nodes above them, and for
// free space.
func (w *writer) placeDir(n *node, data, leaves, frees int) error {
	da, err := daBlocks(leaves)
	if err != nil {
		return err
	}
	for _, part := range []struct {
		base uint64
		size int
	}{{0, data}, {leafBase, da}, {freeBase, frees}} {
		runs, err := w.take(uint64(part.size))
		if err != nil {
			return err
		}
		n.data.add(part.base, runs)
	}
	return w.placeMap(&n.data, n.dataRoom())
}

// leafTail is the size of struct xfs_dir2_leaf_tail: the number of data blocks.
const leafTail = 4

// dirLeaf writes the only leaf of a directory: hashes, and at its end the free
// space of each data block.
func (w *writer) dirLeaf(n *node, d *dirData) {
	b := make([]byte, blockSize)
	put(b, &leafHeader{Info: w.blockInfo(magicDirLeaf1, []uint32{leafBase}, 0, &n.data, n.ino), Count: uint16(len(d.leaves))})
	putLeaves(b[daHead:], d.leaves)
	be.PutUint32(b[blockSize-leafTail:], uint32(len(d.blocks)))
	putFree(b[blockSize-leafTail-2*len(d.free):], d.free)
	w.emitDA(&n.data, leafBase, b)
}

// putFree writes the bytes of free space of data blocks.
func putFree(to []byte, free []int) {
	for i, from := range free {
		be.PutUint16(to[2*i:], uint16(blockSize-from))
	}
}

// freeBlock writes the free space of data blocks from a first one on.
func (w *writer) freeBlock(n *node, first int, free []int) {
	linear := n.data.linear(freeBase + uint64(first/freeMax))
	b := make([]byte, blockSize)
	put(b, &freeHeader{
		Hdr:     w.dirHeader(magicFree, linear, n.ino),
		FirstDB: uint32(first), NValid: uint32(len(free)), NUsed: uint32(len(free)),
	})
	putFree(b[dirHead:], free)
	w.emitDir(linear, b)
}

// dirLeaves writes several leaves of a directory, and the nodes above them.
func (w *writer) dirLeaves(n *node, leaves []leafEntry, count int) {
	numbers := leafNumbers(leafBase, count)
	entries := make([]nodeEntry, count)
	for i, number := range numbers {
		part := leaves[i*len(leaves)/count : (i+1)*len(leaves)/count]
		b := make([]byte, blockSize)
		put(b, &leafHeader{Info: w.blockInfo(magicDirLeafN, numbers, i, &n.data, n.ino), Count: uint16(len(part))})
		putLeaves(b[daHead:], part)
		w.emitDA(&n.data, number, b)
		entries[i] = nodeEntry{part[len(part)-1].HashVal, number}
	}
	w.daNodes(&n.data, leafBase, entries, n.ino)
}
