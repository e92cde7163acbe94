package raw

import (
	"os"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
)

// A Writer writes a file from start to end. Blocks of zeros become holes. It is for
// images that arrive as a stream.
type Writer struct {
	f   *os.File
	off int64
}

// NewWriter returns a writer that appends to a file of size bytes. Close sets the
// size of the file; it does not close the file.
func NewWriter(f *os.File, size int64) *Writer { return &Writer{f, size} }

// Size returns the size of the file so far, including a hole at its end.
func (w *Writer) Size() int64 { return w.off }

func (w *Writer) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		n, empty := w.run(p[done:])
		if !empty {
			if wrote, err := w.f.WriteAt(p[done:done+n], w.off); err != nil {
				w.off += int64(wrote)
				return done + wrote, err
			}
		}
		done += n
		w.off += int64(n)
	}
	return done, nil
}

// run returns the length of the first part of p, in blocks of the file, that is
// either zeros (empty) or content. p is not empty.
func (w *Writer) run(p []byte) (n int, empty bool) {
	for n < len(p) {
		size := min(grain-int((w.off+int64(n))%grain), len(p)-n)
		block := p[n : n+size]
		is := disk.IsZero(block)
		if n > 0 && is != empty {
			break
		}
		n, empty = n+size, is
	}
	return n, empty
}

// Close ends the file.
func (w *Writer) Close() error { return w.f.Truncate(w.off) }
