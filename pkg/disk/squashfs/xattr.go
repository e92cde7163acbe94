package squashfs

import "fmt"

// An xattrID is the list of the extended attributes of an inode.
type xattrID struct {
	Ref   uint64
	Count uint32
	Size  uint32 // bytes
}

// Prefixes of attribute names, by type. The kernel has no others.
var prefixes = []string{"user.", "trusted.", "security."}

const (
	outOfLine = 0x100    // in the type: the value is a reference to a value
	maxXattrs = 256      // of an inode
	maxValue  = 64 << 10 // bytes, as in Linux
)

// readXattrs returns the attributes of an index in the table.
func (rd *reader) readXattrs(index uint32) (map[string]string, error) {
	if index == none || rd.XattrTable == absent {
		return nil, nil
	}
	if index >= uint32(len(rd.xattrs)) {
		return nil, fmt.Errorf("extended attributes %d of %d", index, len(rd.xattrs))
	}
	id := rd.xattrs[index]
	if id.Count > maxXattrs {
		return nil, fmt.Errorf("%d extended attributes, at most %d are read", id.Count, maxXattrs)
	}
	s, err := rd.at(uint64(rd.xattrData), id.Ref)
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	for range id.Count {
		name, value, err := rd.readXattr(s)
		if err != nil {
			return nil, fmt.Errorf("extended attribute: %w", err)
		}
		all[name] = value
	}
	return all, nil
}

// readXattr reads one attribute.
func (rd *reader) readXattr(s *stream) (name, value string, err error) {
	var head struct{ Type, Size uint16 }
	if err := s.decode(&head); err != nil {
		return "", "", err
	}
	b, err := s.take(int(head.Size))
	if err != nil {
		return "", "", err
	}
	kind := head.Type &^ outOfLine
	if int(kind) >= len(prefixes) {
		return "", "", fmt.Errorf("%q has the unknown type %d", b, head.Type)
	}
	name = prefixes[kind] + string(b)
	if value, err = readValue(s); err != nil || head.Type&outOfLine == 0 {
		return name, value, err
	}
	if len(value) != 8 {
		return "", "", fmt.Errorf("%s: reference of %d bytes", name, len(value))
	}
	there, err := rd.at(uint64(rd.xattrData), order.Uint64([]byte(value)))
	if err != nil {
		return "", "", err
	}
	value, err = readValue(there)
	return name, value, err
}

func readValue(s *stream) (string, error) {
	b, err := s.take(4)
	if err != nil {
		return "", err
	}
	n := order.Uint32(b)
	if n > maxValue {
		return "", fmt.Errorf("value of %d bytes, at most %d are read", n, maxValue)
	}
	b, err = s.take(int(n))
	return string(b), err
}
