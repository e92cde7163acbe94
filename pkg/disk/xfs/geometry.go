package xfs

import (
	"fmt"
	"math/bits"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// A geometry is the division of a file system into groups. A block has three
// addresses: the linear one counts from the start of the device, another from the
// start of its allocation group, and the packed fsbno joins the numbers of group
// and block.
type geometry struct {
	sector    int
	blocks    uint64 // of the file system
	groups    uint64
	agBlocks  uint64 // of each group; the last may have fewer
	agLog     uint   // bits of the number of a block in a group
	header    uint64 // blocks of the four header sectors of a group
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
		return nil, fmt.Errorf("%d allocation groups, must be at least 2: the second one has the copy of the superblock that a repair needs", o.Groups)
	}
	g.groups = max(uint64(o.Groups), 2, (g.blocks+maxAGBlocks-1)/maxAGBlocks)
	g.agBlocks = (g.blocks + g.groups - 1) / g.groups
	// Every group needs room for its headers and trees.
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

// length returns the number of blocks of a group.
func (g *geometry) length(group uint64) uint64 {
	return min(g.agBlocks, g.blocks-group*g.agBlocks)
}

// logStart returns the first block of the log in its group.
func (g *geometry) logStart() uint64 { return g.header + g.features.roots() }

// chunkStart returns the first block of inodes in a group. In the first group it
// is that of mkfs.xfs, because xfs_repair computes it.
func (g *geometry) chunkStart(group uint64) uint64 {
	switch group {
	case 0:
		return firstChunk
	case g.logGroup:
		return (g.logStart() + g.logBlocks + chunkBlocks - 1) &^ (chunkBlocks - 1)
	}
	return (g.header + g.features.roots() + chunkBlocks - 1) &^ (chunkBlocks - 1)
}

// fsbno returns the packed form of a linear address.
func (g *geometry) fsbno(linear uint64) uint64 {
	return linear/g.agBlocks<<g.agLog | linear%g.agBlocks
}

// daddr returns a linear address in units of 512 bytes.
func daddr(linear uint64) uint64 { return linear * (blockSize / 512) }
