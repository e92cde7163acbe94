package xfs

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// An attr is an extended attribute in XFS' terms.
type attr struct {
	flags       byte
	name, value string
	hash        uint32
}

// Where a name lives, of which the disk has no prefix.
const (
	attrLocal  = 1
	attrRoot   = 2
	attrSecure = 4
)

const (
	maxValue   = 64 << 10
	attrHead   = 80 // of a leaf
	remoteHead = 56
	remoteRoom = blockSize - remoteHead
)

// newAttrs translates attributes, in the order of their hashes.
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
		return a, fmt.Errorf("attribute %q has no place in XFS", name)
	case len(value) > maxValue:
		return a, fmt.Errorf("attribute %q has %d bytes, limit is %d", name, len(value), maxValue)
	}
	return attr{flags: flags, name: rest, value: value}, nil
}

// diskACL turns an access control list from the form of the system call into
// that of the disk, see struct xfs_acl.
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

// size is what an attribute takes in a leaf besides its entry.
func (a attr) size() int {
	if a.remote() {
		return (11 + len(a.name) + 3) &^ 3
	}
	return a.localSize()
}

func (a attr) localSize() int { return (3 + len(a.name) + len(a.value) + 3) &^ 3 }

// remote says whether the value has blocks of its own.
func (a attr) remote() bool { return a.localSize() >= minRemote }

// planAttrs chooses the form of a node's attributes and writes their blocks:
// in the inode, or leaves, with nodes above them if there are several, and
// behind them the values that are too large.
func (w *writer) planAttrs(n *node) error {
	if len(n.attrs) == 0 {
		return nil
	}
	limit := forkRoom - minData
	if n.isSpecial() {
		limit = forkRoom - 8
	}
	if local := localAttrs(n.attrs); local != nil && len(local) <= limit {
		n.attrInline = local
		return nil
	}
	leaves := splitAttrs(n.attrs)
	da, err := daBlocks(len(leaves))
	if err != nil {
		return err
	}
	total := uint64(da)
	for _, a := range n.attrs {
		if a.remote() {
			total += (uint64(len(a.value)) + remoteRoom - 1) / remoteRoom
		}
	}
	runs, err := w.take(total)
	if err != nil {
		return err
	}
	n.attr.add(0, runs)
	if err := w.placeMap(&n.attr, n.attrRoom()); err != nil {
		return err
	}
	remote := uint32(da)
	numbers, last := make([]uint32, len(leaves)), make([]uint32, len(leaves))
	for i, leaf := range leaves {
		numbers[i] = uint32(leafNumber(i, len(leaves)))
		last[i] = leaf[len(leaf)-1].hash
	}
	for i, leaf := range leaves {
		b := make([]byte, blockSize)
		linear := n.attr.linear(uint64(numbers[i]))
		w.daHeader(b, attrLeaf, neighbour(numbers, i+1), neighbour(numbers, i-1), linear, n.ino)
		remote = w.attrLeaf(b, n, leaf, remote)
		seal(b, daCRC)
		w.emit(linear, b)
	}
	w.daNodes(&n.attr, 0, last, n.ino)
	return nil
}

// localAttrs is the form in the inode, nil if a value is too long for it.
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
		n := 8 + a.size()
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

// attrLeaf writes a leaf behind its header. Values of their own are written
// from a block of the fork on; it returns the block behind them.
func (w *writer) attrLeaf(b []byte, n *node, attrs []attr, remote uint32) uint32 {
	at := blockSize
	for i, a := range attrs {
		at -= a.size()
		e := b[attrHead+8*i:]
		be.PutUint32(e, a.hash)
		be.PutUint16(e[4:], uint16(at))
		e[6] = a.flags
		if a.remote() {
			be.PutUint32(b[at:], remote)
			be.PutUint32(b[at+4:], uint32(len(a.value)))
			b[at+8] = byte(len(a.name))
			copy(b[at+9:], a.name)
			remote = w.remoteValue(n, a.value, remote)
			continue
		}
		e[6] |= attrLocal
		be.PutUint16(b[at:], uint16(len(a.value)))
		b[at+2] = byte(len(a.name))
		copy(b[at+3:], a.name+a.value)
	}
	free := attrHead + 8*len(attrs)
	be.PutUint16(b[56:], uint16(len(attrs)))
	be.PutUint16(b[58:], uint16(blockSize-at))
	be.PutUint16(b[60:], uint16(at))
	if at > free {
		be.PutUint16(b[64:], uint16(free))
		be.PutUint16(b[66:], uint16(at-free))
	}
	return remote
}

func (w *writer) remoteValue(n *node, value string, block uint32) uint32 {
	for off := 0; off < len(value); off += remoteRoom {
		part := value[off:min(off+remoteRoom, len(value))]
		b := make([]byte, blockSize)
		linear := n.attr.linear(uint64(block))
		copy(b, "XARM")
		be.PutUint32(b[4:], uint32(off))
		be.PutUint32(b[8:], uint32(len(part)))
		copy(b[16:], w.geo.uuid[:])
		be.PutUint64(b[32:], n.ino)
		be.PutUint64(b[40:], daddr(linear))
		be.PutUint64(b[48:], 1<<64-1)
		copy(b[remoteHead:], part)
		seal(b, 12)
		w.emit(linear, b)
		block++
	}
	return block
}
