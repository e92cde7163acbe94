package xfs

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// TestErrors has trees that XFS cannot hold. The error names the path.
func TestErrors(t *testing.T) {
	with := func(in *rootfs.Inode) *rootfs.Inode {
		root := rootfs.Dir(0o755)
		root.Children["d"] = rootfs.Dir(0o755)
		root.Children["d"].Children["f"] = in
		return root
	}
	named := func(name string) *rootfs.Inode {
		root := rootfs.Dir(0o755)
		root.Children[name] = rootfs.Text(0o644, "")
		return root
	}
	attr := func(name, value string) *rootfs.Inode {
		in := rootfs.Text(0o644, "")
		in.Xattrs = map[string]string{name: value}
		return with(in)
	}
	twice := rootfs.Dir(0o755)
	twice.Children["a"] = rootfs.Dir(0o755)
	twice.Children["b"] = twice.Children["a"]
	late := rootfs.Text(0o644, "")
	late.MTime.Sec = maxTime + 1
	for _, c := range []struct {
		root *rootfs.Inode
		want string
	}{
		{rootfs.Text(0o644, ""), "the root is not a directory"},
		{with(&rootfs.Inode{Mode: 0o644}), "d/f: mode 0644 has no file type"},
		{named("a/b"), `a/b: invalid file name`}, {named(".."), `..: invalid file name`}, {named(""), "invalid file name"}, {named(strings.Repeat("x", 256)), "invalid file name"},
		{twice, "b: is a directory under two names, the other is a"},
		{with(rootfs.Link("")), "d/f: symbolic link to 0 bytes"}, {with(rootfs.Link(strings.Repeat("x", 1024))), "d/f: symbolic link to 1024 bytes, limit is 1023"},
		{with(late), "d/f: time"},
		{with(&rootfs.Inode{Mode: rootfs.ModeChar, Rdev: 512 << 8}), "d/f: device 512:0, limit is 511:262143"},
		{with(&rootfs.Inode{Mode: rootfs.ModeBlock, Rdev: 1 << 30}), "d/f: device 0:262144, limit is 511:262143"},
		{attr("user.x", strings.Repeat("v", maxValue+1)), "d/f: "}, {attr("other.x", ""), "d/f: "}, {attr("user.", ""), "d/f: "},
		{attr("user."+strings.Repeat("n", 256), ""), "d/f: "},
	} {
		if _, err := Format(c.root, options(gib)); err == nil || !strings.HasPrefix(err.Error(), "xfs: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
	// At the limits there is a place.
	last := with(&rootfs.Inode{Mode: rootfs.ModeChar, Rdev: 511<<8 | 0xff | 0x3ff<<20})
	path := disktest.WriteSparse(t, mustFormat(t, last, options(MinSize)))
	treetest.Judge(t, "xfs", path)
	dir, _ := treetest.Mount(t, "xfs", path, "ro")
	if err := treetest.Compare(dir, last); err != nil {
		t.Error(err)
	}
}

// TestNoContentIsRead gives content that cannot be read.
func TestNoContentIsRead(t *testing.T) {
	root := rootfs.Dir(0o755)
	root.Children["f"] = rootfs.File(0o644, unreadable(3<<20+1))
	mustFormat(t, root, options(gib))
}

type unreadable int64

func (u unreadable) Size() int64                       { return int64(u) }
func (u unreadable) ReadAt([]byte, int64) (int, error) { return 0, errors.New("content was read") }

// TestNothingUnwrittenIsRead fills the gaps of a plan with garbage, all but
// the log, which mkfs.xfs clears as well, and the rest of blocks that are in use.
func TestNothingUnwrittenIsRead(t *testing.T) {
	root := fit(randomTree(3))
	o := options(MinSize)
	img := mustFormat(t, root, o)
	geo, err := newGeometry(o)
	if err != nil {
		t.Fatal(err)
	}
	log := int64(geo.logGroup*geo.agBlocks+geo.logStart()) * blockSize
	keep := slices.Concat(img.Extents(), []disk.Extent{{Off: log, Blob: disktest.Zeros(geo.logBlocks * blockSize)}})
	path := disktest.WriteSparse(t, img)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	used := make([]bool, o.Size/blockSize)
	for _, e := range keep {
		for at := e.Off / blockSize; at*blockSize < e.End(); at++ {
			used[at] = true
		}
	}
	garbage, count := bytes.Repeat([]byte{0xa5, 0x5a, 0x81, 1}, blockSize/4), 0
	for at, yes := range used {
		if !yes {
			count++
			if _, err := f.WriteAt(garbage, int64(at)*blockSize); err != nil {
				t.Fatal(err)
			}
		}
	}
	if count == 0 {
		t.Error("no block is free")
	}
	treetest.Judge(t, "xfs", path)
	treetest.Endure(t, "xfs", path, root)
}

// TestBound: Size is a bound for every tree, with any number of groups that
// a disk of that size may be asked to have, and what is left is of use.
func TestBound(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	for seed := range uint64(200) {
		root := fit(randomTree(seed))
		for i := range r.IntN(40) {
			root.Children[fmt.Sprint("content", i)] = rootfs.File(0o644, disktest.Zeros(r.Int64N(1<<r.IntN(29))))
		}
		many := rootfs.Dir(0o755)
		for i := range 1 << r.IntN(15) {
			in := rootfs.File(0o644, disktest.Zeros(r.Int64N(1<<r.IntN(15))))
			in.Xattrs = map[string]string{"user.x": strings.Repeat("x", r.IntN(1<<r.IntN(10)))}
			many.Children[fmt.Sprint(i, strings.Repeat("n", r.IntN(100)))] = in
		}
		root.Children["many"] = many
		o := options(0)
		o.Features, o.SectorSize, o.Groups = Features(r.IntN(4)), []int{512, 4096}[r.IntN(2)], []int{0, 2, 3, 4, 8, 32}[r.IntN(6)]
		tr, err := scan(root)
		if err != nil {
			t.Fatal(err)
		}
		o.Size = tr.size(o.Features)
		img, err := tr.format(o)
		if err != nil {
			if o.Groups > 2 && strings.Contains(err.Error(), "allocation groups") {
				continue // refused for another reason
			}
			t.Errorf("seed %d: %+v: %v", seed, o, err)
			continue
		}
		if seed%40 == 0 {
			path := disktest.WriteSparse(t, img)
			treetest.Judge(t, "xfs", path)
			if treetest.IsRoot(t) { // there is room to work in
				dir, unmount := treetest.Mount(t, "xfs", path)
				if err := os.WriteFile(dir+"/new", make([]byte, 1<<20), 0o644); err != nil {
					t.Errorf("seed %d: %+v: %v", seed, o, err)
				}
				unmount()
			}
			os.Remove(path)
		}
	}
}
