package blocks

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
)

// TestReadAt reads a disk of 25 bytes in blocks of 10, and records the parts.
func TestReadAt(t *testing.T) {
	l := Layout{Name: "test: block", Size: 25, Block: 10}
	for _, tc := range []struct {
		n, off int
		parts  []string
		read   int
		err    error
	}{
		{4, 3, []string{"4 at 3"}, 4, nil},
		{20, 5, []string{"5 at 5", "10 at 10", "5 at 20"}, 20, nil},
		{20, 18, []string{"2 at 18", "5 at 20"}, 7, io.EOF},
		{0, 10, nil, 0, nil},
		{1, 25, nil, 0, io.EOF},
	} {
		var parts []string
		n, err := l.ReadAt(make([]byte, tc.n), int64(tc.off), func(p []byte, at int64) error {
			parts = append(parts, fmt.Sprintf("%d at %d", len(p), at))
			return nil
		})
		if n != tc.read || err != tc.err || !slices.Equal(parts, tc.parts) {
			t.Errorf("%d bytes at %d: read %d, %v, in parts %q", tc.n, tc.off, n, err, parts)
		}
	}
}

// TestReadAtErrors: an error has the block, and the bytes before it are read.
func TestReadAtErrors(t *testing.T) {
	l := Layout{Name: "test: block", Size: 25, Block: 10}
	broken := errors.New("broken")
	read := func(p []byte, at int64) error {
		if at >= 10 {
			return broken
		}
		return nil
	}
	n, err := l.ReadAt(make([]byte, 20), 3, read)
	if n != 7 || !errors.Is(err, broken) || err.Error() != "test: block at 10: broken" {
		t.Errorf("read %d, %v", n, err)
	}
	if _, err := l.ReadAt(make([]byte, 1), -1, read); err == nil || err == io.EOF {
		t.Errorf("negative offset: %v", err)
	}
}
