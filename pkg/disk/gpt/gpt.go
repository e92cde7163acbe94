// Package gpt puts partitions on a disk: a protective MBR and a GUID partition
// table (UEFI 2.10, chapter 5) with its backup at the end.
//
//	LBA (512)      LBA (4096)
//	0              0            protective MBR, boot code in its first 440 bytes
//	1              1            header
//	2 to 33        2 to 5       128 entries of 128 bytes
//	2048           256          first usable sector, always at 1 MiB
//	...                         partitions, each starting on a whole MiB
//	total-33       total-5      entries again
//	total-1        total-1      header again
//
// The first usable sector and the fields of the MBR are those of sfdisk: the
// sector is at 1 MiB, not directly behind the entries. [End] leaves the last MiB
// to the backup, like Fedora CoreOS images.
//
// Not supported are hybrid MBRs, attributes of partitions, and tables of other than
// 128 entries. [Read] is for inspecting disks; damage is an error.
//
// The code is our own because go-diskfs 1.9 has no option for the first usable
// sector, leaves the CHS fields of the MBR zero, and checks neither overlap nor
// range. It serves the tests as an independent reader.
package gpt

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// align is the alignment of partitions, and the room before the first one.
const align = 1 << 20

// backupSize is the largest size of the backup table: five sectors of 4096 bytes,
// more than 33 of 512.
const backupSize = 5 * 4096

// Options are the properties of a disk besides its partitions.
type Options struct {
	DiskGUID   GUID   // must be set
	SectorSize int    // 512 or 4096; 0 is 512
	BootCode   []byte // for the MBR, at most 440 bytes
}

// A Partition is a piece of a disk.
type Partition struct {
	Number  int    // 1 to 128
	Name    string // at most 36 UTF-16 units
	Type    GUID
	ID      GUID
	Start   int64       // in bytes, a whole MiB; 0 means directly behind the previous argument, rounded up
	Size    int64       // in bytes, whole sectors; 0 means the size of the content
	Content rootfs.Blob // may be smaller than the partition; nil is a hole
}

// End returns the offset behind the last byte that a partition can have on a
// disk of the given size: the last whole MiB before the backup table.
func End(size int64) int64 {
	return max(0, (size-backupSize)/align*align)
}

// Layout returns a disk of the given size in bytes with partitions on it.
func Layout(size int64, o Options, parts ...Partition) (*disk.Image, error) {
	t := table{size: size, sector: int64(cmp.Or(o.SectorSize, 512)), guid: o.DiskGUID}
	if err := t.check(o); err != nil {
		return nil, fmt.Errorf("gpt: %w", err)
	}
	var extents []disk.Extent
	next := int64(align)
	for _, p := range parts {
		p.Start = cmp.Or(p.Start, (next+align-1)/align*align)
		if p.Content != nil {
			p.Size = cmp.Or(p.Size, p.Content.Size())
			extents = append(extents, disk.Extent{Off: p.Start, Blob: p.Content})
		}
		if err := t.add(p); err != nil {
			return nil, fmt.Errorf("gpt: partition %d: %w", p.Number, err)
		}
		next = p.Start + p.Size
	}
	extents = append(extents,
		disk.Extent{Off: 0, Blob: bytes.NewReader(t.primary(o.BootCode))},
		disk.Extent{Off: (t.total() - 1 - t.entrySectors()) * t.sector, Blob: bytes.NewReader(t.backup())})
	return disk.New(size, extents...)
}

// A table is a partition table that grows by add.
type table struct {
	size   int64
	sector int64
	guid   GUID
	parts  []Partition
}

func (t *table) total() int64        { return t.size / t.sector }
func (t *table) entrySectors() int64 { return entrySize * entryCount / t.sector }
func (t *table) firstUsable() int64  { return align / t.sector }
func (t *table) lastUsable() int64   { return t.total() - t.entrySectors() - 2 }

func (t *table) check(o Options) error {
	switch {
	case t.sector != 512 && t.sector != 4096:
		return fmt.Errorf("sectors of %d bytes, must be 512 or 4096", t.sector)
	case t.size%t.sector != 0:
		return fmt.Errorf("disk of %s is not whole sectors", rootfs.Bytes(t.size))
	case t.lastUsable() < t.firstUsable():
		return fmt.Errorf("disk of %s is too small", rootfs.Bytes(t.size))
	case t.guid == GUID{}:
		return errors.New("disk has no GUID")
	case len(o.BootCode) > len(mbr{}.BootCode):
		return fmt.Errorf("boot code of %d bytes, limit is %d", len(o.BootCode), len(mbr{}.BootCode))
	}
	return nil
}

// add checks a partition against the disk and the other partitions, and adds it.
func (t *table) add(p Partition) error {
	switch {
	case p.Number < 1 || p.Number > entryCount:
		return fmt.Errorf("number is not 1 to %d", entryCount)
	case p.Type == GUID{}:
		return errors.New("has no type")
	case p.ID == GUID{}:
		return errors.New("has no GUID")
	case !utf8.ValidString(p.Name) || len(utf16.Encode([]rune(p.Name))) > len(entry{}.Name):
		return fmt.Errorf("name %q is not UTF-8 or has more than %d UTF-16 units", p.Name, len(entry{}.Name))
	case slices.Contains([]rune(p.Name), 0):
		return fmt.Errorf("name %q has a zero in it", p.Name)
	case p.Start < align || p.Start%align != 0:
		return fmt.Errorf("starts at %d, not on a whole MiB behind the table", p.Start)
	case p.Size <= 0 || p.Size%t.sector != 0:
		return fmt.Errorf("size %d is not whole sectors", p.Size)
	case p.Size > (t.lastUsable()+1)*t.sector-p.Start:
		return fmt.Errorf("%d+%d leaves the usable part of the disk, which ends at %d", p.Start, p.Size, (t.lastUsable()+1)*t.sector)
	case p.Content != nil && p.Content.Size() > p.Size:
		return fmt.Errorf("content of %s does not fit in %s", rootfs.Bytes(p.Content.Size()), rootfs.Bytes(p.Size))
	}
	for _, q := range t.parts {
		switch {
		case p.Number == q.Number:
			return errors.New("number is taken")
		case p.ID == q.ID:
			return fmt.Errorf("has the GUID of partition %d", q.Number)
		case p.Start < q.Start+q.Size && q.Start < p.Start+p.Size:
			return fmt.Errorf("%d+%d overlaps partition %d", p.Start, p.Size, q.Number)
		}
	}
	t.parts = append(t.parts, p)
	return nil
}

// primary returns the MBR, the header and the entries.
func (t *table) primary(bootCode []byte) []byte {
	b := make([]byte, 0, (2+t.entrySectors())*t.sector)
	b = encode(b, t.mbr(bootCode))
	b = encode(b[:t.sector], t.header(1, t.total()-1, 2))
	return append(b[:2*t.sector], t.entries()...)
}

// backup returns the entries and the header behind them.
func (t *table) backup() []byte {
	b := make([]byte, 0, (t.entrySectors()+1)*t.sector)
	b = append(b, t.entries()...)
	b = encode(b, t.header(t.total()-1, 1, t.total()-1-t.entrySectors()))
	return b[:cap(b)]
}

func (t *table) mbr(bootCode []byte) mbr {
	m := mbr{Signature: [2]byte{0x55, 0xAA}}
	copy(m.BootCode[:], bootCode)
	m.Records[0] = mbrRecord{
		StartCHS: [3]byte{0x00, 0x02, 0x00}, // LBA 1
		Type:     protective,
		EndCHS:   [3]byte{0xFF, 0xFF, 0xFF}, // the last address of the format
		StartLBA: 1,
		Sectors:  uint32(min(t.total()-1, math.MaxUint32)),
	}
	return m
}

func (t *table) header(my, alternate, entries int64) header {
	h := header{
		Revision:       revision,
		HeaderSize:     headerSize,
		MyLBA:          uint64(my),
		AlternateLBA:   uint64(alternate),
		FirstUsableLBA: uint64(t.firstUsable()),
		LastUsableLBA:  uint64(t.lastUsable()),
		DiskGUID:       t.guid,
		EntriesLBA:     uint64(entries),
		EntryCount:     entryCount,
		EntrySize:      entrySize,
		EntriesCRC:     crc32.ChecksumIEEE(t.entries()),
	}
	copy(h.Signature[:], signature)
	h.HeaderCRC = crc32.ChecksumIEEE(encode(nil, h))
	return h
}

func (t *table) entries() []byte {
	var entries [entryCount]entry
	for _, p := range t.parts {
		e := &entries[p.Number-1]
		e.Type, e.ID = p.Type, p.ID
		e.FirstLBA = uint64(p.Start / t.sector)
		e.LastLBA = uint64((p.Start+p.Size)/t.sector - 1)
		copy(e.Name[:], utf16.Encode([]rune(p.Name)))
	}
	return encode(nil, entries)
}
