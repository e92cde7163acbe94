package ext4

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// incompatRead are the features that [Read] knows of. It ignores a journal that
// was not replayed (0x4): what a machine wrote last before it lost its power may
// be missing.
const incompatRead = incompatFileType | incompatExtents | incompat64Bit | incompatFlexBG | incompatCsumSeed | 0x4

const (
	maxNames   = 1 << 24 // names that are read of a file system
	maxDirSize = 1 << 28 // bytes of a directory
	maxTarget  = 4096    // bytes of a symbolic link
)

// Read returns the tree of a file system, the reverse of [Format]: with inodes
// of several names, extended attributes and all, but without an empty
// lost+found. Content is not read but referred to. It reads what Format and
// the kernel write, and stops at what can only be damage.
func Read(r io.ReaderAt) (*rootfs.Inode, error) {
	rd := &reader{r: r, inodes: map[uint32]*rootfs.Inode{}}
	if err := rd.open(); err != nil {
		return nil, fmt.Errorf("ext4: %w", err)
	}
	root, err := rd.inode(inoRoot, ".")
	if err != nil {
		return nil, fmt.Errorf("ext4: %w", err)
	}
	if !root.IsDir() {
		return nil, errors.New("ext4: the root is not a directory")
	}
	if lost := root.Children["lost+found"]; lost != nil && len(lost.Children) == 0 {
		delete(root.Children, "lost+found")
	}
	return root, nil
}

type reader struct {
	r      io.ReaderAt
	super  superBlock
	block  int64
	blocks uint64
	tables []uint64 // first block of each group's inode table
	inodes map[uint32]*rootfs.Inode
	names  int
}

// open reads superblock and group descriptors.
func (rd *reader) open() error {
	raw := make([]byte, superSize)
	if _, err := rd.r.ReadAt(raw, superOffset); err != nil {
		return fmt.Errorf("superblock: %w", err)
	}
	s := &rd.super
	if _, err := binary.Decode(raw, binary.LittleEndian, s); err != nil {
		return err
	}
	rd.blocks = uint64(s.BlocksCountLo)
	size := 32
	if s.FeatureIncompat&incompat64Bit != 0 {
		rd.blocks |= uint64(s.BlocksCountHi) << 32
		size = int(s.DescSize)
	}
	switch {
	case s.Magic != magic:
		return fmt.Errorf("superblock: magic number %#x", s.Magic)
	case s.FeatureIncompat&^incompatRead != 0:
		return fmt.Errorf("superblock: features %#x are not known", s.FeatureIncompat&^incompatRead)
	case s.LogBlockSize > 6 || s.InodeSize < 128 || s.InodeSize > 1024<<s.LogBlockSize || size != 32 && size != descSize:
		return errors.New("superblock: sizes that cannot be")
	case s.BlocksPerGroup == 0 || s.InodesPerGroup == 0 || rd.blocks == 0 || rd.blocks > 1<<48:
		return errors.New("superblock: counts that cannot be")
	}
	rd.block = 1024 << s.LogBlockSize
	groups := int64((rd.blocks - uint64(s.FirstDataBlock) + uint64(s.BlocksPerGroup) - 1) / uint64(s.BlocksPerGroup))
	if groups > maxNames {
		return fmt.Errorf("superblock: %d block groups", groups)
	}
	// In pieces, so that a wrong number meets the end of the file before the
	// end of memory.
	in := io.NewSectionReader(rd.r, (int64(s.FirstDataBlock)+1)*rd.block, groups*int64(size))
	raw = make([]byte, descSize)
	for range groups {
		if _, err := io.ReadFull(in, raw[:size]); err != nil {
			return fmt.Errorf("group descriptors: %w", err)
		}
		var d groupDesc
		if _, err := binary.Decode(raw, binary.LittleEndian, &d); err != nil {
			return err
		}
		rd.tables = append(rd.tables, uint64(d.InodeTableHi)<<32|uint64(d.InodeTableLo))
	}
	return nil
}

// inode returns the tree below an inode, which has the given path.
func (rd *reader) inode(ino uint32, path string) (*rootfs.Inode, error) {
	in, d, err := rd.decode(ino)
	if err == nil {
		switch in.Type() {
		case rootfs.ModeFile:
			in.Content, err = rd.content(d)
		case rootfs.ModeLink:
			in.Target, err = rd.target(d)
		case rootfs.ModeChar, rootfs.ModeBlock:
			in.Rdev = device(d.Block)
		case rootfs.ModeDir:
			rd.inodes[ino] = nil // it is being read
			return in, rd.children(in, d, path)
		case rootfs.ModeFIFO, rootfs.ModeSocket:
		default:
			err = fmt.Errorf("mode %#o", d.Mode)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: inode %d: %w", path, ino, err)
	}
	return in, nil
}

// decode reads what an inode says of itself.
func (rd *reader) decode(ino uint32) (*rootfs.Inode, *inode, error) {
	group := (ino - 1) / rd.super.InodesPerGroup
	if ino == 0 || int(group) >= len(rd.tables) {
		return nil, nil, errors.New("there is no such inode")
	}
	raw := make([]byte, max(int(rd.super.InodeSize), bodyOffset))
	at := int64(rd.tables[group])*rd.block + int64((ino-1)%rd.super.InodesPerGroup)*int64(rd.super.InodeSize)
	if _, err := rd.r.ReadAt(raw[:rd.super.InodeSize], at); err != nil {
		return nil, nil, err
	}
	d := &inode{}
	if _, err := binary.Decode(raw, binary.LittleEndian, d); err != nil {
		return nil, nil, err
	}
	if d.LinksCount == 0 {
		return nil, nil, errors.New("it is free")
	}
	in := &rootfs.Inode{
		Mode: uint32(d.Mode), UID: uint32(d.UIDHigh)<<16 | uint32(d.UID), GID: uint32(d.GIDHigh)<<16 | uint32(d.GID),
		MTime:     rootfs.Time{Sec: int64(int32(d.MTime)) + int64(d.MTimeExtra&3)<<32, Nsec: d.MTimeExtra >> 2},
		Immutable: d.Flags&inodeImmutable != 0,
	}
	if in.MTime.Nsec > 999_999_999 {
		return nil, nil, fmt.Errorf("time has %d nanoseconds", in.MTime.Nsec)
	}
	body := raw[min(128+int(d.ExtraISize), len(raw)):rd.super.InodeSize]
	var err error
	in.Xattrs, err = rd.xattrs(body, int64(d.FileACLHigh)<<32|int64(d.FileACLLo))
	return in, d, err
}

// content returns where the blocks of an inode are.
func (rd *reader) content(d *inode) (*disk.Image, error) {
	if d.Flags&inodeExtents == 0 && d.BlocksLo == 0 {
		return disk.New(int64(d.size()))
	}
	if d.Flags&inodeExtents == 0 {
		return nil, errors.New("its blocks are not in extents, which is not supported")
	}
	var raw [60]byte
	for i, w := range d.Block {
		binary.LittleEndian.PutUint32(raw[4*i:], w)
	}
	var extents []disk.Extent
	if err := rd.extents(raw[:], 5, int64(d.size()), &extents); err != nil {
		return nil, err
	}
	return disk.New(int64(d.size()), extents...)
}

// extents collects what is in a node of an extent tree, of at most so many levels.
func (rd *reader) extents(node []byte, levels int, size int64, all *[]disk.Extent) error {
	var h extentHeader
	if _, err := binary.Decode(node, binary.LittleEndian, &h); err != nil {
		return err
	}
	if h.Magic != extentMagic || int(h.Depth) > levels || 12+12*int(h.Entries) > len(node) {
		return errors.New("extent tree is damaged")
	}
	for i := range int(h.Entries) {
		raw := node[12+12*i:]
		if h.Depth > 0 {
			var x extentIndex
			if _, err := binary.Decode(raw, binary.LittleEndian, &x); err != nil {
				return err
			}
			child := make([]byte, rd.block)
			if _, err := rd.r.ReadAt(child, (int64(x.LeafHi)<<32|int64(x.LeafLo))*rd.block); err != nil {
				return fmt.Errorf("extent tree: %w", err)
			}
			if err := rd.extents(child, int(h.Depth)-1, size, all); err != nil {
				return err
			}
			continue
		}
		var e extent
		if _, err := binary.Decode(raw, binary.LittleEndian, &e); err != nil {
			return err
		}
		const unwritten = 1 << 15 // what is longer by this is allocated, and reads as zeros
		start := int64(e.StartHi)<<32 | int64(e.StartLo)
		at, n := int64(e.Block)*rd.block, min(int64(e.Len)*rd.block, size-int64(e.Block)*rd.block)
		switch {
		case e.Len > unwritten || n <= 0:
		case uint64(start)+uint64(e.Len) > rd.blocks:
			return fmt.Errorf("extent at block %d is outside", start)
		default:
			*all = append(*all, disk.Extent{Off: at, Blob: io.NewSectionReader(rd.r, start*rd.block, n)})
		}
	}
	return nil
}

func (rd *reader) target(d *inode) (string, error) {
	n := d.size()
	if n == 0 || n > maxTarget {
		return "", fmt.Errorf("symbolic link of %d bytes", n)
	}
	to := make([]byte, max(n, 60))
	if d.Flags&inodeExtents == 0 && n < fastSymlink {
		for i, w := range d.Block {
			binary.LittleEndian.PutUint32(to[4*i:], w)
		}
	} else if content, err := rd.content(d); err != nil {
		return "", err
	} else if _, err := content.ReadAt(to[:n], 0); err != nil && err != io.EOF {
		return "", err
	}
	return string(to[:n]), nil
}

// device undoes deviceBlocks.
func device(words [15]uint32) uint64 {
	major, minor := uint64(words[0]>>8&0xFF), uint64(words[0]&0xFF)
	if words[0] == 0 {
		major, minor = uint64(words[1]>>8&0xFFF), uint64(words[1]&0xFF|words[1]>>12&0xFFF00)
	}
	return minor&0xFF | major&0xFFF<<8 | minor&^0xFF<<12 | major&^0xFFF<<32
}

// children reads a directory. Its index is passed over: to a reader of all
// blocks it looks like entries that are free.
func (rd *reader) children(dir *rootfs.Inode, d *inode, path string) error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("%s: directory: %w", path, fmt.Errorf(format, args...))
	}
	if d.size() > maxDirSize {
		return fail("%d bytes", d.size())
	}
	content, err := rd.content(d)
	if err != nil {
		return fail("%w", err)
	}
	dir.Children = map[string]*rootfs.Inode{}
	block := make([]byte, rd.block)
	for at := int64(0); at < content.Size(); at += rd.block {
		if n, err := content.ReadAt(block, at); n < len(block) {
			return fail("%w", err)
		}
		for rest := block; len(rest) > 0; {
			var h direntHeader
			if _, err := binary.Decode(rest, binary.LittleEndian, &h); err != nil {
				return fail("%w", err)
			}
			if h.RecLen < 8 || int(h.RecLen) > len(rest) || 8+int(h.NameLen) > int(h.RecLen) {
				return fail("an entry is damaged")
			}
			name := string(rest[8 : 8+int(h.NameLen)])
			rest = rest[h.RecLen:]
			if h.Inode == 0 || name == "." || name == ".." {
				continue
			}
			if name == "" || strings.ContainsAny(name, "/\x00") || dir.Children[name] != nil {
				return fail("there cannot be an entry %q", name)
			}
			if rd.names++; rd.names > maxNames {
				return fail("more than %d names", maxNames)
			}
			child, known := rd.inodes[h.Inode]
			if known && (child == nil || child.IsDir()) {
				return fail("%s is a directory of another name", name)
			}
			if !known {
				if child, err = rd.inode(h.Inode, strings.TrimPrefix(path+"/"+name, "./")); err != nil {
					return err
				}
				rd.inodes[h.Inode] = child
			}
			dir.Children[name] = child
		}
	}
	return nil
}

// xattrs reads what stands behind an inode's fields, and in a block.
func (rd *reader) xattrs(body []byte, block int64) (map[string]string, error) {
	found := map[string]string{}
	if len(body) >= 4 && binary.LittleEndian.Uint32(body) == xattrMagic {
		if err := decodeAttrs(found, body[4:], body[4:]); err != nil {
			return nil, err
		}
	}
	if block != 0 {
		raw := make([]byte, rd.block)
		if _, err := rd.r.ReadAt(raw, block*rd.block); err != nil {
			return nil, fmt.Errorf("attributes: %w", err)
		}
		if binary.LittleEndian.Uint32(raw) != xattrMagic {
			return nil, errors.New("attributes: no magic number")
		}
		if err := decodeAttrs(found, raw[xattrHeadSize:], raw); err != nil {
			return nil, err
		}
	}
	if len(found) == 0 {
		return nil, nil
	}
	return found, nil
}

// decodeAttrs reads entries whose values' offsets count from the start of base.
func decodeAttrs(to map[string]string, entries, base []byte) error {
	for len(entries) >= 4 && binary.LittleEndian.Uint32(entries) != 0 {
		var e xattrEntry
		if _, err := binary.Decode(entries, binary.LittleEndian, &e); err != nil {
			return errors.New("attributes are damaged")
		}
		size := xattrEntrySize + pad4(int(e.NameLen))
		end := uint64(e.ValueOffs) + uint64(e.ValueSize)
		if size > len(entries) || e.ValueInum != 0 || e.ValueSize > 0 && end > uint64(len(base)) {
			return errors.New("attributes are damaged")
		}
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

// system undoes newAttr.
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
	return "", "", fmt.Errorf("attribute %q of index %d", a.name, a.index)
}

// systemACL undoes diskACL: an entry that needs no id has one of all ones.
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
