package xfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// incompatRead are the features that [Read] knows of: those that are written
// here, another UUID in metadata, counts of extents of 64 bits, exchange of
// ranges and parent pointers.
const incompatRead = incompatFtype | incompatSparse | incompatBigtime | 0x4 | nrext64 | 0x40 | 0x80

const (
	maxNames   = 1 << 24 // names that are read of a file system
	maxDirSize = 1 << 30 // bytes of a directory
	maxMaps    = 1 << 22 // pieces of a file
	maxLevels  = 8       // of a tree
)

// Read returns the tree of a file system, the reverse of [Format]: with inodes
// of several names, extended attributes and all. Content is not read but
// referred to. It reads what Format and the kernel write, and stops at what can
// only be damage. A log that was not replayed is ignored: what a machine wrote
// last before it lost its power may be missing.
func Read(r io.ReaderAt) (*rootfs.Inode, error) {
	rd := &reader{r: r, inodes: map[uint64]*rootfs.Inode{}}
	top, err := rd.open()
	if err == nil {
		var root *rootfs.Inode
		if root, err = rd.inode(top, "."); err == nil && root.IsDir() {
			return root, nil
		} else if err == nil {
			err = errors.New("the root is not a directory")
		}
	}
	return nil, fmt.Errorf("xfs: %w", err)
}

type reader struct {
	r          io.ReaderAt
	block      int64
	inodeBytes int64 // bytes of an inode
	perBlock   uint  // bits of an inode's number in a block
	agLog      uint
	agBlocks   uint64
	blocks     uint64
	dirBlock   int64
	inodes     map[uint64]*rootfs.Inode
	names      int
}

// open reads the superblock and returns the number of the root.
func (rd *reader) open() (root uint64, err error) {
	b := make([]byte, 512)
	if _, err := rd.r.ReadAt(b, 0); err != nil {
		return 0, fmt.Errorf("superblock: %w", err)
	}
	rd.block, rd.inodeBytes = int64(be.Uint32(b[4:])), int64(be.Uint16(b[104:]))
	rd.blocks, rd.agBlocks, rd.agLog = be.Uint64(b[8:]), uint64(be.Uint32(b[84:])), uint(b[124])
	features := be.Uint32(b[216:])
	switch {
	case string(b[:4]) != "XFSB":
		return 0, errors.New("superblock: no magic number")
	case be.Uint16(b[100:])&0xf != 5:
		return 0, fmt.Errorf("superblock: version %d, this reads 5", be.Uint16(b[100:])&0xf)
	case features&^incompatRead != 0:
		return 0, fmt.Errorf("superblock: features %#x are not known", features&^incompatRead)
	case rd.block < 512 || rd.block > 64<<10 || rd.block&(rd.block-1) != 0 || rd.inodeBytes < 256 || rd.inodeBytes > min(rd.block, 2048) || rd.inodeBytes&(rd.inodeBytes-1) != 0:
		return 0, errors.New("superblock: sizes that cannot be")
	case rd.agBlocks == 0 || rd.blocks == 0 || rd.blocks > 1<<52 || rd.agLog > 32 || rd.agBlocks > 1<<rd.agLog || b[192] > 4:
		return 0, errors.New("superblock: counts that cannot be")
	}
	rd.perBlock = uint(bits.Len64(uint64(rd.block/rd.inodeBytes)) - 1)
	rd.dirBlock = rd.block << b[192]
	return be.Uint64(b[56:]), nil
}

// read reads from a packed block on.
func (rd *reader) read(b []byte, fsbno uint64) error {
	at, err := rd.offset(fsbno)
	if err == nil {
		_, err = rd.r.ReadAt(b, at)
	}
	return err
}

// offset is where a packed block stands, in bytes.
func (rd *reader) offset(fsbno uint64) (int64, error) {
	linear := fsbno>>rd.agLog*rd.agBlocks + fsbno&(1<<rd.agLog-1)
	if fsbno&(1<<rd.agLog-1) >= rd.agBlocks || linear >= rd.blocks {
		return 0, fmt.Errorf("block %#x is outside", fsbno)
	}
	return int64(linear) * rd.block, nil
}

// A core is what an inode holds.
type core struct {
	ino        uint64
	size       int64
	data, attr []byte // forks
	format     byte
	attrFormat byte
	maps       uint64 // that the data fork has
	attrMaps   uint64
}

// inode returns the tree below an inode, which has the given path.
func (rd *reader) inode(ino uint64, path string) (*rootfs.Inode, error) {
	in, c, err := rd.decode(ino)
	if err == nil {
		in.Xattrs, err = rd.attrs(c)
	}
	if err == nil {
		switch in.Type() {
		case rootfs.ModeFile:
			in.Content, err = rd.content(c.data, c.format, c.maps, c.size)
		case rootfs.ModeLink:
			in.Target, err = rd.target(c)
		case rootfs.ModeChar, rootfs.ModeBlock:
			dev := uint64(be.Uint32(c.data))
			major, minor := dev>>18, dev&(1<<18-1)
			in.Rdev = minor&0xFF | major&0xFFF<<8 | minor&^0xFF<<12 | major&^0xFFF<<32
		case rootfs.ModeDir:
			rd.inodes[ino] = nil // it is being read
			return in, rd.children(in, c, path)
		case rootfs.ModeFIFO, rootfs.ModeSocket:
		default:
			err = fmt.Errorf("mode %#o", in.Mode)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: inode %d: %w", path, ino, err)
	}
	return in, nil
}

func (rd *reader) decode(ino uint64) (*rootfs.Inode, *core, error) {
	b := make([]byte, rd.inodeBytes)
	at, err := rd.offset(ino >> rd.perBlock)
	if err == nil {
		_, err = rd.r.ReadAt(b, at+int64(ino&(1<<rd.perBlock-1))*rd.inodeBytes)
	}
	switch {
	case err != nil:
		return nil, nil, err
	case string(b[:2]) != "IN" || b[4] != 3:
		return nil, nil, errors.New("no magic number")
	case be.Uint32(b[16:]) == 0:
		return nil, nil, errors.New("it is free")
	}
	flags2 := be.Uint64(b[120:])
	in := &rootfs.Inode{
		Mode: uint32(be.Uint16(b[2:])), UID: be.Uint32(b[8:]), GID: be.Uint32(b[12:]),
		Immutable: be.Uint16(b[90:])&flagImmut != 0,
	}
	if flags2&flag2Bigtime != 0 {
		time := be.Uint64(b[40:])
		in.MTime = rootfs.Time{Sec: int64(time/1e9) - 1<<31, Nsec: uint32(time % 1e9)}
	} else {
		in.MTime = rootfs.Time{Sec: int64(int32(be.Uint32(b[40:]))), Nsec: be.Uint32(b[44:])}
	}
	c := &core{
		ino: ino, size: int64(be.Uint64(b[56:])), data: b[coreSize:], format: b[5], attrFormat: b[83],
		maps: uint64(be.Uint32(b[76:])), attrMaps: uint64(be.Uint16(b[80:])),
	}
	if flags2&0x10 != 0 { // counts of 64 bits
		c.maps, c.attrMaps = be.Uint64(b[24:]), uint64(be.Uint32(b[76:]))
	}
	if off := int(b[82]) * 8; off > 0 {
		if off >= len(c.data) {
			return nil, nil, errors.New("its attribute fork is outside")
		}
		c.data, c.attr = c.data[:off], c.data[off:]
	}
	if c.size < 0 || in.MTime.Nsec > 999_999_999 {
		return nil, nil, errors.New("its size or time cannot be")
	}
	return in, c, nil
}

// mappings returns where the blocks of a fork are.
func (rd *reader) mappings(fork []byte, format byte, n uint64) (maps []mapping, err error) {
	switch format {
	case formatExtents:
		if n > uint64(len(fork)/mapSize) {
			return nil, fmt.Errorf("%d extents in %d bytes", n, len(fork))
		}
		return rd.appendMaps(nil, fork, int(n))
	case formatBtree:
		levels, count := int(be.Uint16(fork)), int(be.Uint16(fork[2:]))
		most := (len(fork) - 4) / mapSize
		if count > most || levels == 0 || levels > maxLevels {
			return nil, errors.New("the root of its extents is damaged")
		}
		for i := range count {
			if maps, err = rd.mapTree(maps, be.Uint64(fork[4+8*most+8*i:]), levels-1); err != nil {
				return nil, err
			}
		}
		return maps, nil
	}
	return nil, fmt.Errorf("a fork of format %d", format)
}

func (rd *reader) mapTree(maps []mapping, fsbno uint64, level int) ([]mapping, error) {
	b := make([]byte, rd.block)
	if err := rd.read(b, fsbno); err != nil {
		return nil, err
	}
	count, most := int(be.Uint16(b[6:])), (len(b)-bmbtHeadSize)/mapSize
	if string(b[:4]) != "BMA3" || int(be.Uint16(b[4:])) != level || count > most {
		return nil, errors.New("the tree of its extents is damaged")
	}
	if level == 0 {
		return rd.appendMaps(maps, b[bmbtHeadSize:], count)
	}
	var err error
	for i := range count {
		if maps, err = rd.mapTree(maps, be.Uint64(b[bmbtHeadSize+8*most+8*i:]), level-1); err != nil {
			return nil, err
		}
	}
	return maps, nil
}

// appendMaps decodes mappings. What is allocated and not written is none.
func (rd *reader) appendMaps(maps []mapping, b []byte, n int) ([]mapping, error) {
	for i := range n {
		hi, lo := be.Uint64(b[i*mapSize:]), be.Uint64(b[i*mapSize+8:])
		m := mapping{off: hi << 1 >> 10, n: lo & (1<<21 - 1)}
		fsbno := hi<<43&(1<<52-1) | lo>>21
		at, err := rd.offset(fsbno)
		if err != nil {
			return nil, err
		}
		m.linear = uint64(at / rd.block)
		if m.linear+m.n > rd.blocks || m.off > 1<<50 {
			return nil, fmt.Errorf("extent at block %#x is outside", fsbno)
		}
		if hi>>63 == 0 {
			maps = append(maps, m)
		}
	}
	if len(maps) > maxMaps {
		return nil, fmt.Errorf("more than %d extents", maxMaps)
	}
	return maps, nil
}

// content returns what a fork holds below a size.
func (rd *reader) content(fork []byte, format byte, n uint64, size int64) (*disk.Image, error) {
	maps, err := rd.mappings(fork, format, n)
	if err != nil {
		return nil, err
	}
	var extents []disk.Extent
	for _, m := range maps {
		off := int64(m.off) * rd.block
		if length := min(int64(m.n)*rd.block, size-off); length > 0 {
			extents = append(extents, disk.Extent{Off: off, Blob: io.NewSectionReader(rd.r, int64(m.linear)*rd.block, length)})
		}
	}
	return disk.New(size, extents...)
}

func (rd *reader) target(c *core) (string, error) {
	if c.size == 0 || c.size > maxLink+1 {
		return "", fmt.Errorf("symbolic link of %d bytes", c.size)
	}
	if c.format == formatLocal {
		if c.size > int64(len(c.data)) {
			return "", errors.New("symbolic link is damaged")
		}
		return string(c.data[:c.size]), nil
	}
	maps, err := rd.mappings(c.data, c.format, c.maps)
	if err != nil {
		return "", err
	}
	target, err := rd.unwrap(maps, 0, int(c.size), "XSLM")
	return string(target), err
}

// unwrap reads what is in blocks of a fork that have a header each.
func (rd *reader) unwrap(maps []mapping, block uint64, size int, magic string) ([]byte, error) {
	var out []byte
	b := make([]byte, rd.block)
	for len(out) < size {
		if err := rd.forkBlock(maps, block, b); err != nil {
			return nil, err
		}
		if string(b[:4]) != magic || int(be.Uint32(b[4:])) != len(out) {
			return nil, errors.New("a block of its text is damaged")
		}
		out = append(out, b[remoteHead:min(len(b), remoteHead+size-len(out))]...)
		block++
	}
	return out, nil
}

// forkBlock reads a block of a fork.
func (rd *reader) forkBlock(maps []mapping, block uint64, b []byte) error {
	for _, m := range maps {
		if block >= m.off && block < m.off+m.n {
			_, err := rd.r.ReadAt(b, int64(m.linear+block-m.off)*rd.block)
			return err
		}
	}
	return fmt.Errorf("block %d of a fork is missing", block)
}

// children reads a directory: all of its entries, without their hashes.
func (rd *reader) children(dir *rootfs.Inode, c *core, path string) error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("%s: directory: %w", path, fmt.Errorf(format, args...))
	}
	dir.Children = map[string]*rootfs.Inode{}
	add := func(name string, ino uint64) error {
		if name == "" || strings.ContainsAny(name, "/\x00") || dir.Children[name] != nil {
			return fail("there cannot be an entry %q", name)
		}
		if rd.names++; rd.names > maxNames {
			return fail("more than %d names", maxNames)
		}
		child, known := rd.inodes[ino]
		if known && (child == nil || child.IsDir()) {
			return fail("%s is a directory of another name", name)
		}
		if !known {
			var err error
			if child, err = rd.inode(ino, strings.TrimPrefix(path+"/"+name, "./")); err != nil {
				return err
			}
			rd.inodes[ino] = child
		}
		dir.Children[name] = child
		return nil
	}
	if c.format == formatLocal {
		return rd.localEntries(c, add, fail)
	}
	if c.size > maxDirSize {
		return fail("%d bytes", c.size)
	}
	data, err := rd.content(c.data, c.format, c.maps, c.size)
	if err != nil {
		return fail("%w", err)
	}
	b := make([]byte, rd.dirBlock)
	for at := int64(0); at < data.Size(); at += rd.dirBlock {
		if n, err := data.ReadAt(b, at); n < len(b) {
			return fail("%w", err)
		}
		end := len(b)
		switch string(b[:4]) {
		case "XDB3":
			if end -= 8 + 8*int(min(be.Uint32(b[end-8:]), uint32(end))); end < dirHead {
				return fail("block %d is damaged", at/rd.dirBlock)
			}
		case "XDD3":
		default:
			continue // a hole
		}
		for i := dirHead; i+16 <= end; {
			if be.Uint16(b[i:]) == 0xffff {
				n := int(be.Uint16(b[i+2:]))
				if n < 8 {
					return fail("what is free is damaged")
				}
				i += n
				continue
			}
			name := int(b[i+8])
			if i+entrySize(name) > end {
				return fail("an entry is damaged")
			}
			if text := string(b[i+9 : i+9+name]); text != "." && text != ".." {
				if err := add(text, be.Uint64(b[i:])); err != nil {
					return err
				}
			}
			i += entrySize(name)
		}
	}
	return nil
}

// localEntries reads a directory that is in the inode.
func (rd *reader) localEntries(c *core, add func(string, uint64) error, fail func(string, ...any) error) error {
	if c.size > int64(len(c.data)) || c.size < 6 {
		return fail("%d bytes in the inode", c.size)
	}
	b := c.data[:c.size]
	width := 4
	if b[1] > 0 {
		width = 8
	}
	count := int(b[0])
	if len(b) < 2+width {
		return fail("it is damaged")
	}
	b = b[2+width:]
	for range count {
		name := 0
		if len(b) > 0 {
			name = int(b[0])
		}
		if len(b) < 4+name+width {
			return fail("an entry is damaged")
		}
		ino := uint64(be.Uint32(b[4+name:]))
		if width == 8 {
			ino = be.Uint64(b[4+name:])
		}
		if err := add(string(b[3:3+name]), ino); err != nil {
			return err
		}
		b = b[4+name+width:]
	}
	return nil
}

// attrs reads the attributes of an inode, in the inode or in the leaves of
// their fork.
func (rd *reader) attrs(c *core) (map[string]string, error) {
	if c.attr == nil || c.attrFormat == formatExtents && c.attrMaps == 0 {
		return nil, nil
	}
	found := map[string]string{}
	if c.attrFormat == formatLocal {
		if err := localXattrs(found, c.attr); err != nil {
			return nil, err
		}
		return found, nil
	}
	maps, err := rd.mappings(c.attr, c.attrFormat, c.attrMaps)
	if err != nil {
		return nil, fmt.Errorf("attributes: %w", err)
	}
	b := make([]byte, rd.block)
	for _, m := range maps {
		for i := range min(m.n, 1<<16) {
			if err := rd.forkBlock(maps, m.off+i, b); err != nil {
				return nil, fmt.Errorf("attributes: %w", err)
			}
			if be.Uint16(b[8:]) == attrLeaf {
				if err := rd.leafXattrs(found, b, maps); err != nil {
					return nil, fmt.Errorf("attributes: %w", err)
				}
			}
		}
	}
	return found, nil
}

func localXattrs(to map[string]string, b []byte) error {
	damaged := errors.New("attributes are damaged")
	size := int(be.Uint16(b))
	if size < 4 || size > len(b) {
		return damaged
	}
	count := b[2]
	b = b[4:size]
	for range count {
		if len(b) < 3 || len(b) < 3+int(b[0])+int(b[1]) {
			return damaged
		}
		name, value := int(b[0]), int(b[1])
		if err := addXattr(to, b[2], string(b[3:3+name]), string(b[3+name:3+name+value])); err != nil {
			return err
		}
		b = b[3+name+value:]
	}
	return nil
}

func (rd *reader) leafXattrs(to map[string]string, leaf []byte, maps []mapping) error {
	damaged := errors.New("a leaf is damaged")
	count := int(be.Uint16(leaf[56:]))
	if attrHead+8*count > len(leaf) {
		return damaged
	}
	for i := range count {
		e := leaf[attrHead+8*i:]
		at, flags := int(be.Uint16(e[4:])), e[6]
		least := 9
		if flags&attrLocal != 0 {
			least = 3
		}
		if at+least > len(leaf) {
			return damaged
		}
		b := leaf[at:]
		var name, value string
		if flags&attrLocal != 0 {
			v, n := int(be.Uint16(b)), int(b[2])
			if 3+n+v > len(b) {
				return damaged
			}
			name, value = string(b[3:3+n]), string(b[3+n:3+n+v])
		} else {
			v, n := be.Uint32(b[4:]), int(b[8])
			if 9+n > len(b) || v > maxValue {
				return damaged
			}
			text, err := rd.unwrap(maps, uint64(be.Uint32(b)), int(v), "XARM")
			if err != nil {
				return err
			}
			name, value = string(b[9:9+n]), string(text)
		}
		if err := addXattr(to, flags, name, value); err != nil {
			return err
		}
	}
	return nil
}

// addXattr undoes newAttr. Parent pointers, and what was not finished, are no
// attributes that anybody sees.
func addXattr(to map[string]string, flags byte, name, value string) (err error) {
	const parent, incomplete = 8, 0x80
	switch {
	case flags&(parent|incomplete) != 0:
		return nil
	case flags&attrSecure != 0:
		name = "security." + name
	case flags&attrRoot == 0:
		name = "user." + name
	case name == "SGI_ACL_FILE":
		name = "system.posix_acl_access"
		value, err = systemACL(value)
	case name == "SGI_ACL_DEFAULT":
		name = "system.posix_acl_default"
		value, err = systemACL(value)
	default:
		name = "trusted." + name
	}
	to[name] = value
	return err
}

// systemACL undoes diskACL.
func systemACL(value string) (string, error) {
	in := []byte(value)
	if len(in)%12 != 4 {
		return "", errors.New("access control list is damaged")
	}
	out := binary.LittleEndian.AppendUint32(nil, 2)
	for in = in[4:]; len(in) > 0; in = in[12:] {
		out = binary.LittleEndian.AppendUint16(out, uint16(be.Uint32(in)))
		out = binary.LittleEndian.AppendUint16(out, be.Uint16(in[8:]))
		out = binary.LittleEndian.AppendUint32(out, be.Uint32(in[4:]))
	}
	return string(out), nil
}
