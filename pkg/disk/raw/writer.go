package raw

import (
	"bytes"
	"os"
)

// A Writer writes a file from start to end, and leaves out what is zeros: it
// becomes holes. It is for images that come as a stream.
type Writer struct {
	f   *os.File
	off int64
}

// NewWriter returns a writer to a file of a size in bytes, which it goes on
// from. It must be closed, which gives the file its size and does not close it.
func NewWriter(f *os.File, size int64) *Writer { return &Writer{f, size} }

// Size is what the file's size is so far, with what it may end in of holes.
func (w *Writer) Size() int64 { return w.off }

var zeros [grain]byte

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

// run returns how much of p, which is not empty, is all zeros or all to be
// written, and which of the two. It looks at blocks of the file.
func (w *Writer) run(p []byte) (n int, empty bool) {
	for n < len(p) {
		size := min(grain-int((w.off+int64(n))%grain), len(p)-n)
		block := p[n : n+size]
		is := bytes.Equal(block, zeros[:size])
		if n > 0 && is != empty {
			break
		}
		n, empty = n+size, is
	}
	return n, empty
}

// Close ends the file.
func (w *Writer) Close() error { return w.f.Truncate(w.off) }
