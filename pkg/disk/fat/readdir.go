package fat

import (
	"encoding/binary"
	"slices"
	"strings"
	"time"
	"unicode/utf16"

	"golang.org/x/text/encoding/charmap"
)

// A namedEntry is an entry of a directory with its long name.
type namedEntry struct {
	name string
	dirEntry
}

// decode returns the entries of a directory without ".", ".." and the label.
func decode(b []byte) (list []namedEntry, err error) {
	var long []longEntry
	for ; len(b) >= entrySize && b[0] != 0; b = b[entrySize:] {
		var e dirEntry
		if _, err := binary.Decode(b, order, &e); err != nil {
			return nil, err
		}
		const deleted = 0xE5
		switch {
		case e.Name[0] == deleted:
			long = nil
			continue
		case e.Attr&attrLongName == attrLongName:
			var l longEntry
			if _, err := binary.Decode(b, order, &l); err != nil {
				return nil, err
			}
			long = append(long, l)
			continue
		case e.Attr&attrVolumeID == 0 && e.Name != dotName(".") && e.Name != dotName(".."):
			name := longName(long, checksum(e.Name))
			if name == "" {
				name = e.short()
			}
			list = append(list, namedEntry{name, e})
		}
		long = nil
	}
	return list, nil
}

// longName joins the parts of a long name. It returns "" if they do not belong to
// the short name of this checksum: a system without long names may have changed
// the short one.
func longName(parts []longEntry, sum uint8) string {
	if len(parts) == 0 || parts[0].Ord&lastLong == 0 {
		return ""
	}
	var units []uint16
	for i, l := range slices.Backward(parts) {
		if int(l.Ord&^lastLong) != len(parts)-i || l.Chksum != sum {
			return ""
		}
		units = slices.Concat(units, l.Name1[:], l.Name2[:], l.Name3[:])
	}
	if end := slices.Index(units, 0); end >= 0 {
		units = units[:end]
	}
	return string(utf16.Decode(units))
}

// short returns the short name. Windows NT stores one case for each of its two
// parts. The code page is the default of Linux.
func (e dirEntry) short() string {
	const lowerBase, lowerExt = 0x08, 0x10
	name := e.Name
	if name[0] == 0x05 { // replaces 0xE5, which marks a free entry
		name[0] = 0xE5
	}
	part := func(b []byte, lower uint8) string {
		text, _ := charmap.CodePage437.NewDecoder().String(strings.TrimRight(string(b), " "))
		if e.NTRes&lower != 0 {
			text = strings.ToLower(text)
		}
		return text
	}
	base, ext := part(name[:8], lowerBase), part(name[8:], lowerExt)
	if ext != "" {
		base += "." + ext
	}
	return base
}

// unixTime is the reverse of dosTime, which drops odd seconds.
func unixTime(date, clock uint16) int64 {
	return time.Date(1980+int(date>>9), time.Month(date>>5&0xF), int(date&0x1F),
		int(clock>>11), int(clock>>5&0x3F), int(clock&0x1F)*2, 0, time.UTC).Unix()
}
