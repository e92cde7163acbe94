package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/internal/walk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// incompatRead are the features that [Read] knows. A journal that was not
// replayed (0x4) is ignored: the last writes before a power failure may be
// missing.
const incompatRead = incompatFileType | incompatExtents | incompat64Bit | incompatFlexBG | incompatCsumSeed | 0x4

const (
	maxGroups  = 1 << 24
	maxDirSize = 1 << 28 // bytes of a directory
	maxTarget  = 4096    // bytes of a symbolic link
	maxMaps    = 1 << 22 // extents of a file
)

// Read returns the tree of a file system, the reverse of [Format]: with hard
// links and extended attributes, but without an empty lost+found. Contents of
// files refer to r and are not read. Read knows the forms that Format and the
// kernel write. It verifies all checksums, and reads no block of an extent tree
// or a directory twice, thus it ends on every input.
func Read(r io.ReaderAt) (*rootfs.Inode, error) {
	rd := &reader{r: r}
	err := rd.open()
	var root *rootfs.Inode
	if err == nil {
		root, err = walk.Tree(rd, inoRoot, walk.Default)
	}
	if err != nil {
		return nil, fmt.Errorf("ext4: %w", err)
	}
	if lost := root.Children["lost+found"]; lost != nil && len(lost.Children) == 0 {
		delete(root.Children, "lost+found")
	}
	return root, nil
}

// Free returns the number of free bytes of a file system. It includes the bytes
// that are reserved for root.
func Free(r io.ReaderAt) (int64, error) {
	rd := &reader{r: r}
	if err := rd.open(); err != nil {
		return 0, fmt.Errorf("ext4: %w", err)
	}
	s := &rd.super
	return int64(uint64(s.FreeBlocksCountHi)<<32|uint64(s.FreeBlocksCountLo)) * rd.block, nil
}

type reader struct {
	r      io.ReaderAt
	super  superBlock
	sums   bool   // metadata has checksums
	seed   uint32 // of all checksums but the superblock's
	block  int64
	blocks uint64
	tables []uint64    // first block of each group's inode table
	claims walk.Claims // blocks of extent trees and directories
}

// errChecksum says that metadata does not match its checksum.
var errChecksum = errors.New("wrong checksum")

// check compares a checksum, if the file system has checksums.
func (rd *reader) check(got, want uint32) error {
	if rd.sums && got != want {
		return errChecksum
	}
	return nil
}

// readBlock reads a block of metadata.
func (rd *reader) readBlock(n uint64) ([]byte, error) {
	if n >= rd.blocks {
		return nil, fmt.Errorf("block %d is outside the file system of %d blocks", n, rd.blocks)
	}
	b := make([]byte, rd.block)
	return b, rootfs.ReadFull(rd.r, b, int64(n)*rd.block)
}

// claim reads a block that has one owner.
func (rd *reader) claim(n uint64) ([]byte, error) {
	if !rd.claims.Claim(n) {
		return nil, fmt.Errorf("block %d has two owners", n)
	}
	return rd.readBlock(n)
}

// open reads the superblock and the group descriptors.
func (rd *reader) open() error {
	raw := make([]byte, superSize)
	if _, err := rd.r.ReadAt(raw, superOffset); err != nil {
		return fmt.Errorf("superblock: %w", err)
	}
	s := &rd.super
	if _, err := binary.Decode(raw, binary.LittleEndian, s); err != nil {
		return err
	}
	rd.sums = s.FeatureROCompat&roMetadataCsum != 0
	rd.blocks = uint64(s.BlocksCountLo)
	if s.FeatureIncompat&incompat64Bit != 0 {
		rd.blocks |= uint64(s.BlocksCountHi) << 32
	}
	err := rd.validate()
	if err == nil {
		err = rd.check(checksum(^uint32(0), raw[:superSize-4]), s.Checksum)
	}
	if err != nil {
		return fmt.Errorf("superblock: %w", err)
	}
	if unknown := s.FeatureIncompat &^ incompatRead; unknown != 0 {
		return disk.Unsupported("superblock: unknown features %#x", unknown)
	}
	rd.seed = checksum(^uint32(0), s.UUID[:])
	if s.FeatureIncompat&incompatCsumSeed != 0 {
		rd.seed = s.ChecksumSeed
	}
	rd.block = 1024 << s.LogBlockSize
	return rd.descriptors()
}

// validate checks the numbers of the superblock that the reader depends on.
func (rd *reader) validate() error {
	s := &rd.super
	switch size := rd.descSize(); {
	case s.Magic != magic:
		return fmt.Errorf("magic number %#x, want %#x", s.Magic, magic)
	case s.LogBlockSize > 6:
		return fmt.Errorf("blocks of 1024<<%d bytes, limit is 64 KiB", s.LogBlockSize)
	case size != 32 && size != descSize:
		return fmt.Errorf("group descriptors of %d bytes, must be 32 or %d", size, descSize)
	case s.InodeSize < 128 || int64(s.InodeSize) > 1024<<s.LogBlockSize || s.InodeSize&(s.InodeSize-1) != 0:
		return fmt.Errorf("inodes of %d bytes, must be a power of two from 128 to the block size", s.InodeSize)
	case s.BlocksPerGroup == 0 || s.InodesPerGroup == 0 || rd.blocks <= uint64(s.FirstDataBlock) || rd.blocks > 1<<48:
		return fmt.Errorf("invalid counts: %d blocks from %d on, %d blocks and %d inodes in a group",
			rd.blocks, s.FirstDataBlock, s.BlocksPerGroup, s.InodesPerGroup)
	}
	return nil
}

// descSize returns the bytes of a group descriptor.
func (rd *reader) descSize() int {
	if rd.super.FeatureIncompat&incompat64Bit != 0 {
		return int(rd.super.DescSize)
	}
	return 32
}

// descriptors reads the group descriptors, one at a time: if their number is
// wrong, the file ends before memory does.
func (rd *reader) descriptors() error {
	first, perGroup := uint64(rd.super.FirstDataBlock), uint64(rd.super.BlocksPerGroup)
	groups := int64((rd.blocks - first + perGroup - 1) / perGroup)
	if groups > maxGroups {
		return fmt.Errorf("superblock: %d block groups, limit is %d", groups, maxGroups)
	}
	size := rd.descSize()
	in := io.NewSectionReader(rd.r, int64(first+1)*rd.block, groups*int64(size))
	raw := make([]byte, descSize)
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
