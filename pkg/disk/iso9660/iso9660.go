// Package iso9660 reads ISO 9660 file systems: the CDs and live media of
// operating systems.
//
// Sources: ECMA-119 (ISO 9660), IEEE P1281 (SUSP), IEEE P1282 (Rock Ridge) and
// the Joliet specification. Names, modes and times are those that Linux shows:
// Rock Ridge comes before Joliet, and plain names are in lower case without
// their version. zisofs, interleaved files and volumes of several media are not
// supported.
//
// go-diskfs has a reader, too. Version 1.9.4 drops the dot of hidden files,
// shows files above 4 GiB in pieces, finds the wrong directory through the path
// table of images without Rock Ridge, and follows a continuation area that
// points to itself forever. It is the second opinion in tests.
package iso9660

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf16"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/internal/walk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

const (
	sector       = 2048     // size of the volume descriptors
	systemArea   = 16       // sectors before them
	maxVolumes   = 64       // volume descriptors that are read
	maxDirectory = 64 << 20 // bytes
)

// limits bound the tree that [Read] returns.
var limits = walk.Limits{Names: 1 << 19, Path: walk.Default.Path, Bytes: 256 << 20}

// A descriptor is the part of a volume descriptor that the primary and the
// supplementary one have in common (ECMA-119, 8.4 and 8.5).
type descriptor struct {
	Type        uint8
	Magic       [5]byte
	Version     uint8
	_           [33]byte
	Volume      [32]byte
	_           [16]byte
	Escape      [32]byte // character set of a supplementary descriptor
	_           [8]byte
	BlockSize   uint16
	_           [26]byte
	Root        record
	_           [1]byte
	_           [623]byte
	Created     [17]byte
	Modified    [17]byte
	_           [34]byte
	FileVersion uint8
}

// Types of volume descriptors.
const (
	typePrimary       = 1
	typeSupplementary = 2
	typeTerminator    = 255
)

var order = binary.LittleEndian // numbers stand in both orders

// readDescriptor reads the volume descriptor of an index.
func readDescriptor(r io.ReaderAt, index int64) (d descriptor, err error) {
	b := make([]byte, sector)
	if err := rootfs.ReadFull(r, b, (systemArea+index)*sector); err != nil {
		return d, err
	}
	if _, err := binary.Decode(b, order, &d); err != nil {
		return d, err
	}
	if string(d.Magic[:]) != "CD001" {
		return d, errors.New("no signature")
	}
	return d, nil
}

// Identify reports whether r holds an ISO 9660 file system, and returns its
// label and its identifier in the form of blkid(8), a time such as
// 2026-11-30-08-42-14-00.
func Identify(r io.ReaderAt) (label, id string, ok bool) {
	d, err := readDescriptor(r, 0)
	if err != nil {
		return "", "", false
	}
	stamp := d.Modified
	if unset(stamp[:16]) {
		stamp = d.Created
	}
	if !unset(stamp[:16]) {
		s := string(stamp[:16])
		id = strings.Join([]string{s[:4], s[4:6], s[6:8], s[8:10], s[10:12], s[12:14], s[14:16]}, "-")
	}
	return strings.TrimRight(string(d.Volume[:]), " \x00"), id, true
}

// unset reports whether a time consists of zeros, or of no digits at all.
func unset(b []byte) bool {
	zeros := true
	for _, c := range b {
		if c < '0' || c > '9' {
			return true
		}
		zeros = zeros && c == '0'
	}
	return zeros
}

// Read returns the tree of an ISO 9660 file system in size bytes. Content is
// not read: inodes refer to ranges of r. A directory has one parent, so a loop
// is an error.
func Read(r io.ReaderAt, size int64) (*rootfs.Inode, error) {
	root, err := read(r, size)
	if err != nil {
		return nil, fmt.Errorf("iso9660: %w", err)
	}
	return root, nil
}

func read(r io.ReaderAt, size int64) (*rootfs.Inode, error) {
	primary, joliet, err := volumes(r)
	if err != nil {
		return nil, err
	}
	rd := &reader{r: r, size: size, block: int64(primary.BlockSize), left: size}
	if b := primary.BlockSize; b < 512 || b > sector || b&(b-1) != 0 {
		return nil, fmt.Errorf("primary volume descriptor: invalid block size %d", b)
	}
	top, err := rd.readRoot(primary.Root)
	if err != nil {
		return nil, fmt.Errorf("root directory: %w", err)
	}
	if !rd.rockRidge && joliet != nil {
		rd.joliet, top.record = true, joliet.Root
	}
	top.Flags |= flagDirectory
	rd.entries = []entry{top}
	return walk.Tree(rd, 0, limits)
}

// volumes returns the primary volume descriptor, and that of Joliet if there is
// one.
func volumes(r io.ReaderAt) (primary, joliet *descriptor, err error) {
	for i := range int64(maxVolumes) {
		d, err := readDescriptor(r, i)
		if err != nil {
			return nil, nil, fmt.Errorf("volume descriptor %d: %w", i, err)
		}
		switch {
		case d.Type == typePrimary && primary == nil:
			primary = &d
		case d.Type == typeSupplementary && isJoliet(d.Escape[:3]):
			joliet = &d
		case d.Type == typeTerminator && primary == nil:
			return nil, nil, errors.New("no primary volume descriptor")
		case d.Type == typeTerminator:
			return primary, joliet, nil
		}
	}
	return nil, nil, fmt.Errorf("more than %d volume descriptors", maxVolumes)
}

func isJoliet(escape []byte) bool {
	s := string(escape)
	return s == "%/@" || s == "%/C" || s == "%/E"
}

// plainName returns a name without Rock Ridge as Linux shows it.
func (rd *reader) plainName(b []byte) string {
	name := string(b)
	if rd.joliet {
		units := make([]uint16, len(b)/2)
		for i := range units {
			units[i] = binary.BigEndian.Uint16(b[2*i:])
		}
		name = string(utf16.Decode(units))
	}
	name = strings.TrimSuffix(name, ";1")
	if !rd.joliet {
		name = strings.ReplaceAll(strings.ToLower(strings.TrimSuffix(name, ".")), ";", ".")
	}
	return name
}
