package xfs

import (
	"errors"
	"fmt"
	"io"
	"math"
	"sort"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
)

// mappings returns the extents of a fork, ascending.
func (rd *reader) mappings(c *core, fork forkData) ([]mapping, error) {
	f := &forkReader{reader: rd, owner: c.ino}
	var err error
	switch fork.format {
	case formatExtents:
		if fork.maps > uint64(len(fork.raw)/mapSize) {
			return nil, fmt.Errorf("%d extents in %d bytes", fork.maps, len(fork.raw))
		}
		err = f.leaf(fork.raw, int(fork.maps))
	case formatBtree:
		err = f.root(fork.raw)
	default:
		err = fmt.Errorf("a fork of format %d", fork.format)
	}
	return f.maps, err
}

// A forkReader collects the mappings of a fork.
type forkReader struct {
	*reader
	owner uint64
	maps  []mapping
	next  uint64 // the first block of the fork that the next extent may have
}

// root adds the mappings below a root in the inode.
func (f *forkReader) root(raw []byte) error {
	if len(raw) < 4 {
		return fmt.Errorf("the root of its extents has %d bytes", len(raw))
	}
	levels, count := int(be.Uint16(raw)), int(be.Uint16(raw[2:]))
	most := rootMax(len(raw))
	if count > most || levels == 0 || levels > maxLevels {
		return fmt.Errorf("the root of its extents has %d levels and %d entries, limits are %d and %d", levels, count, maxLevels, most)
	}
	for i := range count {
		if err := f.node(be.Uint64(raw[4+8*most+8*i:]), levels-1); err != nil {
			return fmt.Errorf("the tree of its extents: %w", err)
		}
	}
	return nil
}

// node adds the mappings below a block of the tree.
func (f *forkReader) node(fsbno uint64, level int) error {
	at, err := f.offset(fsbno)
	if err != nil {
		return err
	}
	b, err := f.metadata(uint64(at/f.block), longStamp, f.owner)
	if err != nil {
		return err
	}
	h := get[longBlock](b)
	count, most := int(h.NumRecs), (len(b)-longHead)/mapSize
	if h.Magic != magicBmap || int(h.Level) != level || count > most {
		return fmt.Errorf("block %d is damaged", at/f.block)
	}
	if level == 0 {
		return f.leaf(b[longHead:], count)
	}
	for i := range count {
		if err := f.node(be.Uint64(b[longHead+8*most+8*i:]), level-1); err != nil {
			return err
		}
	}
	return nil
}

// leaf decodes mappings. Extents that are allocated and not written read as zeros,
// like holes.
func (f *forkReader) leaf(b []byte, n int) error {
	for i := range n {
		hi, lo := be.Uint64(b[i*mapSize:]), be.Uint64(b[i*mapSize+8:])
		m := mapping{off: hi << 1 >> 10, n: lo & (1<<21 - 1)}
		fsbno := hi<<43&(1<<52-1) | lo>>21
		at, err := f.offset(fsbno)
		if err != nil {
			return err
		}
		m.linear = uint64(at / f.block)
		switch {
		case m.linear+m.n > f.blocks || m.off+m.n > math.MaxInt64/uint64(f.block):
			return fmt.Errorf("extent of %d blocks at block %#x is outside the file system", m.n, fsbno)
		case m.n == 0 || m.off < f.next:
			return errors.New("extents are not in order")
		case len(f.maps) == maxMaps:
			return fmt.Errorf("more than %d extents", maxMaps)
		}
		f.next = m.off + m.n
		if hi>>63 == 0 {
			f.maps = append(f.maps, m)
		}
	}
	return nil
}

// content returns the content of a file, which refers to its extents.
func (rd *reader) content(c *core) (*disk.Image, error) {
	maps, err := rd.mappings(c, c.data)
	if err != nil {
		return nil, err
	}
	return rd.image(maps, c.size)
}

// image returns size bytes of a fork.
func (rd *reader) image(maps []mapping, size int64) (*disk.Image, error) {
	var extents []disk.Extent
	for _, m := range maps {
		off := int64(m.off) * rd.block
		if length := min(int64(m.n)*rd.block, size-off); length > 0 {
			extents = append(extents, disk.Extent{Off: off, Blob: io.NewSectionReader(rd.r, int64(m.linear)*rd.block, length)})
		}
	}
	return disk.New(size, extents...)
}

// find returns the linear address of a block of a fork.
func find(maps []mapping, block uint64) (uint64, error) {
	i := sort.Search(len(maps), func(i int) bool { return maps[i].off+maps[i].n > block })
	if i == len(maps) || maps[i].off > block {
		return 0, fmt.Errorf("block %d of a fork is missing", block)
	}
	return maps[i].linear + block - maps[i].off, nil
}

// forkBlock reads a block of metadata in a fork.
func (rd *reader) forkBlock(c *core, maps []mapping, block uint64, s stamp) ([]byte, error) {
	linear, err := find(maps, block)
	if err != nil {
		return nil, err
	}
	return rd.metadata(linear, s, c.ino)
}

// text reads a symbolic link or an attribute value from a block of a fork on.
// Each block has a header.
func (rd *reader) text(c *core, maps []mapping, block uint64, size int, magic uint32) ([]byte, error) {
	var out []byte
	for len(out) < size {
		b, err := rd.forkBlock(c, maps, block, textStamp)
		if err != nil {
			return nil, err
		}
		if h := get[textHeader](b); h.Magic != magic || int(h.Offset) != len(out) {
			return nil, fmt.Errorf("block %d of a fork: magic number %#x at byte %d, want %#x at %d", block, h.Magic, h.Offset, magic, len(out))
		}
		out = append(out, b[textHead:min(len(b), textHead+size-len(out))]...)
		block++
	}
	return out, nil
}
