package vmdk

import (
	"encoding/binary"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

func TestStructSizes(t *testing.T) {
	for _, v := range []any{header{}, marker{}} {
		if n := binary.Size(v); n != sectorSize {
			t.Errorf("%T has %d bytes", v, n)
		}
	}
}

func write(t testing.TB, img *disk.Image) string {
	t.Helper()
	return disktest.Write(t, "disk.vmdk", func(w io.Writer) error { return Write(w, img, Options{ID: 0x12345678}) })
}

// TestQEMU has QEMU find the form that was wanted, and in it the disk.
func TestQEMU(t *testing.T) {
	for name, img := range disktest.Images(t, sectorSize) {
		t.Run(name, func(t *testing.T) {
			path := write(t, img)
			info := treetest.Run(t, "qemu-img", "info", path)
			for _, want := range []string{"create type: streamOptimized", "cid: 305419896", "compressed: true", "cluster size: 65536"} {
				if !strings.Contains(info, want) {
					t.Errorf("no %q in\n%s", want, info)
				}
			}
			treetest.Run(t, "qemu-img", "check", path)
			disktest.Compare(t, path, "vmdk", img)
		})
	}
}

// TestStream reads a file as an importer does that cannot seek: marker by
// marker, to the end.
func TestStream(t *testing.T) {
	b, err := os.ReadFile(write(t, disktest.Images(t, sectorSize)["text and noise"]))
	if err != nil {
		t.Fatal(err)
	}
	var seen []uint32
	grains := 0
	for at := overhead; ; {
		value, size, kind := binary.LittleEndian.Uint64(b[at:]), binary.LittleEndian.Uint32(b[at+8:]), binary.LittleEndian.Uint32(b[at+12:])
		if size > 0 {
			grains++
			at += (12 + int(size) + sectorSize - 1) &^ (sectorSize - 1)
			continue
		}
		seen = append(seen, kind)
		at += sectorSize + int(value)*sectorSize
		if kind == markEnd {
			if at != len(b) {
				t.Errorf("the end is at %d of %d", at, len(b))
			}
			break
		}
	}
	if want := []uint32{markTable, markTable, markDirectory, markFooter, markEnd}; !slices.Equal(seen, want) || grains != 14<<20/grain {
		t.Errorf("markers %v, %d grains", seen, grains)
	}
	if string(b[sectorSize:][:21]) != "# Disk DescriptorFile" {
		t.Errorf("descriptor %q", b[sectorSize:][:21])
	}
}

func TestErrors(t *testing.T) {
	for _, size := range []int64{0, 1, 1000} {
		img, err := disk.New(size)
		if err != nil {
			t.Fatal(err)
		}
		if err := Write(io.Discard, img, Options{}); err == nil || !strings.Contains(err.Error(), "whole number of sectors") {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	disktest.Refuses(t, func(w io.Writer, img *disk.Image) error { return Write(w, img, Options{}) })
}
