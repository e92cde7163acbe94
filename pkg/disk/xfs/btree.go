package xfs

// A btree is the form of a tree of an allocation group. A block has a header,
// and then records, or keys and pointers to other blocks.
type btree struct {
	magic   uint32
	record  int // bytes of a record
	key     int // bytes of a key: the start of a record, except in rmapTree
	leafMax int
	nodeMax int
}

func newBtree(magic uint32, record, key int) btree {
	const room = blockSize - shortHead
	return btree{magic, record, key, room / record, room / (key + 4)}
}

var (
	bnoTree  = newBtree(magicBno, 8, 8)   // free extents by block
	cntTree  = newBtree(magicCnt, 8, 8)   // free extents by size
	inoTree  = newBtree(magicIno, 16, 4)  // chunks of inodes
	finoTree = newBtree(magicFino, 16, 4) // chunks with a free inode
	refTree  = newBtree(magicRef, 12, 4)  // blocks of several owners, here always empty

	// rmapTree holds the owners of blocks. A key of it is the first key of a
	// block, and the highest.
	rmapTree = newBtree(magicRmap, 24, 40)
)

// levels returns the number of blocks of each level for a number of records,
// leaves first. The last level is the root, of one block.
func (t btree) levels(records int) (levels []int) {
	n := max(1, (records+t.leafMax-1)/t.leafMax)
	for levels = append(levels, n); n > 1; levels = append(levels, n) {
		n = (n + t.nodeMax - 1) / t.nodeMax
	}
	return levels
}

// inner counts the blocks besides the root.
func (t btree) inner(records int) (n int) {
	for _, level := range t.levels(records) {
		n += level
	}
	return n - 1
}

// A child is a block of a tree as its parent refers to it.
type child struct {
	key   []byte
	block uint64
}

// write writes a tree of records to its root and other blocks, which are
// numbers in the group, and returns the number of its levels.
func (t btree) write(w *writer, group, root uint64, blocks []uint64, records []byte) uint32 {
	levels := t.levels(len(records) / t.record)
	count := len(records) / t.record
	var below []child
	for level, n := range levels {
		numbers := []uint64{root}
		if level < len(levels)-1 {
			numbers, blocks = blocks[:n], blocks[n:]
		}
		var all []child
		for i, number := range numbers {
			from, end := i*count/n, (i+1)*count/n
			b := t.block(w, group, numbers, i, level, end-from)
			var key []byte
			if level == 0 {
				key = t.leaf(b, records[from*t.record:end*t.record])
			} else {
				key = t.node(b, below[from:end])
			}
			seal(b, shortCRC)
			w.emit(group*w.geo.agBlocks+number, b)
			all = append(all, child{key, number})
		}
		below, count = all, len(all)
	}
	return uint32(len(levels))
}

// block returns a block with its header: number i of the blocks of a level.
func (t btree) block(w *writer, group uint64, numbers []uint64, i, level, count int) []byte {
	h := shortBlock{
		Magic: t.magic, Level: uint16(level), NumRecs: uint16(count), LeftSib: null32, RightSib: null32,
		BlkNo: daddr(group*w.geo.agBlocks + numbers[i]), UUID: w.geo.uuid, Owner: uint32(group),
	}
	if i > 0 {
		h.LeftSib = uint32(numbers[i-1])
	}
	if i < len(numbers)-1 {
		h.RightSib = uint32(numbers[i+1])
	}
	b := make([]byte, blockSize)
	put(b, &h)
	return b
}

// leaf writes records behind the header of a leaf and returns its key.
func (t btree) leaf(b, records []byte) []byte {
	copy(b[shortHead:], records)
	switch {
	case len(records) == 0:
		return nil
	case t.magic == magicRmap:
		return rmapKeys(records)
	}
	return records[:t.key]
}

// node writes keys and pointers behind the header of a node and returns its key.
func (t btree) node(b []byte, children []child) []byte {
	key := children[0].key
	for i, c := range children {
		copy(b[shortHead+i*t.key:], c.key)
		be.PutUint32(b[shortHead+t.nodeMax*t.key+4*i:], uint32(c.block))
		if t.magic == magicRmap {
			key = joinKeys(key, c.key)
		}
	}
	return key
}
