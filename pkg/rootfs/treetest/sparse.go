package treetest

import (
	"errors"
	"iter"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Data yields the ranges of a file that are not holes, by offset and length. A hole
// that is read costs a page in memory for each page.
func Data(t testing.TB, f *os.File) iter.Seq2[int64, int64] {
	t.Helper()
	return func(yield func(off, n int64) bool) {
		for end := int64(0); ; {
			off, err := f.Seek(end, unix.SEEK_DATA)
			if errors.Is(err, unix.ENXIO) { // a hole up to the end
				return
			}
			if err == nil {
				end, err = f.Seek(off, unix.SEEK_HOLE)
			}
			if err != nil {
				t.Fatal(err)
			}
			if !yield(off, end-off) {
				return
			}
		}
	}
}
