package xfs

import (
	"encoding/binary"
	"hash/crc32"
)

// The types and constants below mirror fs/xfs/libxfs/xfs_format.h,
// xfs_da_format.h and xfs_log_format.h of Linux. Fields keep the kernel's order
// and names, without their prefix. Every field is big-endian except the
// checksums, which [seal] writes.

var (
	be         = binary.BigEndian
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// Magic numbers.
const (
	magicSuper  = 0x58465342 // XFSB
	magicAGF    = 0x58414746 // XAGF
	magicAGI    = 0x58414749 // XAGI
	magicAGFL   = 0x5841464c // XAFL
	magicBno    = 0x41423342 // AB3B
	magicCnt    = 0x41423343 // AB3C
	magicIno    = 0x49414233 // IAB3
	magicFino   = 0x46494233 // FIB3
	magicRmap   = 0x524d4233 // RMB3
	magicRef    = 0x52334643 // R3FC
	magicBmap   = 0x424d4133 // BMA3
	magicBlock  = 0x58444233 // XDB3: the only block of a directory
	magicData   = 0x58444433 // XDD3: a data block of a larger directory
	magicFree   = 0x58444633 // XDF3: the free space of data blocks
	magicLink   = 0x58534c4d // XSLM
	magicRemote = 0x5841524d // XARM
	magicLog    = 0xfeedbabe
	magicInode  = 0x494e // IN

	magicNode     = 0x3ebe // an inner node of a directory or attribute fork
	magicAttrLeaf = 0x3bee
	magicDirLeaf1 = 0x3df1 // the only leaf, with the free space of all data blocks
	magicDirLeafN = 0x3dff
)

// Null values of 16, 32 and 64 bits: no block, no inode, no tag.
const (
	null16 = 1<<16 - 1
	null32 = 1<<32 - 1
	null64 = 1<<64 - 1
)

// Offsets of checksums.
const (
	superCRC = 224
	agfCRC   = 216
	agiCRC   = 312
	agflCRC  = 32
	shortCRC = 52
	longCRC  = 64
	inodeCRC = 100
	daCRC    = 12 // nodes and leaves of directories and attributes
	dirCRC   = 4  // data and free blocks of directories
	textCRC  = 12 // symbolic links and attribute values
)

// Sizes of structures.
const (
	coreSize   = 176 // dinode
	agflHead   = 36  // agfl, before its block numbers
	shortHead  = 56  // shortBlock
	longHead   = 72  // longBlock
	daHead     = 64  // nodeHeader and leafHeader
	dirHead    = 64  // dataHeader and freeHeader
	attrHead   = 80  // attrLeafHeader
	textHead   = 56  // textHeader
	entryBytes = 8   // leafEntry, attrEntry, and an entry of a node
)

// superBlock is struct xfs_dsb.
type superBlock struct {
	Magicnum   uint32
	Blocksize  uint32
	DBlocks    uint64 // of the file system
	RBlocks    uint64
	RExtents   uint64
	UUID       [16]byte
	LogStart   uint64
	RootIno    uint64
	RBMIno     uint64
	RSumIno    uint64
	RExtSize   uint32
	AGBlocks   uint32
	AGCount    uint32
	RBMBlocks  uint32
	LogBlocks  uint32
	VersionNum uint16
	SectSize   uint16
	InodeSize  uint16
	InoPBlock  uint16
	FName      [12]byte // label
	BlockLog   uint8
	SectLog    uint8
	InodeLog   uint8
	InoPBLog   uint8
	AGBlkLog   uint8
	RExtsLog   uint8
	InProgress uint8
	IMaxPct    uint8 // percentage of the blocks that inodes may take
	ICount     uint64
	IFree      uint64
	FDBlocks   uint64 // free blocks
	FRExtents  uint64
	UQuotIno   uint64
	GQuotIno   uint64
	QFlags     uint16
	Flags      uint8
	SharedVN   uint8
	InoAlignmt uint32 // alignment of chunks of inodes, in blocks
	Unit       uint32
	Width      uint32
	DirBlkLog  uint8
	LogSectLog uint8
	LogSectSz  uint16
	LogSUnit   uint32

	Features2         uint32
	BadFeatures2      uint32 // repeats Features2
	FeaturesCompat    uint32
	FeaturesROCompat  uint32
	FeaturesIncompat  uint32
	FeaturesLogIncmpt uint32
	CRC               uint32
	SpinoAlign        uint32 // alignment of sparse chunks of inodes
	PQuotIno          uint64
	LSN               uint64
	MetaUUID          [16]byte
}

// agf is struct xfs_agf: the free space of an allocation group.
type agf struct {
	Magicnum       uint32
	VersionNum     uint32
	SeqNo          uint32
	Length         uint32
	BnoRoot        uint32
	CntRoot        uint32
	RmapRoot       uint32
	BnoLevel       uint32
	CntLevel       uint32
	RmapLevel      uint32
	FLFirst        uint32
	FLLast         uint32
	FLCount        uint32
	FreeBlks       uint32
	Longest        uint32 // blocks of the largest free extent
	BtreeBlks      uint32 // blocks of the trees of free extents and owners, without their roots
	UUID           [16]byte
	RmapBlocks     uint32
	RefcountBlocks uint32
	RefcountRoot   uint32
	RefcountLevel  uint32
	_              [14]uint64
	LSN            uint64
	CRC            uint32
	_              uint32
}

// agi is struct xfs_agi: the inodes of an allocation group.
type agi struct {
	Magicnum   uint32
	VersionNum uint32
	SeqNo      uint32
	Length     uint32
	Count      uint32
	Root       uint32
	Level      uint32
	FreeCount  uint32
	NewIno     uint32 // the chunk allocated last
	DirIno     uint32
	Unlinked   [64]uint32 // open inodes without a name
	UUID       [16]byte
	CRC        uint32
	_          uint32
	LSN        uint64
	FreeRoot   uint32
	FreeLevel  uint32
	IBlocks    uint32
	FBlocks    uint32
}

// agfl is struct xfs_agfl, the header of a list of block numbers.
type agfl struct {
	Magicnum uint32
	SeqNo    uint32
	UUID     [16]byte
	LSN      uint64
	CRC      uint32
}

// A shortBlock is struct xfs_btree_block with 32-bit pointers: the header of a
// block of a tree of an allocation group.
type shortBlock struct {
	Magic    uint32
	Level    uint16
	NumRecs  uint16
	LeftSib  uint32
	RightSib uint32
	BlkNo    uint64
	LSN      uint64
	UUID     [16]byte
	Owner    uint32
	CRC      uint32
}

// A longBlock is struct xfs_btree_block with 64-bit pointers: the header of a
// block of a tree of an inode.
type longBlock struct {
	Magic    uint32
	Level    uint16
	NumRecs  uint16
	LeftSib  uint64
	RightSib uint64
	BlkNo    uint64
	LSN      uint64
	UUID     [16]byte
	Owner    uint64
	CRC      uint32
	_        uint32
}

// dinode is struct xfs_dinode.
type dinode struct {
	Magic        uint16
	Mode         uint16
	Version      uint8
	Format       uint8
	_            uint16
	UID          uint32
	GID          uint32
	NLink        uint32
	_            uint32
	BigNExtents  uint64 // of data, with nrext64
	ATime        uint64
	MTime        uint64
	CTime        uint64
	Size         uint64
	NBlocks      uint64
	ExtSize      uint32
	NExtents     uint32 // of data; of attributes with nrext64
	ANExtents    uint16
	ForkOff      uint8 // in units of 8 bytes; 0: no attribute fork
	AFormat      uint8
	_            [6]byte
	Flags        uint16
	Gen          uint32
	NextUnlinked uint32
	CRC          uint32
	ChangeCount  uint64
	LSN          uint64
	Flags2       uint64
	CowExtSize   uint32
	_            [12]byte
	CrTime       uint64
	Ino          uint64
	UUID         [16]byte
}

// encode writes an inode. It does by hand what put does, since there are many
// inodes and reflection takes longer than everything else.
func (d *dinode) encode(to []byte) {
	b := be.AppendUint16(be.AppendUint16(to[:0], d.Magic), d.Mode)
	b = append(b, d.Version, d.Format, 0, 0)
	b = be.AppendUint32(be.AppendUint32(be.AppendUint32(b, d.UID), d.GID), d.NLink)
	b = be.AppendUint64(be.AppendUint32(b, 0), d.BigNExtents)
	b = be.AppendUint64(be.AppendUint64(be.AppendUint64(b, d.ATime), d.MTime), d.CTime)
	b = be.AppendUint64(be.AppendUint64(b, d.Size), d.NBlocks)
	b = be.AppendUint32(be.AppendUint32(b, d.ExtSize), d.NExtents)
	b = append(be.AppendUint16(b, d.ANExtents), d.ForkOff, d.AFormat, 0, 0, 0, 0, 0, 0)
	b = be.AppendUint32(be.AppendUint16(b, d.Flags), d.Gen)
	b = be.AppendUint32(be.AppendUint32(b, d.NextUnlinked), d.CRC)
	b = be.AppendUint64(be.AppendUint64(be.AppendUint64(b, d.ChangeCount), d.LSN), d.Flags2)
	b = append(be.AppendUint32(b, d.CowExtSize), make([]byte, 12)...)
	_ = append(be.AppendUint64(be.AppendUint64(b, d.CrTime), d.Ino), d.UUID[:]...)
}

// Formats of a fork, enum xfs_dinode_fmt.
const (
	formatDev     = 0
	formatLocal   = 1
	formatExtents = 2
	formatBtree   = 3
)

// Flags of an inode.
const (
	flagImmut    = 8
	flagNewRTBM  = 4
	flag2Bigtime = 8
	flag2NRExt64 = 0x10
)

// A blockInfo is struct xfs_da3_blkinfo. Forw and Back count from the start of
// the fork; 0 means no neighbour.
type blockInfo struct {
	Forw  uint32
	Back  uint32
	Magic uint16
	_     uint16
	CRC   uint32
	BlkNo uint64
	LSN   uint64
	UUID  [16]byte
	Owner uint64
}

// A nodeHeader is struct xfs_da3_node_hdr.
type nodeHeader struct {
	Info  blockInfo
	Count uint16
	Level uint16
	_     uint32
}

// A leafHeader is struct xfs_dir3_leaf_hdr.
type leafHeader struct {
	Info  blockInfo
	Count uint16
	Stale uint16
	_     uint32
}

// An attrLeafHeader is struct xfs_attr3_leaf_hdr.
type attrLeafHeader struct {
	Info      blockInfo
	Count     uint16
	UsedBytes uint16
	FirstUsed uint16
	Holes     uint8
	_         uint8
	FreeMap   [3]span
	_         uint32
}

// A span is struct xfs_attr_leaf_map and struct xfs_dir2_data_free: a piece of a
// block, in bytes.
type span struct{ Offset, Length uint16 }

// An attrEntry is struct xfs_attr_leaf_entry.
type attrEntry struct {
	HashVal uint32
	NameIdx uint16 // offset in the block
	Flags   uint8
	_       uint8
}

// A textHeader is struct xfs_dsymlink_hdr and struct xfs_attr3_rmt_hdr: the
// header of a block of a symbolic link or of an attribute value.
type textHeader struct {
	Magic  uint32
	Offset uint32
	Bytes  uint32
	CRC    uint32
	UUID   [16]byte
	Owner  uint64
	BlkNo  uint64
	LSN    uint64
}

// A dirHeader is struct xfs_dir3_blk_hdr.
type dirHeader struct {
	Magic uint32
	CRC   uint32
	BlkNo uint64
	LSN   uint64
	UUID  [16]byte
	Owner uint64
}

// A dataHeader is struct xfs_dir3_data_hdr.
type dataHeader struct {
	Hdr      dirHeader
	BestFree [3]span
	_        uint32
}

// A freeHeader is struct xfs_dir3_free_hdr.
type freeHeader struct {
	Hdr     dirHeader
	FirstDB uint32 // number of the first data block
	NValid  uint32
	NUsed   uint32
	_       uint32
}

// A leafEntry is struct xfs_dir2_leaf_entry: the hash of a name and the address
// of its entry, in units of 8 bytes.
type leafEntry struct{ HashVal, Address uint32 }

// An allocRecord is struct xfs_alloc_rec: a free extent.
type allocRecord struct{ StartBlock, BlockCount uint32 }

// An inodeRecord is struct xfs_inobt_rec, for a chunk of 64 inodes.
type inodeRecord struct {
	StartIno  uint32
	HoleMask  uint16
	Count     uint8
	FreeCount uint8
	Free      uint64 // a bit for each free inode
}

// A rmapRecord is struct xfs_rmap_rec.
type rmapRecord struct {
	StartBlock uint32
	BlockCount uint32
	Owner      uint64
	Offset     uint64
}

// A rmapKey is struct xfs_rmap_key.
type rmapKey struct {
	StartBlock uint32
	Owner      uint64
	Offset     uint64
}

// A logRecord is struct xlog_rec_header.
type logRecord struct {
	MagicNo   uint32
	Cycle     uint32
	Version   uint32
	Len       uint32
	LSN       uint64
	TailLSN   uint64
	CRC       uint32
	PrevBlock uint32
	NumLogOps uint32
	CycleData [64]uint32 // the first word of each sector, which holds the cycle instead
	Fmt       uint32
	UUID      [16]byte
	Size      uint32
	_         uint32
}

// A logOp is struct xlog_op_header, followed by an unmount record: struct
// xfs_unmount_log_format.
type logOp struct {
	TID      uint32
	Len      uint32
	ClientID uint8
	Flags    uint8
	_        uint16
	Magic    [2]byte // in the order of the host, here of x86
	_        [6]byte
}

// put encodes a structure at the start of to. It takes a pointer, so that the
// structure is not copied.
func put(to []byte, v any) {
	if _, err := binary.Encode(to, be, v); err != nil {
		panic(err) // structures have a fixed size, and to has room for them
	}
}

// get decodes a structure at the start of b.
func get[T any](b []byte) (v T) {
	if _, err := binary.Decode(b, be, &v); err != nil {
		panic(err) // structures have a fixed size, and b is not shorter
	}
	return v
}

// seal writes the checksum of a piece of metadata to its place. Checksums are
// little-endian.
func seal(b []byte, at int) { binary.LittleEndian.PutUint32(b[at:], checksum(b, at)) }

// checksum returns the checksum of a piece of metadata that stores it at an
// offset. The stored bytes count as zeros.
func checksum(b []byte, at int) uint32 {
	sum := crc32.Update(0, castagnoli, b[:at])
	sum = crc32.Update(sum, castagnoli, make([]byte, 4))
	return crc32.Update(sum, castagnoli, b[at+4:])
}
