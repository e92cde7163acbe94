package vhdx

import (
	"encoding/binary"
	"io"
	"os"
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

func TestQEMU(t *testing.T) {
	o := Options{ID: [16]byte{1, 2, 3}}
	for name, img := range disktest.Images(t, sectorSize) {
		t.Run(name, func(t *testing.T) {
			path := disktest.Write(t, "disk.vhdx", func(w io.Writer) error { return Write(w, img, o) })
			if info, err := os.Stat(path); err != nil || info.Size() != Size(img) {
				t.Errorf("%d bytes, %d were said: %v", info.Size(), Size(img), err)
			}
			if out := treetest.Run(t, "qemu-img", "check", "-f", "vhdx", path); !strings.Contains(out, "No errors") {
				t.Error(out)
			}
			disktest.Compare(t, path, "vhdx", img)
		})
	}
	disktest.Refuses(t, func(w io.Writer, img *disk.Image) error { return Write(w, img, Options{}) })
}

func TestErrors(t *testing.T) {
	for _, size := range []int64{0, 513, 65 << 40} {
		img, err := disk.New(size)
		if err != nil {
			t.Fatal(err)
		}
		if err := Write(io.Discard, img, Options{}); err == nil {
			t.Errorf("a disk of %d bytes is made", size)
		}
	}
}
