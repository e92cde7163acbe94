// Package disk has the type of disks, partitions, file systems, and the files that
// hold them: Image.
//
// An [Image] is a plan: the place of each piece of content. Making one reads and
// writes nothing. Ranges without an extent are holes: they read as zeros and cost
// nothing in any format. An Image is itself content, so images nest: a file system in
// a partition in a disk in a qcow2 file.
//
//	disk.go         Image, Extent, New, ReadAt
//	section.go      parts of an image, and its segments: holes, layer ranges, literals
//	stream.go       an image from start to end, in runs and chunks
//	inorder.go      work on all cores with results in order
//	unsupported.go  an error of the readers of formats
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

// An Image is a size in bytes, and content at offsets. It is immutable and a
// [rootfs.Blob].
type Image struct {
	size    int64
	extents []Extent
	watch   func(n int64) // see Watch
}

// New returns an image of the given size in bytes. Extents may come in any order.
// Empty extents vanish, and an image is replaced by its own extents. It is an error
// if an extent leaves the image or two extents overlap.
func New(size int64, extents ...Extent) (*Image, error) {
	if size < 0 {
		return nil, fmt.Errorf("disk: size %d is negative", size)
	}
	n := len(extents)
	for _, e := range extents {
		if img, ok := e.Blob.(*Image); ok {
			n += len(img.extents)
		}
	}
	flat := make([]Extent, 0, n)
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

// Extents returns the content of the image, ascending and disjoint. None of the
// blobs is an [Image]. The caller must not change the slice.
func (m *Image) Extents() []Extent { return m.extents }

// Allocated returns the number of bytes that are not holes.
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
