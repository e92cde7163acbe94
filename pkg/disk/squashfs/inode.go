package squashfs

import (
	"errors"
	"fmt"
	"path"

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

// A listing is where the entries of a directory are.
type listing struct {
	ref  uint64 // in the table of directories
	size int64  // bytes
}

// inode returns the inode of a reference, a directory without its entries.
func (rd *reader) inode(ref uint64) (in *rootfs.Inode, list listing, err error) {
	if in, ok := rd.inodes[ref]; ok {
		if in.IsDir() {
			return nil, list, errors.New("directory with two parents")
		}
		return in, list, nil
	}
	s, err := rd.at(rd.InodeTable, ref)
	if err != nil {
		return nil, list, err
	}
	var h header
	if err := s.decode(&h); err != nil {
		return nil, list, err
	}
	kind, long := h.Type, h.Type > extended
	if long {
		kind -= extended
	}
	mode, ok := modes[kind]
	if !ok || int(h.UID) >= len(rd.ids) || int(h.GID) >= len(rd.ids) {
		return nil, list, fmt.Errorf("inode of type %d with owners %d and %d", h.Type, h.UID, h.GID)
	}
	in = &rootfs.Inode{Mode: mode | uint32(h.Mode)&0o7777, UID: rd.ids[h.UID], GID: rd.ids[h.GID], MTime: rootfs.Time{Sec: int64(h.MTime)}}
	rd.inodes[ref] = in
	switch kind {
	case typeDir:
		list, err = rd.readListing(s, in, long)
	case typeFile:
		err = rd.readFile(s, in, long)
	case typeLink:
		err = rd.readLink(s, in, long)
	default:
		err = rd.readSpecial(s, in, kind, long)
	}
	return in, list, err
}

// readListing reads the rest of a directory's inode.
func (rd *reader) readListing(s *stream, in *rootfs.Inode, long bool) (list listing, err error) {
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
	in.Children = map[string]*rootfs.Inode{}
	return listing{uint64(d.Block)<<16 | uint64(d.Offset), int64(d.Size) - 3}, err // the size counts "." and ".."
}

// readDir reads the entries of a directory, and all inodes below it.
func (rd *reader) readDir(in *rootfs.Inode, list listing, dir string) error {
	if list.size <= 0 {
		return nil
	}
	s, err := rd.at(rd.DirTable, list.ref)
	for err == nil && list.size > 0 {
		var h dirHeader
		if err = s.decode(&h); err == nil && h.Count >= 256 {
			err = fmt.Errorf("%d entries after one header", h.Count)
		}
		list.size -= 12
		for i := uint32(0); err == nil && i <= h.Count; i++ {
			var name string
			var ref uint64
			if name, ref, err = readEntry(s, h); err != nil {
				break
			}
			list.size -= 8 + int64(len(name))
			if err := rd.addChild(in, dir, name, ref); err != nil {
				return err
			}
		}
	}
	if err != nil {
		return fmt.Errorf("/%s: %w", dir, err)
	}
	return nil
}

// readEntry reads an entry after a header. It returns the name and the
// reference of the inode.
func readEntry(s *stream, h dirHeader) (name string, ref uint64, err error) {
	var e dirEntry
	if err := s.decode(&e); err != nil {
		return "", 0, err
	}
	b, err := s.take(int(e.Size) + 1)
	return string(b), uint64(h.Block)<<16 | uint64(e.Offset), err
}

// addChild adds the inode of a reference to a directory.
func (rd *reader) addChild(in *rootfs.Inode, dir, name string, ref uint64) error {
	at := path.Join(dir, name)
	rd.names++
	switch {
	case !rootfs.ValidName(name):
		return fmt.Errorf("/%s: invalid name %q", dir, name)
	case in.Children[name] != nil:
		return fmt.Errorf("/%s: two entries of this name", at)
	case len(at) > maxPath:
		return fmt.Errorf("/%s: path of more than %d bytes", dir, maxPath)
	case rd.names > maxNames:
		return fmt.Errorf("more than %d names", maxNames)
	}
	child, list, err := rd.inode(ref)
	if err != nil {
		return fmt.Errorf("/%s: %w", at, err)
	}
	in.Children[name] = child
	if child.IsDir() {
		return rd.readDir(child, list, at)
	}
	return nil
}

// readLink reads the rest of a symbolic link's inode.
func (rd *reader) readLink(s *stream, in *rootfs.Inode, long bool) error {
	var l linkInode
	if err := s.decode(&l); err != nil {
		return err
	}
	if l.Size > maxPath {
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
