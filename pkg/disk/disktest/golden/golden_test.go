package golden

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
)

const a, b = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb", "3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d"

// TestCompare has every difference between digests and a golden file.
func TestCompare(t *testing.T) {
	const text = "one  " + a + "\ntwo words  " + b + "\n"
	for _, c := range []struct {
		text    string
		sums    map[string]string
		partial bool
		want    string
	}{
		{text, map[string]string{"one": a, "two words": b}, false, ""},
		{text, map[string]string{"one": a}, true, ""},
		{text, map[string]string{"one": a}, false, "nothing has the name two words"},
		{text, map[string]string{"one": b, "two words": b}, false, "one: digest " + b},
		{text, map[string]string{"one": b}, true, "one: digest " + b},
		{text, map[string]string{"one": a, "two words": b, "x": b}, true, "x is missing"},
		{text + "three\n", map[string]string{"one": a}, true, "is not a name and a digest"},
		{text, nil, true, "no digests"},
	} {
		errs := Compare(c.text, c.sums, c.partial)
		if len(errs) != min(1, len(c.want)) || !strings.Contains(strings.Join(errs, "\n"), c.want) {
			t.Errorf("%v: %q, want %q", c.sums, errs, c.want)
		}
	}
}

// TestSame: an image has the digest of its bytes, however it is cut, and another
// one for each change of a byte, of its place or of the size.
func TestSame(t *testing.T) {
	one, two := strings.NewReader("one"), strings.NewReader("two")
	made := func(size int64, extents ...disk.Extent) *disk.Image {
		img, err := disk.New(size, extents...)
		if err != nil {
			t.Fatal(err)
		}
		return img
	}
	img := made(20001, disk.Extent{Off: 4095, Blob: one}, disk.Extent{Off: 19990, Blob: two})
	want := Image(t, img)
	for _, piece := range []int{1, 7, 4095, 4096, 4097, 30000} {
		if got := Sum(t, func(w io.Writer) error {
			_, err := io.CopyBuffer(onlyWriter{w}, io.NewSectionReader(img, 0, img.Size()), make([]byte, piece))
			return err
		}); got != want {
			t.Errorf("in pieces of %d bytes: another digest", piece)
		}
	}
	zeros := disk.Extent{Off: 5000, Blob: bytes.NewReader(make([]byte, 9000))}
	if Image(t, made(20001, disk.Extent{Off: 4095, Blob: one}, zeros, disk.Extent{Off: 19990, Blob: two})) != want {
		t.Error("zeros and holes differ")
	}
	seen := []string{want}
	for _, other := range []*disk.Image{
		made(20002, disk.Extent{Off: 4095, Blob: one}, disk.Extent{Off: 19990, Blob: two}),
		made(20001, disk.Extent{Off: 4094, Blob: one}, disk.Extent{Off: 19990, Blob: two}),
		made(20001, disk.Extent{Off: 4095, Blob: one}, disk.Extent{Off: 19991, Blob: two}),
		made(20001, disk.Extent{Off: 4095, Blob: two}, disk.Extent{Off: 19990, Blob: two}),
		made(20001, disk.Extent{Off: 8191, Blob: one}, disk.Extent{Off: 19990, Blob: two}),
		made(20001, disk.Extent{Off: 4095, Blob: one}), made(20001), made(0),
	} {
		sum := Image(t, other)
		if slices.Contains(seen, sum) {
			t.Errorf("an image of %d bytes has the digest of another", other.Size())
		}
		seen = append(seen, sum)
	}
}
