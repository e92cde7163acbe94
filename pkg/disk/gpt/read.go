package gpt

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"unicode/utf16"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// A Table is the partition table of a disk.
type Table struct {
	DiskGUID    GUID
	SectorSize  int
	FirstUsable int64   // first byte that partitions may have
	End         int64   // behind the last byte that partitions may have
	Partitions  []Entry // by number

	// PrimaryErr and BackupErr are the reasons why a copy of the table is not
	// used. At most one is set.
	PrimaryErr, BackupErr error
}

// An Entry is a partition of a disk.
type Entry struct {
	Number      int
	Name        string
	Type, ID    GUID
	Start, Size int64 // in bytes
	Attributes  uint64
}

// ErrNoTable says that the disk has no table: no header has the signature. Any
// other error is damage.
var ErrNoTable = errors.New("no table")

// maxEntries bounds the table: sixteen times the usual 128 entries.
const maxEntries = 2048

// Read reads the partition table of a disk of the given size. One good copy of
// the table is enough; two good copies must agree. The primary header has the place
// of the backup, which on an enlarged disk is not its end.
func Read(r io.ReaderAt, size int64) (*Table, error) {
	var errs []error
	for _, sector := range []int64{512, 4096} {
		t, err := read(r, size, sector)
		if err == nil {
			return t, nil
		}
		if !errors.Is(err, ErrNoTable) {
			err = fmt.Errorf("gpt: sectors of %d bytes: %w", sector, err)
			errs = append(errs, err)
		}
	}
	if errs == nil {
		return nil, fmt.Errorf("gpt: %w", ErrNoTable)
	}
	return nil, errors.Join(errs...)
}

func read(r io.ReaderAt, size, sector int64) (*Table, error) {
	last := size/sector - 1
	if last < 2 {
		return nil, ErrNoTable
	}
	primary, alternate, err := readTable(r, last, 1, sector)
	if err != nil {
		return readFromBackup(r, last, sector, err)
	}
	backup, other, err := readTable(r, last, alternate, sector)
	switch {
	case err == nil && other != 1:
		err = fmt.Errorf("header at %d: does not point to the first header", alternate)
	case err == nil && !primary.same(backup):
		return nil, errors.New("the two copies of the table differ")
	}
	primary.BackupErr = err
	return primary, nil
}

func readFromBackup(r io.ReaderAt, last, sector int64, primaryErr error) (*Table, error) {
	backup, _, err := readTable(r, last, last, sector)
	switch {
	case err == nil:
		backup.PrimaryErr = primaryErr
		return backup, nil
	case errors.Is(primaryErr, ErrNoTable):
		return nil, err
	}
	return nil, primaryErr
}

func (t *Table) same(u *Table) bool {
	return t.DiskGUID == u.DiskGUID && t.FirstUsable == u.FirstUsable && t.End == u.End && slices.Equal(t.Partitions, u.Partitions)
}

// readTable reads one copy of the table, and returns the place of the other one.
func readTable(r io.ReaderAt, last, lba, sector int64) (*Table, int64, error) {
	h, err := readHeader(r, last, lba, sector)
	if err != nil {
		return nil, 0, fmt.Errorf("header at %d: %w", lba, err)
	}
	entries := make([]byte, int64(h.EntryCount)*int64(h.EntrySize))
	if err := rootfs.ReadFull(r, entries, int64(h.EntriesLBA)*sector); err != nil {
		return nil, 0, fmt.Errorf("entries at %d: %w", h.EntriesLBA, err)
	}
	if crc32.ChecksumIEEE(entries) != h.EntriesCRC {
		return nil, 0, fmt.Errorf("entries at %d: wrong checksum", h.EntriesLBA)
	}
	t := &Table{
		DiskGUID:    h.DiskGUID,
		SectorSize:  int(sector),
		FirstUsable: int64(h.FirstUsableLBA) * sector,
		End:         int64(h.LastUsableLBA+1) * sector,
	}
	for i := range int(h.EntryCount) {
		if err := t.take(i+1, entries[i*int(h.EntrySize):]); err != nil {
			return nil, 0, fmt.Errorf("partition %d: %w", i+1, err)
		}
	}
	return t, int64(h.AlternateLBA), t.checkOverlap()
}

// readHeader reads a header and checks that its numbers lie within the disk,
// so that arithmetic on them is safe.
func readHeader(r io.ReaderAt, last, lba, sector int64) (header, error) {
	b := make([]byte, sector)
	var h header
	if err := rootfs.ReadFull(r, b, lba*sector); err != nil {
		return h, err
	}
	if _, err := binary.Decode(b, binary.LittleEndian, &h); err != nil {
		return h, err
	}
	end := uint64(last)
	switch {
	case string(h.Signature[:]) != signature:
		return h, ErrNoTable
	case h.Revision>>16 != revision>>16:
		return h, fmt.Errorf("unknown revision %#x", h.Revision)
	case h.HeaderSize < headerSize || int64(h.HeaderSize) > sector:
		return h, fmt.Errorf("header of %d bytes", h.HeaderSize)
	case checksum(b[:h.HeaderSize]) != h.HeaderCRC:
		return h, errors.New("wrong checksum")
	case h.MyLBA != uint64(lba):
		return h, fmt.Errorf("says that it is at %d", h.MyLBA)
	case h.AlternateLBA > end || h.EntriesLBA > end || h.LastUsableLBA > end:
		return h, fmt.Errorf("points beyond the disk, which ends at sector %d: it was cut short", end)
	case h.AlternateLBA == h.MyLBA:
		return h, errors.New("points to itself")
	case h.FirstUsableLBA > h.LastUsableLBA:
		return h, errors.New("has no usable sectors")
	case h.EntrySize < entrySize || h.EntrySize%entrySize != 0 || h.EntrySize > 4096:
		return h, fmt.Errorf("entries of %d bytes", h.EntrySize)
	case h.EntryCount > maxEntries:
		return h, fmt.Errorf("%d entries, limit is %d", h.EntryCount, maxEntries)
	}
	return h, nil
}

// checksum returns the checksum of a header. Its own field counts as zeros.
func checksum(h []byte) uint32 {
	h = slices.Clone(h)
	clear(h[16:20])
	return crc32.ChecksumIEEE(h)
}

// take adds the partition of an entry, if the entry is used.
func (t *Table) take(number int, b []byte) error {
	var e entry
	if _, err := binary.Decode(b, binary.LittleEndian, &e); err != nil {
		return err
	}
	if e.Type == (GUID{}) {
		return nil
	}
	sector := uint64(t.SectorSize)
	if e.FirstLBA > e.LastLBA || e.FirstLBA < uint64(t.FirstUsable)/sector || e.LastLBA >= uint64(t.End)/sector {
		return fmt.Errorf("sectors %d to %d are not in the usable part of the disk", e.FirstLBA, e.LastLBA)
	}
	name := e.Name[:]
	if end := slices.Index(name, 0); end >= 0 {
		name = name[:end]
	}
	t.Partitions = append(t.Partitions, Entry{
		Number:     number,
		Name:       string(utf16.Decode(name)),
		Type:       e.Type,
		ID:         e.ID,
		Start:      int64(e.FirstLBA * sector),
		Size:       int64((e.LastLBA - e.FirstLBA + 1) * sector),
		Attributes: e.Attributes,
	})
	return nil
}

func (t *Table) checkOverlap() error {
	byStart := slices.SortedFunc(slices.Values(t.Partitions), func(a, b Entry) int { return cmp.Compare(a.Start, b.Start) })
	for i := 1; i < len(byStart); i++ {
		if a, b := byStart[i-1], byStart[i]; a.Start+a.Size > b.Start {
			return fmt.Errorf("partitions %d and %d overlap", a.Number, b.Number)
		}
	}
	return nil
}
