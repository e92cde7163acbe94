package disk

import (
	"fmt"
	"iter"
	"sort"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// Section returns the n bytes of the image from offset off, an *Image as well:
// holes stay holes, and content keeps its identity. It panics if the range does
// not lie within the image. See [rootfs.Section].
func (m *Image) Section(off, n int64) rootfs.Blob {
	if off < 0 || n < 0 || n > m.size-off {
		panic(fmt.Sprintf("disk: section %d+%d of an image of %d bytes", off, n, m.size))
	}
	s := &Image{size: n}
	for _, e := range m.extents[m.search(off):] {
		from, to := max(e.Off, off), min(e.End(), off+n)
		if from >= to {
			break
		}
		s.extents = append(s.extents, Extent{from - off, rootfs.Section(e.Blob, from-e.Off, to-from)})
	}
	return s
}

// search returns the index of the first extent that ends behind off.
func (m *Image) search(off int64) int {
	return sort.Search(len(m.extents), func(i int) bool { return m.extents[i].End() > off })
}

// Overlaps reports whether b is, or is a section of, the content of an extent.
// See [rootfs.SameBlob].
func (m *Image) Overlaps(b rootfs.Blob) bool {
	for _, e := range m.extents {
		if rootfs.SameBlob(e.Blob, b) {
			return true
		}
	}
	return false
}

// A Kind says where the bytes of a [Segment] come from.
type Kind int

// Kinds of segments.
const (
	Hole    Kind = iota // zeros
	Source              // a range of a container's layer
	Literal             // anything else: metadata and generated files
)

// A Segment is a part of an image whose bytes have one origin.
type Segment struct {
	Off, Len int64 // in the image
	Kind     Kind
	Layer    string      // Source: digest of the layer's blob
	LayerOff int64       // Source: offset in the uncompressed tar of the layer
	Blob     rootfs.Blob // Literal: the bytes
}

// follows reports whether the segment continues another one, in the image and in
// the layer.
func (s Segment) follows(last Segment) bool {
	return s.Kind == Source && last.Kind == Source && s.Layer == last.Layer &&
		s.Off == last.Off+last.Len && s.LayerOff == last.LayerOff+last.Len
}

// Segments yields all of the image from start to end. Consecutive segments with
// adjacent ranges of one layer are merged.
func (m *Image) Segments() iter.Seq[Segment] {
	return func(yield func(Segment) bool) {
		var last Segment
		for s := range m.pieces() {
			if s.follows(last) {
				last.Len += s.Len
				continue
			}
			if last.Len > 0 && !yield(last) {
				return
			}
			last = s
		}
		if last.Len > 0 {
			yield(last)
		}
	}
}

// pieces yields each extent and each hole as a segment.
func (m *Image) pieces() iter.Seq[Segment] {
	return func(yield func(Segment) bool) {
		var end int64
		for _, e := range m.extents {
			if e.Off > end && !yield(Segment{Off: end, Len: e.Off - end, Kind: Hole}) {
				return
			}
			if !yield(e.segment()) {
				return
			}
			end = e.End()
		}
		if m.size > end {
			yield(Segment{Off: end, Len: m.size - end, Kind: Hole})
		}
	}
}

func (e Extent) segment() Segment {
	s := Segment{Off: e.Off, Len: e.Blob.Size(), Kind: Literal, Blob: e.Blob}
	if from, ok := rootfs.SourceOf(e.Blob); ok {
		s.Kind, s.Blob = Source, nil
		s.Layer, s.LayerOff = from.Layer, from.Off
	}
	return s
}
