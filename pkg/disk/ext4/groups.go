package ext4

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math/bits"
	"slices"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
)

// A piece is metadata at a block.
type piece struct {
	block uint64
	data  []byte
}

// emit adds metadata to the plan. Data may be shorter than its blocks: the rest is
// zeros.
func (p *plan) emit(block uint64, data []byte) {
	p.pieces = append(p.pieces, piece{block, data})
}

const (
	maxJoined = 256 * kiB // longer pieces are not copied together
	maxFilled = 512       // more zeros than these stay a hole
)

// join converts pieces to extents and joins neighbours. A directory has a block or
// two, and there may be a hundred thousand directories.
func join(pieces []piece, block uint64) []disk.Extent {
	slices.SortFunc(pieces, func(a, b piece) int { return cmp.Compare(a.block, b.block) })
	var extents []disk.Extent
	for i := 0; i < len(pieces); {
		end, size := i+1, uint64(len(pieces[i].data))
		for end < len(pieces) {
			gap := (pieces[end].block-pieces[i].block)*block - size
			next := size + gap + uint64(len(pieces[end].data))
			if gap >= maxFilled || next > maxJoined {
				break
			}
			end, size = end+1, next
		}
		data := pieces[i].data
		if end > i+1 {
			data = make([]byte, size)
			for _, q := range pieces[i:end] {
				copy(data[(q.block-pieces[i].block)*block:], q.data)
			}
		}
		extents = append(extents, disk.Extent{Off: int64(pieces[i].block * block), Blob: bytes.NewReader(data)})
		i = end
	}
	return extents
}

// encodeGroups writes bitmaps, group descriptors and superblocks.
func (p *plan) encodeGroups() {
	g := p.geo
	free := p.freeBlocks()
	dirs := p.dirsByGroup()
	descs := make([]byte, g.descBlocks*g.block)
	inodes := p.tree.inodes()
	for group := range g.groups {
		d := groupDesc{Flags: groupTableZeroed}
		set64 := func(n uint64, lo, hi *uint32) { *lo, *hi = uint32(n), uint32(n>>32) }
		set32 := func(n uint64, lo, hi *uint16) { *lo, *hi = uint16(n), uint16(n>>16) }
		set64(g.blockBitmap[group], &d.BlockBitmapLo, &d.BlockBitmapHi)
		set64(g.inodeBitmap[group], &d.InodeBitmapLo, &d.InodeBitmapHi)
		set64(g.inodeTable[group], &d.InodeTableLo, &d.InodeTableHi)
		set32(free[group], &d.FreeBlocksCountLo, &d.FreeBlocksCountHi)
		used := min(inodes, g.inodesPerGroup)
		inodes -= used
		set32(g.inodesPerGroup-used, &d.FreeInodesCountLo, &d.FreeInodesCountHi)
		set32(g.inodesPerGroup-used, &d.ITableUnusedLo, &d.ITableUnusedHi)
		set32(dirs[group], &d.UsedDirsCountLo, &d.UsedDirsCountHi)
		if used == 0 {
			d.Flags |= groupInodeUninit
		} else {
			sum := p.encodeInodeBitmap(group, used)
			set32(uint64(sum), &d.InodeBitmapCsumLo, &d.InodeBitmapCsumHi)
		}
		if p.untouched(group, free[group]) {
			d.Flags |= groupBlockUninit
		}
		put(descs[group*descSize:], d)
	}
	p.encodeBlockBitmaps(descs)
	for group := range g.groups {
		desc := descs[group*descSize : (group+1)*descSize]
		sum := checksum(p.seed, binary.LittleEndian.AppendUint32(nil, uint32(group)))
		sum = checksum(sum, desc) // its checksum field is still zero
		binary.LittleEndian.PutUint16(desc[descChecksumOffset:], uint16(sum))
	}
	p.encodeSupers(descs, free)
}

// untouched reports whether the kernel can compute the block bitmap of a group:
// only the copy of the superblock is used. The last group may be
// shorter than its bitmap, which therefore is written.
func (p *plan) untouched(group, free uint64) bool {
	g := p.geo
	return group > 0 && group < g.groups-1 && free == g.perGroup-g.superBlocks(group)
}

// freeBlocks counts the free blocks of each group.
func (p *plan) freeBlocks() []uint64 {
	g := p.geo
	free := make([]uint64, g.groups)
	for group := range g.groups {
		free[group] = g.groupEnd(group) - g.groupStart(group)
	}
	p.eachUsed(func(group, _, n uint64) { free[group] -= n })
	return free
}

// eachUsed yields the used runs, cut at the borders of groups, as offsets in the
// group.
func (p *plan) eachUsed(yield func(group, at, n uint64)) {
	g := p.geo
	for _, r := range p.used {
		for r.len > 0 {
			group := g.groupOf(r.start)
			n := min(r.len, g.groupEnd(group)-r.start)
			yield(group, r.start-g.groupStart(group), n)
			r.start += n
			r.len -= n
		}
	}
}

// dirsByGroup counts the directories among the inodes of each group.
func (p *plan) dirsByGroup() []uint64 {
	dirs := make([]uint64, p.geo.groups)
	for _, n := range p.tree.nodes {
		if n.in.IsDir() {
			dirs[uint64(n.ino-1)/p.geo.inodesPerGroup]++
		}
	}
	return dirs
}

// encodeInodeBitmap writes the bitmap of a group whose first inodes are used
// and returns its checksum.
func (p *plan) encodeInodeBitmap(group, used uint64) uint32 {
	g := p.geo
	bitmap := make([]byte, g.block)
	setBits(bitmap, 0, used)
	setBits(bitmap, g.inodesPerGroup, 8*g.block-g.inodesPerGroup) // bits behind the last inode
	p.emit(g.inodeBitmap[group], bitmap)
	return checksum(p.seed, bitmap[:g.inodesPerGroup/8])
}

// encodeBlockBitmaps writes the bitmaps of all groups that are not untouched,
// and their checksums into the descriptors.
func (p *plan) encodeBlockBitmaps(descs []byte) {
	g := p.geo
	bitmaps := make([][]byte, g.groups)
	for group := range g.groups {
		if flags := binary.LittleEndian.Uint16(descs[group*descSize+18:]); flags&groupBlockUninit == 0 {
			bitmaps[group] = make([]byte, g.block)
			size := g.groupEnd(group) - g.groupStart(group)
			setBits(bitmaps[group], size, 8*g.block-size)
		}
	}
	p.eachUsed(func(group, at, n uint64) {
		if bitmaps[group] != nil {
			setBits(bitmaps[group], at, n)
		}
	})
	for group, bitmap := range bitmaps {
		if bitmap == nil {
			continue
		}
		p.emit(g.blockBitmap[group], bitmap)
		sum := checksum(p.seed, bitmap[:g.perGroup/8])
		desc := descs[group*descSize:]
		binary.LittleEndian.PutUint16(desc[24:], uint16(sum))
		binary.LittleEndian.PutUint16(desc[56:], uint16(sum>>16))
	}
}

// setBits sets n bits from bit at on.
func setBits(bitmap []byte, at, n uint64) {
	for ; n > 0 && at%8 != 0; n-- {
		bitmap[at/8] |= 1 << (at % 8)
		at++
	}
	for ; n >= 8; n -= 8 {
		bitmap[at/8] = 0xFF
		at += 8
	}
	for ; n > 0; n-- {
		bitmap[at/8] |= 1 << (at % 8)
		at++
	}
}

// encodeSupers writes the superblock and the group descriptors, and their
// copies.
func (p *plan) encodeSupers(descs []byte, free []uint64) {
	g := p.geo
	super := p.superBlock(free)
	for group := range g.groups {
		if !hasSuper(group) {
			continue
		}
		super.BlockGroupNr = uint16(group)
		raw := make([]byte, superSize)
		put(raw, super)
		binary.LittleEndian.PutUint32(raw[superSize-4:], checksum(^uint32(0), raw[:superSize-4]))
		at := g.groupStart(group)
		if at == 0 { // the first KiB belongs to the boot loader
			raw = append(make([]byte, superOffset), raw...)
		}
		p.emit(at, raw)
		p.emit(at+1, descs)
	}
}

// superBlock returns the superblock of group 0 without its checksum.
func (p *plan) superBlock(free []uint64) superBlock {
	g, o := p.geo, p.o
	var freeBlocks uint64
	for _, n := range free {
		freeBlocks += n
	}
	reservedBlocks := p.reservedBlocks()
	now, hi := uint32(o.Time.Sec), uint8(o.Time.Sec>>32)
	s := superBlock{
		InodesCount:       uint32(g.groups * g.inodesPerGroup),
		BlocksCountLo:     uint32(g.blocks),
		BlocksCountHi:     uint32(g.blocks >> 32),
		RBlocksCountLo:    uint32(reservedBlocks),
		RBlocksCountHi:    uint32(reservedBlocks >> 32),
		FreeBlocksCountLo: uint32(freeBlocks),
		FreeBlocksCountHi: uint32(freeBlocks >> 32),
		FreeInodesCount:   uint32(g.groups*g.inodesPerGroup - p.tree.inodes()),
		FirstDataBlock:    uint32(g.first),
		LogBlockSize:      uint32(bits.TrailingZeros64(g.block / kiB)),
		LogClusterSize:    uint32(bits.TrailingZeros64(g.block / kiB)),
		BlocksPerGroup:    uint32(g.perGroup),
		ClustersPerGroup:  uint32(g.perGroup),
		InodesPerGroup:    uint32(g.inodesPerGroup),
		WTime:             now,
		WTimeHi:           hi,
		MaxMntCount:       0xFFFF, // no checks by mount count
		Magic:             magic,
		State:             stateClean,
		Errors:            errorsContinue,
		LastCheck:         now,
		LastCheckHi:       hi,
		RevLevel:          1,
		FirstIno:          inoLostFound,
		InodeSize:         inodeSize,
		UUID:              o.UUID,
		ReservedGDTBlocks: uint16(g.reservedGDT),
		HashSeed:          o.hashSeed(),
		DefHashVersion:    hashHalfMD4,
		DescSize:          descSize,
		DefaultMountOpts:  mountXattrUser | mountACL,
		MkfsTime:          now,
		MkfsTimeHi:        hi,
		MinExtraISize:     extraISize,
		WantExtraISize:    extraISize,
		Flags:             flagSignedHash,
		LogGroupsPerFlex:  uint8(bits.TrailingZeros(groupsPerFlex)),
		ChecksumType:      checksumCRC32C,
		ChecksumSeed:      p.seed,
		OverheadBlocks:    uint32(p.overhead()),
	}
	copy(s.VolumeName[:], o.Label)
	p.setFeatures(&s)
	if p.journal != nil {
		p.setJournal(&s)
	}
	return s
}

// reservedBlocks returns the number of blocks that only root may use.
func (p *plan) reservedBlocks() uint64 {
	percent := p.o.ReservedPercent
	if percent == 0 {
		percent = 5
	}
	share := uint64(max(percent, 0))
	return p.geo.blocks/100*share + p.geo.blocks%100*share/100
}

// setFeatures enters the features of the file system.
func (p *plan) setFeatures(s *superBlock) {
	s.FeatureCompat = compatExtAttr | compatDirIndex
	s.FeatureIncompat = incompatFileType | incompatExtents | incompat64Bit | incompatFlexBG | incompatCsumSeed
	s.FeatureROCompat = roSparseSuper | roLargeFile | roHugeFile | roDirNlink | roExtraISize | roMetadataCsum
	if p.geo.resizeInode {
		s.FeatureCompat |= compatResizeInode
	}
	if p.journal != nil {
		s.FeatureCompat |= compatHasJournal
	}
}

// setJournal enters the journal, with a copy of the map of its inode.
func (p *plan) setJournal(s *superBlock) {
	d := p.journalInode(func(uint64, []byte) {})
	s.JournalInum = inoJournal
	s.JnlBackupType = journalBackupInode
	copy(s.JnlBlocks[:], d.Block[:])
	s.JnlBlocks[15], s.JnlBlocks[16] = d.SizeHigh, d.SizeLo
}

// overhead returns the number of blocks that df(1) does not count.
func (p *plan) overhead() uint64 {
	n := p.geo.first
	for _, runs := range [][]run{p.geo.fixed, p.journal} {
		for _, r := range runs {
			n += r.len
		}
	}
	return n
}
