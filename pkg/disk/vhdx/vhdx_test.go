package vhdx

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

func TestStructSizes(t *testing.T) {
	for _, c := range []struct {
		v    any
		size int
	}{{header{}, 80}, {regionHeader{}, 16}, {regionEntry{}, 32}, {metadataHeader{}, 32}, {metadataEntry{}, 32}, {guid{}, 16}} {
		if n := binary.Size(c.v); n != c.size {
			t.Errorf("%T has %d bytes, want %d", c.v, n, c.size)
		}
	}
}

func format(img *disk.Image) (*disk.Image, error) { return Format(img, Options{}) }

// path writes a file and returns its path.
func path(t *testing.T, img *disk.Image, o Options) string {
	t.Helper()
	file, err := Format(img, o)
	if err != nil {
		t.Fatal(err)
	}
	return disktest.File(t, "disk.vhdx", file)
}

func TestQEMU(t *testing.T) {
	o := Options{ID: [16]byte{1, 2, 3}}
	for name, img := range disktest.Images(t, sectorSize) {
		t.Run(name, func(t *testing.T) {
			path := path(t, img, o)
			if out := treetest.Run(t, "qemu-img", "check", "-f", "vhdx", path); !strings.Contains(out, "No errors") {
				t.Error(out)
			}
			disktest.Compare(t, path, "vhdx", img)
		})
	}
	disktest.Refuses(t, disktest.Written(format))
}

func TestErrors(t *testing.T) {
	for _, size := range []int64{0, 513, 65 << 40} {
		img, err := disk.New(size)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Format(img, Options{}); err == nil {
			t.Errorf("a disk of %d bytes is made", size)
		}
	}
}
