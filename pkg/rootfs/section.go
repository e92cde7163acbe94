package rootfs

import (
	"io"
	"reflect"
)

// A Source is a place in a layer of a container.
type Source struct {
	Layer string // digest of the layer's blob: sha256:...
	Off   int64  // offset in the uncompressed tar of the layer
}

// Section returns the n bytes of b from offset off, which must lie within b. The
// section keeps the identity of b: its Source, and its place in an image.
//
// A Blob may implement
//
//	Section(off, n int64) Blob
//
// to cut itself. Other blobs become an *io.SectionReader.
func Section(b Blob, off, n int64) Blob {
	if off == 0 && n == b.Size() {
		return b
	}
	if s, ok := b.(interface{ Section(off, n int64) Blob }); ok {
		return s.Section(off, n)
	}
	return io.NewSectionReader(b, off, n)
}

// SourceOf returns the place of b in a layer. It reports false if b comes from
// no layer, or is not contiguous there.
//
// A Blob with a source implements
//
//	Source() (layer string, off int64, ok bool)
//
// SourceOf looks through blobs that implement Outer, such as *io.SectionReader.
func SourceOf(b Blob) (Source, bool) {
	inner, off := unwrap(b)
	if s, ok := inner.(interface {
		Source() (layer string, off int64, ok bool)
	}); ok {
		layer, at, ok := s.Source()
		return Source{layer, at + off}, ok
	}
	return Source{}, false
}

// SameBlob reports whether a and b are the same blob, or sections of the same blob.
//
// A Blob whose sections are values of their own implements
//
//	Overlaps(Blob) bool
func SameBlob(a, b Blob) bool {
	x, _ := unwrap(a)
	y, _ := unwrap(b)
	if x == nil || y == nil {
		return false
	}
	if o, ok := x.(interface{ Overlaps(Blob) bool }); ok {
		if other, ok := y.(Blob); ok && o.Overlaps(other) {
			return true
		}
	}
	return reflect.TypeOf(x) == reflect.TypeOf(y) && reflect.ValueOf(x).Comparable() && x == y
}

// unwrap returns the reader that b is a section of, and the offset of b in it.
// Otherwise it returns b.
func unwrap(b Blob) (inner any, off int64) {
	inner = b
	for {
		section, ok := inner.(interface {
			Outer() (r io.ReaderAt, off, n int64)
		})
		if !ok {
			return inner, off
		}
		r, at, _ := section.Outer()
		inner, off = r, off+at
	}
}
