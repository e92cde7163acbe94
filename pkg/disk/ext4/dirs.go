package ext4

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"strings"
)

// An entry is a name in a directory.
type entry struct {
	name        string
	hash, minor uint32 // set in directories of several blocks
	ino         uint32
	fileType    uint8
}

// size returns the bytes of the entry in a block.
func (e *entry) size() int { return direntSize(len(e.name)) }

func direntSize(name int) int { return (8 + name + 3) &^ 3 }

const (
	direntTailSize = 12
	dxRootHead     = 32 // "." and "..", and dxInfo
	dxNodeHead     = 8  // an entry without a name, so that a node looks like a directory block
	dxTailSize     = 8
	maxName        = 255
)

// dxLimits returns the numbers of dxEntries in the root and in a node of an index.
func dxLimits(block int) (root, node int) {
	return (block - dxRootHead - dxTailSize) / 8, (block - dxNodeHead - dxTailSize) / 8
}

// A dir is the content of a directory: one block, or an index by hash:
//
//	root | nodes, if the root does not hold all leaves | leaves
type dir struct {
	entries []entry
	leaves  []int // in an index, where in entries each leaf starts
	nodes   int   // between root and leaves
	blocks  int
}

// pack distributes entries over blocks.
func (d *dir) pack(block int, seed [16]byte) error {
	room := block - direntTailSize
	total := direntSize(1) + direntSize(2)
	for i := range d.entries {
		total += d.entries[i].size()
	}
	if total <= room {
		d.blocks = max(d.blocks, 1)
		return nil
	}
	d.sort(seed)
	used := room // so that the first entry opens the first leaf
	for i := range d.entries {
		n := d.entries[i].size()
		if used+n > room {
			d.leaves = append(d.leaves, i)
			used = 0
		}
		used += n
	}
	root, node := dxLimits(block)
	if len(d.leaves) > root {
		d.nodes = (len(d.leaves) + node - 1) / node
	}
	if d.nodes > root {
		return fmt.Errorf("%d names in a directory, more than its index can hold", len(d.entries))
	}
	d.blocks = 1 + d.nodes + len(d.leaves)
	return nil
}

// sort brings entries into the order of their hashes.
func (d *dir) sort(seed [16]byte) {
	for i := range d.entries {
		e := &d.entries[i]
		e.hash, e.minor = nameHash(e.name, seed)
	}
	slices.SortFunc(d.entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.minor, b.minor), strings.Compare(a.name, b.name))
	})
}

// encode returns the blocks of the directory. The seed is that of its inode.
func (d *dir) encode(block int, ino, parent uint32, seed uint32) []byte {
	out := make([]byte, d.blocks*block)
	dots := []entry{{name: ".", ino: ino, fileType: typeDir}, {name: "..", ino: parent, fileType: typeDir}}
	if d.leaves == nil {
		encodeLeaf(out[:block], append(dots, d.entries...), seed)
		for i := block; i < len(out); i += block {
			encodeLeaf(out[i:i+block], nil, seed)
		}
		return out
	}
	for i, start := range d.leaves {
		end := len(d.entries)
		if i+1 < len(d.leaves) {
			end = d.leaves[i+1]
		}
		at := (1 + d.nodes + i) * block
		encodeLeaf(out[at:at+block], d.entries[start:end], seed)
	}
	d.encodeIndex(out, block, dots, seed)
	return out
}

// encodeLeaf writes one block of entries: the last of them reaches to the tail.
func encodeLeaf(to []byte, entries []entry, seed uint32) {
	tail := len(to) - direntTailSize
	if len(entries) == 0 {
		put(to, direntHeader{RecLen: uint16(tail)})
	}
	at := 0
	for i := range entries {
		n := entries[i].size()
		if i == len(entries)-1 {
			n = tail - at
		}
		entries[i].put(to[at:], n)
		at += n
	}
	put(to[tail:], direntTail{RecLen: direntTailSize, FileType: direntTailType, Checksum: checksum(seed, to[:tail])})
}

// put writes the entry with a record length of n. It avoids reflection, because
// there are hundreds of thousands of entries.
func (e *entry) put(to []byte, n int) {
	binary.LittleEndian.PutUint32(to, e.ino)
	binary.LittleEndian.PutUint16(to[4:], uint16(n))
	to[6], to[7] = uint8(len(e.name)), e.fileType
	copy(to[8:], e.name)
}

// encodeIndex writes the root and the nodes.
func (d *dir) encodeIndex(out []byte, block int, dots []entry, seed uint32) {
	rootLimit, nodeLimit := dxLimits(block)
	level := make([]dxEntry, len(d.leaves))
	for i := range d.leaves {
		level[i] = dxEntry{d.leafHash(i), uint32(1 + d.nodes + i)}
	}
	var levels uint8
	if d.nodes > 0 {
		levels = 1
		up := make([]dxEntry, d.nodes)
		for i := range up {
			part := level[i*nodeLimit : min((i+1)*nodeLimit, len(level))]
			node := out[(1+i)*block : (2+i)*block]
			put(node, direntHeader{RecLen: uint16(block)})
			encodeDx(node, dxNodeHead, part, nodeLimit, seed)
			up[i] = dxEntry{part[0].Hash, uint32(1 + i)}
		}
		level = up
	}
	root := out[:block]
	dots[0].put(root, direntSize(1))
	dots[1].put(root[direntSize(1):], block-direntSize(1))
	put(root[24:], dxInfo{HashVersion: hashHalfMD4, InfoLength: 8, IndirectLevels: levels})
	encodeDx(root, dxRootHead, level, rootLimit, seed)
}

// leafHash returns the lowest hash of a leaf. It is odd if the leaf before it ends
// with the same hash.
func (d *dir) leafHash(i int) uint32 {
	first := d.leaves[i]
	hash := d.entries[first].hash
	if first > 0 && d.entries[first-1].hash == hash {
		hash |= 1
	}
	return hash
}

// encodeDx writes index entries from offset head on, and their checksum.
func encodeDx(to []byte, head int, entries []dxEntry, limit int, seed uint32) {
	for i, e := range entries {
		put(to[head+8*i:], e)
	}
	put(to[head:], dxCountLimit{uint16(limit), uint16(len(entries))})
	sum := checksum(seed, to[:head+8*len(entries)])
	sum = checksum(sum, make([]byte, dxTailSize)) // a reserved word and the checksum itself
	binary.LittleEndian.PutUint32(to[head+8*limit+4:], sum)
}

// nameHash is ext4fs_dirhash for DX_HASH_HALF_MD4 with signed characters.
func nameHash(name string, seed [16]byte) (hash, minor uint32) {
	var buf [4]uint32
	for i := range buf {
		buf[i] = binary.LittleEndian.Uint32(seed[4*i:])
	}
	for rest := name; len(rest) > 0; rest = rest[min(32, len(rest)):] {
		halfMD4(&buf, hashInput(rest))
	}
	const eof = 0x7FFFFFFF << 1 // reserved for the end of a directory
	if hash = buf[1] &^ 1; hash == eof {
		hash = (0x7FFFFFFF - 1) << 1
	}
	return hash, buf[2]
}

// hashInput is str2hashbuf_signed for 8 words. Short names are padded with their
// length.
func hashInput(name string) (in [8]uint32) {
	pad := uint32(len(name)) | uint32(len(name))<<8
	pad |= pad << 16
	name = name[:min(32, len(name))]
	for i := range in {
		word := pad
		for j := 4 * i; j < min(4*i+4, len(name)); j++ {
			word = uint32(int32(int8(name[j]))) + word<<8
		}
		in[i] = word
	}
	return in
}

// halfMD4 is half_md4_transform: three rounds of eight steps.
func halfMD4(buf *[4]uint32, in [8]uint32) {
	type round struct {
		f     func(x, y, z uint32) uint32
		k     uint32
		order [8]int
		shift [4]int
	}
	a, b, c, d := buf[0], buf[1], buf[2], buf[3]
	for _, r := range [...]round{
		{func(x, y, z uint32) uint32 { return z ^ x&(y^z) }, 0, [8]int{0, 1, 2, 3, 4, 5, 6, 7}, [4]int{3, 7, 11, 19}},
		{func(x, y, z uint32) uint32 { return x&y + (x^y)&z }, 0x5A827999, [8]int{1, 3, 5, 7, 0, 2, 4, 6}, [4]int{3, 5, 9, 13}},
		{func(x, y, z uint32) uint32 { return x ^ y ^ z }, 0x6ED9EBA1, [8]int{3, 7, 2, 6, 1, 5, 0, 4}, [4]int{3, 9, 11, 15}},
	} {
		for i, at := range r.order {
			a = bits.RotateLeft32(a+r.f(b, c, d)+in[at]+r.k, r.shift[i%4])
			a, b, c, d = d, a, b, c
		}
	}
	buf[0] += a
	buf[1] += b
	buf[2] += c
	buf[3] += d
}
