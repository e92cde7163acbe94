package ext4

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

var (
	bootUUID = [16]byte{0x96, 0xd1, 0x55, 0x88, 0x35, 0x96, 0x4b, 0x3c, 0xad, 0xca, 0xa2, 0xff, 0x72, 0x79, 0xea, 0x63}
	made     = rootfs.Time{Sec: 1659397331}
)

func bootOptions() Options {
	return Options{Size: 384 * miB, Label: "boot", UUID: bootUUID, Time: made}
}

func mustFormat(t *testing.T, root *rootfs.Inode, o Options) *disk.Image {
	t.Helper()
	img, err := Format(root, o)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// blockSizes runs a test for both sizes of blocks.
func blockSizes(t *testing.T, f func(t *testing.T, block int)) {
	for _, block := range []int{1024, 4096} {
		t.Run(fmt.Sprint(block), func(t *testing.T) { f(t, block) })
	}
}

func TestFsck(t *testing.T) {
	blockSizes(t, func(t *testing.T, block int) {
		for _, c := range treetest.Cases(block) {
			t.Run(c.Name, func(t *testing.T) {
				o := bootOptions()
				o.BlockSize = block
				treetest.Judge(t, "ext4", disktest.WriteSparse(t, mustFormat(t, c.Root, o)))
			})
		}
	})
}

// every chooses the random trees that the kernel uses; with 1 they take some minutes.
var every = flag.Int("every", 32, "the kernel uses one in so many random trees")

// TestFsckRandom has e2fsck judge random trees, which take every form there is.
// Every fourth one is in pieces, so that maps become trees.
func TestFsckRandom(t *testing.T) {
	const trees = 512
	forms := make(chan map[string]int, 4)
	for part := range 4 {
		t.Run(fmt.Sprint(part), func(t *testing.T) {
			t.Parallel()
			seen := map[string]int{}
			for seed := part; seed < trees; seed += 4 {
				o := bootOptions()
				o.BlockSize = []int{1024, 4096}[seed/4%2]
				o.Size = int64(64+seed) * miB
				if part == 3 {
					o.stride = 1
				}
				root := randomTree(uint64(seed), o.BlockSize)
				p := planned(t, root, o)
				for _, n := range p.tree.nodes {
					for _, form := range n.forms(o.BlockSize) {
						seen[form]++
					}
				}
				img, err := p.image()
				if err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				path := disktest.WriteSparse(t, img)
				treetest.Judge(t, "ext4", path)
				if (seed/4)%*every == 0 && treetest.IsRoot(t) {
					treetest.Endure(t, "ext4", path, root)
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
			"dir linear", "dir index 1", "dir index 2", "link inode", "link block",
			"attr inode", "attr block", "attr shared", "data inode", "data tree 1", "data tree 2",
		} {
			if all[want] == 0 {
				t.Errorf("no tree has %q: %v", want, all)
			}
		}
		t.Log(all)
	})
}

// planned lays out a tree and keeps the plan.
func planned(t *testing.T, root *rootfs.Inode, o Options) *plan {
	t.Helper()
	tree, err := scan(root, o, int64(o.BlockSize))
	if err != nil {
		t.Fatal(err)
	}
	p, err := newPlan(tree, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// forms names the forms of an inode.
func (n *node) forms(block int) (forms []string) {
	add := func(name string, yes bool) {
		if yes {
			forms = append(forms, name)
		}
	}
	add("dir linear", n.dir != nil && n.dir.leaves == nil)
	add("dir index 1", n.dir != nil && n.dir.leaves != nil && n.dir.nodes == 0)
	add("dir index 2", n.dir != nil && n.dir.nodes > 0)
	add("link inode", n.in.IsLink() && len(n.runs) == 0)
	add("link block", n.in.IsLink() && len(n.runs) > 0)
	add("attr inode", len(n.body) > 0)
	add("attr block", n.attrs != nil)
	add("attr shared", n.attrs != nil && n.attrs.refs > 1)
	add("data inode", len(n.runs) > 0 && len(n.tree) == 0)
	add("data tree 1", len(n.tree) > 0 && len(n.tree) <= int(extentsPerBlock(uint64(block))))
	add("data tree 2", len(n.tree) > 4 && len(splitExtents(n.runs)) > 4*int(extentsPerBlock(uint64(block))))
	return forms
}

// randomTree is a random tree that sometimes has large directories, attributes and
// maps.
func randomTree(seed uint64, block int) *rootfs.Inode {
	root := treetest.Random(seed)
	r := rand.New(rand.NewPCG(seed, 2))
	crowd := rootfs.Dir(0o755)
	in := rootfs.Text(0o644, "one of many")
	for i := range 1 << r.IntN(14) {
		crowd.Children[fmt.Sprint(i, strings.Repeat("x", r.IntN(r.IntN(200)+1)))] = in
	}
	root.Children["crowd"] = crowd
	for i := range 20 {
		many := rootfs.Text(0o644, "attributes")
		many.Xattrs = map[string]string{}
		for left := block - 100; left > 0; left -= 40 {
			value := strings.Repeat("v", r.IntN(left))
			many.Xattrs[fmt.Sprint("user.", left)] = value
			left -= len(value)
		}
		root.Children[fmt.Sprint("many", i)] = many
		same := rootfs.Text(0o644, "the same attributes")
		same.Xattrs = many.Xattrs
		root.Children[fmt.Sprint("same", i)] = same
	}
	root.Children["file"] = rootfs.File(0o644, treetest.Pattern{Seed: seed, Length: r.Int64N(1 << r.IntN(25))})
	return root
}

// TestNothingUnwrittenIsRead fills every block that the plan leaves out with
// garbage: bitmaps of unused groups, ends of inode tables, the journal.
func TestNothingUnwrittenIsRead(t *testing.T) {
	blockSizes(t, func(t *testing.T, block int) {
		for _, size := range []int64{24 * miB, 600 * miB} {
			o := bootOptions()
			o.BlockSize, o.Size = block, size
			root := treetest.Random(uint64(block))
			treetest.Judge(t, "ext4", writeOverGarbage(t, mustFormat(t, root, o), int64(block)))
		}
	})
}

// writeOverGarbage writes an image over garbage: whole blocks, as a file system
// does.
func writeOverGarbage(t *testing.T, img *disk.Image, block int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "img")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	garbage := bytes.Repeat([]byte{0xA5, 0x5A, 0x81}, miB/2)
	for off := int64(0); off < img.Size(); off += int64(len(garbage)) {
		if _, err := f.WriteAt(garbage[:min(int64(len(garbage)), img.Size()-off)], off); err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range img.Extents() {
		first, last := e.Off&^(block-1), (e.End()+block-1)&^(block-1)
		for _, at := range []int64{first, last - block} {
			if _, err := f.WriteAt(make([]byte, block), at); err != nil {
				t.Fatal(err)
			}
		}
	}
	disktest.WriteExtents(t, f, img)
	return path
}
