// Package golden compares the bytes of made files with digests in testdata, so
// that a change of bytes is a change in a reviewed file.
//
// Each package has one testdata/golden.txt, with a line "name  sha256" for each
// file or image, sorted by name. A test with the flag -update rewrites it.
//
// Images and large files have mostly zeros. [Image], [Sum] and [Hash] therefore
// hash only the blocks of 4 KiB that have other bytes, each with its offset, and
// the size. An image and the file that was written of it have the same digest,
// however the image is cut into extents.
package golden

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"hash"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

var update = flag.Bool("update", false, "write the golden digests to testdata")

const file = "testdata/golden.txt"

// Updating reports whether the flag -update is set. Tests of other recorded files
// use the same flag.
func Updating() bool { return *update }

// Check compares digests by name with those in testdata/golden.txt: none may
// differ, none may be missing, and none may be left over. With -short, names may
// be left over, and with -update it writes the file instead.
func Check(t *testing.T, sums map[string]string) {
	t.Helper()
	if t.Failed() {
		return
	}
	if *update {
		write(t, sums)
		return
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range Compare(string(text), sums, testing.Short()) {
		t.Error(line)
	}
}

// Compare returns the differences between a golden file and digests by name. A
// part of the digests is enough if partial is set.
func Compare(text string, sums map[string]string, partial bool) (errs []string) {
	want := map[string]string{}
	for line := range strings.Lines(text) {
		name, sum, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		if !ok || len(sum) != 2*sha256.Size {
			errs = append(errs, fmt.Sprintf("%s: line %q is not a name and a digest", file, line))
		}
		want[name] = sum
	}
	if len(sums) == 0 {
		errs = append(errs, "no digests to compare")
	}
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		switch {
		case want[name] == "":
			errs = append(errs, fmt.Sprintf("%s: %s is missing, it is %s now", file, name, sums[name]))
		case want[name] != sums[name]:
			errs = append(errs, fmt.Sprintf("%s: digest %s, want %s", name, sums[name], want[name]))
		}
		delete(want, name)
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if !partial {
			errs = append(errs, fmt.Sprintf("%s: nothing has the name %s", file, name))
		}
	}
	return errs
}

func write(t *testing.T, sums map[string]string) {
	t.Helper()
	if testing.Short() {
		t.Fatal("-update needs all digests: leave out -short")
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		if strings.Contains(name, "  ") || strings.Contains(name, "\n") {
			t.Fatalf("%q cannot be a name in %s", name, file)
		}
		fmt.Fprintf(&b, "%s  %s\n", name, sums[name])
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Image returns the digest of an image. It reads no holes.
func Image(t testing.TB, img *disk.Image) string {
	t.Helper()
	h := NewHash()
	buf := make([]byte, 1<<20)
	for run := range img.Runs(block) {
		if run.Hole {
			h.Skip(run.Len)
			continue
		}
		if _, err := io.CopyBuffer(onlyWriter{h}, io.NewSectionReader(img, run.Off, run.Len), buf); err != nil {
			t.Fatal(err)
		}
	}
	return h.Sum()
}

// Sum returns the digest of the bytes that a function writes.
func Sum(t testing.TB, write func(io.Writer) error) string {
	t.Helper()
	h := NewHash()
	if err := write(onlyWriter{h}); err != nil {
		t.Fatal(err)
	}
	return h.Sum()
}

// File returns the digest of a file. It reads no holes, where the file system
// tells them.
func File(t testing.TB, name string) string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	h, end, buf := NewHash(), int64(0), make([]byte, 1<<20)
	for off, n := range treetest.Data(t, f) {
		h.Skip(off - end)
		if _, err := io.CopyBuffer(onlyWriter{h}, io.NewSectionReader(f, off, n), buf); err != nil {
			t.Fatal(err)
		}
		end = off + n
	}
	h.Skip(info.Size() - end)
	return h.Sum()
}

// Text returns the digest of a text.
func Text(s string) string {
	h := NewHash()
	io.WriteString(h, s)
	return h.Sum()
}

// onlyWriter hides Skip from formats, which must write their zeros.
type onlyWriter struct{ io.Writer }

const block = 4096

// A Hash is written the bytes of a file in order.
type Hash struct {
	hash    hash.Hash
	size    int64
	pending []byte // less than a block, at the end
}

// NewHash returns the hash of an empty file.
func NewHash() *Hash { return &Hash{hash: sha256.New()} }

// Write adds bytes. It never fails.
func (h *Hash) Write(p []byte) (int, error) {
	n := len(p)
	if len(h.pending) > 0 {
		take := min(block-len(h.pending), len(p))
		h.pending, p = append(h.pending, p[:take]...), p[take:]
		h.size += int64(take)
		if len(h.pending) == block {
			h.block(h.pending)
			h.pending = h.pending[:0]
		}
	}
	for len(p) >= block {
		h.size += block
		h.block(p[:block])
		p = p[block:]
	}
	h.pending = append(h.pending, p...)
	h.size += int64(len(p))
	return n, nil
}

// Skip adds n zeros.
func (h *Hash) Skip(n int64) {
	first := min(n, int64(-len(h.pending)&(block-1)))
	h.Write(make([]byte, first))
	h.size += (n - first) &^ (block - 1)
	h.Write(make([]byte, (n-first)&(block-1)))
}

// block hashes the block that ends at h.size, if it has anything but zeros.
func (h *Hash) block(p []byte) {
	if disk.IsZero(p) {
		return
	}
	binary.Write(h.hash, binary.BigEndian, h.size-int64(len(p)))
	h.hash.Write(p)
}

// Sum returns the digest of all that was written, in hexadecimal.
func (h *Hash) Sum() string {
	h.block(h.pending)
	binary.Write(h.hash, binary.BigEndian, h.size)
	return hex.EncodeToString(h.hash.Sum(nil))
}
