package xfs

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest"
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

// TestRepair has xfs_repair judge all kinds of trees, with both sizes of
// sectors, whole and in pieces.
func TestRepair(t *testing.T) {
	for _, c := range []struct {
		sector   int
		stride   uint64
		features Features
	}{
		{512, 0, LTS6_1}, {4096, 3, LTS6_1}, {512, 3, LTS4_19}, {4096, 0, LTS5_10}, {512, 3, LTS6_6}, {4096, 0, LTS6_6},
	} {
		o := options(gib)
		o.SectorSize, o.stride, o.Features = c.sector, c.stride, c.features
		t.Run(fmt.Sprintf("%d/%d/%d", o.SectorSize, o.stride, o.Features), func(t *testing.T) {
			t.Parallel()
			for _, c := range cases() {
				img, err := Format(c.Root, o)
				if err != nil {
					t.Errorf("%s: %v", c.Name, err)
					continue
				}
				t.Run(c.Name, func(t *testing.T) { treetest.Judge(t, "xfs", disktest.WriteSparse(t, img)) })
			}
		})
	}
}

// cases are the trees that XFS can hold.
func cases() []treetest.Case {
	all := treetest.Cases(blockSize)
	for _, c := range all {
		fit(c.Root)
	}
	return all
}

// fit removes inodes that XFS cannot hold from a tree: its links and devices have
// lower limits than those of ext4.
func fit(root *rootfs.Inode) *rootfs.Inode {
	for _, in := range root.Walk() {
		for name, child := range in.Children {
			if (&node{in: child}).check() != nil {
				delete(in.Children, name)
			}
		}
	}
	return root
}

// every chooses the random trees that the kernel uses; with 1 they take some minutes.
var every = flag.Int("every", 32, "the kernel uses one in so many random trees")

// TestRandom has xfs_repair judge random trees, which take every form there is.
// Every fourth one is in pieces, so that maps become trees.
func TestRandom(t *testing.T) {
	const trees = 512
	forms := make(chan map[string]int, 4)
	for part := range 4 {
		t.Run(fmt.Sprint(part), func(t *testing.T) {
			t.Parallel()
			seen := map[string]int{}
			for seed := part; seed < trees; seed += 4 {
				root := fit(randomTree(uint64(seed)))
				o := options(MinSize + int64(seed)*1<<20)
				o.Features = Features(seed / 4 % 4)
				if part == 3 {
					o.stride = 1
					if seed%64 == 3 { // a btree of two levels
						root.Children["long"] = rootfs.File(0o644, treetest.Pattern{Seed: 1, Length: 20 << 20})
					}
				}
				tr, err := scan(root)
				if err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				img, err := tr.format(o)
				if err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				for _, n := range tr.nodes {
					for _, form := range n.forms() {
						seen[form]++
					}
				}
				path := disktest.WriteSparse(t, img)
				treetest.Judge(t, "xfs", path)
				if (seed/4)%*every == 0 && treetest.IsRoot(t) {
					treetest.Endure(t, "xfs", path, shown(t, root, o.Features))
				}
				os.Remove(path)
				if t.Failed() {
					t.Fatalf("seed %d", seed)
				}
			}
			forms <- seen
		})
	}
	t.Cleanup(func() {
		close(forms)
		all := map[string]int{}
		for seen := range forms {
			for form, n := range seen {
				all[form] += n
			}
		}
		for _, want := range []string{
			"dir local", "dir block", "dir leaf", "dir node", "dir btree", "link local", "link block", "attr local", "attr leaf", "attr node", "attr remote",
			"data inline", "data btree 1", "data btree 2", "attr btree",
		} {
			if all[want] == 0 {
				t.Errorf("no tree has %q: %v", want, all)
			}
		}
		t.Log(all)
	})
}

// forms names the forms of an inode.
func (n *node) forms() (forms []string) {
	add := func(name string, yes bool) {
		if yes {
			forms = append(forms, name)
		}
	}
	pieces := map[uint64]uint64{} // blocks of a directory's data, leaves and free space
	for _, m := range n.data.maps {
		pieces[m.off&^(leafBase-1)] += m.n
	}
	leaves, free := pieces[leafBase], pieces[freeBase]
	local, levels := n.format == formatLocal, bmbtLevels(len(n.data.maps), n.dataRoom())
	if n.in.IsDir() {
		add("dir local", local)
		add("dir block", !local && leaves == 0)
		add("dir leaf", leaves == 1)
		add("dir node", leaves > 1)
		add("dir nodes 2", leaves > daMax+1)
		add("dir free 2", free == 2)
		add("dir btree", levels != nil)
	}
	add("link local", n.in.IsLink() && local)
	add("link block", n.in.IsLink() && !local)
	add("attr local", n.inline)
	add("attr leaf", n.attr.maps != nil && len(splitAttrs(n.attrs)) == 1)
	add("attr node", n.attr.maps != nil && len(splitAttrs(n.attrs)) > 1)
	add("attr btree", n.attr.tree != nil)
	for _, a := range n.attrs {
		add("attr remote", a.remote())
	}
	add("data inline", n.data.maps != nil && levels == nil)
	add(fmt.Sprint("data btree ", len(levels)), levels != nil)
	return forms
}

// randomTree is a random tree that sometimes has large directories
// and attributes.
func randomTree(seed uint64) *rootfs.Inode {
	root := treetest.Random(seed)
	r := rand.New(rand.NewPCG(seed, 2))
	crowd := rootfs.Dir(0o755)
	in := rootfs.Text(0o644, "one of many")
	for i := range 1 << r.IntN(13) {
		crowd.Children[fmt.Sprint(i, strings.Repeat("x", r.IntN(r.IntN(200)+1)))] = in
	}
	root.Children["crowd"] = crowd
	many := rootfs.Text(0o644, "many attributes")
	many.Xattrs = map[string]string{}
	for i := range r.IntN(1 << r.IntN(9)) {
		many.Xattrs[fmt.Sprint("user.", i)] = strings.Repeat("v", r.IntN(1<<r.IntN(13)))
	}
	root.Children["many"] = many
	large := rootfs.Text(0o644, "large attributes")
	large.Xattrs = map[string]string{}
	for i := range r.IntN(6) {
		large.Xattrs[fmt.Sprint("user.large", i)] = strings.Repeat("v", r.IntN(maxValue+1))
	}
	root.Children["large"] = large
	root.Children["file"] = rootfs.File(0o644, treetest.Pattern{Seed: seed, Length: r.Int64N(1 << r.IntN(25))})
	return root
}

// TestSameBytes makes the same tree again with other numbers of cores.
func TestSameBytes(t *testing.T) {
	for _, o := range []Options{{}, {SectorSize: 4096, stride: 1}, {Features: LTS6_6, Groups: 4}} {
		o.Size = gib
		sums := map[[32]byte]int{}
		for _, procs := range []int{1, 2, 7} {
			old := runtime.GOMAXPROCS(procs)
			h := sha256.New()
			for _, e := range mustFormat(t, fit(randomTree(5)), o).Extents() {
				fmt.Fprintln(h, e.Off, e.Blob.Size())
				if _, err := io.Copy(h, io.NewSectionReader(e.Blob, 0, e.Blob.Size())); err != nil {
					t.Fatal(err)
				}
			}
			runtime.GOMAXPROCS(old)
			sums[[32]byte(h.Sum(nil))]++
		}
		if len(sums) != 1 {
			t.Errorf("%+v: %d different images of a tree", o, len(sums))
		}
	}
}

// TestSizes has sizes from the least to 64 TiB, and up to 32 groups.
func TestSizes(t *testing.T) {
	root := fit(treetest.Random(1))
	for _, o := range []Options{
		{Size: MinSize}, {Size: MinSize + 4095}, {Size: 4001 << 20, Groups: 4}, {Size: 9 * gib, Groups: 32}, {Size: 1 << 40}, {Size: 2<<40 + 4096},
		{Size: 64 << 40}, {Size: 10 << 40, SectorSize: 4096}, {Size: 300 << 30, Groups: 9},
	} {
		t.Run(fmt.Sprint(o.Size, o.Groups), func(t *testing.T) {
			t.Setenv("TMPDIR", "/dev/shm") // files may be larger there
			path := disktest.WriteSparse(t, mustFormat(t, root, o))
			treetest.Judge(t, "xfs", path)
			switch {
			case !treetest.IsRoot(t):
			case o.Size < 10*gib:
				treetest.Endure(t, "xfs", path, root)
			default: // to fill it would take too long
				dir, unmount := treetest.Mount(t, "xfs", path)
				if err := treetest.Compare(dir, root); err != nil {
					t.Error(err)
				}
				if err := os.CopyFS(filepath.Join(dir, "copy"), os.DirFS(".")); err != nil {
					t.Error(err)
				}
				unmount()
				treetest.Judge(t, "xfs", path)
			}
		})
	}
	for _, o := range []Options{{Size: MinSize - 1}, {Size: gib, Groups: 1}, {Size: gib, Groups: -1}, {Size: gib, Groups: 1000}, {Size: gib, SectorSize: 1024}, {Size: gib, Label: "thirteen byte"}} {
		if _, err := Format(root, o); err == nil {
			t.Errorf("%+v makes a file system", o)
		}
	}
}

// TestSize has trees at the size that Size returns: it is enough, and not much too
// large.
func TestSize(t *testing.T) {
	trees := cases()
	for seed := range uint64(50) {
		trees = append(trees, treetest.Case{Name: fmt.Sprint("random ", seed), Root: fit(randomTree(seed))})
	}
	big := rootfs.Dir(0o755)
	for i := range 40 {
		big.Children[fmt.Sprint(i)] = rootfs.File(0o644, treetest.Pattern{Length: int64(i) * 20 << 20})
	}
	trees = append(trees, treetest.Case{Name: "big", Root: big})
	for i, c := range trees {
		o := Options{Features: Features(i % 4)}
		size, err := Size(c.Root, o.Features)
		if err != nil {
			t.Fatal(err)
		}
		o.Size = size
		img, err := Format(c.Root, o)
		if err != nil {
			t.Errorf("%s: %d bytes: %v", c.Name, size, err)
		} else if free := size - img.Allocated(); size > MinSize && free > 100<<20+size/10 {
			t.Errorf("%s: %d bytes for %d", c.Name, size, img.Allocated())
		}
	}
	_, err := Format(big, options(gib))
	if size, _ := Size(big, LTS6_1); err == nil || !strings.Contains(err.Error(), "need "+rootfs.Bytes(size)) {
		t.Errorf("too small: %v", err)
	}
}

// BenchmarkFormat plans a tree of half a million inodes.
func BenchmarkFormat(b *testing.B) {
	root := rootfs.Dir(0o755)
	for i := range 500 {
		dir := rootfs.Dir(0o755)
		for j := range 1000 {
			in := rootfs.File(0o644, treetest.Pattern{Length: 5000})
			in.Xattrs = map[string]string{"security.selinux": "system_u:object_r:lib_t:s0\x00"}
			dir.Children[fmt.Sprint("file-", j)] = in
		}
		root.Children[fmt.Sprint(i)] = dir
	}
	b.ReportAllocs()
	for b.Loop() {
		mustFormat(b, root, options(8*gib))
	}
}
