package disk

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// layered is content of a layer.
type layered struct {
	*bytes.Reader
	layer string
	off   int64
}

func (l layered) Source() (string, int64, bool) { return l.layer, l.off, true }

func (l layered) Section(off, n int64) rootfs.Blob {
	b := make([]byte, n)
	l.ReadAt(b, off)
	return layered{bytes.NewReader(b), l.layer, l.off + off}
}

func inLayer(name string, off int64, n int) layered { return layered{blob(n), name, off} }

// TestSection: a section of an image has the bytes of the image, no extent that
// leaves it, and as few allocated bytes as the image has in that range.
func TestSection(t *testing.T) {
	img := mustNew(t, 100, Extent{5, blob(10)}, Extent{15, inLayer("a", 50, 20)}, Extent{60, blob(1)}, Extent{90, blob(10)})
	whole := make([]byte, img.Size())
	img.ReadAt(whole, 0)
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		off := r.Int64N(101)
		n := r.Int64N(101 - off)
		s := img.Section(off, n).(*Image)
		got := make([]byte, n)
		if read, err := s.ReadAt(got, 0); n > 0 && (int64(read) != n || err != nil) {
			t.Fatal(read, err)
		}
		if want := whole[off:][:n]; s.Size() != n || !bytes.Equal(got, want) {
			t.Fatalf("%d+%d: %x, want %x", off, n, got, want)
		}
		if again, err := New(n, s.Extents()...); err != nil || len(again.Extents()) != len(s.Extents()) {
			t.Fatalf("%d+%d: not an image: %v, %v", off, n, s.Extents(), err)
		}
		if want := int64(n) - int64(bytes.Count(whole[off:][:n], []byte{0})); s.Allocated() != want {
			t.Fatalf("%d+%d: %d bytes are allocated, want %d", off, n, s.Allocated(), want)
		}
	}
}

func TestSectionOutside(t *testing.T) {
	for _, c := range [][2]int64{{-1, 1}, {0, -1}, {0, 11}, {10, 1}, {1, 1<<63 - 1}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%v: no panic", c)
				}
			}()
			mustNew(t, 10).Section(c[0], c[1])
		}()
	}
}

// TestSegments: holes, ranges of layers and literals are told apart, in a nested
// and in a cut image too.
func TestSegments(t *testing.T) {
	file := inLayer("b", 100, 20)
	part := mustNew(t, 60, Extent{0, blob(4)}, Extent{10, inLayer("a", 0, 8)}, Extent{18, inLayer("a", 8, 2)}, Extent{20, inLayer("a", 11, 1)},
		Extent{21, inLayer("b", 12, 1)}, Extent{30, rootfs.Section(file, 0, 8)}, Extent{40, rootfs.Section(file, 8, 12)})
	img := mustNew(t, 200, Extent{100, part})
	want := []Segment{
		{Off: 0, Len: 100, Kind: Hole},
		{Off: 100, Len: 4, Kind: Literal},
		{Off: 104, Len: 6, Kind: Hole},
		{Off: 110, Len: 10, Kind: Source, Layer: "a", LayerOff: 0},
		{Off: 120, Len: 1, Kind: Source, Layer: "a", LayerOff: 11},
		{Off: 121, Len: 1, Kind: Source, Layer: "b", LayerOff: 12},
		{Off: 122, Len: 8, Kind: Hole},
		{Off: 130, Len: 8, Kind: Source, Layer: "b", LayerOff: 100},
		{Off: 138, Len: 2, Kind: Hole},
		{Off: 140, Len: 12, Kind: Source, Layer: "b", LayerOff: 108},
		{Off: 152, Len: 48, Kind: Hole},
	}
	check := func(img *Image, want []Segment) {
		t.Helper()
		got := slices.Collect(img.Segments())
		for i, s := range got {
			if (s.Kind == Literal) != (s.Blob != nil) || s.Blob != nil && s.Blob.Size() != s.Len {
				t.Errorf("%+v: literal bytes are those of a literal", s)
			}
			got[i].Blob = nil
		}
		if !slices.Equal(got, want) {
			t.Errorf("got\n%+v, want\n%+v", got, want)
		}
	}
	check(img, want)
	check(img.Section(115, 17).(*Image), []Segment{
		{Off: 0, Len: 5, Kind: Source, Layer: "a", LayerOff: 5},
		{Off: 5, Len: 1, Kind: Source, Layer: "a", LayerOff: 11},
		{Off: 6, Len: 1, Kind: Source, Layer: "b", LayerOff: 12},
		{Off: 7, Len: 8, Kind: Hole},
		{Off: 15, Len: 2, Kind: Source, Layer: "b", LayerOff: 100},
	})
	check(mustNew(t, 0), nil)
	check(mustNew(t, 9), []Segment{{Len: 9}})
	for range img.Segments() { // ending early must be possible
		break
	}
	if text := mustNew(t, 4, Extent{0, strings.NewReader("text")}); !rootfs.SameBlob(text, text.Extents()[0].Blob) {
		t.Error("an image is not recognized by its content")
	}
}
