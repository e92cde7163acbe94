package disktest

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

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

// WriteSparse writes an image to a new sparse file, in memory if there is room: tools
// and kernel read, write and sync much there, and each hole that they read from a disk
// costs a page.
func WriteSparse(t testing.TB, img *disk.Image) string {
	t.Helper()
	path := filepath.Join(memoryDir(t), "img")
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

// memoryDir returns a temporary directory in memory, or on the disk if memory is short.
func memoryDir(t testing.TB) string {
	t.Helper()
	const memory, room = "/dev/shm", 4 << 30
	var st unix.Statfs_t
	if err := unix.Statfs(memory, &st); err != nil || int64(st.Bavail)*st.Bsize < room {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(memory, "ohp-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
