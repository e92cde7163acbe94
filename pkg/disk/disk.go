// Package disk holds the noun that every disk, partition and file system is:
// the image.
//
// An [Image] is a plan: where each piece of content stands. Making one reads
// nothing and writes nothing; its codecs, such as raw and qcow2, stream it.
// What no extent covers is a hole, reads as zeros and costs nothing in any
// format. An Image is itself content, so images nest: a file system stands in
// a partition that stands in a disk.
package disk

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// An Extent is content at an offset of an image, in bytes.
type Extent struct {
	Off  int64
	Blob rootfs.Blob
}

// End returns the offset behind the extent's last byte.
func (e Extent) End() int64 { return e.Off + e.Blob.Size() }

// An Image is a size in bytes and what stands where. It is immutable and a
// [rootfs.Blob].
type Image struct {
	size    int64
	extents []Extent
	watch   func(n int64) // see Watch
}

// New returns an image of the given size in bytes. Extents may come in any
// order; empty ones vanish and those that are images themselves are replaced
// by their own extents. It is an error when one leaves the image or two
// overlap.
func New(size int64, extents ...Extent) (*Image, error) {
	if size < 0 {
		return nil, fmt.Errorf("disk: size %d is negative", size)
	}
	flat := make([]Extent, 0, len(extents))
	for _, e := range extents {
		if e.Off < 0 || e.Blob.Size() > size-e.Off {
			return nil, fmt.Errorf("disk: extent %d+%d leaves the image of %s", e.Off, e.Blob.Size(), rootfs.Bytes(size))
		}
		if img, ok := e.Blob.(*Image); ok {
			for _, inner := range img.extents {
				flat = append(flat, Extent{e.Off + inner.Off, inner.Blob})
			}
		} else if e.Blob.Size() > 0 {
			flat = append(flat, e)
		}
	}
	slices.SortFunc(flat, func(a, b Extent) int { return cmp.Compare(a.Off, b.Off) })
	for i := 1; i < len(flat); i++ {
		if flat[i-1].End() > flat[i].Off {
			return nil, fmt.Errorf("disk: extents %d+%d and %d+%d overlap", flat[i-1].Off, flat[i-1].Blob.Size(), flat[i].Off, flat[i].Blob.Size())
		}
	}
	return &Image{size: size, extents: flat}, nil
}

// Size returns the size of the image in bytes, holes included.
func (m *Image) Size() int64 { return m.size }

// Extents returns what the image holds, ascending and disjoint. None of the
// blobs is an [Image]. The caller must not change the slice.
func (m *Image) Extents() []Extent { return m.extents }

// Allocated returns how many bytes of the image are not holes.
func (m *Image) Allocated() int64 {
	var n int64
	for _, e := range m.extents {
		n += e.Blob.Size()
	}
	return n
}

// ReadAt reads from the image; holes read as zeros.
func (m *Image) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("disk: negative offset")
	}
	if off >= m.size {
		return 0, io.EOF
	}
	var eof error
	if int64(len(p)) > m.size-off {
		p, eof = p[:m.size-off], io.EOF
	}
	end := off + int64(len(p))
	done := off // everything before it is read
	for _, e := range m.extents[m.search(off):] {
		if e.Off >= end {
			break
		}
		from, to := max(off, e.Off), min(end, e.End())
		clear(p[done-off : from-off])
		done = to
		part := p[from-off : to-off]
		if n, err := e.Blob.ReadAt(part, from-e.Off); n < len(part) {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return int(from-off) + n, fmt.Errorf("disk: %w", &rootfs.ContentError{Blob: e.Blob, Off: from + int64(n), Err: err})
		}
	}
	clear(p[done-off:])
	return len(p), eof
}
