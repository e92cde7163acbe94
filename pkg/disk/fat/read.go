package fat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf16"

	"golang.org/x/text/encoding/charmap"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

const (
	maxRead  = 1 << 22 // clusters that are read of a file system
	maxNames = 1 << 20 // names that are
	maxPath  = 8192    // bytes of a path: twice what a system call takes
	minFAT16 = 4085    // clusters; a file system with fewer is FAT12
)

// Read returns the tree of a FAT12, FAT16 or FAT32 file system, the reverse of
// [Format]. Content is not read but referred to. Names are the long ones; modes
// are those that Linux shows. A cluster has one owner, so what is damaged, or
// made to be endless, is an error.
func Read(r io.ReaderAt) (*rootfs.Inode, error) {
	rd := &reader{r: r}
	root := rootfs.Dir(0o755)
	if err := rd.open(); err != nil {
		return nil, fmt.Errorf("fat: %w", err)
	}
	entries, err := rd.root()
	if err == nil {
		err = rd.children(root, entries, "")
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
	used      []bool // clusters that have an owner
	names     int
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
	twoToThe := func(n, least, most int64) bool { return n >= least && n <= most && n&(n-1) == 0 }
	if string(raw[510:]) != "\x55\xAA" || !twoToThe(int64(rd.sectorSize), 512, 4096) || !twoToThe(rd.perCluster, 1, 128) ||
		rd.reserved == 0 || rd.fatSectors == 0 || rd.rootEntries*entrySize%rd.sectorSize != 0 {
		return errors.New("boot sector: sizes that cannot be")
	}
	if p.NumFATs != numFATs {
		return fmt.Errorf("boot sector: %d copies of the FAT, only %d are supported", p.NumFATs, numFATs)
	}
	rd.clusters = (rd.sectors - rd.dataStart()) / rd.perCluster
	if rd.bits == 16 && rd.clusters < minFAT16 {
		rd.bits = 12
	}
	room := rd.fatSectors*int64(rd.sectorSize)*8/int64(rd.bits) - firstCluster
	switch {
	case rd.clusters > room || rd.clusters <= 0:
		return fmt.Errorf("boot sector: %d clusters, its FAT has %d", rd.clusters, room)
	case rd.clusters > maxRead:
		return fmt.Errorf("boot sector: %d clusters, at most %d are read", rd.clusters, maxRead)
	}
	rd.used = make([]bool, rd.clusters+firstCluster)
	rd.table = make([]byte, (len(rd.used)*rd.bits+7)/8)
	if err := rootfs.ReadFull(rd.r, rd.table, rd.reserved*int64(rd.sectorSize)); err != nil {
		return fmt.Errorf("FAT: %w", err)
	}
	return nil
}

// root returns the entries of the root directory.
func (rd *reader) root() ([]byte, error) {
	if rd.bits == 32 {
		return rd.entries(rd.rootChain)
	}
	b := make([]byte, rd.rootEntries*entrySize)
	return b, rootfs.ReadFull(rd.r, b, rd.rootStart()*int64(rd.sectorSize))
}

// chain returns a chain of clusters: all, or at most as many as size takes.
func (rd *reader) chain(first uint32, size int64) ([]uint32, error) {
	var chain []uint32
	for n := first; int64(len(chain)) < rd.clustersIn(size); {
		switch {
		case n < firstCluster || int64(n) >= int64(len(rd.used)):
			return nil, fmt.Errorf("cluster %#x is none", n)
		case rd.used[n]:
			return nil, fmt.Errorf("cluster %#x has two owners", n)
		}
		rd.used[n] = true
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
		next = uint32(order.Uint16([]byte{rd.table[at], rd.table[at+1]})) >> (n % 2 * 4) & 0xFFF
		return next, next >= 0xFF8
	case 16:
		next = uint32(order.Uint16(rd.table[2*n:]))
		return next, next >= 0xFFF8
	}
	next = order.Uint32(rd.table[4*n:]) & endOfChain
	return next, next >= 0xFFFFFF8
}

// at is where a cluster stands, in bytes.
func (rd *reader) at(cluster uint32) int64 {
	return rd.dataStart()*int64(rd.sectorSize) + int64(cluster-firstCluster)*rd.clusterSize()
}

// entries returns what is in a directory.
func (rd *reader) entries(first uint32) ([]byte, error) {
	chain, err := rd.chain(first, maxDir+1)
	if err != nil {
		return nil, err
	}
	if int64(len(chain)) > rd.clustersIn(maxDir) {
		return nil, fmt.Errorf("a directory of more than %d bytes", maxDir)
	}
	b := make([]byte, int64(len(chain))*rd.clusterSize())
	for i, n := range chain {
		if err := rootfs.ReadFull(rd.r, b[int64(i)*rd.clusterSize():][:rd.clusterSize()], rd.at(n)); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// content returns where a file stands, what is in a row as one extent.
func (rd *reader) content(first uint32, size int64) (*disk.Image, error) {
	chain, err := rd.chain(first, size)
	if err != nil {
		return nil, err
	}
	if rd.clustersIn(size) > int64(len(chain)) {
		return nil, fmt.Errorf("%d bytes in %d clusters of %d", size, len(chain), rd.clusterSize())
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

// A found is an entry with its name.
type found struct {
	name string
	dirEntry
}

// children adds to a directory what its entries say.
func (rd *reader) children(dir *rootfs.Inode, entries []byte, path string) error {
	list, err := decode(entries)
	if err != nil {
		return fmt.Errorf("%s: %w", path+"/", err)
	}
	entries = nil // not kept while the directories below are read
	for _, e := range list {
		where := path + "/" + e.name
		if err := rd.child(dir, e, where); err != nil {
			return err
		}
	}
	return nil
}

func (rd *reader) child(dir *rootfs.Inode, e found, path string) error {
	fail := func(err error) error { return fmt.Errorf("%s: %w", path, err) }
	if !rootfs.ValidName(e.name) || dir.Children[e.name] != nil {
		return fail(errors.New("there cannot be such an entry"))
	}
	if rd.names++; rd.names > maxNames || len(path) > maxPath {
		return fmt.Errorf("%.80s: more than %d names, or a path of more than %d bytes", path, maxNames, maxPath)
	}
	first := uint32(e.FstClusLO)
	if rd.bits == 32 {
		first |= uint32(e.FstClusHI) << 16
	}
	in := rootfs.Dir(0o755)
	in.MTime.Sec = unixTime(e.WrtDate, e.WrtTime)
	dir.Children[e.name] = in
	if e.Attr&attrDirectory != 0 {
		entries, err := rd.entries(first)
		if err != nil {
			return fail(err)
		}
		return rd.children(in, entries, path)
	}
	in.Mode, in.Children = rootfs.ModeFile|0o644, nil
	content, err := rd.content(first, int64(e.FileSize))
	if err != nil {
		return fail(err)
	}
	in.Content = content
	return nil
}

// decode returns the entries of a directory but for the dots and the label.
func decode(b []byte) (list []found, err error) {
	var long []longEntry
	for ; len(b) >= entrySize && b[0] != 0; b = b[entrySize:] {
		var e dirEntry
		if _, err := binary.Decode(b, order, &e); err != nil {
			return nil, err
		}
		const deleted = 0xE5
		switch {
		case e.Name[0] == deleted:
			long = nil
			continue
		case e.Attr&attrLongName == attrLongName:
			var l longEntry
			if _, err := binary.Decode(b, order, &l); err != nil {
				return nil, err
			}
			long = append(long, l)
			continue
		case e.Attr&attrVolumeID == 0 && e.Name != dotName(".") && e.Name != dotName(".."):
			name := longName(long, checksum(e.Name))
			if name == "" {
				name = e.short()
			}
			list = append(list, found{name, e})
		}
		long = nil
	}
	return list, nil
}

// longName joins the parts of a long name, "" if they do not belong to a short
// name of this checksum: a system that knows no long names may have changed it.
func longName(parts []longEntry, sum uint8) string {
	if len(parts) == 0 || parts[0].Ord&lastLong == 0 {
		return ""
	}
	var units []uint16
	for i, l := range slices.Backward(parts) {
		if int(l.Ord&^lastLong) != len(parts)-i || l.Chksum != sum {
			return ""
		}
		units = slices.Concat(units, l.Name1[:], l.Name2[:], l.Name3[:])
	}
	if end := slices.Index(units, 0); end >= 0 {
		units = units[:end]
	}
	return string(utf16.Decode(units))
}

// short returns the short name, in the case that Windows NT notes for the whole
// of each part and in the code page that Linux takes.
func (e dirEntry) short() string {
	const lowerBase, lowerExt = 0x08, 0x10
	name := e.Name
	if name[0] == 0x05 { // stands for what would say that the entry is free
		name[0] = 0xE5
	}
	part := func(b []byte, lower uint8) string {
		text, _ := charmap.CodePage437.NewDecoder().String(strings.TrimRight(string(b), " "))
		if e.NTRes&lower != 0 {
			text = strings.ToLower(text)
		}
		return text
	}
	base, ext := part(name[:8], lowerBase), part(name[8:], lowerExt)
	if ext != "" {
		base += "." + ext
	}
	return base
}

// unixTime undoes dosTime, but for odd seconds.
func unixTime(date, clock uint16) int64 {
	return time.Date(1980+int(date>>9), time.Month(date>>5&0xF), int(date&0x1F),
		int(clock>>11), int(clock>>5&0x3F), int(clock&0x1F)*2, 0, time.UTC).Unix()
}
