// Package ext4 writes and reads ext4 file systems.
//
// [Format] lays out a tree of inodes. The result is a plan: metadata is in memory,
// and the content of files is only referred to. The same tree and options give the
// same bytes. [Read] is the reverse.
//
// Blocks are in groups. The metadata of 16 groups (a flex group) stands together
// at the start of the first one:
//
//	group 0                                                        group 1 ...
//	boot | super | descriptors | reserve | 16 block bitmaps |      | super | ... |
//	sector | block |           | for more | 16 inode bitmaps |     | copies      | data
//	                                        16 inode tables | data |
//
// Data starts with the journal; directories, attributes and then files follow
// in the order of their paths, each as contiguous as the metadata in between
// allows. Zeros become holes: bitmaps of unused groups are marked as not written,
// inode tables end with the last inode, and the journal is only its superblock.
//
// The features are those of mke2fs 1.47 for type ext4, and metadata_csum_seed,
// which allows another UUID without new checksums. A file system of up to 2^32
// blocks has a resize inode and grows, mounted or not, like one of mke2fs. Not
// supported are orphan_file, inline data, attributes in inodes of their own,
// encryption, quota, case folding, hashed directories of more than two levels, and
// holes in files.
//
// The files of the package:
//
//	format.go                      on-disk structures
//	tree.go, geometry.go, plan.go  the tree, the division into groups, placement
//	inodes.go, extents.go,         inodes, and their blocks
//	dirs.go, xattrs.go
//	groups.go, journal.go          superblock, bitmaps, group descriptors, journal
//	read*.go                       [Read]
//
// The code is our own because go-diskfs 1.9 sets no extended attributes, makes no
// hard links or devices, and takes its times and hash seeds from the clock and from
// chance; for a tree of 24,000 inodes it needed 123 seconds, mke2fs 7.
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

// Options are the properties of a file system.
type Options struct {
	Size      int64       // bytes; required
	BlockSize int         // 1024 or 4096; zero means 1024 below 512 MiB, else 4096, as mke2fs chooses
	Label     string      // at most 16 bytes
	UUID      [16]byte    // of the file system
	HashSeed  [16]byte    // of hashed directories; zero means derived from the UUID
	Time      rootfs.Time // when the file system was made; zero means the epoch

	// Inodes is the least number of inodes. Zero means the number of mke2fs for
	// the size, or, if that is more, the number of the tree and one eighth.
	Inodes uint32
	// ReservedPercent is the share of blocks that only root may use. Zero
	// means 5, a negative number none.
	ReservedPercent int
	// JournalSize is in bytes. Zero means the choice of mke2fs for the size, a
	// negative number no journal.
	JournalSize int64

	stride uint64 // allocator.stride, for tests
}

// Format lays out the tree below root. It reads no file content.
//
// All four times of an inode are its MTime. A directory lost+found in the root
// becomes the one that e2fsck uses. Without it Format makes an empty one. If the
// tree does not fit, the error names the size that it needs.
func Format(root *rootfs.Inode, o Options) (*disk.Image, error) {
	img, err := format(root, o)
	if errors.Is(err, errTooSmall) {
		size, sizeErr := neededSize(root, o, o.Size)
		if sizeErr != nil {
			return nil, fmt.Errorf("ext4: %w", sizeErr)
		}
		return nil, fmt.Errorf("ext4: size of %s is too small, need %s", rootfs.Bytes(o.Size), rootfs.Bytes(size))
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

// check returns an error for invalid options.
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

// neededSize returns the least size, at least low bytes, that has room for the
// tree.
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
