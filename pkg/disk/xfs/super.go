package xfs

// Versions and features of a superblock.
const (
	versionNumber = 0xb4b5 // 5, and nlink, align, logv2, extflg, dirv2, attr, morebits
	versionSector = 0x800  // sectors of other than 512 bytes
	features2     = 0x18a  // lazy counters, attr2, projid32, crc

	roFinobt, roRmapbt, roReflink, roInobtcount             = 1, 2, 4, 8
	incompatFtype, incompatSparse, incompatBigtime, nrext64 = 1, 2, 8, 0x20
)

// totals are the counters of the superblock.
type totals struct{ inodes, freeInodes, freeBlocks uint64 }

// superblock returns the superblock of every group. mkfs.xfs leaves some fields
// of the copies empty; no program reads them.
func (w *writer) superblock() []byte {
	g := w.geo
	root := w.tree.nodes[0].ino
	s := superBlock{
		Magicnum: magicSuper, Blocksize: blockSize, DBlocks: g.blocks, UUID: g.uuid,
		LogStart: g.fsbno(g.logGroup*g.agBlocks + g.logStart()), LogBlocks: uint32(g.logBlocks), LogSUnit: 1,
		RootIno: root, RBMIno: root + 1, RSumIno: root + 2, RExtSize: 1,
		AGBlocks: uint32(g.agBlocks), AGCount: uint32(g.groups), AGBlkLog: uint8(g.agLog),
		VersionNum: versionNumber, SectSize: uint16(g.sector), SectLog: 9,
		InodeSize: inodeSize, InodeLog: 9, InoPBlock: blockSize / inodeSize, InoPBLog: 3, BlockLog: 12,
		IMaxPct: inodePercent(g.blocks * blockSize), InoAlignmt: chunkBlocks, SpinoAlign: chunkBlocks / 2,
		ICount: w.totals.inodes, IFree: w.totals.freeInodes, FDBlocks: w.totals.freeBlocks,
		// Without quota inodes, in the form that the kernel writes.
		UQuotIno: null64, GQuotIno: null64, PQuotIno: null64,
		Features2: features2, BadFeatures2: features2,
		FeaturesROCompat: g.features.roCompat(), FeaturesIncompat: g.features.incompat(),
	}
	copy(s.FName[:], g.label)
	if g.sector != 512 { // the log has sectors of the same size
		s.VersionNum |= versionSector
		s.SectLog, s.LogSectLog = 12, 12
		s.LogSectSz, s.LogSUnit = uint16(g.sector), uint32(g.sector)
	}
	b := make([]byte, g.sector)
	put(b, &s)
	seal(b, superCRC)
	return b
}

// roCompat returns the features that a kernel must know to write.
func (f Features) roCompat() uint32 {
	bits := uint32(roFinobt)
	if f.rmapbt() {
		bits |= roRmapbt
	}
	if f.reflink() {
		bits |= roReflink
	}
	if f.inobtcount() {
		bits |= roInobtcount
	}
	return bits
}

// incompat returns the features that a kernel must know to read.
func (f Features) incompat() uint32 {
	bits := uint32(incompatFtype | incompatSparse)
	if f.bigtime() {
		bits |= incompatBigtime
	}
	if f.nrext64() {
		bits |= nrext64
	}
	return bits
}

// inodePercent returns the percentage of a file system of size bytes that the
// kernel gives to inodes at most.
func inodePercent(size uint64) byte {
	switch {
	case size < 1<<40:
		return 25
	case size < 50<<40:
		return 5
	}
	return 1
}
