package ext4

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest/golden"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

func TestStructSizes(t *testing.T) {
	for _, s := range []struct {
		value any
		size  int
	}{
		{superBlock{}, superSize},
		{groupDesc{}, descSize},
		{inode{}, bodyOffset},
		{extentHeader{}, 12},
		{extent{}, 12},
		{extentIndex{}, 12},
		{direntHeader{}, 8},
		{direntTail{}, direntTailSize},
		{dxInfo{}, 8},
		{dxEntry{}, 8},
		{dxCountLimit{}, 4},
		{xattrHeader{}, xattrHeadSize},
		{xattrEntry{}, xattrEntrySize},
		{journalSuper{}, 68},
	} {
		if got := binary.Size(s.value); got != s.size {
			t.Errorf("%T has %d bytes, want %d", s.value, got, s.size)
		}
	}
}

// TestErrors has each limit name the path and itself.
func TestErrors(t *testing.T) {
	with := func(name string, in *rootfs.Inode) *rootfs.Inode {
		root := rootfs.Dir(0o755)
		if err := root.Place("d/"+name, in); err != nil {
			t.Fatal(err)
		}
		return root
	}
	attrs := func(m map[string]string) *rootfs.Inode {
		in := rootfs.Text(0o644, "")
		in.Xattrs = m
		return with("f", in)
	}
	at := func(sec int64, nsec uint32) *rootfs.Inode {
		in := rootfs.Text(0o644, "")
		in.MTime = rootfs.Time{Sec: sec, Nsec: nsec}
		return with("f", in)
	}
	direct := func(name string, in *rootfs.Inode) *rootfs.Inode {
		root := rootfs.Dir(0o755)
		root.Children[name] = in
		return root
	}
	loop := rootfs.Dir(0o755)
	loop.Children["self"] = loop
	twice := rootfs.Dir(0o755)
	twice.Children["a"] = rootfs.Dir(0o755)
	twice.Children["b"] = twice.Children["a"]
	many := rootfs.Dir(0o755)
	same := rootfs.Text(0o644, "")
	for i := range maxLinks + 1 {
		many.Children[fmt.Sprintf("%06d", i)] = same
	}
	crowd := rootfs.Dir(0o755)
	for i := range 50000 {
		crowd.Children[fmt.Sprintf("%0255d", i)] = rootfs.Link("x")
	}
	boot := bootOptions()
	for _, c := range []struct {
		name string
		root *rootfs.Inode
		o    Options
		want string
	}{
		{"root is a file", rootfs.Text(0o644, ""), boot, "ext4: .: mode 100644 is not that of a directory"},
		{"lost+found is a file", direct("lost+found", same), boot, "ext4: lost+found: is not a directory"},
		{"no type", with("f", &rootfs.Inode{Mode: 0o644}), boot, "ext4: d/f: mode 644 is of no known type"},
		{"slash", direct("a/b", same), boot, `ext4: .: "a/b" cannot be the name of a file`},
		{"dots", direct("..", same), boot, `ext4: .: ".." cannot be the name of a file`},
		{"long name", with(strings.Repeat("x", 256), same), boot, "ext4: d: \"xxx"},
		{"nothing", direct("f", nil), boot, "ext4: f: no inode"},
		{"loop", loop, boot, "ext4: self: directory is . as well"},
		{"directory twice", twice, boot, "ext4: b: directory is a as well"},
		{"hard links", many, boot, "ext4: 065000: more than 65000 hard links"},
		{"directory", direct("crowd", crowd), boot, "ext4: crowd: 50000 names in a directory, more than its index can hold"},
		{"link too long", with("l", rootfs.Link(strings.Repeat("x", 1024))), boot, "ext4: d/l: link target of 1024 bytes, limit is 1023"},
		{"link to nothing", with("l", rootfs.Link("")), boot, "ext4: d/l: link target of 0 bytes"},
		{"too early", at(-1<<31-1, 0), boot, "ext4: d/f: time -2147483649.000000000 is outside"},
		{"too late", at(maxTime+1, 0), boot, "ext4: d/f: time 10737418240"},
		{"nanoseconds", at(0, 1e9), boot, "ext4: d/f: time 0.1000000000"},
		{"immutable", with("l", &rootfs.Inode{Mode: rootfs.ModeFIFO, Immutable: true}), boot, "ext4: d/l: immutable, but mode 10000 is neither"},
		{"device", with("c", &rootfs.Inode{Mode: rootfs.ModeChar, Rdev: 1 << 44}), boot, "ext4: d/c: device 4096:0, limit is 4095:1048575"},
		{"attributes", attrs(map[string]string{"user.x": strings.Repeat("v", 970)}), boot, "ext4: d/f: attributes of "},
		{"attribute name", attrs(map[string]string{"system.nfs4_acl": "x"}), boot, `ext4: d/f: attribute "system.nfs4_acl" cannot be stored in ext4`},
		{"attribute without name", attrs(map[string]string{"user.": "x"}), boot, `ext4: d/f: attribute "user." cannot be stored`},
		{"acl", attrs(map[string]string{"system.posix_acl_access": "x"}), boot, "ext4: d/f: access control list of 1 bytes is malformed"},
		{"acl tag", attrs(map[string]string{"system.posix_acl_access": treetest.ACL([3]uint32{3, 0, 0})}), boot, "ext4: d/f: access control list has an entry of tag 0x3"},
		{"file", with("f", rootfs.File(0o644, disktest.Zeros(4<<40))), boot, "ext4: d/f: file of 4 TiB (4398046511104 bytes), limit is"},
		{"label", rootfs.Dir(0o755), Options{Size: miB, Label: "seventeen letters"}, "ext4: label"},
		{"block size", rootfs.Dir(0o755), Options{Size: miB, BlockSize: 2048}, "ext4: block size of 2048 bytes"},
		{"journal", rootfs.Dir(0o755), Options{Size: 64 * miB, JournalSize: 1}, "ext4: journal of 1 bytes"},
		{"no size", rootfs.Dir(0o755), Options{}, "ext4: size of 0 bytes is too small, need "},
		{"descriptors", rootfs.Dir(0o755), Options{Size: 1 << 50, BlockSize: 1024}, "use larger blocks"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Format(c.root, c.o)
			if err == nil || !strings.HasPrefix(err.Error(), "ext4: ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
			if strings.Contains(fmt.Sprint(err), "\n") {
				t.Errorf("more than a line: %v", err)
			}
		})
	}
}

// TestNeededSize proves the size that an error names: it is enough, and a
// block less is not.
func TestNeededSize(t *testing.T) {
	content := rootfs.Dir(0o755)
	content.Children["a"] = rootfs.File(0o644, disktest.Zeros(50*miB+1))
	content.Children["b"] = rootfs.File(0o644, disktest.Zeros(11*miB))
	for _, o := range []Options{
		{BlockSize: 1024},
		{BlockSize: 4096},
		{BlockSize: 4096, JournalSize: -1},
		{},
	} {
		for _, root := range []*rootfs.Inode{content, rootfs.Dir(0o755), treetest.Random(2)} {
			size, err := Size(root, o)
			if err != nil {
				t.Fatal(err)
			}
			o.Size = size
			treetest.Judge(t, "ext4", disktest.WriteSparse(t, mustFormat(t, root, o)))
			o.Size = size - o.blockSize(size)
			want := fmt.Sprintf("ext4: size of %s is too small, need %s", rootfs.Bytes(o.Size), rootfs.Bytes(size))
			if _, err := Format(root, o); err == nil || err.Error() != want {
				t.Errorf("%v, want %s", err, want)
			}
		}
	}
}

// TestBound has random trees at the size that Size returns: it is enough, and a
// block less is not.
func TestBound(t *testing.T) {
	for seed := range uint64(200) {
		o := Options{BlockSize: []int{1024, 4096}[seed%2]}
		root := randomTree(seed, o.BlockSize)
		size, err := Size(root, o)
		if err != nil {
			t.Fatal(err)
		}
		o.Size = size
		if _, err := Format(root, o); err != nil {
			t.Errorf("seed %d: %d bytes: %v", seed, size, err)
		}
		o.Size -= int64(o.BlockSize)
		if _, err := Format(root, o); err == nil {
			t.Errorf("seed %d: %d bytes do as well as %d", seed, o.Size, size)
		}
	}
}

func TestSameBytes(t *testing.T) {
	blockSizes(t, func(t *testing.T, block int) {
		o := bootOptions()
		o.BlockSize = block
		want := ""
		for _, procs := range []int{1, 2, 7} {
			old := runtime.GOMAXPROCS(procs)
			got := golden.Image(t, mustFormat(t, treetest.Random(5), o))
			runtime.GOMAXPROCS(old)
			if want == "" {
				want = got
			}
			if got != want {
				t.Errorf("%s with %d threads, %s before", got, procs, want)
			}
		}
	})
}

// TestNoContentIsRead gives content that cannot be read.
func TestNoContentIsRead(t *testing.T) {
	root := rootfs.Dir(0o755)
	root.Children["f"] = rootfs.File(0o644, unreadable(3*miB+1))
	mustFormat(t, root, bootOptions())
}

type unreadable int64

func (u unreadable) Size() int64 { return int64(u) }

func (u unreadable) ReadAt([]byte, int64) (int, error) { panic("content is read") }

// TestEmptyIsSmall bounds the allocated bytes of an empty file system.
func TestEmptyIsSmall(t *testing.T) {
	for _, c := range []struct{ size, limit int64 }{
		{384 * miB, 512 * kiB},
		{10 << 30, 512 * kiB},
		{1 << 40, 64 * miB},
	} {
		img := mustFormat(t, rootfs.Dir(0o755), Options{Size: c.size})
		if got := img.Allocated(); got > c.limit {
			t.Errorf("%d bytes of %d are allocated, limit is %d", got, c.size, c.limit)
		}
	}
}

// TestHuge plans file systems larger than any disk here, and has e2fsck judge
// those that fit into a sparse file.
func TestHuge(t *testing.T) {
	root := treetest.Random(1)
	for _, size := range []int64{64 << 30, 15 * tiB, 64 * tiB} {
		o := Options{Size: size, Label: "root"}
		start := time.Now()
		img := mustFormat(t, root, o)
		t.Logf("%d bytes planned in %v, %d allocated", size, time.Since(start), img.Allocated())
		if size <= 64<<30 {
			treetest.Judge(t, "ext4", disktest.WriteSparse(t, img))
		}
	}
}

// TestExtentTrees breaks files into many pieces, for trees of each depth.
func TestExtentTrees(t *testing.T) {
	for _, c := range []struct {
		block, stride int
		size          int64
	}{
		{1024, 1, 4 * kiB},
		{1024, 1, 5 * kiB},
		{1024, 1, 4 * 84 * kiB},
		{1024, 1, 4*84*kiB + 1},
		{1024, 1, 4*84*84*kiB + 1}, // depth 3
		{1024, 3, 2 * miB},
		{4096, 1, 4 * 4 * kiB},
		{4096, 1, 4*340*4*kiB + 1},
		{4096, 2, 12 * miB},
	} {
		t.Run(fmt.Sprintf("%d of %d by %d", c.size, c.block, c.stride), func(t *testing.T) {
			root := rootfs.Dir(0o755)
			root.Children["f"] = rootfs.File(0o644, treetest.Pattern{Seed: 1, Length: c.size})
			root.Children["g"] = rootfs.Text(0o644, "another")
			crowd := rootfs.Dir(0o755)
			for i := range 2000 {
				crowd.Children[fmt.Sprintf("a name of some length, number %d", i)] = rootfs.Text(0o644, "")
			}
			root.Children["crowd"] = crowd
			o := Options{Size: 600 * miB, BlockSize: c.block, stride: uint64(c.stride)}
			path := disktest.WriteSparse(t, mustFormat(t, root, o))
			treetest.Judge(t, "ext4", path)
			dir, _ := treetest.Mount(t, "ext4", path, "ro")
			if err := treetest.Compare(dir, root); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestLargeFile has a file of more extents than an inode holds, with no need
// to break it.
func TestLargeFile(t *testing.T) {
	root := rootfs.Dir(0o755)
	root.Children["large"] = rootfs.File(0o644, disktest.Zeros(3<<30+1))
	root.Children["end"] = rootfs.Text(0o644, "behind it")
	path := disktest.WriteSparse(t, mustFormat(t, root, Options{Size: 5 << 30}))
	treetest.Judge(t, "ext4", path)
	dir, _ := treetest.Mount(t, "ext4", path, "ro")
	if got, err := os.ReadFile(dir + "/end"); err != nil || string(got) != "behind it" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestIndexOfTwoLevels has a root that needs nodes below it.
func TestIndexOfTwoLevels(t *testing.T) {
	root := rootfs.Dir(0o755)
	for i := range 9000 {
		root.Children[fmt.Sprintf("%0255d", i)] = rootfs.Link("x")
	}
	o := Options{Size: 100 * miB, BlockSize: 4096}
	tree, err := scan(root, o, 4096)
	if err != nil {
		t.Fatal(err)
	}
	if n := tree.nodes[0].dir.nodes; n < 2 {
		t.Fatalf("%d nodes below the root", n)
	}
	path := disktest.WriteSparse(t, mustFormat(t, root, o))
	treetest.Judge(t, "ext4", path)
	dir, _ := treetest.Mount(t, "ext4", path, "ro")
	if err := treetest.Compare(dir, root); err != nil {
		t.Error(err)
	}
}

// TestEqualHashes has two names of one hash on both sides of a leaf's end.
func TestEqualHashes(t *testing.T) {
	o := bootOptions()
	name := func(i int) string { return fmt.Sprintf("%0240d", i) }
	var pair [2]string
	seen := map[uint32]int{}
	for i := 0; pair[0] == ""; i++ {
		hash, _ := nameHash(name(i), o.hashSeed())
		if j, ok := seen[hash]; ok {
			pair = [2]string{name(j), name(i)}
		}
		seen[hash] = i
	}
	for others := 4; ; others++ {
		root := rootfs.Dir(0o755)
		root.Children[pair[0]], root.Children[pair[1]] = rootfs.Link("first"), rootfs.Link("second")
		for i := range others {
			root.Children[fmt.Sprintf("other-%0220d", i)] = rootfs.Link("other")
		}
		tree, err := scan(root, o, kiB)
		if err != nil {
			t.Fatal(err)
		}
		top := tree.nodes[0].dir
		odd := false
		for i := range top.leaves {
			odd = odd || top.leafHash(i)&1 != 0
		}
		if !odd {
			continue
		}
		path := disktest.WriteSparse(t, mustFormat(t, root, o))
		treetest.Judge(t, "ext4", path)
		dir, _ := treetest.Mount(t, "ext4", path, "ro")
		if err := treetest.Compare(dir, root); err != nil {
			t.Error(err)
		}
		return
	}
}

// TestManySubdirectories crosses the number that a link count holds.
func TestManySubdirectories(t *testing.T) {
	for _, n := range []int{64998, 64999} {
		root := rootfs.Dir(0o755)
		many := rootfs.Dir(0o755)
		for i := range n {
			many.Children[fmt.Sprint(i)] = rootfs.Dir(0o755)
		}
		root.Children["many"] = many
		path := disktest.WriteSparse(t, mustFormat(t, root, bootOptions()))
		treetest.Judge(t, "ext4", path)
		dir, _ := treetest.Mount(t, "ext4", path, "ro")
		st, err := os.Stat(dir + "/many")
		if err != nil {
			t.Fatal(err)
		}
		want := map[int]uint64{64998: 65000, 64999: 1}[n]
		if got := uint64(st.Sys().(*syscall.Stat_t).Nlink); got != want {
			t.Errorf("%d links with %d subdirectories, want %d", got, n, want)
		}
	}
}

// TestMostLinks has as many hard links as an inode may have.
func TestMostLinks(t *testing.T) {
	root := rootfs.Dir(0o755)
	same := rootfs.Text(0o644, "one")
	for i := range maxLinks {
		root.Children[fmt.Sprint(i)] = same
	}
	treetest.Judge(t, "ext4", disktest.WriteSparse(t, mustFormat(t, root, bootOptions())))
}

// TestSharedAttributes has more inodes with the same attributes than may share
// a block.
func TestSharedAttributes(t *testing.T) {
	root := rootfs.Dir(0o755)
	for i := range maxBlockRefs + 10 {
		in := rootfs.Text(0o644, "")
		in.Xattrs = map[string]string{"user.same": strings.Repeat("s", 300)}
		root.Children[fmt.Sprint(i)] = in
	}
	path := disktest.WriteSparse(t, mustFormat(t, root, bootOptions()))
	treetest.Judge(t, "ext4", path)
	dir, _ := treetest.Mount(t, "ext4", path, "ro")
	if err := treetest.Compare(dir, root); err != nil {
		t.Error(err)
	}
}

// TestLostFound has the tree bring its own.
func TestLostFound(t *testing.T) {
	for _, children := range []int{0, 3, 3000} {
		root := rootfs.Dir(0o755)
		lost := rootfs.Dir(0o700)
		lost.Xattrs = map[string]string{"security.selinux": "system_u:object_r:lost_found_t:s0\x00"}
		lost.MTime = made
		for i := range children {
			lost.Children[fmt.Sprintf("#%d", i)] = rootfs.Text(0o600, "found")
		}
		root.Children["lost+found"], root.Children["a"] = lost, rootfs.Dir(0o755)
		path := disktest.WriteSparse(t, mustFormat(t, root, bootOptions()))
		treetest.Judge(t, "ext4", path)
		dir, _ := treetest.Mount(t, "ext4", path, "ro")
		if err := treetest.Compare(dir, root); err != nil {
			t.Error(err)
		}
		st, err := os.Stat(dir + "/lost+found")
		if err != nil {
			t.Fatal(err)
		}
		if ino := st.Sys().(*syscall.Stat_t).Ino; ino != inoLostFound {
			t.Errorf("lost+found is inode %d", ino)
		}
	}
}

// TestOptions has e2fsck judge options other than the default.
func TestOptions(t *testing.T) {
	root := treetest.Random(8)
	for _, o := range []Options{
		{Size: 64 * miB, JournalSize: -1},
		{Size: 64 * miB, JournalSize: 32 * miB},
		{Size: 2 << 30, JournalSize: 1 << 30},
		{Size: 64 * miB, Inodes: 700},
		{Size: 64 * miB, Inodes: 60000},
		{Size: 64 * miB, ReservedPercent: -1},
		{Size: 64 * miB, ReservedPercent: 50},
		{Size: 300*miB + 777},
		{Size: 16*miB + 1, BlockSize: 4096},
		{Size: 64 * miB, Time: rootfs.Time{Sec: 1 << 33, Nsec: 5}},
	} {
		t.Run(fmt.Sprintf("%+v", o), func(t *testing.T) {
			path := disktest.WriteSparse(t, mustFormat(t, root, o))
			treetest.Judge(t, "ext4", path)
			dir, _ := treetest.Mount(t, "ext4", path, "ro")
			if err := treetest.Compare(dir, root); err != nil {
				t.Error(err)
			}
		})
	}
}

// wide returns a tree of so many files in directories of 50.
func wide(files int) *rootfs.Inode {
	root := rootfs.Dir(0o755)
	label := map[string]string{"security.selinux": "system_u:object_r:usr_t:s0\x00"}
	var dir *rootfs.Inode
	for i := range files {
		if i%50 == 0 {
			dir = rootfs.Dir(0o755)
			dir.Xattrs = label
			root.Children[fmt.Sprintf("directory-%d", i)] = dir
		}
		in := rootfs.File(0o644, disktest.Zeros(i%20000))
		in.Xattrs = label
		dir.Children[fmt.Sprintf("file-%d", i)] = in
	}
	return root
}

func BenchmarkFormat(b *testing.B) {
	for _, files := range []int{12000, 500000} {
		b.Run(fmt.Sprint(files), func(b *testing.B) {
			root := wide(files)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Format(root, Options{Size: 20 << 30}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
