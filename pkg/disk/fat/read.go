package fat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/internal/walk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

const (
	maxRead  = 1 << 22 // largest number of clusters that [Read] accepts
	minFAT16 = 4085    // clusters; a file system with fewer is FAT12
)

// limits bound the tree that [Read] returns.
var limits = walk.Limits{Names: 1 << 20, Path: walk.Default.Path, Bytes: 1 << 30}

// Read returns the tree of a FAT12, FAT16 or FAT32 file system, the reverse of
// [Format]. Contents of files refer to r and are not read. Names are the long
// names; modes are those that Linux shows. Each cluster has one owner, thus a
// damaged or endless chain is an error.
func Read(r io.ReaderAt) (*rootfs.Inode, error) {
	rd := &reader{r: r, entries: []dirEntry{{Attr: attrDirectory}}}
	err := rd.open()
	var root *rootfs.Inode
	if err == nil {
		root, err = walk.Tree(rd, 0, limits)
	}
	if err != nil {
		return nil, fmt.Errorf("fat: %w", err)
	}
	return root, nil
}

type reader struct {
	geometry
	r         io.ReaderAt
	rootChain uint32 // of FAT32
	table     []byte // the first FAT
	claims    walk.Claims
	entries   []dirEntry // by inode number, which FAT does not have: the first is the root
}

// open reads the boot sector and the FAT.
func (rd *reader) open() error {
	raw := make([]byte, 512)
	if err := rootfs.ReadFull(rd.r, raw, 0); err != nil {
		return fmt.Errorf("boot sector: %w", err)
	}
	var p bpb
	var p32 bpb32
	n, err := binary.Decode(raw, order, &p)
	if err == nil {
		_, err = binary.Decode(raw[n:], order, &p32)
	}
	if err != nil {
		return err
	}
	rd.bits, rd.sectorSize, rd.perCluster, rd.reserved = 16, int(p.BytsPerSec), int64(p.SecPerClus), int64(p.RsvdSecCnt)
	rd.rootEntries, rd.fatSectors, rd.sectors = int(p.RootEntCnt), int64(p.FATSz16), int64(p.TotSec16)
	if rd.fatSectors == 0 {
		rd.bits, rd.fatSectors, rd.rootChain, rd.rootEntries = 32, int64(p32.FATSz32), p32.RootClus, 0
	}
	if rd.sectors == 0 {
		rd.sectors = int64(p.TotSec32)
	}
	if string(raw[510:]) != "\x55\xAA" {
		return errors.New("boot sector: no signature 0x55 0xAA")
	}
	if err := rd.validate(int(p.NumFATs)); err != nil {
		return fmt.Errorf("boot sector: %w", err)
	}
	rd.table = make([]byte, ((rd.clusters+firstCluster)*int64(rd.bits)+7)/8)
	if err := rootfs.ReadFull(rd.r, rd.table, rd.reserved*int64(rd.sectorSize)); err != nil {
		return fmt.Errorf("FAT: %w", err)
	}
	return nil
}

// validate checks the geometry, and computes the number of clusters.
func (rd *reader) validate(fats int) error {
	powerOfTwo := func(n, least, most int64) bool { return n >= least && n <= most && n&(n-1) == 0 }
	switch {
	case !powerOfTwo(int64(rd.sectorSize), 512, 4096) || !powerOfTwo(rd.perCluster, 1, 128):
		return fmt.Errorf("invalid sizes: sectors of %d bytes, %d in a cluster", rd.sectorSize, rd.perCluster)
	case rd.reserved == 0 || rd.fatSectors == 0 || rd.rootEntries*entrySize%rd.sectorSize != 0:
		return fmt.Errorf("invalid sizes: %d reserved sectors, a FAT of %d, %d root entries", rd.reserved, rd.fatSectors, rd.rootEntries)
	case fats != numFATs:
		return fmt.Errorf("%d copies of the FAT, must be %d", fats, numFATs)
	}
	rd.clusters = (rd.sectors - rd.dataStart()) / rd.perCluster
	if rd.bits == 16 && rd.clusters < minFAT16 {
		rd.bits = 12
	}
	room := rd.fatSectors*int64(rd.sectorSize)*8/int64(rd.bits) - firstCluster
	switch {
	case rd.clusters > room || rd.clusters <= 0:
		return fmt.Errorf("%d clusters, its FAT has %d", rd.clusters, room)
	case rd.clusters > maxRead:
		return fmt.Errorf("%d clusters, limit is %d", rd.clusters, maxRead)
	}
	return nil
}

// Inode implements [walk.Source]. An inode number is the index of an entry.
func (rd *reader) Inode(ino uint64) (*rootfs.Inode, []walk.Entry, error) {
	e := rd.entries[ino]
	in := rootfs.Dir(0o755)
	if ino > 0 {
		in.MTime.Sec = unixTime(e.WrtDate, e.WrtTime)
	}
	first := uint32(e.FstClusLO)
	if rd.bits == 32 {
		first |= uint32(e.FstClusHI) << 16
	}
	if e.Attr&attrDirectory == 0 {
		content, err := rd.content(first, int64(e.FileSize))
		in.Mode, in.Children, in.Content = rootfs.ModeFile|0o644, nil, content
		return in, nil, err
	}
	var raw []byte
	var err error
	if ino == 0 {
		raw, err = rd.root()
	} else {
		raw, err = rd.directory(first)
	}
	if err != nil {
		return nil, nil, err
	}
	entries, err := rd.number(raw)
	return in, entries, err
}

// number gives the entries of a directory their numbers.
func (rd *reader) number(raw []byte) ([]walk.Entry, error) {
	list, err := decode(raw)
	if err != nil {
		return nil, err
	}
	entries := make([]walk.Entry, len(list))
	for i, e := range list {
		entries[i] = walk.Entry{Name: e.name, Ino: uint64(len(rd.entries))}
		rd.entries = append(rd.entries, e.dirEntry)
	}
	return entries, nil
}

// root returns the entries of the root directory.
func (rd *reader) root() ([]byte, error) {
	if rd.bits == 32 {
		return rd.directory(rd.rootChain)
	}
	b := make([]byte, rd.rootEntries*entrySize)
	return b, rootfs.ReadFull(rd.r, b, rd.rootStart()*int64(rd.sectorSize))
}

// chain returns a chain of clusters, up to the number that size bytes take.
func (rd *reader) chain(first uint32, size int64) ([]uint32, error) {
	var chain []uint32
	for n := first; int64(len(chain)) < rd.clustersIn(size); {
		switch {
		case n < firstCluster || int64(n) >= rd.clusters+firstCluster:
			return nil, fmt.Errorf("cluster %#x is outside of %#x to %#x", n, firstCluster, rd.clusters+firstCluster-1)
		case !rd.claims.Claim(uint64(n)):
			return nil, fmt.Errorf("cluster %#x has two owners", n)
		}
		chain = append(chain, n)
		var last bool
		if n, last = rd.next(n); last {
			break
		}
	}
	return chain, nil
}

// next returns the cluster that follows n in its chain, or true if n is the last one.
func (rd *reader) next(n uint32) (next uint32, last bool) {
	switch rd.bits {
	case 12:
		at := n + n/2 // three bytes hold two entries
		next = uint32(order.Uint16(rd.table[at:])) >> (n % 2 * 4) & 0xFFF
		return next, next >= 0xFF8
	case 16:
		next = uint32(order.Uint16(rd.table[2*n:]))
		return next, next >= 0xFFF8
	}
	next = order.Uint32(rd.table[4*n:]) & endOfChain
	return next, next >= 0xFFFFFF8
}

// at returns the offset of a cluster, in bytes.
func (rd *reader) at(cluster uint32) int64 {
	return rd.dataStart()*int64(rd.sectorSize) + int64(cluster-firstCluster)*rd.clusterSize()
}

// directory returns the bytes of a directory.
func (rd *reader) directory(first uint32) ([]byte, error) {
	chain, err := rd.chain(first, maxDir+1)
	if err != nil {
		return nil, err
	}
	if int64(len(chain)) > rd.clustersIn(maxDir) {
		return nil, fmt.Errorf("directory of more than %d bytes", maxDir)
	}
	b := make([]byte, int64(len(chain))*rd.clusterSize())
	for i, n := range chain {
		if err := rootfs.ReadFull(rd.r, b[int64(i)*rd.clusterSize():][:rd.clusterSize()], rd.at(n)); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// content returns the content of a file, which refers to its clusters. Contiguous
// clusters form one extent.
func (rd *reader) content(first uint32, size int64) (*disk.Image, error) {
	chain, err := rd.chain(first, size)
	if err != nil {
		return nil, err
	}
	if rd.clustersIn(size) > int64(len(chain)) {
		return nil, fmt.Errorf("file of %d bytes has %d clusters of %d bytes", size, len(chain), rd.clusterSize())
	}
	var extents []disk.Extent
	for i := 0; i < len(chain); {
		from := i
		for i++; i < len(chain) && chain[i] == chain[i-1]+1; i++ {
		}
		off := int64(from) * rd.clusterSize()
		n := min(int64(i)*rd.clusterSize(), size) - off
		extents = append(extents, disk.Extent{Off: off, Blob: io.NewSectionReader(rd.r, rd.at(chain[from]), n)})
	}
	return disk.New(size, extents...)
}
