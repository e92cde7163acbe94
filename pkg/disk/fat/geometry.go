package fat

import (
	"fmt"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// geometry is the shape of a file system, in sectors if not said otherwise. It is
// the choice of mkfs.fat of dosfstools 4.2 for an image of the same size.
type geometry struct {
	bits        int // of an entry of the FAT
	sectorSize  int // bytes
	sectors     int64
	perTrack    int64
	heads       int64
	perCluster  int64
	reserved    int64
	fatSectors  int64
	rootEntries int // 0 for FAT32
	clusters    int64
}

const (
	minClusters16 = 4087  // with fewer mkfs.fat makes FAT12; the limit of the specification is 4085
	maxClusters16 = 65524 // with more, readers take it for FAT32, p. 15
	minClusters32 = 65525

	maxCluster = 32 << 10 // bytes; more is not portable, p. 9
	maxSize    = 32 << 30 // where FAT32 would need larger clusters
)

// Bits returns the default type of a file system of a size, as mkfs.fat chooses it:
// 32 from 512 MiB on, or else 16.
func Bits(size int64) int {
	if size >= 512<<20 {
		return 32
	}
	return 16
}

func newGeometry(size int64, sectorSize, bits int) (geometry, error) {
	g := geometry{bits: bits, sectorSize: sectorSize}
	switch {
	case sectorSize != 512 && sectorSize != 4096:
		return g, fmt.Errorf("sector size %d is neither 512 nor 4096", sectorSize)
	case bits != 0 && bits != 16 && bits != 32:
		return g, fmt.Errorf("FAT%d is neither FAT16 nor FAT32", bits)
	case size <= 0 || size%int64(sectorSize) != 0:
		return g, fmt.Errorf("size %d is not a positive multiple of the sector size %d", size, sectorSize)
	case size > maxSize:
		return g, fmt.Errorf("size of %s is more than the %s supported", rootfs.Bytes(size), rootfs.Bytes(int64(maxSize)))
	}
	if bits == 0 {
		g.bits = Bits(size)
	}
	g.setDisk(size / int64(sectorSize))
	if g.bits == 32 {
		return g, g.set32()
	}
	return g, g.set16()
}

// setDisk invents cylinders and heads, which are mandatory but unused, and drops
// the sectors of an incomplete track.
func (g *geometry) setDisk(sectors int64) {
	// Up to 524,288 sectors: the card sizes of the SD specification. Above: as
	// few heads as keep a BIOS below its 1024 cylinders.
	table := []struct{ upTo, heads, perTrack int64 }{
		{4096, 2, 16},
		{32768, 2, 32},
		{65536, 4, 32},
		{262144, 8, 32},
		{524288, 16, 32},
		{16 * 63 * 1024, 16, 63},
		{32 * 63 * 1024, 32, 63},
		{64 * 63 * 1024, 64, 63},
		{128 * 63 * 1024, 128, 63},
	}
	g.heads, g.perTrack = 255, 63
	for _, row := range table {
		if sectors <= row.upTo {
			g.heads, g.perTrack = row.heads, row.perTrack
			break
		}
	}
	g.sectors = sectors - sectors%g.perTrack
}

// set16 takes the smallest clusters, from four sectors on, that are not too many.
func (g *geometry) set16() error {
	for g.perCluster = 4; g.clusterSize() <= maxCluster; g.perCluster *= 2 {
		root := g.align(512 * entrySize / int64(g.sectorSize))
		g.rootEntries = int(root) * g.sectorSize / entrySize
		g.reserved = g.align(1)
		g.setFAT(root)
		if g.clusters < minClusters16 {
			break
		}
		if g.clusters <= maxClusters16 {
			return nil
		}
	}
	return fmt.Errorf("FAT16 of %d sectors of %d bytes would have %d clusters, %d to %d are allowed",
		g.sectors, g.sectorSize, max(0, g.clusters), minClusters16, maxClusters16)
}

// set32 chooses clusters by the number of sectors; the sizes given are those of
// the specification, p. 20, which has sectors of 512 bytes.
func (g *geometry) set32() error {
	switch mib := g.sectors / 2048; {
	case mib < 260:
		g.perCluster = 1
	case mib < 8<<10:
		g.perCluster = 8
	case mib < 16<<10:
		g.perCluster = 16
	default:
		g.perCluster = 32
	}
	g.reserved = g.align(32)
	g.setFAT(0)
	if g.clusters < minClusters32 {
		return fmt.Errorf("FAT32 of %d sectors of %d bytes would have %d clusters, at least %d are needed",
			g.sectors, g.sectorSize, max(0, g.clusters), minClusters32)
	}
	return nil
}

// setFAT sizes the FATs and, with them, the clusters. Each cluster costs itself
// and an entry in every FAT; the two entries without a cluster cost as much.
func (g *geometry) setFAT(rootSectors int64) {
	left := g.sectors - g.reserved - rootSectors
	entry, sector := int64(g.bits/8), int64(g.sectorSize)
	clusters := (left*sector + numFATs*2*entry) / (g.clusterSize() + numFATs*entry)
	g.fatSectors = g.align(((clusters+2)*entry + sector - 1) / sector)
	g.clusters = (left - numFATs*g.fatSectors) / g.perCluster
}

// align rounds sectors up to whole clusters.
func (g *geometry) align(sectors int64) int64 {
	return (sectors + g.perCluster - 1) / g.perCluster * g.perCluster
}

func (g *geometry) clusterSize() int64 { return g.perCluster * int64(g.sectorSize) }

// rootStart returns the sector of the root directory of FAT16.
func (g *geometry) rootStart() int64 { return g.reserved + numFATs*g.fatSectors }

// dataStart returns the sector of the first cluster.
func (g *geometry) dataStart() int64 {
	return g.rootStart() + int64(g.rootEntries)*entrySize/int64(g.sectorSize)
}

// clustersFor returns the number of clusters of a node.
func (g *geometry) clustersFor(n *node) int64 {
	if n.parent == nil {
		if g.bits == 16 {
			return 0
		}
		return max(1, g.clustersIn(n.size)) // of an empty directory too
	}
	return g.clustersIn(n.size)
}

func (g *geometry) clustersIn(size int64) int64 {
	return (size + g.clusterSize() - 1) / g.clusterSize()
}

// clustersOf returns the number of clusters of a tree.
func (g *geometry) clustersOf(nodes []*node) int64 {
	var sum int64
	for _, n := range nodes {
		sum += g.clustersFor(n)
	}
	return sum
}
