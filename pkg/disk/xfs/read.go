package xfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"sort"
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
	maxPath    = 8192    // bytes of a path: twice what a system call takes
)

// Read returns the tree of a file system, the reverse of [Format]: with inodes
// of several names, extended attributes and all. Content is not read but
// referred to. It reads what Format and the kernel write, and stops at what can
// only be damage: it checks the checksums of all that it reads, and no block of
// metadata is read twice, so that every file system has an end. A log that was
// not replayed is ignored: what a machine wrote
// last before it lost its power may be missing.
func Read(r io.ReaderAt) (*rootfs.Inode, error) {
	rd := &reader{r: r, inodes: map[uint64]*rootfs.Inode{}, claimed: map[uint64]bool{}}
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
	claimed    map[uint64]bool // linear blocks of metadata
	names      int
}

// errChecksum says that a piece of metadata is not what was written.
var errChecksum = errors.New("wrong checksum")

// sealed checks what seal has put in its place.
func sealed(b []byte, at int) error {
	if checksum(b, at) != binary.LittleEndian.Uint32(b[at:]) {
		return errChecksum
	}
	return nil
}

// A stamp is where a block of metadata has its checksum, its address and its
// owner.
type stamp struct{ crc, address, owner int }

var (
	bmbtStamp   = stamp{64, 24, 56}
	dirStamp    = stamp{dirCRC, 8, 40}
	daStamp     = stamp{daCRC, 16, 48}
	remoteStamp = stamp{12, 40, 32} // of values and targets
)

// claim checks the stamp of a block that was read. Each is read once.
func (rd *reader) claim(b []byte, s stamp, linear, owner uint64) error {
	err := sealed(b, s.crc)
	switch {
	case rd.claimed[linear]:
		err = errors.New("two owners")
	case err == nil && (be.Uint64(b[s.address:]) != linear*uint64(rd.block)/512 || be.Uint64(b[s.owner:]) != owner):
		err = errors.New("belongs elsewhere")
	}
	rd.claimed[linear] = true
	if err != nil {
		return fmt.Errorf("block %d: %w", linear, err)
	}
	return nil
}

// metadata reads a block of metadata.
func (rd *reader) metadata(linear uint64, s stamp, owner uint64) ([]byte, error) {
	b := make([]byte, rd.block)
	if err := rootfs.ReadFull(rd.r, b, int64(linear)*rd.block); err != nil {
		return nil, err
	}
	return b, rd.claim(b, s, linear, owner)
}

// open reads the superblock and returns the number of the root.
func (rd *reader) open() (root uint64, err error) {
	b := make([]byte, 512)
	if err := rootfs.ReadFull(rd.r, b, 0); err != nil {
		return 0, fmt.Errorf("superblock: %w", err)
	}
	sector := int64(be.Uint16(b[102:]))
	rd.block, rd.inodeBytes = int64(be.Uint32(b[4:])), int64(be.Uint16(b[104:]))
	rd.blocks, rd.agBlocks, rd.agLog = be.Uint64(b[8:]), uint64(be.Uint32(b[84:])), uint(b[124])
	features := be.Uint32(b[216:])
	switch {
	case string(b[:4]) != "XFSB":
		return 0, errors.New("superblock: no magic number")
	case be.Uint16(b[100:])&0xf == 4: // which has no checksum
		return 0, disk.Unsupported("superblock: version 4, this reads 5")
	case be.Uint16(b[100:])&0xf != 5:
		return 0, fmt.Errorf("superblock: version %d, this reads 5", be.Uint16(b[100:])&0xf)
	case sector < 512 || sector > rd.block || rd.block%sector != 0 ||
		rd.block < 512 || rd.block > 64<<10 || rd.block&(rd.block-1) != 0 ||
		rd.inodeBytes < 256 || rd.inodeBytes > min(rd.block, 2048) || rd.inodeBytes&(rd.inodeBytes-1) != 0:
		return 0, errors.New("superblock: sizes that cannot be")
	case rd.agBlocks == 0 || rd.blocks == 0 || rd.blocks > 1<<52 || rd.agLog > 32 || rd.agBlocks > 1<<rd.agLog || b[192] > 4:
		return 0, errors.New("superblock: counts that cannot be")
	}
	if unknown := features &^ incompatRead; unknown != 0 {
		b = make([]byte, sector)
		err := rootfs.ReadFull(rd.r, b, 0)
		if err == nil {
			err = sealed(b, 224)
		}
		if err != nil {
			return 0, fmt.Errorf("superblock: %w", err)
		}
		return 0, disk.Unsupported("superblock: features %#x are not known", unknown)
	}
	rd.perBlock = uint(bits.Len64(uint64(rd.block/rd.inodeBytes)) - 1)
	rd.dirBlock = rd.block << b[192]
	return be.Uint64(b[56:]), rd.headers(sector, uint64(be.Uint32(b[88:])))
}

// headers checks the superblock and what stands at the start of each group.
func (rd *reader) headers(sector int64, groups uint64) error {
	if groups*rd.agBlocks < rd.blocks || (groups-1)*rd.agBlocks >= rd.blocks {
		return fmt.Errorf("superblock: %d groups of %d blocks", groups, rd.agBlocks)
	}
	b := make([]byte, sector)
	for k := range groups {
		for i, header := range []struct {
			magic string
			crc   int
		}{{"XFSB", 224}, {"XAGF", 216}, {"XAGI", 312}, {"XAFL", 32}} {
			if i == 0 && k > 0 {
				continue // the copy of the superblock, which may be old
			}
			err := rootfs.ReadFull(rd.r, b, int64(k*rd.agBlocks)*rd.block+int64(i)*sector)
			if err == nil && string(b[:4]) != header.magic {
				err = errors.New("no magic number")
			}
			if err == nil {
				err = sealed(b, header.crc)
			}
			if err != nil {
				return fmt.Errorf("group %d: header %s: %w", k, header.magic, err)
			}
		}
	}
	return nil
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
			in.Content, err = rd.content(c)
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
		err = rootfs.ReadFull(rd.r, b, at+int64(ino&(1<<rd.perBlock-1))*rd.inodeBytes)
	}
	switch {
	case err != nil:
		return nil, nil, err
	case string(b[:2]) != "IN" || b[4] != 3:
		return nil, nil, errors.New("no magic number")
	case sealed(b, inodeCRC) != nil:
		return nil, nil, errChecksum
	case be.Uint64(b[152:]) != ino:
		return nil, nil, fmt.Errorf("there is inode %d", be.Uint64(b[152:]))
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

// mappings returns where the blocks of a fork are, ascending.
func (rd *reader) mappings(c *core, fork []byte, format byte, n uint64) ([]mapping, error) {
	f := &forkReader{reader: rd, owner: c.ino}
	switch format {
	case formatExtents:
		if n > uint64(len(fork)/mapSize) {
			return nil, fmt.Errorf("%d extents in %d bytes", n, len(fork))
		}
		err := f.leaf(fork, int(n))
		return f.maps, err
	case formatBtree:
		levels, count := int(be.Uint16(fork)), int(be.Uint16(fork[2:]))
		most := (len(fork) - 4) / mapSize
		if count > most || levels == 0 || levels > maxLevels {
			return nil, errors.New("the root of its extents is damaged")
		}
		for i := range count {
			if err := f.node(be.Uint64(fork[4+8*most+8*i:]), levels-1); err != nil {
				return nil, fmt.Errorf("the tree of its extents: %w", err)
			}
		}
		return f.maps, nil
	}
	return nil, fmt.Errorf("a fork of format %d", format)
}

// A forkReader collects the mappings of a fork.
type forkReader struct {
	*reader
	owner uint64
	maps  []mapping
	next  uint64 // block of the fork from which on the next one may be
}

// node takes what is below a block of the tree.
func (f *forkReader) node(fsbno uint64, level int) error {
	at, err := f.offset(fsbno)
	if err != nil {
		return err
	}
	b, err := f.metadata(uint64(at/f.block), bmbtStamp, f.owner)
	if err != nil {
		return err
	}
	count, most := int(be.Uint16(b[6:])), (len(b)-longHead)/mapSize
	if string(b[:4]) != "BMA3" || int(be.Uint16(b[4:])) != level || count > most {
		return fmt.Errorf("block %d is damaged", at/f.block)
	}
	if level == 0 {
		return f.leaf(b[longHead:], count)
	}
	for i := range count {
		if err := f.node(be.Uint64(b[longHead+8*most+8*i:]), level-1); err != nil {
			return err
		}
	}
	return nil
}

// leaf decodes mappings. What is allocated and not written is none.
func (f *forkReader) leaf(b []byte, n int) error {
	for i := range n {
		hi, lo := be.Uint64(b[i*mapSize:]), be.Uint64(b[i*mapSize+8:])
		m := mapping{off: hi << 1 >> 10, n: lo & (1<<21 - 1)}
		fsbno := hi<<43&(1<<52-1) | lo>>21
		at, err := f.offset(fsbno)
		if err != nil {
			return err
		}
		m.linear = uint64(at / f.block)
		switch {
		case m.linear+m.n > f.blocks || m.off+m.n > math.MaxInt64/uint64(f.block):
			return fmt.Errorf("extent at block %#x is outside", fsbno)
		case m.n == 0 || m.off < f.next:
			return errors.New("extents are not in order")
		case len(f.maps) == maxMaps:
			return fmt.Errorf("more than %d extents", maxMaps)
		}
		f.next = m.off + m.n
		if hi>>63 == 0 {
			f.maps = append(f.maps, m)
		}
	}
	return nil
}

// content returns where the bytes of a file are.
func (rd *reader) content(c *core) (*disk.Image, error) {
	maps, err := rd.mappings(c, c.data, c.format, c.maps)
	if err != nil {
		return nil, err
	}
	return rd.image(maps, c.size)
}

// image is what mappings hold below a size.
func (rd *reader) image(maps []mapping, size int64) (*disk.Image, error) {
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
	maps, err := rd.mappings(c, c.data, c.format, c.maps)
	if err != nil {
		return "", err
	}
	target, err := rd.unwrap(c, maps, 0, int(c.size), "XSLM")
	return string(target), err
}

// unwrap reads what is in blocks of a fork that have a header each.
func (rd *reader) unwrap(c *core, maps []mapping, block uint64, size int, magic string) ([]byte, error) {
	var out []byte
	for len(out) < size {
		b, err := rd.forkBlock(c, maps, block, remoteStamp)
		if err != nil {
			return nil, err
		}
		if string(b[:4]) != magic || int(be.Uint32(b[4:])) != len(out) {
			return nil, errors.New("a block of its text is damaged")
		}
		out = append(out, b[textHead:min(len(b), textHead+size-len(out))]...)
		block++
	}
	return out, nil
}

// find returns the linear address of a block of a fork.
func find(maps []mapping, block uint64) (uint64, error) {
	i := sort.Search(len(maps), func(i int) bool { return maps[i].off+maps[i].n > block })
	if i == len(maps) || maps[i].off > block {
		return 0, fmt.Errorf("block %d of a fork is missing", block)
	}
	return maps[i].linear + block - maps[i].off, nil
}

// forkBlock reads a block of metadata in a fork.
func (rd *reader) forkBlock(c *core, maps []mapping, block uint64, s stamp) ([]byte, error) {
	linear, err := find(maps, block)
	if err != nil {
		return nil, err
	}
	return rd.metadata(linear, s, c.ino)
}

// A direntry is a name in a directory that was read.
type direntry struct {
	name string
	ino  uint64
}

// children reads a directory: all of its entries, without their hashes.
func (rd *reader) children(dir *rootfs.Inode, c *core, path string) error {
	fail := func(err error) error { return fmt.Errorf("%s: directory: %w", path, err) }
	if c.size > maxDirSize || len(path) > maxPath {
		return fmt.Errorf("%.80s: directory of %d bytes, or a path of more than %d", path, c.size, maxPath)
	}
	read := rd.blockEntries
	if c.format == formatLocal {
		read = localEntries
	}
	entries, err := read(c)
	if err != nil {
		return fail(err)
	}
	if rd.names += len(entries); rd.names > maxNames {
		return fail(fmt.Errorf("more than %d names", maxNames))
	}
	dir.Children = make(map[string]*rootfs.Inode, len(entries))
	for _, e := range entries {
		if !rootfs.ValidName(e.name) || dir.Children[e.name] != nil {
			return fail(fmt.Errorf("there cannot be an entry %q", e.name))
		}
		child, known := rd.inodes[e.ino]
		if known && (child == nil || child.IsDir()) {
			return fail(fmt.Errorf("%s is a directory of another name", e.name))
		}
		if !known {
			if child, err = rd.inode(e.ino, strings.TrimPrefix(path+"/"+e.name, "./")); err != nil {
				return err
			}
			rd.inodes[e.ino] = child
		}
		dir.Children[e.name] = child
	}
	return nil
}

// blockEntries reads a directory that is in blocks, but for the dots. There may
// be holes among them.
func (rd *reader) blockEntries(c *core) (entries []direntry, err error) {
	maps, err := rd.mappings(c, c.data, c.format, c.maps)
	if err != nil {
		return nil, err
	}
	data, err := rd.image(maps, c.size)
	if err != nil {
		return nil, err
	}
	b := make([]byte, rd.dirBlock)
	at := int64(0)
	for _, m := range maps {
		at = max(at, int64(m.off)*rd.block/rd.dirBlock*rd.dirBlock)
		for ; at < min(int64(m.off+m.n)*rd.block, c.size); at += rd.dirBlock {
			if err := rootfs.ReadFull(data, b, at); err != nil {
				return nil, err
			}
			linear, err := find(maps, uint64(at/rd.block))
			if err == nil {
				err = rd.claim(b, dirStamp, linear, c.ino)
			}
			if err == nil {
				entries, err = appendEntries(entries, b)
			}
			if err != nil {
				return nil, err
			}
		}
	}
	return entries, nil
}

// appendEntries decodes a block of a directory.
func appendEntries(entries []direntry, b []byte) ([]direntry, error) {
	end := len(b)
	switch string(b[:4]) {
	case "XDB3": // with hashes at its end
		end -= 8 + 8*int(min(be.Uint32(b[end-8:]), uint32(end)))
	case "XDD3":
	default:
		return nil, errors.New("a block has no magic number")
	}
	for i := dirHead; i+16 <= end; {
		if be.Uint16(b[i:]) == 0xffff {
			n := int(be.Uint16(b[i+2:]))
			if n < 8 {
				return nil, errors.New("what is free is damaged")
			}
			i += n
			continue
		}
		name := int(b[i+8])
		if i+entrySize(name) > end {
			return nil, errors.New("an entry is damaged")
		}
		if text := string(b[i+9 : i+9+name]); text != "." && text != ".." {
			entries = append(entries, direntry{text, be.Uint64(b[i:])})
		}
		i += entrySize(name)
	}
	return entries, nil
}

// localEntries reads a directory that is in the inode.
func localEntries(c *core) (entries []direntry, err error) {
	if c.size > int64(len(c.data)) || c.size < 6 {
		return nil, fmt.Errorf("%d bytes in the inode", c.size)
	}
	b := c.data[:c.size]
	width := 4
	if b[1] > 0 {
		width = 8
	}
	count := int(b[0])
	if len(b) < 2+width {
		return nil, errors.New("it is damaged")
	}
	b = b[2+width:]
	for range count {
		name := 0
		if len(b) > 0 {
			name = int(b[0])
		}
		if len(b) < 4+name+width {
			return nil, errors.New("an entry is damaged")
		}
		ino := uint64(be.Uint32(b[4+name:]))
		if width == 8 {
			ino = be.Uint64(b[4+name:])
		}
		entries = append(entries, direntry{string(b[3 : 3+name]), ino})
		b = b[4+name+width:]
	}
	return entries, nil
}

// attrs reads the attributes of an inode, in the inode or in the chain of
// leaves of their fork. The first of them is below the first child of each node.
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
	maps, err := rd.mappings(c, c.attr, c.attrFormat, c.attrMaps)
	for block, last := uint64(0), false; err == nil && !last; {
		var b []byte
		if b, err = rd.forkBlock(c, maps, block, daStamp); err != nil {
			break
		}
		switch be.Uint16(b[8:]) {
		case magicNode:
			block = uint64(be.Uint32(b[daHead+4:]))
		case magicAttrLeaf:
			err = rd.leafXattrs(found, b, c, maps)
			block = uint64(be.Uint32(b))
			last = block == 0
		default:
			err = fmt.Errorf("block %d of their fork is damaged", block)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("attributes: %w", err)
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

func (rd *reader) leafXattrs(to map[string]string, leaf []byte, c *core, maps []mapping) error {
	damaged := errors.New("a leaf is damaged")
	count := int(be.Uint16(leaf[56:]))
	room := len(leaf) - attrHead - 8*count
	if room < 0 {
		return damaged
	}
	for i := range count {
		e := leaf[attrHead+8*i:]
		at, flags := int(be.Uint16(e[4:])), e[6]
		if flags&attrHidden != 0 {
			continue
		}
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
			if room -= 3 + n + v; 3+n+v > len(b) || room < 0 {
				return damaged
			}
			name, value = string(b[3:3+n]), string(b[3+n:3+n+v])
		} else {
			v, n := be.Uint32(b[4:]), int(b[8])
			if room -= 9 + n; 9+n > len(b) || room < 0 || v > maxValue {
				return damaged
			}
			text, err := rd.unwrap(c, maps, uint64(be.Uint32(b)), int(v), "XARM")
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

// attrHidden are the flags of what nobody sees as an attribute: parent pointers,
// and what was not finished.
const attrHidden = 8 | 0x80

// addXattr undoes newAttr.
func addXattr(to map[string]string, flags byte, name, value string) (err error) {
	switch {
	case flags&attrHidden != 0:
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
