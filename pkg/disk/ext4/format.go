package ext4

import "hash/crc32"

// The types and constants below mirror fs/ext4/ext4.h, ext4_extents.h, xattr.h and
// include/linux/jbd2.h of Linux, with their order and names.

const (
	magic         = 0xEF53
	superOffset   = 1024 // of the primary superblock, for every block size
	superSize     = 1024
	inodeSize     = 256
	extraISize    = 32  // of the inode's fields behind the first 128 bytes
	bodyOffset    = 160 // 128 + extraISize: start of the attributes in an inode
	descSize      = 64
	groupsPerFlex = 16
)

// Reserved inode numbers.
const (
	inoRoot      = 2
	inoResize    = 7
	inoJournal   = 8
	inoLostFound = 11 // the first that is not reserved
)

type compatFeature uint32

const (
	compatHasJournal   compatFeature = 0x4
	compatExtAttr      compatFeature = 0x8
	compatResizeInode  compatFeature = 0x10
	compatDirIndex     compatFeature = 0x20
	incompatFileType                 = 0x2
	incompatExtents                  = 0x40
	incompat64Bit                    = 0x80
	incompatFlexBG                   = 0x200
	incompatCsumSeed                 = 0x2000
	roSparseSuper                    = 0x1
	roLargeFile                      = 0x2
	roHugeFile                       = 0x8
	roDirNlink                       = 0x20
	roExtraISize                     = 0x40
	roMetadataCsum                   = 0x400
	stateClean                       = 1
	errorsContinue                   = 1
	mountXattrUser                   = 0x4
	mountACL                         = 0x8
	flagSignedHash                   = 1 // names are hashed as signed chars
	checksumCRC32C                   = 1
	journalBackupInode               = 1
)

// superBlock is struct ext4_super_block.
type superBlock struct {
	InodesCount       uint32
	BlocksCountLo     uint32
	RBlocksCountLo    uint32
	FreeBlocksCountLo uint32
	FreeInodesCount   uint32
	FirstDataBlock    uint32
	LogBlockSize      uint32
	LogClusterSize    uint32
	BlocksPerGroup    uint32
	ClustersPerGroup  uint32
	InodesPerGroup    uint32
	MTime             uint32
	WTime             uint32
	MntCount          uint16
	MaxMntCount       uint16
	Magic             uint16
	State             uint16
	Errors            uint16
	MinorRevLevel     uint16
	LastCheck         uint32
	CheckInterval     uint32
	CreatorOS         uint32
	RevLevel          uint32
	DefResUID         uint16
	DefResGID         uint16
	FirstIno          uint32
	InodeSize         uint16
	BlockGroupNr      uint16
	FeatureCompat     compatFeature
	FeatureIncompat   uint32
	FeatureROCompat   uint32
	UUID              [16]byte
	VolumeName        [16]byte
	LastMounted       [64]byte
	AlgorithmBitmap   uint32
	PreallocBlocks    uint8
	PreallocDirBlocks uint8
	ReservedGDTBlocks uint16
	JournalUUID       [16]byte
	JournalInum       uint32
	JournalDev        uint32
	LastOrphan        uint32
	HashSeed          [16]byte
	DefHashVersion    uint8
	JnlBackupType     uint8
	DescSize          uint16
	DefaultMountOpts  uint32
	FirstMetaBG       uint32
	MkfsTime          uint32
	JnlBlocks         [17]uint32
	BlocksCountHi     uint32
	RBlocksCountHi    uint32
	FreeBlocksCountHi uint32
	MinExtraISize     uint16
	WantExtraISize    uint16
	Flags             uint32
	RAIDStride        uint16
	MMPUpdateInterval uint16
	MMPBlock          uint64
	RAIDStripeWidth   uint32
	LogGroupsPerFlex  uint8
	ChecksumType      uint8
	_                 [2]byte // encryption level, padding
	KBytesWritten     uint64
	_                 [128]byte // snapshots, log of errors
	MountOpts         [64]byte
	UsrQuotaInum      uint32
	GrpQuotaInum      uint32
	OverheadBlocks    uint32
	_                 [28]byte // sparse_super2, encryption
	LpfIno            uint32
	PrjQuotaInum      uint32
	ChecksumSeed      uint32
	WTimeHi           uint8
	MTimeHi           uint8
	MkfsTimeHi        uint8
	LastCheckHi       uint8
	_                 [4]byte   // high bytes of the times of errors, their codes
	_                 [384]byte // encoding, orphan file, reserved
	Checksum          uint32
}

// groupDesc is struct ext4_group_desc in its 64-byte form.
type groupDesc struct {
	BlockBitmapLo     uint32
	InodeBitmapLo     uint32
	InodeTableLo      uint32
	FreeBlocksCountLo uint16
	FreeInodesCountLo uint16
	UsedDirsCountLo   uint16
	Flags             uint16
	ExcludeBitmapLo   uint32
	BlockBitmapCsumLo uint16
	InodeBitmapCsumLo uint16
	ITableUnusedLo    uint16
	Checksum          uint16
	BlockBitmapHi     uint32
	InodeBitmapHi     uint32
	InodeTableHi      uint32
	FreeBlocksCountHi uint16
	FreeInodesCountHi uint16
	UsedDirsCountHi   uint16
	ITableUnusedHi    uint16
	ExcludeBitmapHi   uint32
	BlockBitmapCsumHi uint16
	InodeBitmapCsumHi uint16
	_                 uint32
}

// Flags of a groupDesc.
const (
	groupInodeUninit = 0x1 // the inode bitmap is not written, all inodes are free
	groupBlockUninit = 0x2 // the block bitmap is not written, all but its superblock copy is free
	groupTableZeroed = 0x4 // the inode table reads as zeros where it is unused
)

// descChecksumOffset is the offset of groupDesc.Checksum.
const descChecksumOffset = 30

// inode is struct ext4_inode without the attributes behind it.
type inode struct {
	Mode        uint16
	UID         uint16
	SizeLo      uint32
	ATime       uint32
	CTime       uint32
	MTime       uint32
	DTime       uint32
	GID         uint16
	LinksCount  uint16
	BlocksLo    uint32
	Flags       uint32
	Version     uint32
	Block       [15]uint32
	Generation  uint32
	FileACLLo   uint32
	SizeHigh    uint32
	_           uint32 // fragment address
	BlocksHigh  uint16
	FileACLHigh uint16
	UIDHigh     uint16
	GIDHigh     uint16
	ChecksumLo  uint16
	_           uint16
	ExtraISize  uint16
	ChecksumHi  uint16
	CTimeExtra  uint32
	MTimeExtra  uint32
	ATimeExtra  uint32
	CRTime      uint32
	CRTimeExtra uint32
	VersionHi   uint32
	ProjID      uint32
}

// Offsets of the two halves of the checksum in an inode.
const (
	inodeChecksumLo = 124
	inodeChecksumHi = 130
)

// Flags of an inode.
const (
	inodeImmutable = 0x10
	inodeIndex     = 0x1000
	inodeExtents   = 0x80000
)

// extentHeader is struct ext4_extent_header.
type extentHeader struct {
	Magic      uint16
	Entries    uint16
	Max        uint16
	Depth      uint16
	Generation uint32
}

// extent is struct ext4_extent.
type extent struct {
	Block   uint32
	Len     uint16
	StartHi uint16
	StartLo uint32
}

// extentIndex is struct ext4_extent_idx.
type extentIndex struct {
	Block  uint32
	LeafLo uint32
	LeafHi uint16
	_      uint16
}

const extentMagic = 0xF30A

// direntHeader is struct ext4_dir_entry_2 without the name.
type direntHeader struct {
	Inode    uint32
	RecLen   uint16
	NameLen  uint8
	FileType uint8
}

// direntTail is struct ext4_dir_entry_tail: an entry of no inode and no name
// that ends each directory block.
type direntTail struct {
	Inode    uint32
	RecLen   uint16
	NameLen  uint8
	FileType uint8
	Checksum uint32
}

const direntTailType = 0xDE

// dxInfo is dx_root_info of struct dx_root.
type dxInfo struct {
	Reserved       uint32
	HashVersion    uint8
	InfoLength     uint8
	IndirectLevels uint8
	UnusedFlags    uint8
}

const hashHalfMD4 = 1

// dxEntry is struct dx_entry. In the first of a block the hash is implied, and
// its place holds a dxCountLimit.
type dxEntry struct {
	Hash  uint32
	Block uint32
}

// dxCountLimit is struct dx_countlimit.
type dxCountLimit struct {
	Limit uint16
	Count uint16
}

// xattrHeader is struct ext4_xattr_header.
type xattrHeader struct {
	Magic    uint32
	RefCount uint32
	Blocks   uint32
	Hash     uint32
	Checksum uint32
	_        [3]uint32
}

const xattrMagic = 0xEA020000

// xattrEntry is struct ext4_xattr_entry without the name.
type xattrEntry struct {
	NameLen   uint8
	NameIndex uint8
	ValueOffs uint16
	ValueInum uint32
	ValueSize uint32
	Hash      uint32
}

// journalSuper is the used part of struct journal_superblock_s. It alone is
// big-endian.
type journalSuper struct {
	Magic         uint32
	BlockType     uint32
	Sequence      uint32
	BlockSize     uint32
	MaxLen        uint32
	First         uint32
	FirstSequence uint32
	Start         uint32
	Errno         uint32
	Features      [3]uint32
	UUID          [16]byte
	NrUsers       uint32
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum continues a CRC-32C as ext4 does: without the inversions before and
// after that package crc32 makes.
func checksum(seed uint32, p []byte) uint32 { return ^crc32.Update(^seed, castagnoli, p) }
