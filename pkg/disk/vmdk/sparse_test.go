package vmdk

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/raw"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

func formatSparse(img *disk.Image) (*disk.Image, error) {
	return Format(img, Options{ID: 0x12345678})
}

// sparsePath writes a sparse file and returns its path.
func sparsePath(t testing.TB, img *disk.Image) string {
	t.Helper()
	file, err := formatSparse(img)
	if err != nil {
		t.Fatal(err)
	}
	return disktest.File(t, "disk.vmdk", file)
}

// TestSparse has QEMU find the form, no errors, and the disk.
func TestSparse(t *testing.T) {
	for name, img := range disktest.Images(t, sectorSize) {
		t.Run(name, func(t *testing.T) {
			path := sparsePath(t, img)
			info := treetest.Run(t, "qemu-img", "info", path)
			for _, want := range []string{"create type: monolithicSparse", "cid: 305419896", "cluster size: 65536"} {
				if !strings.Contains(info, want) {
					t.Errorf("no %q in\n%s", want, info)
				}
			}
			if out := treetest.Run(t, "qemu-img", "check", "-f", "vmdk", path); !strings.Contains(out, "No errors") {
				t.Error(out)
			}
			disktest.Compare(t, path, "vmdk", img)
			plain := filepath.Join(t.TempDir(), "raw")
			treetest.Run(t, "qemu-img", "convert", "-f", "vmdk", "-O", "raw", path, plain)
			disktest.Compare(t, plain, "raw", img)
		})
	}
	disktest.Refuses(t, disktest.Written(formatSparse))
}

// TestRedundant: the two directories lead to equal tables.
func TestRedundant(t *testing.T) {
	img := disktest.Images(t, sectorSize)["edges"]
	file, err := formatSparse(img)
	if err != nil {
		t.Fatal(err)
	}
	l := newSparse(img.Size())
	for i := range l.tables() {
		var tables [2][tableBytes]byte
		for j, directory := range []int64{l.redundant, l.directory} {
			if _, err := file.ReadAt(tables[j][:], l.table(directory, i)); err != nil {
				t.Fatal(err)
			}
		}
		if tables[0] != tables[1] {
			t.Errorf("table %d: the copies differ", i)
		}
	}
}

// TestFlat has QEMU read a disk by its descriptor.
func TestFlat(t *testing.T) {
	for name, img := range disktest.Images(t, sectorSize) {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			text, err := Descriptor(img, Options{ID: 1, Name: "disk-flat.vmdk"})
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "disk.vmdk")
			if err := os.WriteFile(path, text, 0o644); err != nil {
				t.Fatal(err)
			}
			f, err := os.Create(filepath.Join(dir, "disk-flat.vmdk"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := raw.WriteFile(f, img, nil); err != nil {
				t.Fatal(err)
			}
			if info := treetest.Run(t, "qemu-img", "info", path); !strings.Contains(info, "create type: monolithicFlat") {
				t.Error(info)
			}
			treetest.Run(t, "qemu-img", "check", "-f", "vmdk", path)
			disktest.Compare(t, path, "vmdk", img)
		})
	}
}

func TestSparseErrors(t *testing.T) {
	large, err := disk.New(3<<40, disk.Extent{Blob: disktest.Zeros(3 << 40)})
	if err != nil {
		t.Fatal(err)
	}
	odd, err := disk.New(1000)
	if err != nil {
		t.Fatal(err)
	}
	small := disktest.Images(t, sectorSize)["small"]
	for _, c := range []struct {
		img  *disk.Image
		o    Options
		want string
	}{
		{large, Options{}, "larger than 2 TiB"},
		{odd, Options{}, "whole number of sectors"},
		{small, Options{Name: "a\"b"}, "invalid file name"},
		{small, Options{Name: "../b"}, "invalid file name"},
		{small, Options{Name: "a\nb"}, "invalid file name"},
	} {
		if _, err := Format(c.img, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
		if _, err := Descriptor(c.img, c.o); c.img != large && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("descriptor: got %v, want %q", err, c.want)
		}
	}
}
