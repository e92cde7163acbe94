package xfs

// A btree is one of an allocation group's trees. Its blocks have a header of 56
// bytes, and then records, or keys and pointers to other blocks.
type btree struct {
	magic   string
	record  int // bytes of a record, and of a key, which is the start of one
	key     int
	leafMax int
	nodeMax int
}

const (
	agHead = 56
	agRoom = blockSize - agHead
)

func newBtree(magic string, record, key int) btree {
	return btree{magic, record, key, agRoom / record, agRoom / (key + 4)}
}

var (
	bnoTree  = newBtree("AB3B", 8, 8)  // free extents by where they are
	cntTree  = newBtree("AB3C", 8, 8)  // and by their size
	inoTree  = newBtree("IAB3", 16, 4) // chunks of inodes
	finoTree = newBtree("FIB3", 16, 4) // those with a free inode
	refTree  = newBtree("R3FC", 12, 4) // blocks of several owners: none

	// rmapTree tells who owns what. A key of it is the first that a block
	// holds, and the last.
	rmapTree = newBtree(rmapMagic, 24, 40)
)

// levels are the numbers of blocks of each level for so many records, leaves
// first; the root, which is the last one, is one block.
func (t btree) levels(records int) (levels []int) {
	n := max(1, (records+t.leafMax-1)/t.leafMax)
	for levels = append(levels, n); n > 1; levels = append(levels, n) {
		n = (n + t.nodeMax - 1) / t.nodeMax
	}
	return levels
}

// inner is how many blocks there are besides the root.
func (t btree) inner(records uint64) (n int) {
	for _, level := range t.levels(int(records)) {
		n += level
	}
	return n - 1
}

// write writes a tree of records to its root and other blocks, which are
// numbers in the group, and returns how many levels it has.
func (t btree) write(w *writer, group, root uint64, blocks []uint64, records []byte) (levels uint32) {
	type child struct {
		key   []byte
		block uint64
	}
	var children []child // of the level
	count := len(records) / t.record
	all := t.levels(count)
	for level, n := range all {
		numbers := blocks[:min(n, len(blocks))]
		if level == len(all)-1 {
			numbers = []uint64{root}
		} else {
			blocks = blocks[n:]
		}
		if level > 0 {
			count = len(children)
		}
		var up []child
		for i, number := range numbers {
			from, end := i*count/n, (i+1)*count/n
			linear := group*w.geo.agBlocks + number
			b := make([]byte, blockSize)
			copy(b, t.magic)
			be.PutUint16(b[4:], uint16(level))
			be.PutUint16(b[6:], uint16(end-from))
			be.PutUint32(b[8:], sibling32(numbers, i-1))
			be.PutUint32(b[12:], sibling32(numbers, i+1))
			be.PutUint64(b[16:], daddr(linear))
			copy(b[32:], w.geo.uuid[:])
			be.PutUint32(b[48:], uint32(group))
			first := child{block: number}
			if level == 0 {
				copy(b[agHead:], records[from*t.record:end*t.record])
				first.key = t.keyOf(records[from*t.record : end*t.record])
			} else {
				for j, c := range children[from:end] {
					copy(b[agHead+j*t.key:], c.key)
					be.PutUint32(b[agHead+t.nodeMax*t.key+4*j:], uint32(c.block))
				}
				first.key = children[from].key
				if t.magic == rmapMagic {
					for _, c := range children[from:end] {
						first.key = joinKeys(first.key, c.key)
					}
				}
			}
			seal(b, 52)
			w.emit(linear, b)
			up = append(up, first)
		}
		children = up
	}
	return uint32(len(all))
}

// keyOf is the key of a block with these records.
func (t btree) keyOf(records []byte) []byte {
	switch {
	case len(records) == 0:
		return nil
	case t.magic == rmapMagic:
		return rmapKey(records)
	}
	return records[:t.key]
}

func sibling32(numbers []uint64, i int) uint32 {
	if i < 0 || i == len(numbers) {
		return null32
	}
	return uint32(numbers[i])
}
