package ext4

import "encoding/binary"

const (
	maxExtent   = 32768 // blocks; longer lengths mean unwritten
	rootExtents = 4     // extents that an inode itself holds
)

// extentsPerBlock returns the number of extents between the header of a block and
// the checksum at its end.
func extentsPerBlock(block uint64) uint64 { return (block - 12 - 4) / 12 }

// splitExtents cuts runs into extents of a file.
func splitExtents(runs []run) []extent {
	out := make([]extent, 0, len(runs))
	var logical uint64
	for _, r := range runs {
		for r.len > 0 {
			n := min(r.len, maxExtent)
			out = append(out, extent{uint32(logical), uint16(n), uint16(r.start >> 32), uint32(r.start)})
			logical += n
			r.start += n
			r.len -= n
		}
	}
	return out
}

// treeBlocks returns the number of blocks of the extent tree of runs, outside of
// the inode.
func treeBlocks(runs []run, block uint64) uint64 {
	var n, total uint64
	for _, r := range runs {
		n += (r.len + maxExtent - 1) / maxExtent
	}
	per := extentsPerBlock(block)
	for n > rootExtents {
		n = (n + per - 1) / per
		total += n
	}
	return total
}

// encodeTree writes an extent tree level by level, leaves first, into the given
// blocks. It returns the root, for the inode.
func encodeTree(runs []run, blocks []uint64, block uint64, seed uint32, emit func(block uint64, data []byte)) [15]uint32 {
	leaves := splitExtents(runs)
	level := make([]any, len(leaves))
	first := make([]uint32, len(leaves)) // logical block of each
	for i, e := range leaves {
		level[i], first[i] = e, e.Block
	}
	per := int(extentsPerBlock(block))
	depth := uint16(0)
	for len(level) > rootExtents {
		var up []any
		var upFirst []uint32
		for i := 0; i < len(level); i += per {
			part := level[i:min(i+per, len(level))]
			node := make([]byte, block)
			encodeNode(node, part, per, depth)
			tail := 12 + 12*per
			binary.LittleEndian.PutUint32(node[tail:], checksum(seed, node[:tail]))
			emit(blocks[0], node)
			up = append(up, extentIndex{Block: first[i], LeafLo: uint32(blocks[0]), LeafHi: uint16(blocks[0] >> 32)})
			upFirst = append(upFirst, first[i])
			blocks = blocks[1:]
		}
		level, first = up, upFirst
		depth++
	}
	var raw [60]byte
	encodeNode(raw[:], level, rootExtents, depth)
	var root [15]uint32
	for i := range root {
		root[i] = binary.LittleEndian.Uint32(raw[4*i:])
	}
	return root
}

// encodeNode writes a header and the entries behind it.
func encodeNode(to []byte, entries []any, limit int, depth uint16) {
	put(to, extentHeader{Magic: extentMagic, Entries: uint16(len(entries)), Max: uint16(limit), Depth: depth})
	for i, e := range entries {
		put(to[12+12*i:], e)
	}
}

// put writes an on-disk structure to the start of p, which has room for it.
func put(p []byte, structure any) {
	if _, err := binary.Encode(p, binary.LittleEndian, structure); err != nil {
		panic("ext4: " + err.Error()) // the caller made p too short
	}
}
