// Package fat writes and reads FAT16 and FAT32 file systems with long names, for
// EFI system partitions. [Format] lays out this plan:
//
//	boot sector, reserved sectors | FAT | FAT | root directory (FAT16) | clusters
//
// FAT32 has its root directory in the clusters, and among the reserved sectors an
// information sector and a copy of both. The geometry is that of mkfs.fat. Every
// file and directory is one run of clusters, parents before children and siblings
// in byte order.
//
// Symbolic links and special files are an error. Owners, permissions and labels
// are dropped, and a hard link becomes a copy, because FAT cannot store them.
// [Read] also reads the file systems of other programs, FAT12 included, which
// Format does not write.
//
// The files of the package:
//
//	format.go            on-disk structures
//	geometry.go          sizes and number of clusters
//	names.go             long and short names
//	fat.go               [Format]
//	read.go, readdir.go  [Read]
//
// The code is our own because go-diskfs 1.9 cannot set the serial number, takes
// the times of directories from the clock, and writes directories that fsck.fat
// repairs. It serves the tests as an independent reader.
//
// Structures have the names of Microsoft, "FAT: General Overview of On-Disk
// Format", version 1.03. Page numbers refer to it.
package fat

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// Options are the properties of a file system.
type Options struct {
	Size       int64       // bytes, a multiple of SectorSize
	SectorSize int         // 512 or 4096; zero means 512
	Bits       int         // 16 or 32; zero means 32 from 512 MiB on and 16 below
	Label      string      // at most 11 capitals, digits and spaces; empty means none
	VolumeID   uint32      // the serial number
	Time       rootfs.Time // of the label, and of files without a time after 1979
}

// Format lays out a tree as a FAT file system.
func Format(root *rootfs.Inode, o Options) (*disk.Image, error) {
	img, err := format(root, o)
	if err != nil {
		return nil, fmt.Errorf("fat: %w", err)
	}
	return img, nil
}

func format(root *rootfs.Inode, o Options) (*disk.Image, error) {
	if o.SectorSize == 0 {
		o.SectorSize = 512
	}
	label, err := volumeLabel(o.Label)
	if err != nil {
		return nil, err
	}
	geo, err := newGeometry(o.Size, o.SectorSize, o.Bits)
	if err != nil {
		return nil, err
	}
	nodes, err := collect(root, o.Label != "")
	if err != nil {
		return nil, err
	}
	if need := geo.rootEntries; need > 0 && nodes[0].size > int64(need)*entrySize {
		return nil, fmt.Errorf("the root directory needs %d entries, FAT16 has %d", nodes[0].size/entrySize, need)
	}
	if geo.clustersOf(nodes) > int64(geo.clusters) {
		return nil, fmt.Errorf("the tree needs %d clusters of %d bytes, an image of %s holds %d: %s",
			geo.clustersOf(nodes), geo.clusterSize(), rootfs.Bytes(o.Size), geo.clusters, sizeHint(nodes, o))
	}
	l := &layout{geometry: geo, options: o, label: label, nodes: nodes}
	return l.image()
}

// sizeHint names a size that is large enough.
func sizeHint(nodes []*node, o Options) string {
	fits := func(size int64) bool {
		g, err := newGeometry(size, o.SectorSize, o.Bits)
		return err == nil && g.clustersOf(nodes) <= int64(g.clusters)
	}
	const unit = 1 << 20
	low, high := o.Size/unit, o.Size/unit+1
	for ; !fits(high * unit); high *= 2 {
		if high*unit > maxSize {
			return "no size would do"
		}
		low = high
	}
	for high-low > 1 {
		if mid := (low + high) / 2; fits(mid * unit) {
			high = mid
		} else {
			low = mid
		}
	}
	return fmt.Sprintf("%s are needed", rootfs.Bytes(high*unit))
}

// layout is a file system with its geometry and tree, and the metadata so far.
type layout struct {
	geometry
	options Options
	label   [11]byte
	nodes   []*node // parents before children, the root first
	table   []uint32
	extents []disk.Extent
}

func (l *layout) image() (*disk.Image, error) {
	l.allocate()
	for _, n := range l.nodes {
		switch {
		case n.inode.IsDir():
			l.add(l.offset(n), l.directory(n))
		case n.size > 0:
			l.extents = append(l.extents, disk.Extent{Off: l.offset(n), Blob: n.inode.Content})
		}
	}
	l.addTables()
	l.addReserved()
	return disk.New(l.options.Size, l.extents...)
}

// add adds metadata. Trailing zeros become a hole.
func (l *layout) add(off int64, b []byte) {
	b = bytes.TrimRight(b, "\x00")
	l.extents = append(l.extents, disk.Extent{Off: off, Blob: bytes.NewReader(b)})
}

// allocate gives every node its run of clusters, and writes the chains.
func (l *layout) allocate() {
	l.table = []uint32{endOfChain&^0xff | mediaFixed, endOfChain}
	for _, n := range l.nodes {
		count := l.clustersFor(n)
		if count == 0 {
			continue
		}
		n.first = uint32(len(l.table))
		for range count - 1 {
			l.table = append(l.table, uint32(len(l.table)+1))
		}
		l.table = append(l.table, endOfChain)
	}
}

// offset returns the offset of the content of a node in the image.
func (l *layout) offset(n *node) int64 {
	if n.parent == nil && l.bits == 16 {
		return l.rootStart() * int64(l.sectorSize)
	}
	return l.dataStart()*int64(l.sectorSize) + int64(n.first-firstCluster)*l.clusterSize()
}

// directory returns the entries of a directory: first the label in the root, or
// "." and ".." elsewhere, then its children.
func (l *layout) directory(n *node) []byte {
	var b []byte
	switch {
	case n.parent != nil:
		b = l.appendEntry(b, dotName("."), attrDirectory, n, n)
		b = l.appendEntry(b, dotName(".."), attrDirectory, n.parent, n.parent)
	case l.options.Label != "":
		b = l.appendEntry(b, l.label, attrVolumeID, n, nil)
	}
	for _, child := range n.children {
		attr := uint8(attrArchive)
		if child.inode.IsDir() {
			attr = attrDirectory
		}
		b = appendLong(b, child.long, child.short)
		b = l.appendEntry(b, child.short, attr, child, child)
	}
	return b
}

// appendEntry appends an entry with the times of one node and the clusters of
// another, which may be nil.
func (l *layout) appendEntry(b []byte, name [11]byte, attr uint8, times, to *node) []byte {
	date, clock, tenths := l.stamp(times)
	e := dirEntry{
		Name: name, Attr: attr,
		CrtTimeTenth: tenths, CrtTime: clock, CrtDate: date,
		LstAccDate: date, WrtTime: clock, WrtDate: date,
	}
	// ".." of the children of the root refers to cluster 0, even if the root has a
	// number.
	if to != nil && to.parent != nil {
		e.FstClusHI, e.FstClusLO = uint16(to.first>>16), uint16(to.first)
		if to.inode.IsFile() {
			e.FileSize = uint32(to.size)
		}
	}
	return appendStruct(b, e)
}

func (l *layout) stamp(n *node) (date, clock uint16, tenths uint8) {
	t := n.inode.MTime
	if t.Sec < unix1980 {
		t = l.options.Time
	}
	return dosTime(t)
}

// addTables adds both copies of the FAT, up to the last cluster in use.
func (l *layout) addTables() {
	b := make([]byte, 0, len(l.table)*l.bits/8)
	for _, entry := range l.table {
		if l.bits == 16 {
			b = order.AppendUint16(b, uint16(entry))
		} else {
			b = order.AppendUint32(b, entry)
		}
	}
	for i := range int64(numFATs) {
		l.add((l.reserved+i*l.fatSectors)*int64(l.sectorSize), b)
	}
}

// addReserved adds the boot sector, and for FAT32 the information sector and
// the copies of both.
func (l *layout) addReserved() {
	boot := l.bootSector()
	l.add(0, boot)
	if l.bits == 16 {
		return
	}
	info := appendStruct(nil, fsInfo{
		LeadSig:   0x41615252,
		StrucSig:  0x61417272,
		FreeCount: uint32(l.clusters) - uint32(len(l.table)-firstCluster),
		NxtFree:   uint32(len(l.table) - 1),
		TrailSig:  0xAA550000,
	})
	at := func(sector int64) int64 { return sector * int64(l.sectorSize) }
	l.add(at(infoSector), info)
	l.add(at(backupSector), boot)
	l.add(at(backupSector+infoSector), info)
}

func (l *layout) bootSector() []byte {
	ext := extBoot{DrvNum: 0x80, BootSig: 0x29, VolID: l.options.VolumeID, VolLab: l.label}
	copy(ext.FilSysType[:], fmt.Sprintf("FAT%d   ", l.bits))
	b := appendStruct(nil, l.parameters())
	if l.bits == 32 {
		b = appendStruct(b, bpb32{
			FATSz32: uint32(l.fatSectors), RootClus: firstCluster,
			FSInfo: infoSector, BkBootSec: backupSector,
		})
	}
	b = appendStruct(b, ext)
	b[1] = byte(len(b) - 2) // the jump goes behind all parameters
	// int 18h passes to the next boot device; where that returns, halt.
	b = append(b, 0xCD, 0x18, 0xF4, 0xEB, 0xFD)
	b = append(b, make([]byte, 510-len(b))...)
	return append(b, 0x55, 0xAA)
}

func (l *layout) parameters() bpb {
	p := bpb{
		BytsPerSec: uint16(l.sectorSize), SecPerClus: uint8(l.perCluster),
		RsvdSecCnt: uint16(l.reserved), NumFATs: numFATs, RootEntCnt: uint16(l.rootEntries),
		Media: mediaFixed, SecPerTrk: uint16(l.perTrack), NumHeads: uint16(l.heads),
	}
	copy(p.JmpBoot[:], "\xEB\x00\x90")
	copy(p.OEMName[:], "MSWIN4.1") // recommended by the specification: some readers check it
	if l.bits == 16 {
		p.FATSz16 = uint16(l.fatSectors)
	}
	if l.bits == 16 && l.sectors < 1<<16 {
		p.TotSec16 = uint16(l.sectors)
	} else {
		p.TotSec32 = uint32(l.sectors)
	}
	return p
}

// volumeLabel returns the label in the form of the boot sector and the root.
func volumeLabel(label string) ([11]byte, error) {
	var b [11]byte
	if label == "" {
		copy(b[:], "NO NAME    ")
		return b, nil
	}
	if len(label) > len(b) {
		return b, fmt.Errorf("label %q: longer than %d bytes", label, len(b))
	}
	for i := range len(label) {
		if c := label[i]; !isShort(c) && c != ' ' {
			return b, fmt.Errorf("label %q: %q is not a capital, digit, space or one of %s", label, c, shortSigns)
		}
	}
	if label[0] == ' ' {
		return b, errors.New("label begins with a space")
	}
	copy(b[:], "           ")
	copy(b[:], label)
	return b, nil
}
