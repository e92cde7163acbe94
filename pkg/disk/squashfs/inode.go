package squashfs

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/internal/walk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// header is the part that all inodes begin with.
type header struct {
	Type   uint16
	Mode   uint16
	UID    uint16 // index
	GID    uint16 // index
	MTime  uint32
	Number uint32
}

// Types of inodes. Those of the extended form are larger by extended.
const (
	typeDir = 1 + iota
	typeFile
	typeLink
	typeBlock
	typeChar
	typeFIFO
	typeSocket

	extended = 7
)

var modes = map[uint16]uint32{
	typeDir: rootfs.ModeDir, typeFile: rootfs.ModeFile, typeLink: rootfs.ModeLink, typeBlock: rootfs.ModeBlock,
	typeChar: rootfs.ModeChar, typeFIFO: rootfs.ModeFIFO, typeSocket: rootfs.ModeSocket,
}

// Inodes after their header: struct squashfs_dir_inode and its like.
type (
	dirInode struct {
		Block  uint32
		Links  uint32
		Size   uint16
		Offset uint16
		Parent uint32
	}
	longDirInode struct {
		Links   uint32
		Size    uint32
		Block   uint32
		Parent  uint32
		Indexes uint16
		Offset  uint16
		Xattr   uint32
	}
	fileInode struct {
		Block    uint32
		Fragment uint32
		Offset   uint32
		Size     uint32
	}
	longFileInode struct {
		Block    uint64
		Size     uint64
		Sparse   uint64
		Links    uint32
		Fragment uint32
		Offset   uint32
		Xattr    uint32
	}
	linkInode struct {
		Links uint32
		Size  uint32
	}
	deviceInode struct {
		Links  uint32
		Device uint32
	}
	dirHeader struct {
		Count  uint32 // less one
		Block  uint32 // of the inodes
		Number uint32
	}
	dirEntry struct {
		Offset uint16 // of the inode in its block
		Number int16
		Type   uint16
		Size   uint16 // of the name, less one
	}
)

// Inode implements [walk.Source]. The number of an inode is its reference.
func (rd *reader) Inode(ref uint64) (in *rootfs.Inode, entries []walk.Entry, err error) {
	s, err := rd.at(rd.InodeTable, ref)
	if err != nil {
		return nil, nil, err
	}
	var h header
	if err := s.decode(&h); err != nil {
		return nil, nil, err
	}
	kind, long := h.Type, h.Type > extended
	if long {
		kind -= extended
	}
	mode, ok := modes[kind]
	if !ok || int(h.UID) >= len(rd.ids) || int(h.GID) >= len(rd.ids) {
		return nil, nil, fmt.Errorf("inode of type %d with owners %d and %d", h.Type, h.UID, h.GID)
	}
	in = &rootfs.Inode{Mode: mode | uint32(h.Mode)&0o7777, UID: rd.ids[h.UID], GID: rd.ids[h.GID], MTime: rootfs.Time{Sec: int64(h.MTime)}}
	switch kind {
	case typeDir:
		entries, err = rd.readDir(s, in, long)
	case typeFile:
		err = rd.readFile(s, in, long)
	case typeLink:
		err = rd.readLink(s, in, long)
	default:
		err = rd.readSpecial(s, in, kind, long)
	}
	return in, entries, err
}

// readDir reads the rest of a directory's inode, and the entries.
func (rd *reader) readDir(s *stream, in *rootfs.Inode, long bool) (entries []walk.Entry, err error) {
	var d longDirInode
	if long {
		err = s.decode(&d)
	} else {
		var short dirInode
		err = s.decode(&short)
		d = longDirInode{Size: uint32(short.Size), Block: short.Block, Offset: short.Offset, Xattr: none}
	}
	if err == nil {
		in.Xattrs, err = rd.readXattrs(d.Xattr)
	}
	left := int64(d.Size) - 3 // the size counts "." and ".."
	if err != nil || left <= 0 {
		return nil, err
	}
	if s, err = rd.at(rd.DirTable, uint64(d.Block)<<16|uint64(d.Offset)); err != nil {
		return nil, err
	}
	for left > 0 {
		run, size, err := readRun(s)
		if err != nil {
			return nil, err
		}
		entries, left = append(entries, run...), left-size
		if len(entries) > limits.Names {
			return nil, fmt.Errorf("more than %d names", limits.Names)
		}
	}
	return entries, nil
}

// readRun reads a directory header and the entries after it. It returns their
// size.
func readRun(s *stream) (entries []walk.Entry, size int64, err error) {
	var h dirHeader
	if err := s.decode(&h); err != nil {
		return nil, 0, err
	}
	if h.Count >= 256 {
		return nil, 0, fmt.Errorf("%d entries after one header", h.Count)
	}
	size = int64(binary.Size(h))
	for range h.Count + 1 {
		var e dirEntry
		if err := s.decode(&e); err != nil {
			return nil, 0, err
		}
		name, err := s.take(int(e.Size) + 1)
		if err != nil {
			return nil, 0, err
		}
		entries = append(entries, walk.Entry{Name: string(name), Ino: uint64(h.Block)<<16 | uint64(e.Offset)})
		size += int64(binary.Size(e) + len(name))
	}
	return entries, size, nil
}

// readLink reads the rest of a symbolic link's inode.
func (rd *reader) readLink(s *stream, in *rootfs.Inode, long bool) error {
	var l linkInode
	if err := s.decode(&l); err != nil {
		return err
	}
	if int64(l.Size) > int64(limits.Path) {
		return errors.New("symbolic link that is too long")
	}
	target, err := s.take(int(l.Size))
	if err != nil {
		return err
	}
	in.Target = string(target)
	return rd.readLongXattrs(s, in, long)
}

// readSpecial reads the rest of the inode of a device, FIFO or socket.
func (rd *reader) readSpecial(s *stream, in *rootfs.Inode, kind uint16, long bool) error {
	if kind == typeBlock || kind == typeChar {
		var d deviceInode
		if err := s.decode(&d); err != nil {
			return err
		}
		in.Rdev = uint64(d.Device)
	} else if _, err := s.take(4); err != nil { // links
		return err
	}
	return rd.readLongXattrs(s, in, long)
}

// readLongXattrs reads the index of the extended attributes, which is the last
// field of an inode in the extended form, and the attributes.
func (rd *reader) readLongXattrs(s *stream, in *rootfs.Inode, long bool) error {
	if !long {
		return nil
	}
	b, err := s.take(4)
	if err == nil {
		in.Xattrs, err = rd.readXattrs(order.Uint32(b))
	}
	return err
}
