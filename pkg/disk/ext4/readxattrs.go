package ext4

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// xattrs reads the extended attributes behind the fields of an inode, and those
// of a block.
func (rd *reader) xattrs(body []byte, block uint64) (map[string]string, error) {
	found := map[string]string{}
	if len(body) >= 4 && binary.LittleEndian.Uint32(body) == xattrMagic {
		if err := decodeAttrs(found, body[4:], body[4:]); err != nil {
			return nil, err
		}
	}
	if block != 0 {
		if err := rd.xattrBlock(found, block); err != nil {
			return nil, fmt.Errorf("attributes: block %d: %w", block, err)
		}
	}
	if len(found) == 0 {
		return nil, nil
	}
	return found, nil
}

// xattrBlock reads the attributes of a block, which several inodes may share.
func (rd *reader) xattrBlock(to map[string]string, block uint64) error {
	raw, err := rd.readBlock(block)
	if err != nil {
		return err
	}
	var h xattrHeader
	if _, err := binary.Decode(raw, binary.LittleEndian, &h); err != nil {
		return err
	}
	clear(raw[16:20]) // the place of the checksum
	sum := checksum(rd.seed, binary.LittleEndian.AppendUint64(nil, block))
	if err := rd.check(checksum(sum, raw), h.Checksum); err != nil {
		return err
	}
	if h.Magic != xattrMagic {
		return fmt.Errorf("magic number %#x, want %#x", h.Magic, uint32(xattrMagic))
	}
	return decodeAttrs(to, raw[xattrHeadSize:], raw)
}

// decodeAttrs reads attributes. The offsets of their values count from the start
// of base.
func decodeAttrs(to map[string]string, entries, base []byte) error {
	room := uint64(len(base)) // for the values
	for len(entries) >= 4 && binary.LittleEndian.Uint32(entries) != 0 {
		var e xattrEntry
		if _, err := binary.Decode(entries, binary.LittleEndian, &e); err != nil {
			return errors.New("attributes are damaged")
		}
		size := xattrEntrySize + pad4(int(e.NameLen))
		end := uint64(e.ValueOffs) + uint64(e.ValueSize)
		if size > len(entries) || e.ValueInum != 0 || e.ValueSize > 0 && end > uint64(len(base)) || uint64(e.ValueSize) > room {
			return errors.New("attributes are damaged")
		}
		room -= uint64(e.ValueSize)
		name := string(entries[xattrEntrySize:][:e.NameLen])
		value := ""
		if e.ValueSize > 0 {
			value = string(base[e.ValueOffs:end])
		}
		entries = entries[size:]
		full, value, err := attr{e.NameIndex, name, value}.system()
		if err != nil {
			return err
		}
		to[full] = value
	}
	return nil
}

// system returns an attribute as the system call has it, the reverse of newAttr.
func (a attr) system() (name, value string, err error) {
	switch a.index {
	case indexACLAccess:
		value, err = systemACL(a.value)
		return "system.posix_acl_access", value, err
	case indexACLDefault:
		value, err = systemACL(a.value)
		return "system.posix_acl_default", value, err
	case indexUser:
		return "user." + a.name, a.value, nil
	case indexTrusted:
		return "trusted." + a.name, a.value, nil
	case indexSecurity:
		return "security." + a.name, a.value, nil
	}
	return "", "", fmt.Errorf("attribute %q of unknown index %d", a.name, a.index)
}

// systemACL is the reverse of diskACL. An entry without an ID gets the ID
// 0xFFFFFFFF.
func systemACL(value string) (string, error) {
	in := []byte(value)
	if len(in) < 4 || binary.LittleEndian.Uint32(in) != 1 {
		return "", errors.New("access control list is damaged")
	}
	out := bytes.NewBuffer([]byte{2, 0, 0, 0})
	for in = in[4:]; len(in) > 0; {
		const user, group = 0x02, 0x08
		if tag := in[0]; len(in) >= 8 && (tag == user || tag == group) {
			out.Write(in[:8])
			in = in[8:]
		} else if len(in) >= 4 {
			out.Write(append(in[:4:4], 0xFF, 0xFF, 0xFF, 0xFF))
			in = in[4:]
		} else {
			return "", errors.New("access control list is damaged")
		}
	}
	return out.String(), nil
}
