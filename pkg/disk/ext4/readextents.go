package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
)

// A mapping is an extent: from block off of the file on, n blocks that start at a
// block of the file system.
type mapping struct{ off, start, n uint64 }

// content returns the content of an inode, which refers to its extents.
func (rd *reader) content(d *core) (*disk.Image, error) {
	maps, err := rd.mappings(d)
	if err != nil {
		return nil, err
	}
	size := int64(d.size())
	var extents []disk.Extent
	for _, m := range maps {
		off := int64(m.off) * rd.block
		if n := min(int64(m.n)*rd.block, size-off); n > 0 {
			extents = append(extents, disk.Extent{Off: off, Blob: io.NewSectionReader(rd.r, int64(m.start)*rd.block, n)})
		}
	}
	return disk.New(size, extents...)
}

// mappings returns the extents of an inode, ascending.
func (rd *reader) mappings(d *core) ([]mapping, error) {
	if d.Flags&inodeExtents == 0 {
		if d.BlocksLo == 0 {
			return nil, nil
		}
		return nil, disk.Unsupported("its blocks are not in extents, which is not supported")
	}
	raw := d.rawBlock()
	x := extents{reader: rd, seed: d.seed}
	err := x.collect(raw[:], 5)
	return x.maps, err
}

// An extents collects the extents of a tree.
type extents struct {
	*reader
	seed uint32
	maps []mapping
	next uint64 // the first block of the file that the next extent may have
}

// collect adds the extents of a node that has at most some levels below it.
func (x *extents) collect(node []byte, levels int) error {
	var h extentHeader
	if _, err := binary.Decode(node, binary.LittleEndian, &h); err != nil {
		return err
	}
	if h.Magic != extentMagic || int(h.Depth) > levels || 12+12*int(h.Entries) > len(node) {
		return errors.New("extent tree is damaged")
	}
	for i := range int(h.Entries) {
		var err error
		if raw := node[12+12*i:]; h.Depth > 0 {
			err = x.index(raw, int(h.Depth)-1)
		} else {
			err = x.extent(raw)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// extent adds an extent. One that is allocated and not written reads as zeros,
// like a hole.
func (x *extents) extent(raw []byte) error {
	var e extent
	if _, err := binary.Decode(raw, binary.LittleEndian, &e); err != nil {
		return err
	}
	m := mapping{uint64(e.Block), uint64(e.StartHi)<<32 | uint64(e.StartLo), uint64(e.Len)}
	written := m.n <= maxExtent
	if !written {
		m.n -= maxExtent
	}
	switch {
	case m.start+m.n > x.blocks:
		return fmt.Errorf("extent of blocks %d to %d is outside the file system of %d blocks", m.start, m.start+m.n-1, x.blocks)
	case m.n == 0 || m.off < x.next:
		return errors.New("extents are not in order")
	case len(x.maps) == maxMaps:
		return fmt.Errorf("more than %d extents", maxMaps)
	}
	x.next = m.off + m.n
	if written {
		x.maps = append(x.maps, m)
	}
	return nil
}

// index adds the extents below an entry of an inner node.
func (x *extents) index(raw []byte, levels int) error {
	var e extentIndex
	if _, err := binary.Decode(raw, binary.LittleEndian, &e); err != nil {
		return err
	}
	if err := x.child(uint64(e.LeafHi)<<32|uint64(e.LeafLo), levels); err != nil {
		return fmt.Errorf("extent tree: %w", err)
	}
	return nil
}

// child adds the extents of a block of the tree.
func (x *extents) child(n uint64, levels int) error {
	b, err := x.claim(n)
	if err != nil {
		return err
	}
	tail := 12 + 12*int(binary.LittleEndian.Uint16(b[4:])) // behind the room for all entries
	if x.sums && tail+4 > len(b) {
		return fmt.Errorf("block %d is damaged", n)
	} else if x.sums && checksum(x.seed, b[:tail]) != binary.LittleEndian.Uint32(b[tail:]) {
		return fmt.Errorf("block %d: %w", n, errChecksum)
	}
	return x.collect(b, levels)
}
