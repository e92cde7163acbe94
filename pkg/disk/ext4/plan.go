package ext4

import (
	"encoding/binary"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// A plan holds the place of all blocks.
type plan struct {
	o       Options
	geo     *geometry
	tree    *tree
	seed    uint32 // of all checksums except that of the superblock
	used    []run  // ascending, metadata included
	journal []run
	// journalTree are blocks of the journal's extent tree.
	journalTree []uint64
	resize      uint64 // the block of the resize inode, 0 if there is none

	pieces []piece
}

// newPlan places all blocks. It writes none of them.
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

// allocate takes blocks for everything without a fixed place. Metadata comes first
// and stands together.
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

// allocateNodes takes blocks for directories, or for all other inodes.
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

// allocateFile takes blocks for data, and then for the extent tree.
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

// image encodes the metadata and returns the file system.
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
		part := rootfs.Section(n.in.Content, off, size)
		extents = append(extents, disk.Extent{Off: int64(r.start * p.geo.block), Blob: part})
		off += size
		left -= size
	}
	return extents
}

// encodeInodes writes the inode tables, and the blocks of metadata of inodes.
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

// encodeJournalInode writes inode 8 and the superblock of the journal.
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
