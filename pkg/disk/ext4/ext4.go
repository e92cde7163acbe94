// Package ext4 lays out an ext4 file system from a tree of inodes.
//
// The result is a plan: metadata is made in memory, the content of files is
// only referred to. The same tree and options give the same bytes.
//
// Blocks are in groups, and the metadata of 16 groups (a flex group) stands
// together at the start of the first of them:
//
//	group 0                                                        group 1 ...
//	boot | super | descriptors | reserve | 16 block bitmaps |      | super | ... |
//	sector | block |           | for more | 16 inode bitmaps |     | copies      | data
//	                                        16 inode tables | data |
//
// Data starts with the journal; directories, attributes and then files follow
// in the order of their paths, each as contiguous as the metadata in between
// lets it be. What would be zeros is a hole: bitmaps of groups without use are
// marked as not written, inode tables end with the last inode, the journal is
// its superblock.
//
// The features are those of mke2fs 1.47 for type ext4 plus metadata_csum_seed,
// with which a UUID can be changed without touching every checksum. A file
// system of up to 2^32 blocks has a resize inode and grows, mounted or not, as
// one of mke2fs does. Not made: orphan_file, inline data, attributes in inodes
// of their own, encryption, quota, case folding, hashed directories of more
// than two levels, and holes in files.
//
// See https://docs.kernel.org/filesystems/ext4/.
package ext4

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// Options say what kind of file system to make.
type Options struct {
	Size      int64       // bytes; required
	BlockSize int         // 1024 or 4096; zero means 1024 below 512 MiB, else 4096, as mke2fs chooses
	Label     string      // at most 16 bytes
	UUID      [16]byte    // of the file system
	HashSeed  [16]byte    // of hashed directories; zero means derived from the UUID
	Time      rootfs.Time // when the file system was made; zero means the epoch

	// Inodes is how many inodes to provide at least. Zero means what mke2fs
	// provides for the size, or, if that is more, what the tree needs and one
	// eighth.
	Inodes uint32
	// ReservedPercent is the share of blocks that only root may use. Zero
	// means 5, a negative number none.
	ReservedPercent int
	// JournalSize is in bytes. Zero means what mke2fs chooses for the size,
	// a negative number no journal.
	JournalSize int64

	stride uint64 // allocator.stride, for tests
}

// Format lays out the tree below root. It reads no file content.
//
// All four times of an inode are its MTime. A directory lost+found in the root
// becomes the one that e2fsck uses; without it an empty one is made. When the
// tree does not fit, the error says how many bytes it needs.
func Format(root *rootfs.Inode, o Options) (*disk.Image, error) {
	img, err := format(root, o)
	if errors.Is(err, errTooSmall) {
		size, sizeErr := neededSize(root, o, o.Size)
		if sizeErr != nil {
			return nil, fmt.Errorf("ext4: %w", sizeErr)
		}
		return nil, fmt.Errorf("ext4: %d bytes are too small: need %d bytes", o.Size, size)
	}
	if err != nil {
		return nil, fmt.Errorf("ext4: %w", err)
	}
	return img, nil
}

// Size returns the least size in bytes of a file system that holds the tree
// below root. It leaves no room for anything else; o.Size is not used.
func Size(root *rootfs.Inode, o Options) (int64, error) {
	size, err := neededSize(root, o, 0)
	if err != nil {
		return 0, fmt.Errorf("ext4: %w", err)
	}
	return size, nil
}

func format(root *rootfs.Inode, o Options) (*disk.Image, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	t, err := scan(root, o, o.blockSize(o.Size))
	if err != nil {
		return nil, err
	}
	p, err := newPlan(t, o)
	if err != nil {
		return nil, err
	}
	return p.image()
}

// check refuses options that make no file system.
func (o Options) check() error {
	switch {
	case o.BlockSize != 0 && o.BlockSize != kiB && o.BlockSize != 4*kiB:
		return fmt.Errorf("block size of %d bytes, must be 1024 or 4096", o.BlockSize)
	case o.Size < 0:
		return fmt.Errorf("size of %d bytes is negative", o.Size)
	case len(o.Label) > 16:
		return fmt.Errorf("label %q is longer than 16 bytes", o.Label)
	case o.ReservedPercent > 50:
		return fmt.Errorf("%d percent reserved, limit is 50", o.ReservedPercent)
	case o.Time.Sec < 0 || o.Time.Sec > maxTime || o.Time.Nsec >= 1e9:
		return fmt.Errorf("time of creation %d.%09d is outside of 0 to %d", o.Time.Sec, o.Time.Nsec, maxTime)
	}
	return nil
}

// hashSeed returns the seed of hashed directories, which must not be guessable
// from names alone but need not be secret.
func (o Options) hashSeed() [16]byte {
	if o.HashSeed != [16]byte{} {
		return o.HashSeed
	}
	sum := sha256.Sum256(o.UUID[:])
	return [16]byte(sum[:16])
}

// neededSize finds the least size of at least low bytes that the tree fits in.
func neededSize(root *rootfs.Inode, o Options, low int64) (int64, error) {
	if err := o.check(); err != nil {
		return 0, err
	}
	trees := map[int64]*tree{} // by block size
	fits := func(size int64) (bool, error) {
		o.Size = size
		block := o.blockSize(size)
		if trees[block] == nil {
			t, err := scan(root, o, block)
			if err != nil {
				return false, err
			}
			trees[block] = t
		}
		_, err := newPlan(trees[block], o)
		if errors.Is(err, errTooSmall) {
			return false, nil
		}
		return err == nil, err
	}
	high := max(low, 64*kiB)
	for {
		ok, err := fits(high)
		if err != nil {
			return 0, err
		}
		if ok {
			break
		}
		low, high = high, high*2
	}
	unit := o.blockSize(high)
	low, high = low/unit, (high+unit-1)/unit
	for low < high {
		mid := (low + high) / 2
		ok, err := fits(mid * unit)
		if err != nil {
			return 0, err
		}
		if ok {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return high * unit, nil
}

// A plan is where everything goes.
type plan struct {
	o       Options
	geo     *geometry
	tree    *tree
	seed    uint32 // of all checksums but the superblock's
	used    []run  // ascending, metadata included
	journal []run
	// journalTree are blocks of the journal's extent tree.
	journalTree []uint64
	resize      uint64 // the block of the resize inode, 0 if there is none

	pieces []piece
}

// newPlan decides where everything goes, but makes nothing yet.
func newPlan(t *tree, o Options) (*plan, error) {
	need := t.inodes()
	if o.Inodes == 0 {
		need += need / 8
	}
	geo, err := newGeometry(o.Size, o, need)
	if err != nil {
		return nil, err
	}
	p := &plan{o: o, geo: geo, tree: t, seed: checksum(^uint32(0), o.UUID[:])}
	a := &allocator{taken: geo.fixed, at: geo.first, end: geo.blocks, stride: o.stride}
	if err := p.allocate(a); err != nil {
		return nil, err
	}
	p.used = merge(append(a.used, geo.fixed...))
	return p, nil
}

// allocate takes blocks for everything that is not fixed, metadata first, so
// that it stands together.
func (p *plan) allocate(a *allocator) error {
	blocks, err := p.o.journalBlocks(p.geo)
	if err != nil {
		return err
	}
	if p.journal, p.journalTree, err = p.allocateFile(a, blocks); err != nil {
		return err
	}
	if p.geo.resizeInode {
		runs, err := a.take(1)
		if err != nil {
			return err
		}
		p.resize = runs[0].start
	}
	if err := p.allocateNodes(a, true); err != nil {
		return err
	}
	for _, b := range p.tree.attrs {
		runs, err := a.take(1)
		if err != nil {
			return err
		}
		b.block = runs[0].start
	}
	return p.allocateNodes(a, false)
}

// allocateNodes takes blocks for directories, or for all that are none.
func (p *plan) allocateNodes(a *allocator, dirs bool) error {
	for _, n := range p.tree.nodes {
		if n.in.IsDir() != dirs {
			continue
		}
		blocks := n.dataBlocks(p.geo.block)
		if blocks > p.geo.blocks {
			return errTooSmall
		}
		var err error
		if n.runs, n.tree, err = p.allocateFile(a, blocks); err != nil {
			return err
		}
	}
	return nil
}

// allocateFile takes blocks for data and then for the extent tree that finds
// them.
func (p *plan) allocateFile(a *allocator, blocks uint64) (data []run, tree []uint64, err error) {
	if blocks == 0 {
		return nil, nil, nil
	}
	if data, err = a.take(blocks); err != nil {
		return nil, nil, err
	}
	runs, err := a.take(treeBlocks(data, p.geo.block))
	if err != nil {
		return nil, nil, err
	}
	for _, r := range runs {
		for b := r.start; b < r.end(); b++ {
			tree = append(tree, b)
		}
	}
	return data, tree, nil
}

// image makes the metadata and puts all together.
func (p *plan) image() (*disk.Image, error) {
	p.encodeInodes()
	p.encodeAttrBlocks()
	p.encodeGroups()
	extents := join(p.pieces, p.geo.block)
	for _, n := range p.tree.nodes {
		if n.in.IsFile() {
			extents = p.appendContent(extents, n)
		}
	}
	return disk.New(p.o.Size, extents...)
}

// appendContent adds the content of a file, cut where its blocks are not
// contiguous.
func (p *plan) appendContent(extents []disk.Extent, n *node) []disk.Extent {
	left := n.in.Size()
	off := int64(0)
	for _, r := range n.runs {
		size := min(left, int64(r.len*p.geo.block))
		part := n.in.Content
		if size < part.Size() {
			part = io.NewSectionReader(part, off, size)
		}
		extents = append(extents, disk.Extent{Off: int64(r.start * p.geo.block), Blob: part})
		off += size
		left -= size
	}
	return extents
}

// encodeInodes writes the inode tables and all that inodes keep in blocks of
// their own.
func (p *plan) encodeInodes() {
	table := make([]byte, p.tree.inodes()*inodeSize)
	slot := func(ino uint32) []byte { return table[(ino-1)*inodeSize : ino*inodeSize] }
	for _, n := range p.tree.nodes {
		p.encodeNode(n, slot(n.ino))
	}
	if p.journal != nil {
		p.encodeJournalInode(slot(inoJournal))
	}
	if p.geo.resizeInode {
		p.encodeResizeInode(slot(inoResize))
	}
	perGroup := int(p.geo.inodesPerGroup) * inodeSize
	for group := 0; len(table) > 0; group++ {
		n := min(perGroup, len(table))
		p.emit(p.geo.inodeTable[group], table[:n])
		table = table[n:]
	}
}

// encodeJournalInode writes inode 8 and the journal's superblock.
func (p *plan) encodeJournalInode(to []byte) {
	seed := inodeSeed(p.seed, inoJournal)
	d := p.journalInode(p.emit)
	d.encode(to, nil, seed)
	p.emit(p.journal[0].start, encodeJournal(p.geo.block, d.size()/p.geo.block, p.o.UUID))
}

func (d *inode) size() uint64 { return uint64(d.SizeHigh)<<32 | uint64(d.SizeLo) }

// journalInode returns inode 8, whose map the superblock repeats.
func (p *plan) journalInode(emit func(uint64, []byte)) inode {
	d := inode{Mode: rootfs.ModeFile | 0o600, LinksCount: 1, Flags: inodeExtents}
	var blocks uint64
	for _, r := range p.journal {
		blocks += r.len
	}
	d.setTimes(p.o.Time)
	d.setSize(blocks * p.geo.block)
	d.setBlocks(blocks+uint64(len(p.journalTree)), p.geo.block)
	d.Block = encodeTree(p.journal, p.journalTree, p.geo.block, inodeSeed(p.seed, inoJournal), emit)
	return d
}

// encodeResizeInode writes inode 7. It owns the blocks that are reserved for
// group descriptors, by the old map of indirect blocks: the double indirect
// one lists the reserved blocks of group 0, by their place among the
// descriptors, and each of these, as an indirect block, its copies.
func (p *plan) encodeResizeInode(to []byte) {
	g := p.geo
	perBlock := g.block / 4
	double := make([]byte, g.block)
	var copies []uint64
	for group := uint64(1); group < g.groups; group++ {
		if hasSuper(group) {
			copies = append(copies, group)
		}
	}
	for i := range g.reservedGDT {
		at := g.first + 1 + g.descBlocks + i
		slot := (g.descBlocks + i) % perBlock
		binary.LittleEndian.PutUint32(double[4*slot:], uint32(at))
		indirect := make([]byte, 4*max(len(copies), 1))
		for j, group := range copies {
			binary.LittleEndian.PutUint32(indirect[4*j:], uint32(at+group*g.perGroup))
		}
		p.emit(at, indirect)
	}
	p.emit(p.resize, double)

	d := inode{Mode: rootfs.ModeFile | 0o600, LinksCount: 1}
	d.setTimes(p.o.Time)
	d.setSize((12 + perBlock + perBlock*perBlock) * g.block)
	d.setBlocks(1+g.reservedGDT*uint64(1+len(copies)), g.block)
	d.Block[13] = uint32(p.resize)
	d.encode(to, nil, inodeSeed(p.seed, inoResize))
}

// encodeAttrBlocks completes the blocks of extended attributes.
func (p *plan) encodeAttrBlocks() {
	for _, b := range p.tree.attrs {
		data := append([]byte(nil), b.data...)
		binary.LittleEndian.PutUint32(data[4:], b.refs)
		sum := checksum(p.seed, binary.LittleEndian.AppendUint64(nil, b.block))
		binary.LittleEndian.PutUint32(data[16:], checksum(sum, data))
		p.emit(b.block, data)
	}
}
