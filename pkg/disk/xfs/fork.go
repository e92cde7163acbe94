package xfs

// A mapping is where a piece of a fork is: from block off of the fork on, n
// blocks that stand at a linear address.
type mapping struct{ off, linear, n uint64 }

// maxMapping is how many blocks a mapping may have.
const maxMapping = 1<<21 - 1

// A fork is what an inode keeps in blocks: its data, or its attributes.
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

// blocks counts those of the fork and of its btree.
func (f *fork) blocks() uint64 {
	n := uint64(len(f.tree))
	for _, m := range f.maps {
		n += m.n
	}
	return n
}

// linear is the address of a block of the fork.
func (f *fork) linear(block uint64) uint64 {
	for _, m := range f.maps {
		if block >= m.off && block < m.off+m.n {
			return m.linear + block - m.off
		}
	}
	panic("xfs: a block that is not mapped")
}

const (
	mapSize      = 16  // of a mapping on disk
	mapMax       = 251 // in a block of a btree: mappings, or keys and pointers
	bmbtHeadSize = 72
)

// bmbtLevels are the numbers of blocks in each level of a btree of mappings,
// leaves first, below a root of so many pointers; none where all fit inline.
func bmbtLevels(maps, room int) (levels []int) {
	if maps <= room/mapSize {
		return nil
	}
	for n := maps; len(levels) == 0 || n > (room-4)/mapSize; {
		n = (n + mapMax - 1) / mapMax
		levels = append(levels, n)
	}
	return levels
}

// placeMap takes the blocks that a fork's btree needs where its root has room
// bytes in the inode.
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

// encodeMap writes a fork's mappings, or the root of their btree, to its place
// in the inode, and the blocks of the btree.
func (w *writer) encodeMap(f *fork, to []byte, owner uint64) {
	levels := bmbtLevels(len(f.maps), len(to))
	if levels == nil {
		for i, m := range f.maps {
			w.encodeMapping(to[i*mapSize:], m)
		}
		return
	}
	// What is one level up points to these.
	keys := make([]uint64, len(f.maps))
	for i, m := range f.maps {
		keys[i] = m.off
	}
	pointers := make([]uint64, len(f.maps))
	at := f.tree
	for level, blocks := range levels {
		var upKeys, upPointers []uint64
		for i := range blocks {
			from, end := i*len(keys)/blocks, (i+1)*len(keys)/blocks
			b := make([]byte, blockSize)
			copy(b, "BMA3")
			be.PutUint16(b[4:], uint16(level))
			be.PutUint16(b[6:], uint16(end-from))
			be.PutUint64(b[8:], sibling64(w.geo, at[:blocks], i-1))
			be.PutUint64(b[16:], sibling64(w.geo, at[:blocks], i+1))
			be.PutUint64(b[24:], daddr(at[i]))
			copy(b[40:], w.geo.uuid[:])
			be.PutUint64(b[56:], owner)
			for j := from; j < end; j++ {
				if level == 0 {
					w.encodeMapping(b[bmbtHeadSize+(j-from)*mapSize:], f.maps[j])
				} else {
					be.PutUint64(b[bmbtHeadSize+(j-from)*8:], keys[j])
					be.PutUint64(b[bmbtHeadSize+mapMax*8+(j-from)*8:], pointers[j])
				}
			}
			seal(b, 64)
			w.emit(at[i], b)
			upKeys, upPointers = append(upKeys, keys[from]), append(upPointers, w.geo.fsbno(at[i]))
		}
		keys, pointers, at = upKeys, upPointers, at[blocks:]
	}
	most := (len(to) - 4) / mapSize
	be.PutUint16(to, uint16(len(levels)))
	be.PutUint16(to[2:], uint16(len(keys)))
	for i := range keys {
		be.PutUint64(to[4+i*8:], keys[i])
		be.PutUint64(to[4+most*8+i*8:], pointers[i])
	}
}

func sibling64(g *geometry, blocks []uint64, i int) uint64 {
	if i < 0 || i == len(blocks) {
		return 1<<64 - 1
	}
	return g.fsbno(blocks[i])
}

// encodeMapping writes 1 bit for what is not written yet, 54 for the block of
// the fork, 52 for the fsbno and 21 for the count.
func (w *writer) encodeMapping(to []byte, m mapping) {
	fsbno := w.geo.fsbno(m.linear)
	be.PutUint64(to, m.off<<9|fsbno>>43)
	be.PutUint64(to[8:], fsbno<<21|m.n)
}
