package xfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/internal/walk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// incompatRead are the features that [Read] knows: those that Format writes,
// another UUID in metadata (0x4), exchange of ranges (0x40) and parent pointers
// (0x80).
const incompatRead = incompatFtype | incompatSparse | incompatBigtime | 0x4 | nrext64 | 0x40 | 0x80

const (
	maxDirSize = 1 << 30 // bytes of a directory
	maxMaps    = 1 << 22 // extents of a file
	maxLevels  = 8       // of a tree
)

// Read returns the tree of a file system, the reverse of [Format], with hard
// links and extended attributes. Contents of files refer to r and are not read.
// Read knows the forms that Format and the kernel write. It verifies all
// checksums, and reads no block of metadata twice, thus it ends on every input.
// A log that was not replayed is ignored: the last writes before a power failure
// may be missing.
func Read(r io.ReaderAt) (*rootfs.Inode, error) {
	rd := &reader{r: r}
	top, err := rd.open()
	var root *rootfs.Inode
	if err == nil {
		root, err = walk.Tree(rd, top, walk.Default)
	}
	if err != nil {
		return nil, fmt.Errorf("xfs: %w", err)
	}
	return root, nil
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
	claims     walk.Claims // linear blocks of metadata
}

// errChecksum says that metadata does not match its checksum.
var errChecksum = errors.New("wrong checksum")

// sealed verifies the checksum that seal writes.
func sealed(b []byte, at int) error {
	if checksum(b, at) != binary.LittleEndian.Uint32(b[at:]) {
		return errChecksum
	}
	return nil
}

// A stamp holds the offsets of the checksum, the address and the owner in a block
// of metadata.
type stamp struct{ crc, address, owner int }

var (
	longStamp = stamp{longCRC, 24, 56}
	dirStamp  = stamp{dirCRC, 8, 40}
	daStamp   = stamp{daCRC, 16, 48}
	textStamp = stamp{textCRC, 40, 32}
)

// claim verifies the stamp of a block. A block can be claimed once.
func (rd *reader) claim(b []byte, s stamp, linear, owner uint64) error {
	err := sealed(b, s.crc)
	switch {
	case !rd.claims.Claim(linear):
		err = errors.New("it has two owners")
	case err == nil && be.Uint64(b[s.address:]) != linear*uint64(rd.block)/512:
		err = fmt.Errorf("it belongs elsewhere: its address is %d, want %d", be.Uint64(b[s.address:]), linear*uint64(rd.block)/512)
	case err == nil && be.Uint64(b[s.owner:]) != owner:
		err = fmt.Errorf("it belongs elsewhere: its owner is inode %d", be.Uint64(b[s.owner:]))
	}
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
	s := get[superBlock](b)
	if err := s.validate(); err != nil {
		return 0, fmt.Errorf("superblock: %w", err)
	}
	if unknown := s.FeaturesIncompat &^ incompatRead; unknown != 0 {
		if err := rd.header(0, int64(s.SectSize), magicSuper, superCRC); err != nil {
			return 0, fmt.Errorf("superblock: %w", err)
		}
		return 0, disk.Unsupported("superblock: unknown features %#x", unknown)
	}
	rd.block, rd.inodeBytes = int64(s.Blocksize), int64(s.InodeSize)
	rd.blocks, rd.agBlocks, rd.agLog = s.DBlocks, uint64(s.AGBlocks), uint(s.AGBlkLog)
	rd.perBlock = uint(bits.Len64(uint64(rd.block/rd.inodeBytes)) - 1)
	rd.dirBlock = rd.block << s.DirBlkLog
	return s.RootIno, rd.headers(int64(s.SectSize), uint64(s.AGCount))
}

// validate checks the numbers of a superblock that the reader depends on.
func (s *superBlock) validate() error {
	powerOfTwo := func(n, least, most uint32) bool { return n >= least && n <= most && n&(n-1) == 0 }
	sector := uint32(s.SectSize)
	switch version := s.VersionNum & 0xf; {
	case s.Magicnum != magicSuper:
		return fmt.Errorf("magic number %#x, want %#x", s.Magicnum, magicSuper)
	case version == 4: // without checksums
		return disk.Unsupported("version 4, must be 5")
	case version != 5:
		return fmt.Errorf("version %d, must be 5", version)
	case !powerOfTwo(s.Blocksize, 512, 64<<10):
		return fmt.Errorf("blocks of %d bytes, must be a power of two from 512 to 65536", s.Blocksize)
	case sector < 512 || sector > s.Blocksize || s.Blocksize%sector != 0:
		return fmt.Errorf("sectors of %d bytes in blocks of %d", sector, s.Blocksize)
	case !powerOfTwo(uint32(s.InodeSize), 256, min(s.Blocksize, 2048)):
		return fmt.Errorf("inodes of %d bytes in blocks of %d", s.InodeSize, s.Blocksize)
	case s.DBlocks == 0 || s.DBlocks > 1<<52:
		return fmt.Errorf("%d blocks", s.DBlocks)
	case s.AGBlocks == 0 || s.AGBlkLog > 32 || uint64(s.AGBlocks) > 1<<s.AGBlkLog:
		return fmt.Errorf("groups of %d blocks, in numbers of %d bits", s.AGBlocks, s.AGBlkLog)
	case s.DirBlkLog > 4:
		return fmt.Errorf("directory blocks of 1<<%d blocks, limit is 1<<4", s.DirBlkLog)
	}
	return nil
}

// headers verifies the superblock and the headers of each group. Copies of the
// superblock may be old and are ignored.
func (rd *reader) headers(sector int64, groups uint64) error {
	if groups*rd.agBlocks < rd.blocks || (groups-1)*rd.agBlocks >= rd.blocks {
		return fmt.Errorf("superblock: %d groups of %d blocks for %d blocks", groups, rd.agBlocks, rd.blocks)
	}
	if err := rd.header(0, sector, magicSuper, superCRC); err != nil {
		return fmt.Errorf("superblock: %w", err)
	}
	for k := range groups {
		for i, h := range []struct {
			name  string
			magic uint32
			crc   int
		}{{"AGF", magicAGF, agfCRC}, {"AGI", magicAGI, agiCRC}, {"AGFL", magicAGFL, agflCRC}} {
			at := int64(k*rd.agBlocks)*rd.block + int64(i+1)*sector
			if err := rd.header(at, sector, h.magic, h.crc); err != nil {
				return fmt.Errorf("group %d: %s: %w", k, h.name, err)
			}
		}
	}
	return nil
}

// header verifies a header of one sector.
func (rd *reader) header(at, sector int64, magic uint32, crc int) error {
	b := make([]byte, sector)
	if err := rootfs.ReadFull(rd.r, b, at); err != nil {
		return err
	}
	if got := be.Uint32(b); got != magic {
		return fmt.Errorf("magic number %#x, want %#x", got, magic)
	}
	return sealed(b, crc)
}

// offset returns the offset of a packed block, in bytes.
func (rd *reader) offset(fsbno uint64) (int64, error) {
	linear := fsbno>>rd.agLog*rd.agBlocks + fsbno&(1<<rd.agLog-1)
	if fsbno&(1<<rd.agLog-1) >= rd.agBlocks || linear >= rd.blocks {
		return 0, fmt.Errorf("block %#x is outside the file system of %d blocks", fsbno, rd.blocks)
	}
	return int64(linear) * rd.block, nil
}
