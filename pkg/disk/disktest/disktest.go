// Package disktest helps the tests of disk formats, with difficult images and with
// comparisons by qemu-img.
package disktest

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest/golden"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// Noise returns content of n bytes that does not compress.
func Noise(n int) *bytes.Reader {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return bytes.NewReader(b)
}

// Text returns content of n bytes that compresses well.
func Text(n int) *strings.Reader {
	return strings.NewReader(strings.Repeat("all work and no play makes jack a dull boy ", n/43+1)[:n])
}

// Images returns disks by name, with content at the edges of blocks and clusters. The
// sizes are multiples of unit.
func Images(t testing.TB, unit int64) map[string]*disk.Image {
	t.Helper()
	const mib, gib = 1 << 20, 1 << 30
	made := map[string]*disk.Image{}
	for name, extents := range map[string][]disk.Extent{
		"empty":          nil,
		"first and last": {{Off: 0, Blob: Noise(1)}, {Off: 10*gib - 1, Blob: Noise(1)}},
		"edges": {
			{Off: 1, Blob: Noise(2)}, {Off: 64<<10 - 1, Blob: Noise(2)}, {Off: mib - 3, Blob: Noise(64 << 10)}, {Off: 2*mib - 1, Blob: Noise(2)},
			{Off: 32*mib - 1, Blob: Noise(2 * mib)}, {Off: 4*gib - 1, Blob: Noise(2)}, {Off: 8*gib - 3, Blob: Noise(5)},
		},
		"zeros":          {{Off: mib, Blob: bytes.NewReader(make([]byte, 3*mib))}, {Off: 5 * mib, Blob: Noise(7)}},
		"text and noise": {{Off: mib, Blob: Text(9 * mib)}, {Off: 9 * gib, Blob: Noise(5 * mib)}},
	} {
		img, err := disk.New(10*gib, extents...)
		if err != nil {
			t.Fatal(err)
		}
		made[name] = img
	}
	small, err := disk.New(max(unit, 512), disk.Extent{Blob: Noise(512)})
	if err != nil {
		t.Fatal(err)
	}
	made["small"] = small
	odd, err := disk.New(67*max(unit, 512), disk.Extent{Off: 66 * max(unit, 512), Blob: Noise(512)})
	if err != nil {
		t.Fatal(err)
	}
	made["odd"] = odd
	return made
}

// Write writes a file on one core and on two, and compares the two.
func Write(t testing.TB, name string, write func(io.Writer) error) string {
	t.Helper()
	var sums [2][32]byte
	path := filepath.Join(t.TempDir(), name)
	for i := range sums {
		old := runtime.GOMAXPROCS(1 + i)
		defer runtime.GOMAXPROCS(old)
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		h := sha256.New()
		if err := write(io.MultiWriter(f, h)); err != nil {
			t.Fatal(err)
		}
		h.Sum(sums[i][:0])
		f.Close()
	}
	if sums[0] != sums[1] {
		t.Errorf("%s: the files written on one core and on two differ", name)
	}
	return path
}

// File writes a format's image to a file and returns its path. It also compares
// random ranges of the two.
func File(t testing.TB, name string, file *disk.Image) string {
	t.Helper()
	path := Write(t, name, func(w io.Writer) error {
		_, err := file.WriteTo(w)
		return err
	})
	Ranges(t, path, file)
	return path
}

// Ranges compares random ranges of a file and of its image, most of them at the edges
// of extents.
func Ranges(t testing.TB, path string, file *disk.Image) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() != file.Size() {
		t.Fatalf("%s: %d bytes, want %d: %v", path, info.Size(), file.Size(), err)
	}
	edges := []int64{0, file.Size()}
	for _, e := range file.Extents() {
		edges = append(edges, e.Off, e.End())
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		off := max(edges[r.IntN(len(edges))]-r.Int64N(10_000), 0)
		if r.IntN(4) == 0 {
			off = r.Int64N(file.Size() + 1)
		}
		got, want := make([]byte, 1+r.IntN(20_000)), make([]byte, 20_000)
		want = want[:len(got)]
		n, err := file.ReadAt(got, off)
		wantN, wantErr := f.ReadAt(want, off)
		if n != wantN || err != wantErr || !bytes.Equal(got[:n], want[:n]) {
			t.Fatalf("%s: %d bytes at %d: read %d, %v; the file has %d, %v", path, len(got), off, n, err, wantN, wantErr)
		}
	}
}

// Written returns the Write function of a format that lays out an image.
func Written(format func(*disk.Image) (*disk.Image, error)) func(io.Writer, *disk.Image) error {
	return func(w io.Writer, img *disk.Image) error {
		file, err := format(img)
		if err != nil {
			return err
		}
		_, err = file.WriteTo(w)
		return err
	}
}

// Small returns the file of a disk in a format. The disk has 2 MiB, with 20 KiB of
// text in the second half.
func Small(t testing.TB, write func(io.Writer, *disk.Image) error) ([]byte, *disk.Image) {
	t.Helper()
	img, err := disk.New(2<<20, disk.Extent{Off: 1 << 20, Blob: Text(20 << 10)})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := write(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), img
}

// Compare has qemu-img read a file in a format, and compares the disk with an image.
// qemu-img compare would read the holes of a disk, which qemu-img convert skips or
// detects without reading them from a file.
func Compare(t testing.TB, path, format string, img *disk.Image) {
	t.Helper()
	plain := filepath.Join(t.TempDir(), "raw")
	defer os.Remove(plain)
	treetest.Run(t, "qemu-img", "convert", "-f", format, "-O", "raw", path, plain)
	if golden.File(t, plain) != golden.Image(t, img) {
		t.Errorf("%s: qemu-img reads another disk", path)
	}
}

// Convert returns the file of an image in a format, written by qemu-img.
func Convert(t testing.TB, img *disk.Image, args ...string) string {
	t.Helper()
	plain, path := WriteSparse(t, img), filepath.Join(t.TempDir(), "disk")
	defer os.Remove(plain)
	treetest.Run(t, "qemu-img", slices.Concat([]string{"convert", "-f", "raw"}, args, []string{plain, path})...)
	return path
}

// Open opens a file in a format and compares the disk with an image.
func Open(t testing.TB, path string, open func(r io.ReaderAt, size int64) (rootfs.Blob, error), img *disk.Image) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	blob, err := open(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	Read(t, blob, img)
}

// Read compares a disk with its image.
func Read(t testing.TB, got rootfs.Blob, img *disk.Image) {
	t.Helper()
	const kib, mib = 1 << 10, 1 << 20
	if got.Size() != img.Size() {
		t.Fatalf("size %d, want %d", got.Size(), img.Size())
	}
	compare := func(off, n int64) {
		t.Helper()
		var bufs [2][]byte
		var read [2]int
		var errs [2]error
		for i, blob := range []rootfs.Blob{got, img} {
			bufs[i] = make([]byte, n)
			read[i], errs[i] = blob.ReadAt(bufs[i], off)
		}
		if read[0] != read[1] || errs[0] != errs[1] || !bytes.Equal(bufs[0], bufs[1]) {
			t.Fatalf("%d bytes at %d: read %d, %v", n, off, read, errs)
		}
	}
	for run := range img.Runs(4096) {
		if run.Hole && run.Len > mib {
			compare(run.Off, 100*kib)
			compare(run.End()-100*kib, 200*kib)
			continue
		}
		compare(run.Off, run.Len)
	}
	compare(img.Size(), 10)
	if img.Size() > 0 && img.Size() < 2*kib { // with reads of one byte
		want := make([]byte, img.Size())
		img.ReadAt(want, 0)
		if err := iotest.TestReader(io.NewSectionReader(got, 0, got.Size()), want); err != nil {
			t.Error(err)
		}
	}
}

// Fuzz reads disks from mutated files.
func Fuzz(f *testing.F, open func(r io.ReaderAt, size int64) (rootfs.Blob, error), good ...[]byte) {
	for _, b := range good {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		blob, err := open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		ReadSome(t, blob)
	})
}

// ReadSome reads from an arbitrary disk. A short read must be an error.
func ReadSome(t *testing.T, blob rootfs.Blob) {
	t.Helper()
	p := make([]byte, 10<<10)
	for _, off := range []int64{0, 1, blob.Size() / 2, blob.Size() - 5<<10} {
		if n, err := blob.ReadAt(p, off); n < len(p) && err == nil {
			t.Errorf("%d bytes at %d, no error", n, off)
		}
	}
}

// Refuses fails the test unless a format reports errors of reading content and of
// writing the file.
func Refuses(t testing.TB, write func(io.Writer, *disk.Image) error) {
	t.Helper()
	img, err := disk.New(4<<20, disk.Extent{Blob: Unreadable(1 << 20)})
	if err != nil {
		t.Fatal(err)
	}
	if err := write(io.Discard, img); err == nil || !strings.Contains(err.Error(), "a bad sector") {
		t.Errorf("unreadable content: %v", err)
	}
	if img, err = disk.New(4<<20, disk.Extent{Blob: Noise(3 << 20)}); err != nil {
		t.Fatal(err)
	}
	if err := write(broken{}, img); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("unwritable file: %v", err)
	}
}

// Unreadable is content whose reads fail. Its value is the size.
type Unreadable int64

// Size returns the size.
func (u Unreadable) Size() int64 { return int64(u) }

// ReadAt returns an error.
func (Unreadable) ReadAt([]byte, int64) (int, error) { return 0, errors.New("a bad sector") }

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("no space left") }
