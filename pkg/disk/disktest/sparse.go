package disktest

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
)

// Zeros is content of zeros, which [WriteExtents] skips. Its value is the size.
type Zeros int64

// Size returns the length of the content.
func (z Zeros) Size() int64 { return int64(z) }

// ReadAt reads zeros.
func (z Zeros) ReadAt(p []byte, off int64) (int, error) {
	n := min(int64(len(p)), int64(z)-off)
	clear(p[:n])
	if n < int64(len(p)) {
		return int(n), io.EOF
	}
	return int(n), nil
}

// Patched is content whose first bytes are replaced.
type Patched struct {
	io.ReaderAt
	Head []byte
}

// ReadAt reads the replacement and the unchanged rest.
func (p Patched) ReadAt(b []byte, off int64) (int, error) {
	n, err := p.ReaderAt.ReadAt(b, off)
	if off < int64(len(p.Head)) {
		copy(b[:n], p.Head[off:])
	}
	return n, err
}

// WriteSparse writes an image to a new sparse file.
func WriteSparse(t testing.TB, img *disk.Image) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "img")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(img.Size()); err != nil {
		t.Fatal(err)
	}
	WriteExtents(t, f, img)
	return path
}

// WriteExtents writes the content of an image to a file, except [Zeros].
func WriteExtents(t testing.TB, f *os.File, img *disk.Image) {
	t.Helper()
	buf := make([]byte, 1<<20)
	for _, e := range img.Extents() {
		blob := io.ReaderAt(e.Blob)
		if s, ok := blob.(*io.SectionReader); ok {
			blob, _, _ = s.Outer()
		}
		if _, ok := blob.(Zeros); ok {
			continue
		}
		if _, err := io.CopyBuffer(io.NewOffsetWriter(f, e.Off), io.NewSectionReader(e.Blob, 0, e.Blob.Size()), buf); err != nil {
			t.Fatal(err)
		}
	}
}
