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
	maxMaps    = 1 << 22 // pieces of a file
	maxPath    = 8192    // bytes of a path: twice what a system call takes
)

// Read returns the tree of a file system, the reverse of [Format]: with inodes
// of several names, extended attributes and all, but without an empty
// lost+found. Content is not read but referred to. It reads what Format and
// the kernel write, and stops at what can only be damage: it checks the checksums
// of all that it reads, and no block of an extent tree or a directory is read
// twice, so that every file system has an end.
func Read(r io.ReaderAt) (*rootfs.Inode, error) {
	rd := &reader{r: r, inodes: map[uint32]*rootfs.Inode{}, claimed: map[uint64]bool{}}
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

// Free returns how many bytes of a file system are free, with those that are
// reserved for root.
func Free(r io.ReaderAt) (int64, error) {
	rd := &reader{r: r}
	if err := rd.open(); err != nil {
		return 0, fmt.Errorf("ext4: %w", err)
	}
	s := &rd.super
	return int64(uint64(s.FreeBlocksCountHi)<<32|uint64(s.FreeBlocksCountLo)) * rd.block, nil
}

type reader struct {
	r       io.ReaderAt
	super   superBlock
	sums    bool   // metadata has checksums
	seed    uint32 // of all of them but the superblock's
	block   int64
	blocks  uint64
	tables  []uint64 // first block of each group's inode table
	inodes  map[uint32]*rootfs.Inode
	claimed map[uint64]bool // blocks of extent trees and directories
	names   int
}

// errChecksum says that a piece of metadata is not what was written.
var errChecksum = errors.New("wrong checksum")

// check compares a checksum, if there are any.
func (rd *reader) check(got, want uint32) error {
	if rd.sums && got != want {
		return errChecksum
	}
	return nil
}

// readBlock reads a block of metadata.
func (rd *reader) readBlock(n uint64) ([]byte, error) {
	if n >= rd.blocks {
		return nil, fmt.Errorf("block %d is outside", n)
	}
	b := make([]byte, rd.block)
	return b, rootfs.ReadFull(rd.r, b, int64(n)*rd.block)
}

// claim is readBlock of a block that has one owner.
func (rd *reader) claim(n uint64) ([]byte, error) {
	if rd.claimed[n] {
		return nil, fmt.Errorf("block %d has two owners", n)
	}
	rd.claimed[n] = true
	return rd.readBlock(n)
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
	case s.LogBlockSize > 6 || size != 32 && size != descSize:
		return errors.New("superblock: sizes that cannot be")
	case s.InodeSize < 128 || int64(s.InodeSize) > 1024<<s.LogBlockSize || s.InodeSize&(s.InodeSize-1) != 0:
		return fmt.Errorf("superblock: inodes of %d bytes", s.InodeSize)
	case s.BlocksPerGroup == 0 || s.InodesPerGroup == 0 || rd.blocks <= uint64(s.FirstDataBlock) || rd.blocks > 1<<48:
		return errors.New("superblock: counts that cannot be")
	}
	rd.sums = s.FeatureROCompat&roMetadataCsum != 0
	if err := rd.check(checksum(^uint32(0), raw[:superSize-4]), s.Checksum); err != nil {
		return fmt.Errorf("superblock: %w", err)
	}
	rd.seed = checksum(^uint32(0), s.UUID[:])
	if s.FeatureIncompat&incompatCsumSeed != 0 {
		rd.seed = s.ChecksumSeed
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
	for group := range groups {
		if _, err := io.ReadFull(in, raw[:size]); err != nil {
			return fmt.Errorf("group descriptors: %w", err)
		}
		var d groupDesc
		if _, err := binary.Decode(raw, binary.LittleEndian, &d); err != nil {
			return err
		}
		clear(raw[descChecksumOffset:][:2])
		sum := checksum(rd.seed, binary.LittleEndian.AppendUint32(nil, uint32(group)))
		if err := rd.check(checksum(sum, raw[:size])&0xFFFF, uint32(d.Checksum)); err != nil {
			return fmt.Errorf("group descriptor %d: %w", group, err)
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

// A core is an inode and the start of the checksums of what belongs to it.
type core struct {
	inode
	seed uint32
}

// decode reads what an inode says of itself.
func (rd *reader) decode(ino uint32) (*rootfs.Inode, *core, error) {
	group := (ino - 1) / rd.super.InodesPerGroup
	if ino == 0 || int(group) >= len(rd.tables) {
		return nil, nil, errors.New("there is no such inode")
	}
	raw := make([]byte, rd.super.InodeSize)
	if rd.tables[group] >= rd.blocks {
		return nil, nil, fmt.Errorf("block %d is outside", rd.tables[group])
	}
	at := int64(rd.tables[group])*rd.block + int64((ino-1)%rd.super.InodesPerGroup)*int64(len(raw))
	if err := rootfs.ReadFull(rd.r, raw, at); err != nil {
		return nil, nil, err
	}
	// Only so many bytes behind the first 128 are fields.
	extra := 0
	if len(raw) > 128 {
		extra = int(binary.LittleEndian.Uint16(raw[128:]))
	}
	if 128+extra > len(raw) || extra%4 != 0 {
		return nil, nil, fmt.Errorf("%d bytes of more fields, it has room for %d", extra, len(raw)-128)
	}
	fields := make([]byte, bodyOffset)
	copy(fields, raw[:128+extra])
	d := &core{}
	if _, err := binary.Decode(fields, binary.LittleEndian, &d.inode); err != nil {
		return nil, nil, err
	}
	d.seed = checksum(rd.seed, binary.LittleEndian.AppendUint32(nil, ino))
	d.seed = checksum(d.seed, binary.LittleEndian.AppendUint32(nil, d.Generation))
	sum, mask := uint32(d.ChecksumLo), uint32(0xFFFF)
	clear(raw[inodeChecksumLo:][:2])
	if extra >= 4 { // there is room for the other half
		sum, mask = sum|uint32(d.ChecksumHi)<<16, 0xFFFFFFFF
		clear(raw[inodeChecksumHi:][:2])
	}
	if err := rd.check(checksum(d.seed, raw)&mask, sum); err != nil {
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
	var err error
	in.Xattrs, err = rd.xattrs(raw[128+extra:], uint64(d.FileACLHigh)<<32|uint64(d.FileACLLo))
	return in, d, err
}

// A mapping is where a piece of a file is: from a block of the file on, n blocks
// that stand at another of the file system.
type mapping struct{ off, start, n uint64 }

// content returns where the bytes of an inode are.
func (rd *reader) content(d *core) (*disk.Image, error) {
	maps, err := rd.mappings(d)
	if err != nil {
		return nil, err
	}
	size := int64(d.size())
	var extents []disk.Extent
	for _, m := range maps {
		off := int64(m.off) * rd.block
		if n := min(int64(m.n)*rd.block, size-off); n > 0 {
			extents = append(extents, disk.Extent{Off: off, Blob: io.NewSectionReader(rd.r, int64(m.start)*rd.block, n)})
		}
	}
	return disk.New(size, extents...)
}

// mappings returns where the blocks of an inode are, ascending.
func (rd *reader) mappings(d *core) ([]mapping, error) {
	if d.Flags&inodeExtents == 0 {
		if d.BlocksLo == 0 {
			return nil, nil
		}
		return nil, errors.New("its blocks are not in extents, which is not supported")
	}
	var raw [60]byte
	for i, w := range d.Block {
		binary.LittleEndian.PutUint32(raw[4*i:], w)
	}
	x := extents{reader: rd, seed: d.seed}
	err := x.collect(raw[:], 5)
	return x.maps, err
}

// extents collects what is in an extent tree.
type extents struct {
	*reader
	seed uint32
	maps []mapping
	next uint64 // block of the file from which on the next one may be
}

// collect takes what is in a node of at most so many levels.
func (x *extents) collect(node []byte, levels int) error {
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
			var index extentIndex
			if _, err := binary.Decode(raw, binary.LittleEndian, &index); err != nil {
				return err
			}
			if err := x.child(uint64(index.LeafHi)<<32|uint64(index.LeafLo), int(h.Depth)-1); err != nil {
				return fmt.Errorf("extent tree: %w", err)
			}
			continue
		}
		var e extent
		if _, err := binary.Decode(raw, binary.LittleEndian, &e); err != nil {
			return err
		}
		n, written := uint64(e.Len), true
		if n > maxExtent { // allocated, and reads as zeros
			n, written = n-maxExtent, false
		}
		m := mapping{uint64(e.Block), uint64(e.StartHi)<<32 | uint64(e.StartLo), n}
		switch {
		case m.start+m.n > x.blocks:
			return fmt.Errorf("extent at block %d is outside", m.start)
		case m.n == 0 || m.off < x.next:
			return errors.New("extents are not in order")
		case len(x.maps) == maxMaps:
			return fmt.Errorf("more than %d extents", maxMaps)
		}
		x.next = m.off + m.n
		if written {
			x.maps = append(x.maps, m)
		}
	}
	return nil
}

// child collects what is in a block of the tree.
func (x *extents) child(n uint64, levels int) error {
	b, err := x.claim(n)
	if err != nil {
		return err
	}
	tail := 12 + 12*int(binary.LittleEndian.Uint16(b[4:])) // behind all the entries that there may be
	if x.sums && tail+4 > len(b) {
		return fmt.Errorf("block %d is damaged", n)
	} else if x.sums && checksum(x.seed, b[:tail]) != binary.LittleEndian.Uint32(b[tail:]) {
		return fmt.Errorf("block %d: %w", n, errChecksum)
	}
	return x.collect(b, levels)
}

func (rd *reader) target(d *core) (string, error) {
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
func (rd *reader) children(dir *rootfs.Inode, d *core, path string) error {
	fail := func(err error) error { return fmt.Errorf("%s: directory: %w", path, err) }
	if d.size() > maxDirSize || len(path) > maxPath {
		return fmt.Errorf("%.80s: directory of %d bytes, or a path of more than %d", path, d.size(), maxPath)
	}
	maps, err := rd.mappings(d)
	if err != nil {
		return fail(err)
	}
	var entries []direntry
	blocks := (d.size() + uint64(rd.block) - 1) / uint64(rd.block)
	next := uint64(0)
	for _, m := range maps {
		if m.off != next {
			break
		}
		for ; next < min(m.off+m.n, blocks); next++ {
			if entries, err = rd.dirBlock(entries, d, next == 0, m.start+next-m.off); err != nil {
				return fail(err)
			}
		}
	}
	if next < blocks {
		return fail(fmt.Errorf("block %d of it is missing", next))
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

// A direntry is a name in a directory that was read.
type direntry struct {
	name string
	ino  uint32
}

// dirBlock adds the entries of a block of a directory but for the dots.
func (rd *reader) dirBlock(to []direntry, d *core, first bool, n uint64) ([]direntry, error) {
	b, err := rd.claim(n)
	if err != nil {
		return nil, err
	}
	if rd.sums && !sealed(b, d, first) {
		return nil, fmt.Errorf("block %d: %w", n, errChecksum)
	}
	for rest := b; len(rest) > 0; {
		var h direntHeader
		if _, err := binary.Decode(rest, binary.LittleEndian, &h); err != nil {
			return nil, err
		}
		if h.RecLen < 8 || int(h.RecLen) > len(rest) || 8+int(h.NameLen) > int(h.RecLen) {
			return nil, fmt.Errorf("block %d: an entry is damaged", n)
		}
		name := string(rest[8 : 8+int(h.NameLen)])
		rest = rest[h.RecLen:]
		if h.Inode != 0 && name != "." && name != ".." {
			to = append(to, direntry{name, h.Inode})
		}
	}
	return to, nil
}

// sealed reports whether the checksum of a block of a directory is right. It
// stands in an entry at the end, or behind all the entries that an index may
// have: see ext4_dirblock_csum_verify and ext4_dx_csum_verify.
func sealed(b []byte, d *core, first bool) bool {
	head := 0
	if d.Flags&inodeIndex != 0 && first {
		head = dxRootHead
	} else if binary.LittleEndian.Uint32(b) == 0 && int(binary.LittleEndian.Uint16(b[4:])) == len(b) {
		head = dxNodeHead
	}
	if head == 0 {
		var t direntTail
		tail := len(b) - direntTailSize
		binary.Decode(b[tail:], binary.LittleEndian, &t)
		want := direntTail{RecLen: direntTailSize, FileType: direntTailType, Checksum: checksum(d.seed, b[:tail])}
		return t == want
	}
	limit, count := int(binary.LittleEndian.Uint16(b[head:])), int(binary.LittleEndian.Uint16(b[head+2:]))
	tail := head + 8*limit
	if count > limit || tail+dxTailSize > len(b) {
		return false
	}
	sum := checksum(d.seed, b[:head+8*count])
	sum = checksum(checksum(sum, b[tail:tail+4]), make([]byte, 4))
	return sum == binary.LittleEndian.Uint32(b[tail+4:])
}

// xattrs reads what stands behind an inode's fields, and in a block.
func (rd *reader) xattrs(body []byte, block uint64) (map[string]string, error) {
	found := map[string]string{}
	if len(body) >= 4 && binary.LittleEndian.Uint32(body) == xattrMagic {
		if err := decodeAttrs(found, body[4:], body[4:]); err != nil {
			return nil, err
		}
	}
	if block != 0 {
		raw, err := rd.readBlock(block)
		if err != nil {
			return nil, fmt.Errorf("attributes: %w", err)
		}
		var h xattrHeader
		if _, err := binary.Decode(raw, binary.LittleEndian, &h); err != nil {
			return nil, err
		}
		clear(raw[16:20]) // the place of the checksum
		sum := checksum(rd.seed, binary.LittleEndian.AppendUint64(nil, block))
		if err := rd.check(checksum(sum, raw), h.Checksum); err != nil {
			return nil, fmt.Errorf("attributes: block %d: %w", block, err)
		}
		if h.Magic != xattrMagic {
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
	room := uint64(len(base)) // for the values
	for len(entries) >= 4 && binary.LittleEndian.Uint32(entries) != 0 {
		var e xattrEntry
		if _, err := binary.Decode(entries, binary.LittleEndian, &e); err != nil {
			return errors.New("attributes are damaged")
		}
		size := xattrEntrySize + pad4(int(e.NameLen))
		end := uint64(e.ValueOffs) + uint64(e.ValueSize)
		if size > len(entries) || e.ValueInum != 0 || e.ValueSize > 0 && end > uint64(len(base)) || uint64(e.ValueSize) > room {
			return errors.New("attributes are damaged")
		}
		room -= uint64(e.ValueSize)
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
