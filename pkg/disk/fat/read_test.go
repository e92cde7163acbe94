package fat

import (
	"bytes"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// TestRead reads the file systems of Format, and compares all names.
func TestRead(t *testing.T) {
	for shape, o := range shapes {
		for name, tree := range trees(t) {
			got, err := Read(mustFormat(t, tree, labelled(o)))
			if err != nil {
				t.Errorf("%s/%s: %v", shape, name, err)
				continue
			}
			for d, err := range rootfs.Diff(tree, got) {
				if err != nil {
					t.Fatal(err)
				}
				if d.Path != "." && !slices.Equal(d.What, []string{"mtime"}) {
					t.Errorf("%s/%s: %s: %q", shape, name, d.Path, d.What)
				}
			}
			if in := got.Lookup("EFI/fedora/grub.cfg"); in != nil && in.MTime.Sec != 1785542400 {
				t.Errorf("%s: a file is of %d", shape, in.MTime.Sec)
			}
		}
	}
}

// TestReadTools reads file systems of mkfs.fat and mtools: a short name in lower
// case, files in pieces, and deleted entries.
func TestReadTools(t *testing.T) {
	for bits, clusterSectors := range map[string]string{"12": "64", "16": "4", "32": "1"} {
		f := writeFile(t, mustFormat(t, rootfs.Dir(0o755), Options{Size: 64 * mib, Bits: 32}))
		treetest.Tool(t, "mcopy")
		treetest.Run(t, "mkfs.fat", "-F", bits, "-s", clusterSectors, f.Name())
		treetest.Run(t, "sh", "-ec", `cd "$2"; export MTOOLS_SKIP_CHECK=1
			for i in $(seq 40); do printf '%09000d' $i >"a long name of $i"; done
			echo x >lower.txt; mkdir -p dir/sub; echo y >dir/sub/ü
			mcopy -i "$1" a* lower.txt ::; mdel -i "$1" '::a long name of 1*' '::a long name of 20'
			seq 200000 >big; mcopy -s -i "$1" big dir ::`, "sh", f.Name(), t.TempDir())
		root, err := Read(f)
		if err != nil {
			t.Fatal(err)
		}
		for name, size := range map[string]int64{"lower.txt": 2, "dir/sub/ü": 2, "a long name of 2": 9000, "a long name of 30": 9000, "big": 1288895} {
			if in := root.Lookup(name); in == nil || in.Size() != size {
				t.Errorf("FAT%s: %s: %v of %q", bits, name, in, root.Names())
			}
		}
		if big, err := rootfs.ReadAll(root.Lookup("big").Content, 2*mib); err != nil || !bytes.HasSuffix(big, []byte("\n199999\n200000\n")) {
			t.Errorf("FAT%s: big: %v", bits, err)
		}
		if len(root.Children) != 40-12+3 {
			t.Errorf("FAT%s: %q", bits, root.Names())
		}
	}
}

// bytesOf returns a small file system, and its geometry.
func bytesOf(t testing.TB, bits int) ([]byte, geometry) {
	t.Helper()
	o := Options{Size: 10 * mib, Bits: bits}
	if bits == 32 {
		o.Size = 40 * mib
	}
	img := mustFormat(t, place(t, 5000, "EFI/BOOT/BOOTX64.EFI", "EFI/a long name.txt", "d/e/f/g"), o)
	b, err := io.ReadAll(io.NewSectionReader(img, 0, img.Size()))
	if err != nil {
		t.Fatal(err)
	}
	g, err := newGeometry(o.Size, 512, bits)
	if err != nil {
		t.Fatal(err)
	}
	return b, g
}

// setNext makes a cluster be followed by another.
func setNext(b []byte, g geometry, n, next uint32) {
	table := b[g.reserved*int64(g.sectorSize):]
	if g.bits == 16 {
		order.PutUint16(table[2*n:], uint16(next))
	} else {
		order.PutUint32(table[4*n:], next)
	}
}

// TestReadHostile has endless chains and impossible geometries.
func TestReadHostile(t *testing.T) {
	for _, bits := range []int{16, 32} {
		for want, spoil := range map[string]func(b []byte, g geometry){
			"has two owners": func(b []byte, g geometry) {
				for n := range uint32(30) {
					setNext(b, g, n+2, n+2)
				}
			},
			"is outside":  func(b []byte, g geometry) { setNext(b, g, 2, 1); setNext(b, g, 4, 0xFFF0) },
			"sizes":       func(b []byte, g geometry) { b[13] = 3 },
			"copies":      func(b []byte, g geometry) { b[16] = 1 },
			"its FAT has": func(b []byte, g geometry) { b[19], b[20] = 0, 0; order.PutUint32(b[32:], 1<<31) },
		} {
			b, g := bytesOf(t, bits)
			spoil(b, g)
			if _, err := Read(bytes.NewReader(b)); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("FAT%d: %v, want %s", bits, err, want)
			}
		}
	}
	tall := place(t, 1, strings.Repeat("d/", limits.Path/2+1)+"leaf")
	if _, err := Read(mustFormat(t, tall, Options{Size: 127 * mib})); err == nil || !strings.Contains(err.Error(), "a path of more than") {
		t.Errorf("%.200v", err)
	}
}

// FuzzRead: damage is an error, and never more than that. It strikes the boot
// sector, the FAT, or directories.
func FuzzRead(f *testing.F) {
	whole, g := bytesOf(f, 16)
	head := g.dataStart()*512 + 64<<10 // behind it all is empty
	f.Add(uint64(1), uint(8), uint32(2), uint32(2))
	f.Add(uint64(1), uint(0), uint32(3), uint32(3))
	f.Add(uint64(1), uint(0), uint32(4), uint32(2))
	f.Fuzz(func(t *testing.T, seed uint64, n uint, cluster, next uint32) {
		b := slices.Clone(whole[:head])
		setNext(b, g, cluster%64, next)
		r := rand.New(rand.NewPCG(seed, 0))
		for range n % 64 {
			part := [][2]int64{{0, 64}, {g.reserved * 512, 128}, {g.rootStart() * 512, 256}, {g.dataStart() * 512, 32 << 10}}[r.IntN(4)]
			b[part[0]+r.Int64N(part[1])] ^= byte(1 << r.IntN(8))
		}
		img, err := disk.New(int64(len(whole)), disk.Extent{Blob: bytes.NewReader(b)})
		if err != nil {
			t.Fatal(err)
		}
		if root, err := Read(img); err == nil {
			for _, in := range root.Walk() {
				if in.Content != nil && in.Size() < mib {
					in.Content.ReadAt(make([]byte, in.Size()), 0)
				}
			}
		}
	})
}
