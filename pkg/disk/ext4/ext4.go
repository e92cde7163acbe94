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
// lets it be. Zeros are holes: bitmaps of unused groups are marked as not written,
// inode tables end with the last inode, the journal is only its superblock.
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
	"errors"
	"fmt"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// Options are the properties of the file system besides its content.
type Options struct {
	Size      int64       // bytes; required
	BlockSize int         // 1024 or 4096; zero means 1024 below 512 MiB, else 4096, as mke2fs chooses
	Label     string      // at most 16 bytes
	UUID      [16]byte    // of the file system
	HashSeed  [16]byte    // of hashed directories; zero means derived from the UUID
	Time      rootfs.Time // when the file system was made; zero means the epoch

	// Inodes is the minimum number of inodes. Zero means the number that mke2fs
	// chooses for the size, or, if that is more, the number of the tree and one
	// eighth.
	Inodes uint32
	// ReservedPercent is the share of blocks that only root may use. Zero
	// means 5, a negative number none.
	ReservedPercent int
	// JournalSize is in bytes. Zero means the choice of mke2fs for the size,
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
		return nil, fmt.Errorf("ext4: %s are too small: need %s", rootfs.Bytes(o.Size), rootfs.Bytes(size))
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
