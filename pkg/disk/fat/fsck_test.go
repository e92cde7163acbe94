package fat

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// writeFile writes an image to a sparse file.
func writeFile(t *testing.T, img *disk.Image) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "img"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(img.Size()); err != nil {
		t.Fatal(err)
	}
	for _, e := range img.Extents() {
		if _, err := io.Copy(io.NewOffsetWriter(f, e.Off), io.NewSectionReader(e.Blob, 0, e.Blob.Size())); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

var fsckSilent = regexp.MustCompile(`^fsck\.fat [0-9.]+ \([0-9-]+\)\n[^\n]*: \d+ files, \d+/\d+ clusters\n$`)

func TestFsck(t *testing.T) {
	for name, root := range trees(t) {
		for shape, o := range shapes {
			t.Run(shape+"/"+name, func(t *testing.T) {
				f := writeFile(t, mustFormat(t, root, labelled(o)))
				if out := treetest.Run(t, "fsck.fat", "-n", f.Name()); !fsckSilent.MatchString(out) {
					t.Errorf("fsck.fat says:\n%s", out)
				}
			})
		}
	}
}

func TestFsckUnlabelled(t *testing.T) {
	for shape, o := range shapes {
		f := writeFile(t, mustFormat(t, trees(t)["efi"], o))
		if out := treetest.Run(t, "fsck.fat", "-n", f.Name()); !fsckSilent.MatchString(out) {
			t.Errorf("%s: fsck.fat says:\n%s", shape, out)
		}
	}
}

// A file system that is full to its last cluster.
func TestFsckFull(t *testing.T) {
	o := labelled(Options{Size: 9 * mib})
	g, err := newGeometry(o.Size, 512, 0)
	if err != nil {
		t.Fatal(err)
	}
	root := rootfs.Dir(0o755)
	root.Children["all"] = content(int(g.clusters * g.clusterSize()))
	f := writeFile(t, mustFormat(t, root, o))
	out := treetest.Run(t, "fsck.fat", "-n", f.Name())
	if want := fmt.Sprintf("%d/%d clusters", g.clusters, g.clusters); !fsckSilent.MatchString(out) || !strings.Contains(out, want) {
		t.Errorf("fsck.fat says:\n%s", out)
	}
	root.Children["more"] = content(1)
	if _, err := Format(root, o); err == nil {
		t.Error("one cluster more fits too")
	}
}

// The bytes are those of mkfs.fat, except the boot code, the name of the system,
// the times of the label, and values with the same meaning.
func TestSameAsMkfs(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		for _, size := range []int64{9, 16, 17, 32, 33, 63, 64, 65, 127, 128, 129, 200, 255, 256, 260, 261, 400, 511, 512, 513, 1024, 1025, 2048, 2100, 8193, 16384} {
			for _, bits := range []int{0, 16, 32} {
				o := labelled(Options{Size: size * mib, SectorSize: sector, Bits: bits})
				img, err := Format(rootfs.Dir(0o755), o)
				if err != nil {
					continue // too few or too many clusters; TestRefused and the next test look at that
				}
				f, args := filepath.Join(t.TempDir(), "img"), []string{"-I", "-S", fmt.Sprint(sector), "-i", "7B7795E7", "-n", "EFI-SYSTEM"}
				if bits != 0 {
					args = append(args, "-F", fmt.Sprint(bits))
				}
				treetest.Run(t, "mkfs.fat", append(args, "-C", f, fmt.Sprint(size*1024))...)
				compareEmpty(t, fmt.Sprintf("%d MiB, sectors of %d, FAT%d", size, sector, bits), img, f)
			}
		}
	}
}

func compareEmpty(t *testing.T, name string, img *disk.Image, made string) {
	t.Helper()
	f, err := os.Open(made)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	defer os.Remove(made)
	read := func(r io.ReaderAt) []byte {
		b := make([]byte, min(img.Size(), 40*mib)) // the data begins before that
		if _, err := r.ReadAt(b, 0); err != nil {
			t.Fatal(err)
		}
		return b
	}
	got, want := read(img), read(f)
	sector := int(order.Uint16(want[11:]))
	backup := 0
	if order.Uint16(want[22:]) == 0 {
		backup = backupSector * sector
	}
	for _, b := range [][]byte{got, want} {
		for _, boot := range []int{0, backup} {
			params := b[boot+1] + 2
			clear(b[boot+3 : boot+11])
			clear(b[boot+int(params) : boot+510])
		}
		label := bytes.Index(b[sector:], []byte("EFI-SYSTEM \x08")) + sector
		clear(b[label+12 : label+32])
	}
	if backup > 0 { // any of the eight ends of a chain will do for the root's
		for fat := range numFATs {
			end := sector * (int(order.Uint16(want[14:])) + fat*int(order.Uint32(want[36:])))
			want[end+4*firstCluster] |= 7
		}
	}
	if at := firstDifference(got, want); at >= 0 {
		t.Errorf("%s: byte %#x is %#x, mkfs.fat writes %#x", name, at, got[at:at+16], want[at:at+16])
	}
}

func firstDifference(a, b []byte) int {
	if bytes.Equal(a, b) {
		return -1
	}
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return -1
}

// The ESP of Fedora CoreOS, in figures.
func TestESP(t *testing.T) {
	want := geometry{bits: 16, sectorSize: 512, sectors: 260096, perTrack: 32, heads: 8,
		perCluster: 4, reserved: 4, fatSectors: 256, rootEntries: 512, clusters: 64887}
	if got, err := newGeometry(127*mib, 512, 0); err != nil || got != want {
		t.Errorf("%+v, want %+v: %v", got, want, err)
	}
	want = geometry{bits: 16, sectorSize: 4096, sectors: 32512, perTrack: 32, heads: 2,
		perCluster: 4, reserved: 4, fatSectors: 4, rootEntries: 512, clusters: 8124}
	if got, err := newGeometry(127*mib, 4096, 0); err != nil || got != want {
		t.Errorf("%+v, want %+v: %v", got, want, err)
	}
}

// mtools copies every tree out again, names and bytes.
func TestMtools(t *testing.T) {
	for name, root := range trees(t) {
		for _, shape := range []string{"fat16", "fat16-4k", "fat32-64m", "fat32-4k-300m"} {
			t.Run(shape+"/"+name, func(t *testing.T) {
				f := writeFile(t, mustFormat(t, root, labelled(shapes[shape])))
				if out := treetest.Run(t, "mdir", "-i", f.Name(), "::"); !strings.Contains(out, "EFI-SYSTEM") || !strings.Contains(out, "7B77-95E7") {
					t.Errorf("mdir says:\n%s", out)
				}
				if len(root.Children) == 0 || name == beyondTools {
					return
				}
				out := t.TempDir()
				treetest.Run(t, "mcopy", "-s", "-m", "-n", "-i", f.Name(), "::*", out)
				compareTree(t, root, out)
			})
		}
	}
}

func compareTree(t *testing.T, root *rootfs.Inode, dir string) {
	t.Helper()
	found := 0
	err := filepath.WalkDir(dir, func(string, os.DirEntry, error) error { found++; return nil })
	if err != nil {
		t.Fatal(err)
	}
	for where, n := range root.Walk() {
		found--
		info, err := os.Lstat(filepath.Join(dir, where))
		if err != nil || info.IsDir() != n.IsDir() {
			t.Errorf("%s: %v", where, err)
			continue
		}
		if n.IsDir() {
			continue
		}
		want, err := rootfs.ReadAll(n.Content, n.Size())
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(dir, where))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, want %d: %v", where, len(got), len(want), err)
		}
		sec := int64(1659397331)
		if n.MTime.Sec != 0 {
			sec = n.MTime.Sec
		}
		if got := info.ModTime().Unix(); got != sec&^1 {
			t.Errorf("%s: time %d, want %d", where, got, sec&^1)
		}
	}
	if found != 0 {
		t.Errorf("%d entries too many", found)
	}
}
