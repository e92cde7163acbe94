package ext4

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

const (
	bodySize       = inodeSize - bodyOffset
	bodyRoom       = bodySize - 4 - 4 // without magic and the word of zeros behind the entries
	xattrHeadSize  = 32
	xattrEntrySize = 16
	maxBlockRefs   = 1024 // inodes that share an attribute block, EXT4_XATTR_REFCOUNT_MAX
)

// Name indexes stand for the start of an attribute's name.
const (
	indexUser       = 1
	indexACLAccess  = 2
	indexACLDefault = 3
	indexTrusted    = 4
	indexSecurity   = 6
)

// An attr is an extended attribute in the form of ext4.
type attr struct {
	index uint8
	name  string
	value string
}

func pad4(n int) int { return (n + 3) &^ 3 }

// size returns the bytes of the attribute: entry, name and value.
func (a attr) size() int { return xattrEntrySize + pad4(len(a.name)) + pad4(len(a.value)) }

// compare is the order of attributes in a block, which the kernel relies on.
func (a attr) compare(b attr) int {
	return cmp.Or(cmp.Compare(a.index, b.index), cmp.Compare(len(a.name), len(b.name)), strings.Compare(a.name, b.name))
}

// newAttr converts an attribute.
func newAttr(name, value string) (attr, error) {
	switch name {
	case "system.posix_acl_access":
		acl, err := diskACL(value)
		return attr{indexACLAccess, "", acl}, err
	case "system.posix_acl_default":
		acl, err := diskACL(value)
		return attr{indexACLDefault, "", acl}, err
	}
	prefix, rest, _ := strings.Cut(name, ".")
	index, ok := map[string]uint8{"user": indexUser, "trusted": indexTrusted, "security": indexSecurity}[prefix]
	if !ok || rest == "" || len(name) > maxName || strings.Contains(name, "\x00") {
		return attr{}, fmt.Errorf("attribute %q cannot be stored in ext4, names are user.*, trusted.*, security.* and access control lists", name)
	}
	return attr{index, rest, value}, nil
}

// diskACL converts an access control list from the form of the system call to that
// of the disk, where only entries of named users and groups have an ID. See struct
// ext4_acl_entry.
func diskACL(value string) (string, error) {
	const (
		userVersion, diskVersion = 2, 1
		userObj, user, groupObj  = 0x01, 0x02, 0x04
		group, mask, other       = 0x08, 0x10, 0x20
	)
	in := []byte(value)
	if len(in) < 4 || len(in)%8 != 4 || binary.LittleEndian.Uint32(in) != userVersion {
		return "", fmt.Errorf("access control list of %d bytes is malformed", len(in))
	}
	out := binary.LittleEndian.AppendUint32(nil, diskVersion)
	for in = in[4:]; len(in) > 0; in = in[8:] {
		switch tag := binary.LittleEndian.Uint16(in); tag {
		case userObj, groupObj, mask, other:
			out = append(out, in[:4]...)
		case user, group:
			out = append(out, in[:8]...)
		default:
			return "", fmt.Errorf("access control list has an entry of tag %#x", tag)
		}
	}
	return string(out), nil
}

// splitAttrs divides attributes between the inode and a block. SELinux labels and
// access control lists are read all the time and go to the inode first; if the rest
// then does not fit, the largest attributes do.
func splitAttrs(xattrs map[string]string, block int) (body, rest []attr, err error) {
	attrs := make([]attr, 0, len(xattrs))
	for name, value := range xattrs {
		a, err := newAttr(name, value)
		if err != nil {
			return nil, nil, err
		}
		attrs = append(attrs, a)
	}
	slices.SortFunc(attrs, attr.compare)
	hot := func(a attr) int {
		if a.index == indexACLAccess || a.index == indexSecurity && a.name == "selinux" {
			return 0
		}
		return 1
	}
	orders := []func(a, b attr) int{
		func(a, b attr) int { return cmp.Compare(hot(a), hot(b)) },
		func(a, b attr) int { return cmp.Compare(b.size(), a.size()) },
	}
	room := block - xattrHeadSize - 4
	total := 0
	for _, order := range orders {
		slices.SortStableFunc(attrs, order)
		body, rest, total = nil, nil, 0
		left := bodyRoom
		for _, a := range attrs {
			if n := a.size(); n <= left {
				body = append(body, a)
				left -= n
			} else {
				rest = append(rest, a)
				total += n
			}
		}
		if total <= room {
			slices.SortFunc(body, attr.compare)
			slices.SortFunc(rest, attr.compare)
			return body, rest, nil
		}
	}
	return nil, nil, fmt.Errorf("attributes of %d bytes, limit is %d beside the inode's %d", total, room, bodyRoom)
}

// encodeBody returns the bytes behind the fields of an inode.
func encodeBody(attrs []attr) []byte {
	if len(attrs) == 0 {
		return nil
	}
	out := make([]byte, bodySize)
	binary.LittleEndian.PutUint32(out, xattrMagic)
	encodeAttrs(out[4:], 0, attrs, func(attr) uint32 { return 0 })
	return out
}

// encodeAttrBlock returns an attribute block without its reference count and
// its checksum. The kernel finds blocks to share by their hashes.
func encodeAttrBlock(attrs []attr, block int) []byte {
	out := make([]byte, block)
	var hash uint32
	encodeAttrs(out[xattrHeadSize:], xattrHeadSize, attrs, func(a attr) uint32 {
		h := attrHash(a)
		hash = hash<<16 ^ hash>>16 ^ h
		return h
	})
	put(out, xattrHeader{Magic: xattrMagic, Blocks: 1, Hash: hash})
	return out
}

// encodeAttrs writes entries from the start of to upwards and values from its
// end downwards. Their offsets count from base bytes before to.
func encodeAttrs(to []byte, base int, attrs []attr, hash func(attr) uint32) {
	at, end := 0, len(to)
	for _, a := range attrs {
		e := xattrEntry{NameLen: uint8(len(a.name)), NameIndex: a.index, ValueSize: uint32(len(a.value)), Hash: hash(a)}
		if len(a.value) > 0 {
			end -= pad4(len(a.value))
			copy(to[end:], a.value)
			e.ValueOffs = uint16(base + end)
		}
		put(to[at:], e)
		copy(to[at+xattrEntrySize:], a.name)
		at += xattrEntrySize + pad4(len(a.name))
	}
}

// attrHash is ext4_xattr_hash_entry.
func attrHash(a attr) uint32 {
	var hash uint32
	for _, c := range []byte(a.name) {
		hash = hash<<5 ^ hash>>27 ^ uint32(c)
	}
	value := make([]byte, pad4(len(a.value)))
	copy(value, a.value)
	for ; len(value) > 0; value = value[4:] {
		hash = hash<<16 ^ hash>>16 ^ binary.LittleEndian.Uint32(value)
	}
	return hash
}
