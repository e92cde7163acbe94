package xfs

import (
	"fmt"
	"math/bits"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// A geometry is how a file system is divided. Blocks have three addresses: the
// linear one, which counts from the start; the number in an allocation group;
// and the packed fsbno, which joins the numbers of group and block.
type geometry struct {
	sector    int
	blocks    uint64 // of the file system
	groups    uint64
	agBlocks  uint64 // of each group but the last, which may have less
	agLog     uint   // bits of a block's number in a group
	header    uint64 // blocks of a group's four header sectors
	logBlocks uint64
	logGroup  uint64
	features  Features
	label     string
	uuid      [16]byte
}

const (
	maxAGBlocks = 1<<28 - 1
	minLog      = 64 << 20
	maxLog      = 2038 << 20
	firstChunk  = 16
)

func logSize(size int64) int64 { return min(max(size/2048, minLog), maxLog) &^ (blockSize - 1) }

func newGeometry(o Options) (*geometry, error) {
	g := &geometry{sector: o.SectorSize, blocks: uint64(o.Size) / blockSize, label: o.Label, uuid: o.UUID, header: 1, features: o.Features}
	switch g.sector {
	case 0:
		g.sector = 512
	case 512:
	case 4096:
		g.header = 4
	default:
		return nil, fmt.Errorf("sectors of %d bytes, must be 512 or 4096", o.SectorSize)
	}
	if len(o.Label) > 12 {
		return nil, fmt.Errorf("label %q is longer than 12 bytes", o.Label)
	}
	if o.Size < MinSize {
		return nil, errTooSmall
	}
	if o.Groups < 0 || o.Groups == 1 || o.Groups > 1<<20 {
		return nil, fmt.Errorf("%d allocation groups, must be at least 2: without a second one there is no copy of the superblock to repair from", o.Groups)
	}
	g.groups = max(uint64(o.Groups), 2, (g.blocks+maxAGBlocks-1)/maxAGBlocks)
	g.agBlocks = (g.blocks + g.groups - 1) / g.groups
	// A group without room for anything is none.
	if last := g.blocks - (g.groups-1)*g.agBlocks; g.agBlocks < 4096 || g.blocks < (g.groups-1)*g.agBlocks || last < 4096 {
		return nil, fmt.Errorf("%d allocation groups are too many for %s", g.groups, rootfs.Bytes(o.Size))
	}
	g.agLog = uint(bits.Len64(g.agBlocks - 1))
	g.logBlocks = uint64(logSize(o.Size)) / blockSize
	g.logGroup = g.groups / 2
	if g.logStart()+g.logBlocks+4096 > g.length(g.logGroup) {
		return nil, fmt.Errorf("%d allocation groups of %d blocks leave no room for a log of %d", g.groups, g.agBlocks, g.logBlocks)
	}
	return g, nil
}

// length is how many blocks a group has.
func (g *geometry) length(group uint64) uint64 {
	return min(g.agBlocks, g.blocks-group*g.agBlocks)
}

// logStart is the first block of the log in its group.
func (g *geometry) logStart() uint64 { return g.header + g.features.roots() }

// chunkStart is the first block of inodes in a group. In the first one it is
// where mkfs.xfs has it, which xfs_repair computes.
func (g *geometry) chunkStart(group uint64) uint64 {
	switch group {
	case 0:
		return firstChunk
	case g.logGroup:
		return (g.logStart() + g.logBlocks + chunkBlocks - 1) &^ (chunkBlocks - 1)
	}
	return (g.header + g.features.roots() + chunkBlocks - 1) &^ (chunkBlocks - 1)
}

// fsbno packs a linear address.
func (g *geometry) fsbno(linear uint64) uint64 {
	return linear/g.agBlocks<<g.agLog | linear%g.agBlocks
}

// daddr is a linear address in units of 512 bytes.
func daddr(linear uint64) uint64 { return linear * (blockSize / 512) }
