package xfs

// A mapping is an extent of a fork: from block off of the fork on, n blocks at a
// linear address.
type mapping struct{ off, linear, n uint64 }

// maxMapping is the largest number of blocks of a mapping.
const maxMapping = 1<<21 - 1

// A fork holds the blocks of an inode: its data, or its attributes.
type fork struct {
	maps []mapping
	tree []uint64 // linear addresses of the blocks of its btree, leaves first
}

// add maps runs from a block of the fork on.
func (f *fork) add(off uint64, runs []run) {
	for _, r := range runs {
		for r.n > 0 {
			n := min(r.n, maxMapping)
			f.maps = append(f.maps, mapping{off, r.start, n})
			off, r = off+n, run{r.start + n, r.n - n}
		}
	}
}

// blocks counts the blocks of the fork and of its btree.
func (f *fork) blocks() uint64 {
	n := uint64(len(f.tree))
	for _, m := range f.maps {
		n += m.n
	}
	return n
}

// linear returns the address of a block of the fork.
func (f *fork) linear(block uint64) uint64 {
	for _, m := range f.maps {
		if block >= m.off && block < m.off+m.n {
			return m.linear + block - m.off
		}
	}
	panic("xfs: a block that is not mapped")
}

const (
	mapSize = 16                               // bytes of a mapping
	mapMax  = (blockSize - longHead) / mapSize // mappings in a block, or keys and pointers
)

// bmbtLevels returns the number of blocks in each level of a btree of mappings,
// leaves first, below a root of some bytes in the inode. It is nil if all
// mappings fit into the inode.
func bmbtLevels(maps, room int) (levels []int) {
	if maps <= room/mapSize {
		return nil
	}
	for n := maps; len(levels) == 0 || n > rootMax(room); {
		n = (n + mapMax - 1) / mapMax
		levels = append(levels, n)
	}
	return levels
}

// rootMax returns the number of keys and pointers of a root of some bytes.
func rootMax(room int) int { return (room - 4) / mapSize }

// placeMap takes the blocks of the btree of a fork whose root has room bytes in
// the inode.
func (w *writer) placeMap(f *fork, room int) error {
	for _, n := range bmbtLevels(len(f.maps), room) {
		runs, err := w.take(uint64(n))
		if err != nil {
			return err
		}
		for _, r := range runs {
			for i := range r.n {
				f.tree = append(f.tree, r.start+i)
			}
		}
	}
	return nil
}

// A pointer is a key of a btree of mappings: the first block of the fork that a
// block holds, and the fsbno of the block.
type pointer struct{ off, fsbno uint64 }

// encodeMap writes the mappings of a fork, or the root of their btree, to its
// place in the inode, and the blocks of the btree.
func (w *writer) encodeMap(f *fork, to []byte, owner uint64) {
	levels := bmbtLevels(len(f.maps), len(to))
	if levels == nil {
		w.encodeMappings(to, f.maps)
		return
	}
	var below []pointer
	blocks, count := f.tree, len(f.maps)
	for level, n := range levels {
		var all []pointer
		for i := range n {
			from, end := i*count/n, (i+1)*count/n
			b := w.mapBlock(blocks[:n], i, level, end-from, owner)
			first := f.maps[from].off
			if level == 0 {
				w.encodeMappings(b[longHead:], f.maps[from:end])
			} else {
				first = below[from].off
				putPointers(b[longHead:], below[from:end], mapMax)
			}
			seal(b, longCRC)
			w.emit(blocks[i], b)
			all = append(all, pointer{first, w.geo.fsbno(blocks[i])})
		}
		below, blocks, count = all, blocks[n:], len(all)
	}
	be.PutUint16(to, uint16(len(levels)))
	be.PutUint16(to[2:], uint16(len(below)))
	putPointers(to[4:], below, rootMax(len(to)))
}

// mapBlock returns a block of a btree of mappings with its header: number i of
// the blocks of a level.
func (w *writer) mapBlock(blocks []uint64, i, level, count int, owner uint64) []byte {
	h := longBlock{
		Magic: magicBmap, Level: uint16(level), NumRecs: uint16(count), LeftSib: null64, RightSib: null64,
		BlkNo: daddr(blocks[i]), UUID: w.geo.uuid, Owner: owner,
	}
	if i > 0 {
		h.LeftSib = w.geo.fsbno(blocks[i-1])
	}
	if i < len(blocks)-1 {
		h.RightSib = w.geo.fsbno(blocks[i+1])
	}
	b := make([]byte, blockSize)
	put(b, &h)
	return b
}

// putPointers writes keys, and behind the room for most keys the pointers.
func putPointers(to []byte, pointers []pointer, most int) {
	for i, p := range pointers {
		be.PutUint64(to[8*i:], p.off)
		be.PutUint64(to[8*most+8*i:], p.fsbno)
	}
}

// encodeMappings writes mappings. Each has 1 bit for unwritten blocks, 54 for the
// block of the fork, 52 for the fsbno and 21 for the number of blocks.
func (w *writer) encodeMappings(to []byte, maps []mapping) {
	for i, m := range maps {
		fsbno := w.geo.fsbno(m.linear)
		be.PutUint64(to[i*mapSize:], m.off<<9|fsbno>>43)
		be.PutUint64(to[i*mapSize+8:], fsbno<<21|m.n)
	}
}
