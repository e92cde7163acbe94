package xfs

import (
	"fmt"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// TestTall makes trees of several levels, which no random tree is large enough
// for: of a directory, of a file's pieces, and of all that a group has.
func TestTall(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while")
	}
	root := rootfs.Dir(0o755)
	for i := range 70 {
		dir := rootfs.Dir(0o755)
		for j := range 500 {
			dir.Children[fmt.Sprint(j)] = rootfs.Text(0o644, "")
		}
		root.Children[fmt.Sprint("dir", i)] = dir
	}
	crowd, one := rootfs.Dir(0o755), rootfs.Text(0o644, "one of many")
	for i := range 256_000 {
		crowd.Children[fmt.Sprintf("one-of-many-names-%d", i)] = one
	}
	root.Children["crowd"] = crowd
	root.Children["pieces"] = rootfs.File(0o644, disktest.Zeros(190_000*blockSize))
	o := options(6 * gib)
	o.stride, o.Features, o.SectorSize = 1, LTS6_6, 4096
	tree, err := scan(root)
	if err != nil {
		t.Fatal(err)
	}
	img, err := tree.format(o)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, n := range tree.nodes {
		for _, form := range n.forms() {
			seen[form]++
		}
	}
	for _, want := range []string{"dir nodes 2", "dir btree", "dir free 2", "data btree 2"} {
		if seen[want] == 0 {
			t.Errorf("no %q: %v", want, seen)
		}
	}
	want := levels{free: 3, sizes: 3, owners: 3, inodes: 2}
	if got := levelsOf(t, img, o.SectorSize); got != want {
		t.Errorf("levels %+v, want %+v", got, want)
	}
	path := disktest.WriteSparse(t, img)
	treetest.Judge(t, "xfs", path)
	if treetest.IsRoot(t) {
		treetest.Endure(t, "xfs", path, root)
	}
}

// levels are those of the trees of a group.
type levels struct{ free, sizes, owners, inodes uint32 }

// levelsOf reads the levels of the first group.
func levelsOf(t *testing.T, img *disk.Image, sector int) (l levels) {
	t.Helper()
	for at, level := range map[int]*uint32{sector + 28: &l.free, sector + 32: &l.sizes, sector + 36: &l.owners, 2*sector + 24: &l.inodes} {
		var b [4]byte
		if _, err := img.ReadAt(b[:], int64(at)); err != nil {
			t.Fatal(err)
		}
		*level = be.Uint32(b[:])
	}
	return l
}
