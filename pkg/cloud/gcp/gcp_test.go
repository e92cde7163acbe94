package gcp

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/raw"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

var stamp = Options{Time: 1700000000}

func TestStructSizes(t *testing.T) {
	for _, v := range []any{header{}, extension{}} {
		if n := binary.Size(v); n != block {
			t.Errorf("%T has %d bytes", v, n)
		}
	}
}

// images are those of disktest of a size that is allowed, and one with a map
// that needs many extensions.
func images(t *testing.T) map[string]*disk.Image {
	made := map[string]*disk.Image{}
	for name, img := range disktest.Images(t, unit) {
		if img.Size() == 10*unit {
			made[name] = img
		}
	}
	for _, n := range []int64{3, 24, 25, 1000} {
		var extents []disk.Extent
		for i := range n {
			extents = append(extents, disk.Extent{Off: i * 64 << 10, Blob: disktest.Noise(int(1 + i*37%9000))})
		}
		for _, size := range []int64{unit, 9 * unit} {
			img, err := disk.New(size, append(extents, disk.Extent{Off: size - 1, Blob: disktest.Noise(1)})...)
			if err != nil {
				t.Fatal(err)
			}
			made[fmt.Sprintf("%d pieces and the last byte of %d GiB", n, size/unit)] = img
		}
		img, err := disk.New(unit, extents...)
		if err != nil {
			t.Fatal(err)
		}
		made[fmt.Sprintf("%d pieces and a hole", n)] = img
	}
	return made
}

// occupied returns how much room a file takes, and its size.
func occupied(t *testing.T, path string) (room, size int64) {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512, st.Size
}

// sameContent compares an image with a file. The space that the file occupies shows
// that the holes of the image are holes there.
func sameContent(t *testing.T, path string, img *disk.Image) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for r := range img.Runs(grain) {
		if r.Hole {
			continue
		}
		a, b := make([]byte, r.Len), make([]byte, r.Len)
		img.ReadAt(a, r.Off)
		if _, err := f.ReadAt(b, r.Off); err != nil || !bytes.Equal(a, b) {
			t.Fatalf("%s: other bytes at %d+%d, or %v", path, r.Off, r.Len, err)
		}
	}
}

// TestTar has GNU tar list and extract the file that the importer requires: one
// with that name, of that size, sparse, in an archive of tar's old GNU format.
func TestTar(t *testing.T) {
	for name, img := range images(t) {
		if testing.Short() && !strings.HasPrefix(name, "25 pieces") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			path := disktest.Write(t, "disk.tar.gz", func(w io.Writer) error { return Write(w, img, stamp) })
			want := fmt.Sprintf("-rw-r--r-- root/root %d 2023-11-14 22:13 disk.raw\n", img.Size())
			if got := treetest.Run(t, "tar", "-tvzf", path); got != want {
				t.Errorf("listed\n%swant\n%s", got, want)
			}
			dir := t.TempDir()
			treetest.Run(t, "tar", "-xSzf", path, "-C", dir)
			file := filepath.Join(dir, "disk.raw")
			var most int64
			for r := range img.Runs(grain) {
				if !r.Hole {
					most += r.Len
				}
			}
			if room, size := occupied(t, file); size != img.Size() || room > most+1<<20 { // and blocks of the file system for its extents
				t.Errorf("%d bytes in %d, want %d in %d", size, room, img.Size(), most)
			}
			sameContent(t, file, img)
		})
	}
}

// TestSameAsTar: the archive of GNU tar for the same disk, with the options that the
// importer requires, has the same header and the same map.
func TestSameAsTar(t *testing.T) {
	img := images(t)["25 pieces and the last byte of 9 GiB"]
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "disk.raw"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := raw.WriteFile(f, img, nil); err != nil {
		t.Fatal(err)
	}
	treetest.Run(t, "tar", "-C", dir, "--format=oldgnu", "--sparse", "--owner=root:0", "--group=root:0", "--mode=644", "--mtime=@1700000000",
		"-cf", filepath.Join(dir, "theirs.tar"), "disk.raw")
	theirs, err := os.ReadFile(filepath.Join(dir, "theirs.tar"))
	if err != nil {
		t.Fatal(err)
	}
	ours := written(t, img)
	if !bytes.Equal(ours, theirs) {
		t.Errorf("%d bytes, tar has %d", len(ours), len(theirs))
		for i := range min(len(ours), len(theirs)) {
			if ours[i] != theirs[i] {
				from := i / block * block
				t.Fatalf("block %d differs:\n%q\n%q", i/block, ours[from:][:block], theirs[from:][:block])
			}
		}
	}
}

// written returns the archive that Write compresses.
func written(t *testing.T, img *disk.Image) []byte {
	t.Helper()
	var packed bytes.Buffer
	if err := Write(&packed, img, stamp); err != nil {
		t.Fatal(err)
	}
	r, err := gzip.NewReader(&packed)
	if err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestFormat: Write compresses the archive that Format lays out.
func TestFormat(t *testing.T) {
	for name, img := range images(t) {
		t.Run(name, func(t *testing.T) {
			file, err := Format(img, stamp)
			if err != nil {
				t.Fatal(err)
			}
			path := disktest.File(t, "disk.tar", file)
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got := written(t, img); !bytes.Equal(got, want) {
				t.Errorf("Write compresses %d bytes, Format has %d", len(got), len(want))
			}
		})
	}
}

// TestPython has another reader of the format hash the disk.
func TestPython(t *testing.T) {
	img := images(t)["1000 pieces and a hole"]
	path := disktest.Write(t, "disk.tar.gz", func(w io.Writer) error { return Write(w, img, stamp) })
	h := sha256.New()
	if err := raw.Write(h, img); err != nil {
		t.Fatal(err)
	}
	got := treetest.Run(t, "python3", "-c", `
import sys, tarfile, hashlib
tar = tarfile.open(sys.argv[1])
for m in tar.getmembers():
    h = hashlib.sha256()
    f = tar.extractfile(m)
    while b := f.read(1 << 20): h.update(b)
    print(m.name, m.size, m.issparse(), m.mtime, h.hexdigest())
`, path)
	if want := fmt.Sprintf("disk.raw %d True 1700000000 %x\n", img.Size(), h.Sum(nil)); got != want {
		t.Errorf("got  %swant %s", got, want)
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[int64]string{
		0:         "00000000000\x00",
		1<<33 - 1: "77777777777\x00",
		1 << 33:   "\x80\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00",
		-1:        "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
	} {
		var field [12]byte
		if number(field[:], v); string(field[:]) != want {
			t.Errorf("%d: %q, want %q", v, field, want)
		}
	}
}

func TestErrors(t *testing.T) {
	for _, size := range []int64{0, unit - 512, unit + 1, 10*unit + unit/2} {
		img, err := disk.New(size)
		if err != nil {
			t.Fatal(err)
		}
		if err := Write(io.Discard, img, Options{}); err == nil || !strings.Contains(err.Error(), "whole number of GiB") {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	disktest.Refuses(t, func(w io.Writer, img *disk.Image) error {
		whole, err := disk.New(unit, disk.Extent{Blob: img})
		if err != nil {
			t.Fatal(err)
		}
		return Write(w, whole, Options{})
	})
}
