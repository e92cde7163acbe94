package composefs

import "encoding/binary"

// header is struct lcfs_erofs_header_s of libcomposefs, at offset 0.
type header struct {
	Magic            uint32
	Version          uint32
	Flags            uint32
	ComposefsVersion uint32
	_                [16]byte
}

const (
	headerMagic   = 0xd078629a
	headerVersion = 1
	flagHasACL    = 1
)

// superBlock is struct erofs_super_block, at offset 1024.
type superBlock struct {
	Magic           uint32
	Checksum        uint32
	FeatureCompat   uint32
	BlkSzBits       uint8
	SbExtSlots      uint8
	RootNid         uint16
	Inos            uint64
	BuildTime       uint64
	BuildTimeNsec   uint32
	Blocks          uint32
	MetaBlkAddr     uint32
	XattrBlkAddr    uint32
	UUID            [16]byte
	VolumeName      [16]byte
	FeatureIncompat uint32 // libcomposefs does not announce chunks here
	_               [44]byte
}

const (
	superOffset = 1024
	superSize   = 128
	superMagic  = 0xe0f5e1e2

	compatMTime       = 0x2
	compatXattrFilter = 0x4
)

// inodeCompact is struct erofs_inode_compact.
type inodeCompact struct {
	Format      uint16
	XattrICount uint16
	Mode        uint16
	Nlink       uint16
	Size        uint32
	_           uint32
	U           uint32 // block address, device or chunk format
	Ino         uint32
	UID         uint16
	GID         uint16
	_           uint32
}

// inodeExtended is struct erofs_inode_extended.
type inodeExtended struct {
	Format      uint16
	XattrICount uint16
	Mode        uint16
	_           uint16
	Size        uint64
	U           uint32
	Ino         uint32
	UID         uint32
	GID         uint32
	MTime       uint64
	MTimeNsec   uint32
	Nlink       uint32
	_           [16]byte
}

// Bit 0 of Format tells an extended inode, the bits above it the data layout.
const (
	formatExtended = 1

	layoutPlain   = 0 << 1
	layoutInline  = 2 << 1 // last part of the data follows the inode
	layoutChunked = 4 << 1 // an index of chunks follows the inode
)

// xattrHeader is struct erofs_xattr_ibody_header. The identifiers of shared
// attributes and then the entries of the others follow.
type xattrHeader struct {
	NameFilter  uint32
	SharedCount uint8
	_           [7]byte
}

// append appends the header.
func (h xattrHeader) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, h.NameFilter)
	return append(b, h.SharedCount, 0, 0, 0, 0, 0, 0, 0)
}

const (
	xattrFilterSeed = 0x25bbe08f
	maxShared       = 128 // of one inode, as libcomposefs has it
)

// xattrEntry is struct erofs_xattr_entry. Name without prefix and value follow.
type xattrEntry struct {
	NameLen   uint8
	NameIndex uint8
	ValueSize uint16
}

// append appends the entry without its name and value.
func (e xattrEntry) append(b []byte) []byte {
	b = append(b, e.NameLen, e.NameIndex)
	return binary.LittleEndian.AppendUint16(b, e.ValueSize)
}

// xattrPrefixes are the prefixes of names by NameIndex, in the order tried.
// The empty one is last and fits every name. EROFS has one for Lustre as well,
// which libcomposefs does not use.
var xattrPrefixes = []struct {
	index uint8
	name  string
}{
	{1, "user."},
	{2, "system.posix_acl_access"},
	{3, "system.posix_acl_default"},
	{4, "trusted."},
	{6, "security."},
	{0, ""},
}

// dirent is struct erofs_dirent. The names of a block follow its entries.
type dirent struct {
	Nid     uint64
	NameOff uint16
	Type    uint8
	_       uint8
}

// append appends the entry.
func (d dirent) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, d.Nid)
	b = binary.LittleEndian.AppendUint16(b, d.NameOff)
	return append(b, d.Type, 0)
}

const (
	direntSize = 12

	direntFile = 1
	direntDir  = 2
	direntChar = 3
	direntLink = 7
)

const (
	blockSize = 4096
	blockBits = 12
	slotSize  = 32 // an inode number is an offset in slots
	firstSlot = superOffset + superSize
	chunkBits = 31 + blockBits // of the largest chunk
)
