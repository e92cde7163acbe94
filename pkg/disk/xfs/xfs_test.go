package xfs

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

const gib = 1 << 30

var testUUID = [16]byte{0x91, 0x06, 0x78, 0xff, 0xf7, 0x7e, 0x4a, 0x7d, 0x8d, 0x53, 0x86, 0xf2, 0xac, 0x47, 0xa8, 0x23}

func options(size int64) Options { return Options{Size: size, Label: "root", UUID: testUUID} }

func mustFormat(t testing.TB, root *rootfs.Inode, o Options) *disk.Image {
	t.Helper()
	img, err := Format(root, o)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// writeSparse writes an image to a sparse file.
func writeSparse(t testing.TB, img *disk.Image) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "img"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(img.Size()); err != nil {
		t.Fatal(err)
	}
	for _, e := range img.Extents() {
		if _, err := io.Copy(io.NewOffsetWriter(f, e.Off), io.NewSectionReader(e.Blob, 0, e.Blob.Size())); err != nil {
			t.Fatal(err)
		}
	}
	return f.Name()
}

// TestRepair has xfs_repair judge all kinds of trees, with both sizes of
// sectors, whole and in pieces.
func TestRepair(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		for _, stride := range []uint64{0, 3} {
			t.Run(fmt.Sprintf("%d/%d", sector, stride), func(t *testing.T) {
				t.Parallel()
				for _, c := range cases() {
					o := options(gib)
					o.SectorSize, o.stride = sector, stride
					img, err := Format(c.Root, o)
					if err != nil {
						t.Errorf("%s: %v", c.Name, err)
						continue
					}
					t.Run(c.Name, func(t *testing.T) { repair(t, writeSparse(t, img)) })
				}
			})
		}
	}
}

// cases are the trees that XFS can hold: its links and devices have lower
// limits than those of ext4.
func cases() []treetest.Case {
	all := treetest.Cases(blockSize)
	for _, c := range all {
		for _, in := range c.Root.Walk() {
			for name, child := range in.Children {
				if (&node{in: child}).check() != nil {
					delete(in.Children, name)
				}
			}
		}
	}
	return all
}

// repair fails the test unless xfs_repair finds nothing to do.
func repair(t *testing.T, path string) {
	t.Helper()
	treetest.Run(t, "xfs_repair", "-n", "-f", path)
}
