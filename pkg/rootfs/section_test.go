package rootfs

import (
	"io"
	"strings"
	"testing"
)

// odd is a blob that cannot be compared.
type odd struct {
	*strings.Reader
	_ []byte
}

func TestSameBlob(t *testing.T) {
	a, b := strings.NewReader("text"), strings.NewReader("text")
	section := io.NewSectionReader(io.NewSectionReader(a, 1, 3), 1, 1)
	for _, c := range []struct {
		a, b Blob
		want bool
	}{{a, a, true}, {a, b, false}, {section, a, true}, {a, section, true}, {section, b, false}, {odd{Reader: a}, odd{Reader: a}, false}, {a, nil, false}} {
		if got := SameBlob(c.a, c.b); got != c.want {
			t.Errorf("%v, %v: %v", c.a, c.b, got)
		}
	}
}

// piece is a range of a layer that can be cut.
type piece struct {
	Blob
	off int64
}

func (p piece) Section(off, n int64) Blob {
	return piece{Section(p.Blob, off, n), p.off + off}
}

func (p piece) Source() (string, int64, bool) { return "sha256:abc", p.off, true }

func TestSection(t *testing.T) {
	text := strings.NewReader("0123456789")
	for _, b := range []Blob{text, piece{text, 100}, io.NewSectionReader(piece{text, 98}, 2, 8)} {
		if Section(b, 0, b.Size()) != b {
			t.Errorf("%T: all of it is another blob", b)
		}
		part := Section(Section(b, 2, 6), 1, 4)
		want := string(mustRead(t, b)[3:7])
		if got := string(mustRead(t, part)); got != want || part.Size() != 4 {
			t.Errorf("%T: %q, want %q", b, got, want)
		}
		from, ok := SourceOf(part)
		if _, from0 := SourceOf(b); ok != from0 || ok && from != (Source{"sha256:abc", 103}) {
			t.Errorf("%T: source %+v, %v", b, from, ok)
		}
	}
}

func mustRead(t *testing.T, b Blob) []byte {
	t.Helper()
	data, err := ReadAll(b, 100)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
