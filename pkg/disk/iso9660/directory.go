package iso9660

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/internal/walk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// A record is the fixed part of a directory record (ECMA-119, 9.1). The name
// and the system use area follow it.
type record struct {
	Length   uint8
	ExtAttr  uint8  // blocks before the content
	Extent   uint32 // first block
	_        uint32
	Size     uint32 // bytes
	_        uint32
	Date     date
	Flags    uint8
	UnitSize uint8 // of an interleaved file
	Gap      uint8
	Volume   uint16
	_        uint16
	NameSize uint8
}

const recordSize = 33

// Flags of records.
const (
	flagDirectory  = 0x02
	flagAssociated = 0x04
	flagContinued  = 0x80 // the next record is another extent of the file
)

// A date is a time in a record: years since 1900, month, day, hour, minute,
// second and the offset from UTC in quarters of an hour.
type date [7]uint8

func (d date) time() rootfs.Time {
	if d[1] == 0 {
		return rootfs.Time{}
	}
	t := time.Date(1900+int(d[0]), time.Month(d[1]), int(d[2]), int(d[3]), int(d[4]), int(d[5]), 0, time.UTC)
	return rootfs.Time{Sec: t.Unix() - int64(int8(d[6]))*15*60}
}

// An entry is a record with everything that Rock Ridge adds to it.
type entry struct {
	record
	name  string
	posix          // zero without Rock Ridge
	parts []record // other extents of the file
}

// A reader reads one file system.
type reader struct {
	r         io.ReaderAt
	size      int64
	block     int64 // size
	rockRidge bool
	joliet    bool
	skip      int         // bytes of the system use area that are not Rock Ridge's
	entries   []entry     // by inode number; the first is the root
	claims    walk.Claims // extents of directories
	left      int64       // bytes that directories may still have
	names     int         // entries that were read
	hops      int         // continuation areas that were read
}

// Inode implements [walk.Source]. An inode number is the index of an entry, so
// that every name has an inode of its own; ISO 9660 has no hard links.
func (rd *reader) Inode(ino uint64) (*rootfs.Inode, []walk.Entry, error) {
	e := rd.entries[ino]
	if e.child != 0 {
		var err error
		if e, err = rd.movedDirectory(e); err != nil {
			return nil, nil, fmt.Errorf("relocated directory: %w", err)
		}
	}
	if e.child != 0 || e.Flags&flagDirectory != 0 {
		in := rootfs.Dir(0o555)
		e.apply(in)
		entries, err := rd.list(e.record)
		return in, entries, err
	}
	in := rootfs.File(0o555, nil)
	e.apply(in)
	var err error
	if in.IsFile() {
		in.Content, err = rd.content(e)
	}
	return in, nil, err
}

// list returns the names in a directory, and appends their entries to those of
// the reader.
func (rd *reader) list(dir record) (names []walk.Entry, err error) {
	all, err := rd.readEntries(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range all {
		if e.relocated { // its own directory has an entry for it
			continue
		}
		names = append(names, walk.Entry{Name: e.name, Ino: uint64(len(rd.entries))})
		rd.entries = append(rd.entries, e)
	}
	return names, nil
}

// movedDirectory returns the directory that the entry of a relocated one stands
// for. Its own size is in its first record.
func (rd *reader) movedDirectory(e entry) (entry, error) {
	b := make([]byte, recordSize)
	if err := rootfs.ReadFull(rd.r, b, int64(e.child)*rd.block); err != nil {
		return e, err
	}
	self, err := decodeRecord(b)
	if err != nil {
		return e, err
	}
	if self.Extent != e.child {
		return e, errors.New("its first entry is not itself")
	}
	e.record = self
	return e, nil
}

func decodeRecord(b []byte) (rec record, err error) {
	_, err = binary.Decode(b, order, &rec)
	return rec, err
}

// content returns the content of a file: one range, or several of a file of
// more than 4 GiB.
func (rd *reader) content(e entry) (rootfs.Blob, error) {
	if e.zisofs {
		return nil, disk.Unsupported("compressed with zisofs, which is not supported")
	}
	var extents []disk.Extent
	var total int64
	for _, rec := range append([]record{e.record}, e.parts...) {
		if rec.UnitSize != 0 {
			return nil, disk.Unsupported("interleaved, which is not supported")
		}
		blob, err := rd.extent(rec)
		if err != nil {
			return nil, err
		}
		extents = append(extents, disk.Extent{Off: total, Blob: blob})
		total += blob.Size()
	}
	if len(extents) == 1 {
		return extents[0].Blob, nil
	}
	return disk.New(total, extents...)
}

// extent returns the bytes that a record refers to.
func (rd *reader) extent(rec record) (*io.SectionReader, error) {
	at := (int64(rec.Extent) + int64(rec.ExtAttr)) * rd.block
	if rec.Size > 0 && at+int64(rec.Size) > rd.size {
		return nil, fmt.Errorf("extent of %d bytes at %d is outside the file system of %d bytes", rec.Size, at, rd.size)
	}
	return io.NewSectionReader(rd.r, at, int64(rec.Size)), nil
}

// readEntries returns the entries of a directory without itself and its parent.
func (rd *reader) readEntries(dir record) ([]entry, error) {
	b, err := rd.readDirectory(dir)
	if err != nil {
		return nil, err
	}
	var all []entry
	continued := false
	for at := 0; at < len(b); {
		n := int(b[at])
		if n == 0 { // no more records in this sector
			at += sector - at%sector
			continue
		}
		if n > len(b)-at || n <= recordSize {
			return nil, fmt.Errorf("entry of %d bytes", n)
		}
		e, self, err := rd.entry(b[at:][:n])
		if err != nil {
			return nil, err
		}
		at += n
		switch {
		case self || e.Flags&flagAssociated != 0:
			continue
		case continued:
			last := &all[len(all)-1]
			last.parts = append(last.parts, e.record)
		default:
			all = append(all, e)
		}
		continued = e.Flags&flagContinued != 0
		if rd.names++; rd.names > limits.Names {
			return nil, fmt.Errorf("more than %d names", limits.Names)
		}
	}
	return all, nil
}

// readDirectory returns the bytes of a directory that has not been read yet.
func (rd *reader) readDirectory(dir record) ([]byte, error) {
	switch {
	case !rd.claims.Claim(uint64(dir.Extent)):
		return nil, errors.New("directory with two parents")
	case dir.Size > maxDirectory:
		return nil, fmt.Errorf("directory of more than %d bytes", maxDirectory)
	case int64(dir.Size) > rd.left:
		return nil, errors.New("directories are larger than the file system")
	}
	rd.left -= int64(dir.Size)
	content, err := rd.extent(dir)
	if err != nil {
		return nil, err
	}
	return rootfs.ReadAll(content, maxDirectory)
}

// entry decodes a record with its name. It reports whether the record is that
// of the directory itself or of its parent.
func (rd *reader) entry(b []byte) (e entry, self bool, err error) {
	if e.record, err = decodeRecord(b); err != nil {
		return e, false, err
	}
	name := b[recordSize:]
	if int(e.NameSize) > len(name) || e.NameSize == 0 {
		return e, false, errors.New("entry without room for its name")
	}
	use := name[min(len(name), int(e.NameSize)|1):] // the name is padded to an even offset
	name = name[:e.NameSize]
	if len(name) == 1 && name[0] <= 1 {
		return e, true, nil
	}
	if rd.rockRidge {
		if e.posix, err = rd.readPosix(use[min(len(use), rd.skip):]); err != nil {
			return e, false, err
		}
	}
	if e.name = e.posixName; e.name == "" {
		e.name = rd.plainName(name)
	}
	return e, false, nil
}
