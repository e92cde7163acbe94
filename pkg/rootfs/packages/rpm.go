package packages

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

const rpmFile = "rpmdb.sqlite"

// rpmOther are the files of other forms of the database. rpm does not write
// rpmdb.sqlite beside them.
var rpmOther = []string{"Packages", "Packages.db"}

// readRPM reads the database of a folder. Files with uncommitted changes, which an
// interrupted program left, are errors.
func readRPM(dir *rootfs.Inode) ([]Package, error) {
	in := dir.Resolve(rpmFile)
	if in == nil || !in.IsFile() {
		for _, name := range rpmOther {
			if dir.Resolve(name) != nil {
				return nil, fmt.Errorf("unsupported form of the database: %s", name)
			}
		}
		return nil, errNone
	}
	for _, suffix := range []string{"-wal", "-journal"} {
		if beside := dir.Resolve(rpmFile + suffix); beside != nil && beside.Size() > 0 {
			return nil, fmt.Errorf("%s%s has uncommitted changes", rpmFile, suffix)
		}
	}
	if in.Content == nil {
		return nil, errors.New("empty")
	}
	db, err := openDatabase(in.Content)
	if err != nil {
		return nil, err
	}
	var all []Package
	err = db.table("Packages", func(id int64, columns []value) error {
		if len(columns) < 2 {
			return fmt.Errorf("row %d: want at least 2 columns, got %d", id, len(columns))
		}
		p, err := parseHeader(columns[1].data)
		if err != nil {
			return fmt.Errorf("header %d: %w", id, err)
		}
		all = append(all, p)
		return nil
	})
	return all, err
}

// Tags of a header, and types of their values.
const (
	tagName    = 1000
	tagVersion = 1001
	tagRelease = 1002
	tagEpoch   = 1003
	tagArch    = 1022

	typeInt32  = 4
	typeString = 6
)

// A rpmEntry is the type and the place of the value of a tag. Offset is in bytes,
// from the start of the data.
type rpmEntry struct{ Tag, Type, Offset, Count uint32 }

const entrySize = 16

// parseHeader parses a header of the database: the number of entries, the number of
// bytes of data, the entries, the data. Numbers are big endian.
func parseHeader(b []byte) (Package, error) {
	if len(b) < 8 {
		return Package{}, fmt.Errorf("want at least 8 bytes, got %d", len(b))
	}
	entries, size := int64(binary.BigEndian.Uint32(b)), int64(binary.BigEndian.Uint32(b[4:]))
	if 8+entries*entrySize+size != int64(len(b)) {
		return Package{}, fmt.Errorf("%d entries and %d bytes of data do not fill %d bytes", entries, size, len(b))
	}
	index, data := b[8:8+entries*entrySize], b[8+entries*entrySize:]
	values := map[uint32]string{}
	for ; len(index) > 0; index = index[entrySize:] {
		e := rpmEntry{binary.BigEndian.Uint32(index), binary.BigEndian.Uint32(index[4:]), binary.BigEndian.Uint32(index[8:]), binary.BigEndian.Uint32(index[12:])}
		switch e.Tag {
		case tagName, tagVersion, tagRelease, tagEpoch, tagArch:
			v, err := e.value(data)
			if err != nil {
				return Package{}, fmt.Errorf("tag %d: %w", e.Tag, err)
			}
			values[e.Tag] = v
		}
	}
	if values[tagName] == "" || values[tagVersion] == "" {
		return Package{}, errors.New("missing name or version")
	}
	p := Package{Kind: "rpm", Name: values[tagName], Version: values[tagVersion] + "-" + values[tagRelease], Arch: values[tagArch]}
	if epoch := values[tagEpoch]; epoch != "" {
		p.Version = epoch + ":" + p.Version
	}
	return p, nil
}

// value returns the value as printed by rpm.
func (e rpmEntry) value(data []byte) (string, error) {
	if int64(e.Offset) > int64(len(data)) {
		return "", fmt.Errorf("value at %d, after the end of the data at %d", e.Offset, len(data))
	}
	data = data[e.Offset:]
	switch {
	case e.Type == typeString && e.Count == 1 && e.Tag != tagEpoch:
		s, _, ended := bytes.Cut(data, []byte{0})
		if !ended {
			return "", errors.New("unterminated string")
		}
		return string(s), nil
	case e.Type == typeInt32 && e.Count == 1 && e.Tag == tagEpoch && len(data) >= 4:
		return fmt.Sprint(binary.BigEndian.Uint32(data)), nil
	}
	return "", fmt.Errorf("unexpected %d values of type %d", e.Count, e.Type)
}
