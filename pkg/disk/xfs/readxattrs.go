package xfs

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// attrs reads the attributes of an inode, in the inode or in the leaves of their
// fork.
func (rd *reader) attrs(c *core) (map[string]string, error) {
	if c.attr.raw == nil || c.attr.format == formatExtents && c.attr.maps == 0 {
		return nil, nil
	}
	found := map[string]string{}
	var err error
	if c.attr.format == formatLocal {
		err = localXattrs(found, c.attr.raw)
	} else {
		err = rd.forkXattrs(found, c)
	}
	if err != nil {
		return nil, fmt.Errorf("attributes: %w", err)
	}
	return found, nil
}

// localXattrs reads attributes in the inode.
func localXattrs(to map[string]string, b []byte) error {
	if len(b) < 4 || int(be.Uint16(b)) < 4 || int(be.Uint16(b)) > len(b) {
		return errors.New("the header in the inode is damaged")
	}
	size, count := be.Uint16(b), b[2]
	b = b[4:size]
	for range count {
		if len(b) < 3 || len(b) < 3+int(b[0])+int(b[1]) {
			return errors.New("an entry in the inode is damaged")
		}
		name, value := int(b[0]), int(b[1])
		if err := addXattr(to, b[2], string(b[3:3+name]), string(b[3+name:3+name+value])); err != nil {
			return err
		}
		b = b[3+name+value:]
	}
	return nil
}

// forkXattrs reads attributes in blocks: it follows the first child of each node
// to the first leaf, and then the chain of leaves.
func (rd *reader) forkXattrs(to map[string]string, c *core) error {
	maps, err := rd.mappings(c, c.attr)
	if err != nil {
		return err
	}
	for block := uint64(0); ; {
		b, err := rd.forkBlock(c, maps, block, daStamp)
		if err != nil {
			return err
		}
		switch info := get[blockInfo](b); info.Magic {
		case magicNode:
			block = uint64(be.Uint32(b[daHead+4:]))
		case magicAttrLeaf:
			if err := rd.leafXattrs(to, b, c, maps); err != nil {
				return err
			}
			if block = uint64(info.Forw); block == 0 {
				return nil
			}
		default:
			return fmt.Errorf("block %d of their fork has the magic number %#x", block, info.Magic)
		}
	}
}

// leafXattrs reads the attributes of a leaf.
func (rd *reader) leafXattrs(to map[string]string, leaf []byte, c *core, maps []mapping) error {
	count := int(get[attrLeafHeader](leaf).Count)
	room := len(leaf) - attrHead - entryBytes*count // for names and values
	if room < 0 {
		return fmt.Errorf("%d entries in a leaf", count)
	}
	for i := range count {
		e := get[attrEntry](leaf[attrHead+entryBytes*i:])
		if e.Flags&attrHidden != 0 {
			continue
		}
		a, used := decodeAttr(leaf[min(int(e.NameIdx), len(leaf)):], e.Flags)
		if room -= used; used == 0 || room < 0 {
			return errors.New("a leaf is damaged")
		}
		if e.Flags&attrLocal == 0 {
			value, err := rd.text(c, maps, uint64(a.block), a.size, magicRemote)
			if err != nil {
				return err
			}
			a.value = string(value)
		}
		if err := addXattr(to, e.Flags, a.name, a.value); err != nil {
			return err
		}
	}
	return nil
}

// A leafAttr is an attribute in a leaf, with its value or the place of its value.
type leafAttr struct {
	name, value string
	block       uint32 // of the fork
	size        int
}

// decodeAttr decodes an attribute and returns the bytes that it uses, 0 if it is
// damaged.
func decodeAttr(b []byte, flags byte) (a leafAttr, used int) {
	if flags&attrLocal != 0 {
		if len(b) < localName {
			return a, 0
		}
		size, name := int(be.Uint16(b)), int(b[2])
		if used = localName + name + size; used > len(b) {
			return a, 0
		}
		b = b[localName:]
		return leafAttr{name: string(b[:name]), value: string(b[name : name+size])}, used
	}
	if len(b) < remoteName {
		return a, 0
	}
	size, name := be.Uint32(b[4:]), int(b[8])
	if used = remoteName + name; used > len(b) || size > maxValue {
		return a, 0
	}
	return leafAttr{name: string(b[remoteName:used]), block: be.Uint32(b), size: int(size)}, used
}

// attrHidden are the flags of entries that are not extended attributes: parent
// pointers, and incomplete attributes.
const attrHidden = 8 | 0x80

// addXattr adds an attribute in the form of the system call, the reverse of
// newAttr.
func addXattr(to map[string]string, flags byte, name, value string) (err error) {
	switch {
	case flags&attrHidden != 0:
		return nil
	case flags&attrSecure != 0:
		name = "security." + name
	case flags&attrRoot == 0:
		name = "user." + name
	case name == "SGI_ACL_FILE":
		name = "system.posix_acl_access"
		value, err = systemACL(value)
	case name == "SGI_ACL_DEFAULT":
		name = "system.posix_acl_default"
		value, err = systemACL(value)
	default:
		name = "trusted." + name
	}
	to[name] = value
	return err
}

// systemACL is the reverse of diskACL.
func systemACL(value string) (string, error) {
	in := []byte(value)
	if len(in)%12 != 4 {
		return "", fmt.Errorf("access control list of %d bytes is damaged", len(in))
	}
	out := binary.LittleEndian.AppendUint32(nil, 2)
	for in = in[4:]; len(in) > 0; in = in[12:] {
		out = binary.LittleEndian.AppendUint16(out, uint16(be.Uint32(in)))
		out = binary.LittleEndian.AppendUint16(out, be.Uint16(in[8:]))
		out = binary.LittleEndian.AppendUint32(out, be.Uint32(in[4:]))
	}
	return string(out), nil
}
