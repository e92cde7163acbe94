package plaintext

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// TestBuilder: lines, aligned columns and lists come out in the order of the calls.
func TestBuilder(t *testing.T) {
	var b Builder
	b.Printf("%d files\n", 2)
	b.Table([][]string{{"FILE", "SIZE"}, {"a.qcow2", "1 B"}, {"b", "1.5 GiB"}})
	b.List("note: ", []string{"x", "y"})
	var got strings.Builder
	if err := b.Flush(&got); err != nil {
		t.Fatal(err)
	}
	const want = "2 files\nFILE     SIZE\na.qcow2  1 B\nb        1.5 GiB\nnote: x\nnote: y\n"
	if got.String() != want {
		t.Errorf("got %q, want %q", got.String(), want)
	}
}

type full struct{}

var errFull = errors.New("disk full")

func (full) Write([]byte) (int, error) { return 0, errFull }

// TestFlushFails: the error of the writer is returned.
func TestFlushFails(t *testing.T) {
	var b Builder
	b.Printf("x")
	if err := b.Flush(full{}); !errors.Is(err, errFull) {
		t.Error(err)
	}
}

// TestOneLine: only a value with line breaks is quoted.
func TestOneLine(t *testing.T) {
	for s, want := range map[string]string{"": "", "a b\t\"c\"": "a b\t\"c\"", "a\nb": `"a\nb"`, "a\r": `"a\r"`} {
		if got := OneLine(s); got != want {
			t.Errorf("%q: got %s, want %s", s, got, want)
		}
	}
}

// TestNote: equal values are no difference, and an empty one is named.
func TestNote(t *testing.T) {
	var got []string
	got = Note(got, "name", "a", "a")
	got = Note(got, "label", "", "root")
	got = Note(got, "sectors of", 0, 4096)
	if want := []string{"label none -> root", "sectors of 0 -> 4096"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
