package xfs

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// An attr is an extended attribute in the form of XFS.
type attr struct {
	flags       byte
	name, value string
	hash        uint32
}

// Flags of an attribute. The namespace is a flag, not a prefix of the name.
const (
	attrLocal  = 1 // the value is in the leaf
	attrRoot   = 2 // trusted, and access control lists
	attrSecure = 4
)

const (
	maxValue   = 64 << 10
	minRemote  = 3072 // size of an attribute whose value gets blocks of its own
	remoteRoom = blockSize - textHead
)

// An attrSet is the attributes of all inodes with the same map of xattrs, of which
// a system has few.
type attrSet struct {
	attrs      []attr
	localAttrs []byte // in the form of an inode; nil if they are too large for it
}

type attrSets map[rootfs.XattrsID]*attrSet

// of returns the set of an inode.
func (s attrSets) of(in *rootfs.Inode) (*attrSet, error) {
	key := in.XattrsID()
	if s[key] == nil {
		attrs, err := newAttrs(in.Xattrs)
		if err != nil {
			return &attrSet{}, err
		}
		s[key] = &attrSet{attrs, localAttrs(attrs)}
	}
	return s[key], nil
}

// newAttrs converts attributes. They are in the order of their hashes.
func newAttrs(xattrs map[string]string) ([]attr, error) {
	var attrs []attr
	for name, value := range xattrs {
		a, err := newAttr(name, value)
		if err != nil {
			return nil, err
		}
		a.hash = hashName(a.name)
		attrs = append(attrs, a)
	}
	slices.SortFunc(attrs, func(a, b attr) int {
		return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.flags, b.flags), strings.Compare(a.name, b.name))
	})
	return attrs, nil
}

func newAttr(name, value string) (a attr, err error) {
	switch name {
	case "system.posix_acl_access":
		a = attr{flags: attrRoot, name: "SGI_ACL_FILE"}
		a.value, err = diskACL(value)
		return a, err
	case "system.posix_acl_default":
		a = attr{flags: attrRoot, name: "SGI_ACL_DEFAULT"}
		a.value, err = diskACL(value)
		return a, err
	}
	prefix, rest, _ := strings.Cut(name, ".")
	flags, ok := map[string]byte{"user": 0, "trusted": attrRoot, "security": attrSecure}[prefix]
	switch {
	case !ok || rest == "" || len(rest) > maxName || strings.Contains(rest, "\x00"):
		return a, fmt.Errorf("attribute %q cannot be stored in XFS, names are user.*, trusted.*, security.* and access control lists", name)
	case len(value) > maxValue:
		return a, fmt.Errorf("attribute %q has %d bytes, limit is %d", name, len(value), maxValue)
	}
	return attr{flags: flags, name: rest, value: value}, nil
}

// diskACL converts an access control list from the form of the system call to
// struct xfs_acl.
func diskACL(value string) (string, error) {
	in := []byte(value)
	if len(in) < 4 || len(in)%8 != 4 || binary.LittleEndian.Uint32(in) != 2 {
		return "", fmt.Errorf("access control list of %d bytes is malformed", len(in))
	}
	type entry struct {
		tag, id uint32
		perm    uint16
	}
	var entries []entry
	for in = in[4:]; len(in) > 0; in = in[8:] {
		entries = append(entries, entry{uint32(binary.LittleEndian.Uint16(in)), binary.LittleEndian.Uint32(in[4:]), binary.LittleEndian.Uint16(in[2:])})
	}
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Or(cmp.Compare(a.tag, b.tag), cmp.Compare(a.id, b.id)) })
	out := be.AppendUint32(nil, uint32(len(entries)))
	for _, e := range entries {
		out = be.AppendUint32(out, e.tag)
		out = be.AppendUint32(out, e.id)
		out = be.AppendUint16(out, e.perm)
		out = be.AppendUint16(out, 0)
	}
	return string(out), nil
}

// size returns the bytes of an attribute in a leaf, without its entry.
func (a attr) size() int {
	if a.remote() {
		return (remoteName + 2 + len(a.name) + 3) &^ 3 // the kernel counts the padding of its structure
	}
	return a.localSize()
}

func (a attr) localSize() int { return (localName + len(a.name) + len(a.value) + 3) &^ 3 }

// Bytes before the name in a leaf: struct xfs_attr_leaf_name_local has the
// lengths of value and name, struct xfs_attr_leaf_name_remote also the first
// block of the value.
const (
	localName  = 3
	remoteName = 9
)

// remote reports whether the value has blocks of its own.
func (a attr) remote() bool { return a.localSize() >= minRemote }

// planAttrs chooses the form of the attributes of a node and writes their blocks.
// They stand in the inode, or in leaves with nodes above them, followed by the
// values that are too large for a leaf.
func (w *writer) planAttrs(n *node) error {
	if len(n.attrs) == 0 {
		return nil
	}
	limit := forkRoom - minData
	if n.isSpecial() {
		limit = forkRoom - 8
	}
	if n.localAttrs != nil && len(n.localAttrs) <= limit {
		n.inline = true
		return nil
	}
	leaves := splitAttrs(n.attrs)
	da, err := daBlocks(len(leaves))
	if err != nil {
		return err
	}
	runs, err := w.take(uint64(da + remoteBlocks(n.attrs)))
	if err != nil {
		return err
	}
	n.attr = &fork{}
	n.attr.add(0, runs)
	if err := w.placeMap(n.attr, n.attrRoom()); err != nil {
		return err
	}
	w.attrLeaves(n, leaves, uint32(da))
	return nil
}

// remoteBlocks counts the blocks of values that are not in leaves.
func remoteBlocks(attrs []attr) (blocks int) {
	for _, a := range attrs {
		if a.remote() {
			blocks += (len(a.value) + remoteRoom - 1) / remoteRoom
		}
	}
	return blocks
}

// localAttrs returns attributes in the form of an inode, nil if a value is too
// long for it.
func localAttrs(attrs []attr) []byte {
	b := make([]byte, 4)
	for _, a := range attrs {
		if len(a.value) > 255 || len(attrs) > 255 {
			return nil
		}
		b = append(b, byte(len(a.name)), byte(len(a.value)), a.flags)
		b = append(append(b, a.name...), a.value...)
	}
	if len(b) > forkRoom {
		return nil
	}
	be.PutUint16(b, uint16(len(b)))
	b[2] = byte(len(attrs))
	return b
}

// splitAttrs distributes attributes over leaves.
func splitAttrs(attrs []attr) (leaves [][]attr) {
	used := blockSize
	for _, a := range attrs {
		n := entryBytes + a.size()
		if used+n > blockSize {
			leaves = append(leaves, nil)
			used = attrHead
		}
		k := len(leaves) - 1
		leaves[k] = append(leaves[k], a)
		used += n
	}
	return leaves
}

// attrLeaves writes leaves and the nodes above them. Large values follow from a
// block of the fork on.
func (w *writer) attrLeaves(n *node, leaves [][]attr, remote uint32) {
	numbers := leafNumbers(0, len(leaves))
	entries := make([]nodeEntry, len(leaves))
	for i, leaf := range leaves {
		b := make([]byte, blockSize)
		first := putAttrs(b, leaf, remote)
		h := attrLeafHeader{
			Info:  w.blockInfo(magicAttrLeaf, numbers, i, n.attr, n.ino),
			Count: uint16(len(leaf)), UsedBytes: uint16(blockSize - first), FirstUsed: uint16(first),
		}
		if free := attrHead + entryBytes*len(leaf); first > free {
			h.FreeMap[0] = span{uint16(free), uint16(first - free)}
		}
		put(b, &h)
		w.emitDA(n.attr, numbers[i], b)
		entries[i] = nodeEntry{leaf[len(leaf)-1].hash, numbers[i]}
		remote = w.remoteValues(n, leaf, remote)
	}
	w.daNodes(n.attr, 0, entries, n.ino)
}

// putAttrs writes the attributes of a leaf: entries behind the header, names and
// values from the end of the block down. It returns the offset of the last one.
// Large values stand from block remote of the fork on.
func putAttrs(b []byte, attrs []attr, remote uint32) (at int) {
	at = len(b)
	for i, a := range attrs {
		at -= a.size()
		e := attrEntry{HashVal: a.hash, NameIdx: uint16(at), Flags: a.flags}
		if to := b[at:]; a.remote() {
			be.PutUint32(to, remote)
			be.PutUint32(to[4:], uint32(len(a.value)))
			to[8] = byte(len(a.name))
			copy(to[remoteName:], a.name)
			remote += uint32(remoteBlocks(attrs[i : i+1]))
		} else {
			e.Flags |= attrLocal
			be.PutUint16(to, uint16(len(a.value)))
			to[2] = byte(len(a.name))
			copy(to[localName:], a.name+a.value)
		}
		put(b[attrHead+entryBytes*i:], &e)
	}
	return at
}

// remoteValues writes the large values of a leaf to blocks of the fork from one
// on, and returns the block behind them.
func (w *writer) remoteValues(n *node, attrs []attr, block uint32) uint32 {
	for _, a := range attrs {
		if !a.remote() {
			continue
		}
		for off := 0; off < len(a.value); off += remoteRoom {
			part := a.value[off:min(off+remoteRoom, len(a.value))]
			w.textBlock(magicRemote, n.attr.linear(uint64(block)), n.ino, off, null64, part)
			block++
		}
	}
	return block
}
