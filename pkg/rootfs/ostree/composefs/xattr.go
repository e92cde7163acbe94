package composefs

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"math/bits"
	"slices"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree"
)

// An xattr is an extended attribute under its full name.
type xattr struct{ name, value string }

// An xattrSet has the xattrs of all inodes that have the same ones. The values of
// those that depend on the object of a file are not in here.
type xattrSet struct{ list []xattr } // by name

// A setKey names a set: by the attributes of the tree, and whether those that lead to
// an object are added.
type setKey struct {
	xattrs rootfs.XattrsID
	object bool
}

func (s *xattrSet) sort() {
	slices.SortFunc(s.list, func(a, b xattr) int { return cmp.Compare(a.name, b.name) })
}

const (
	// The limit that libcomposefs sets to all xattrs of a file together,
	// counting an entry and the worst padding for each.
	maxXattrs     = math.MaxInt16
	xattrOverhead = 4 + 3
)

// xattrSet returns the set of an inode.
func (img *image) xattrSet(n *rootfs.Inode) (*xattrSet, error) {
	key := setKey{n.XattrsID(), n.IsFile() && n.Size() > 0}
	if s := img.sets[key]; s != nil {
		return s, nil
	}
	s := &xattrSet{}
	total := binary.Size(xattrHeader{})
	for name, value := range n.Xattrs {
		total += len(name) + len(value) + xattrOverhead
		if rest, ok := strings.CutPrefix(name, overlayPrefix); ok {
			name = overlayEscape + rest
		}
		s.list = append(s.list, xattr{name, value})
	}
	if total > maxXattrs {
		return nil, fmt.Errorf("xattrs of %d bytes, limit is %d", total, maxXattrs)
	}
	if key.object {
		s.list = append(s.list, xattr{name: xattrMetacopy}, xattr{name: xattrRedirect})
	}
	s.sort()
	for _, a := range s.list {
		if _, suffix := a.prefix(); len(suffix) > maxName {
			return nil, fmt.Errorf("xattr %q: name of %d bytes, limit is %d", a.name, len(suffix), maxName)
		}
		img.hasACL = img.hasACL || a.isACL()
	}
	img.sets[key] = s
	return s, nil
}

// xattr returns an attribute of a set as a node has it.
func (img *image) xattr(x *node, a xattr) xattr {
	switch a.name {
	case xattrRedirect:
		a.value = "/" + ostree.ObjectPath(x.object, ostree.FileObject)
	case xattrMetacopy:
		if digest, ok := img.options.Verity[x.object]; ok {
			// struct ovl_metacopy: version 0, 36 bytes, no flags, SHA-256.
			a.value = "\x00\x24\x00\x01" + string(digest[:])
		}
	}
	return a
}

// isObject reports whether the value of an attribute depends on the object.
func (img *image) isObject(a xattr) bool {
	return a.name == xattrRedirect || a.name == xattrMetacopy && img.options.Verity != nil
}

// repeated reports whether more than one node has the value of an attribute that
// depends on the object of a node.
func (img *image) repeated(x *node, a xattr) bool {
	if a.name == xattrRedirect {
		return img.redirects[x.object] > 1
	}
	return img.digests[img.options.Verity[x.object]] > 1
}

// countObjects counts the nodes of each object and of each fs-verity digest.
func (img *image) countObjects() {
	img.redirects, img.digests = make(map[ostree.Checksum]int, len(img.options.IDs)), map[[32]byte]int{}
	for _, x := range img.nodes {
		if !x.hasObject() {
			continue
		}
		img.redirects[x.object]++
		if digest, ok := img.options.Verity[x.object]; ok {
			img.digests[digest]++
		}
	}
}

// An xattrForm is the form that a set has in an inode: a reference to each shared
// attribute, then the others. Values are as in the set.
type xattrForm struct {
	shared, own []xattr
	filter      uint32
	size        int // in bytes
}

// A formKey names a form: by its set, and whether the attributes that depend on the
// object are shared.
type formKey struct {
	set                *xattrSet
	metacopy, redirect bool
}

// shareXattrs makes the table of xattrs that are in more than one place, and gives
// every node its form.
func (img *image) shareXattrs() {
	img.countObjects()
	img.shared = map[xattr]int{}
	for _, a := range img.sharedXattrs() {
		img.shared[a] = len(img.sharedTable)
		img.sharedTable = a.append(img.sharedTable)
	}
	forms := map[formKey]*xattrForm{}
	for _, x := range img.nodes {
		key := formKey{set: x.xattrs}
		if x.hasObject() {
			key.metacopy, key.redirect = img.repeated(x, xattr{name: xattrMetacopy}), img.repeated(x, xattr{name: xattrRedirect})
		}
		if forms[key] == nil {
			forms[key] = img.form(x)
		}
		x.form = forms[key]
	}
}

// sharedXattrs returns the xattrs that are in more than one place, in the order of the
// table.
func (img *image) sharedXattrs() []xattr {
	nodes := map[*xattrSet]int{}
	shared := map[xattr]bool{}
	for _, x := range img.nodes {
		nodes[x.xattrs]++
		for _, a := range x.xattrs.list {
			if img.isObject(a) && img.repeated(x, a) {
				shared[img.xattr(x, a)] = true
			}
		}
	}
	count := map[xattr]int{}
	for set, n := range nodes {
		for _, a := range set.list {
			if count[a] += n; count[a] > 1 && !img.isObject(a) {
				shared[a] = true
			}
		}
	}
	return slices.SortedFunc(maps.Keys(shared), descending)
}

func descending(a, b xattr) int {
	return -cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(len(a.value), len(b.value)), cmp.Compare(a.value, b.value))
}

// form divides the xattrs of a node into shared ones and its own.
func (img *image) form(x *node) *xattrForm {
	f := &xattrForm{}
	if len(x.xattrs.list) == 0 {
		return f
	}
	f.size = binary.Size(xattrHeader{})
	for _, a := range x.xattrs.list {
		index, suffix := a.prefix()
		f.filter |= 1 << (xxh32(suffix, xattrFilterSeed+uint32(index)) & 31)
		value := img.xattr(x, a)
		if _, ok := img.shared[value]; ok && len(f.shared) < maxShared {
			f.shared = append(f.shared, a)
			f.size += 4
		} else {
			f.own = append(f.own, a)
			f.size += value.size()
		}
	}
	return f
}

// appendXattrs appends the xattrs that follow an inode.
func (img *image) appendXattrs(b []byte, x *node) []byte {
	f := x.form
	if f.size == 0 {
		return b
	}
	b = xattrHeader{NameFilter: ^f.filter, SharedCount: uint8(len(f.shared))}.append(b)
	for _, a := range f.shared {
		b = binary.LittleEndian.AppendUint32(b, uint32((img.inodesEnd%blockSize+img.shared[img.xattr(x, a)])/4))
	}
	for _, a := range f.own {
		b = img.xattr(x, a).append(b)
	}
	return b
}

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
	b = xattrEntry{NameLen: uint8(len(suffix)), NameIndex: index, ValueSize: uint16(len(a.value))}.append(b)
	b = append(append(b, suffix...), a.value...)
	return append(b, make([]byte, a.size()-4-len(suffix)-len(a.value))...)
}

// size is the number of bytes that append adds.
func (a xattr) size() int {
	_, suffix := a.prefix()
	return (4 + len(suffix) + len(a.value) + 3) &^ 3
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
