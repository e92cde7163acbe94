package composefs

import (
	"encoding/binary"
	"math/bits"
	"strings"
)

// prefix returns the number of the prefix of a name, and the rest.
func (a xattr) prefix() (index uint8, suffix string) {
	for _, p := range xattrPrefixes {
		if rest, ok := strings.CutPrefix(a.name, p.name); ok {
			return p.index, rest
		}
	}
	panic("unreachable: the last prefix is empty")
}

func (a xattr) isACL() bool {
	index, _ := a.prefix()
	return index == 2 || index == 3
}

// append adds the entry of an attribute, padded to four bytes.
func (a xattr) append(b []byte) []byte {
	index, suffix := a.prefix()
	b = append(b, encode(&xattrEntry{uint8(len(suffix)), index, uint16(len(a.value))})...)
	b = append(append(b, suffix...), a.value...)
	return append(b, make([]byte, -len(b)&3)...)
}

// size is the number of bytes that append adds.
func (a xattr) size() int {
	_, suffix := a.prefix()
	return (4 + len(suffix) + len(a.value) + 3) &^ 3
}

// xattrSize is the size of the xattrs that follow an inode.
func (img *image) xattrSize(x *node) int {
	if len(x.xattrs) == 0 {
		return 0
	}
	shared, own := img.split(x)
	n := binary.Size(xattrHeader{}) + 4*len(shared)
	for _, a := range own {
		n += a.size()
	}
	return n
}

// xattrBody returns the xattrs that follow an inode.
func (img *image) xattrBody(x *node) []byte {
	if len(x.xattrs) == 0 {
		return nil
	}
	shared, own := img.split(x)
	filter := uint32(0)
	for _, a := range x.xattrs {
		index, suffix := a.prefix()
		filter |= 1 << (xxh32(suffix, xattrFilterSeed+uint32(index)) & 31)
	}
	b := encode(&xattrHeader{NameFilter: ^filter, SharedCount: uint8(len(shared))})
	for _, a := range shared {
		b = binary.LittleEndian.AppendUint32(b, uint32((img.inodesEnd%blockSize+img.shared[a])/4))
	}
	for _, a := range own {
		b = a.append(b)
	}
	return b
}

// xxh32 is the 32-bit xxHash, with which EROFS filters names.
// See https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md.
func xxh32(s string, seed uint32) uint32 {
	const (
		p1 = 0x9e3779b1
		p2 = 0x85ebca77
		p3 = 0xc2b2ae3d
		p4 = 0x27d4eb2f
		p5 = 0x165667b1
	)
	b := []byte(s)
	h := seed + p5
	if len(b) >= 16 {
		acc := [4]uint32{seed, seed, seed, seed}
		for i, add := range []uint64{p1 + p2, p2, 0, 1<<32 - p1} {
			acc[i] += uint32(add)
		}
		for ; len(b) >= 16; b = b[16:] {
			for i := range acc {
				acc[i] = bits.RotateLeft32(acc[i]+binary.LittleEndian.Uint32(b[4*i:])*p2, 13) * p1
			}
		}
		h = bits.RotateLeft32(acc[0], 1) + bits.RotateLeft32(acc[1], 7) +
			bits.RotateLeft32(acc[2], 12) + bits.RotateLeft32(acc[3], 18)
	}
	h += uint32(len(s))
	for ; len(b) >= 4; b = b[4:] {
		h = bits.RotateLeft32(h+binary.LittleEndian.Uint32(b)*p3, 17) * p4
	}
	for _, c := range b {
		h = bits.RotateLeft32(h+uint32(c)*p5, 11) * p1
	}
	h = (h ^ h>>15) * p2
	h = (h ^ h>>13) * p3
	return h ^ h>>16
}
