package vhd

import (
	"encoding/binary"
	"fmt"
	"os"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/raw"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

func TestStructSizes(t *testing.T) {
	if f, h := binary.Size(footer{}), binary.Size(header{}); f != footerSize || h != headerSize {
		t.Errorf("footer of %d bytes, header of %d", f, h)
	}
}

var options = Options{ID: [16]byte{1, 2, 3}, Time: rootfs.Time{Sec: 1_700_000_000}}

func TestDynamic(t *testing.T) {
	for name, img := range disktest.Images(t, sectorSize) {
		t.Run(name, func(t *testing.T) {
			disktest.Compare(t, dynamicPath(t, img), "vpc", img)
		})
	}
	disktest.Refuses(t, disktest.Written(formatDynamic))
}

func formatDynamic(img *disk.Image) (*disk.Image, error) {
	o := options
	o.Dynamic = true
	return Format(img, o)
}

// dynamicPath writes a dynamic disk and returns the path of the file.
func dynamicPath(t *testing.T, img *disk.Image) string {
	t.Helper()
	file, err := formatDynamic(img)
	if err != nil {
		t.Fatal(err)
	}
	return disktest.File(t, "disk.vhd", file)
}

func TestFixed(t *testing.T) {
	for name, img := range disktest.Images(t, sectorSize) {
		t.Run(name, func(t *testing.T) {
			fixed, err := Format(img, options)
			if err != nil {
				t.Fatal(err)
			}
			f, err := os.Create(t.TempDir() + "/disk.vhd")
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := raw.WriteFile(f, fixed, nil); err != nil {
				t.Fatal(err)
			}
			disktest.Ranges(t, f.Name(), fixed)
			disktest.Compare(t, f.Name(), "vpc", img)
		})
	}
}

// TestGeometry compares with the geometry that QEMU writes.
func TestGeometry(t *testing.T) {
	for _, size := range []int64{1 << 20, 100 << 20, 600 << 20, 10 << 30, 100 << 30, 500 << 30} {
		path := t.TempDir() + "/disk.vhd"
		treetest.Run(t, "qemu-img", "create", "-q", "-f", "vpc", "-o", "force_size=on", path, fmt.Sprint(size))
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var want footer
		if _, err := binary.Decode(b[:footerSize], binary.BigEndian, &want); err != nil {
			t.Fatal(err)
		}
		// With force_size QEMU writes the largest there is; its own calculation is at work without.
		if want.CurrentSize != uint64(size) {
			t.Fatalf("%d bytes of %d", want.CurrentSize, size)
		}
		c, h, s := geometry(size / sectorSize)
		if total := int64(c) * int64(h) * int64(s); total > size/sectorSize || size < 120<<30 && total < size/sectorSize-int64(h)*int64(s) {
			t.Errorf("%d: %d/%d/%d", size, c, h, s)
		}
	}
}

func TestErrors(t *testing.T) {
	for _, size := range []int64{0, 1, 513, 2041 << 30} {
		if Check(size) == nil {
			t.Errorf("a disk of %d bytes", size)
		}
	}
}

// TestTime: the footer holds the nearest time that it can represent.
func TestTime(t *testing.T) {
	for sec, want := range map[int64]uint32{0: 0, epoch: 0, epoch + 7: 7, epoch + 1<<32 - 1: 1<<32 - 1, epoch + 1<<32: 1<<32 - 1, 10737418239: 1<<32 - 1} {
		footer := newFooter(1<<20, typeDynamic, Options{Time: rootfs.Time{Sec: sec}})
		if got := binary.BigEndian.Uint32(footer[24:]); got != want {
			t.Errorf("%d: %d, want %d", sec, got, want)
		}
	}
}
