package ext4

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/internal/walk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// TestRead reads the file systems of Format, and compares all metadata.
func TestRead(t *testing.T) {
	for _, block := range []int{1024, 4096} {
		trees := map[string]*rootfs.Inode{}
		for _, c := range treetest.Cases(block) {
			trees[c.Name] = c.Root
		}
		for seed := range uint64(40) {
			trees[fmt.Sprint("random ", seed)] = treetest.Random(seed)
		}
		for name, tree := range trees {
			img, err := Format(tree, Options{Size: 256 << 20, BlockSize: block})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			got, err := Read(img)
			if err != nil {
				t.Errorf("%d: %s: %v", block, name, err)
				continue
			}
			for d, err := range rootfs.Diff(tree, got) {
				if err != nil {
					t.Fatal(err)
				}
				if d.Path != "lost+found" || d.B != nil {
					t.Errorf("%d: %s: %s: %q, %v", block, name, d.Path, d.What, d.B)
				}
			}
		}
	}
}

// TestReadKernel reads a file system that mke2fs made and the kernel wrote.
func TestReadKernel(t *testing.T) {
	treetest.Root(t)
	dir := t.TempDir()
	img, at := filepath.Join(dir, "img"), filepath.Join(dir, "at")
	if err := os.WriteFile(img, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(img, 64<<20); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(at, 0o755); err != nil {
		t.Fatal(err)
	}
	treetest.Run(t, "mke2fs", "-q", "-t", "ext4", "-O", "^inline_data", img)
	treetest.Run(t, "mount", "-o", "loop", img, at)
	treetest.Run(t, "sh", "-ec", `cd "$1"
		for i in $(seq 3000); do echo $i >a-file-with-a-long-name-$i; done
		rm *-name-1?
		mkdir dir; ln a-file-with-a-long-name-20 dir/link; ln -s target dir/short; ln -s "$(printf '%0200d' 7)" dir/long; mknod dir/null c 1 3
		for i in $(seq 0 2 600); do dd if=/dev/zero of=holes bs=4096 count=1 seek=$i conv=notrunc status=none; done
		setfattr -n user.name -v value dir; setfacl -m u:7:r dir
		fallocate -l 1M unwritten`, "sh", at)
	want := at
	f, err := os.Open(img)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	treetest.Run(t, "sync", "-f", at)
	got, err := Read(f)
	if err == nil {
		err = treetest.Compare(want, got)
	}
	treetest.Run(t, "umount", at)
	if err != nil {
		t.Error(err)
	}
}

// TestReadUnclean reads a file system whose journal was not replayed. Its older
// files are there.
func TestReadUnclean(t *testing.T) {
	f, err := os.Open(treetest.Unclean(t, "ext4"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	root, err := Read(f)
	if err != nil {
		t.Fatal(err)
	}
	if root.Lookup("before300/file") == nil {
		t.Errorf("%q", root.Names())
	}
}

const (
	headSize  = 640 << 10 // of a patched file system
	headBlock = 1024
	freeBlock = headSize/headBlock - 8 // from there on nothing is used
)

// A patched file system has another beginning, which is changed here.
type patched struct{ disktest.Patched }

// small returns a small file system and its beginning.
func small(t testing.TB) patched {
	t.Helper()
	img, err := Format(treetest.Random(1), Options{Size: 16 << 20, BlockSize: headBlock})
	if err != nil {
		t.Fatal(err)
	}
	head := make([]byte, headSize)
	if _, err := img.ReadAt(head, 0); err != nil {
		t.Fatal(err)
	}
	return patched{disktest.Patched{ReaderAt: img, Head: head}}
}

// unchecked makes a file system have no checksums, as one may who made it up,
// and returns its root.
func (p patched) unchecked() (root []byte) {
	rd := reader{r: p}
	if err := rd.open(); err != nil {
		panic(err)
	}
	binary.LittleEndian.PutUint32(p.Head[superOffset+100:], rd.super.FeatureROCompat&^roMetadataCsum)
	return p.Head[int64(rd.tables[0])*headBlock+inodeSize:][:inodeSize]
}

// A hostile is damage without checksums. Some kinds take a number.
var hostile = []struct {
	says string
	make func(p patched, root []byte, n uint32)
	n    uint32
}{
	{"inodes of 144 bytes", func(p patched, root []byte, n uint32) {
		binary.LittleEndian.PutUint16(p.Head[superOffset+88:], uint16(n))
	}, 144},
	{"of more fields", func(p patched, root []byte, n uint32) { binary.LittleEndian.PutUint16(root[128:], uint16(n)) }, 140},
	{"has two owners", func(p patched, root []byte, n uint32) { // a tree whose branches are one
		node := func(to []byte, entries int, depth uint16) {
			level := make([]any, entries)
			for i := range level {
				level[i] = extentIndex{Block: uint32(i), LeafLo: freeBlock + uint32(depth) - 1}
				if depth == 0 {
					level[i] = extent{Block: uint32(i) * n, Len: 1, StartLo: freeBlock + 6}
				}
			}
			encodeNode(to, level, entries, depth)
		}
		for depth := range uint16(5) {
			node(p.Head[(freeBlock+int(depth))*headBlock:], 80, depth)
		}
		node(root[40:], 4, 5)
	}, 1},
	{"not in order", func(p patched, root []byte, n uint32) {
		encodeNode(root[40:], []any{extent{Block: 0, Len: 1, StartLo: n}, extent{Block: 0, Len: 1, StartLo: n}}, 4, 0)
	}, 400},
	{"two owners", func(p patched, root []byte, n uint32) {
		binary.LittleEndian.PutUint32(root[4:], 2*headBlock)
		encodeNode(root[40:], []any{extent{Block: 0, Len: 1, StartLo: n}, extent{Block: 1, Len: 1, StartLo: n}}, 4, 0)
		clear(p.Head[n*headBlock:][:headBlock])
		binary.LittleEndian.PutUint16(p.Head[n*headBlock+4:], headBlock)
	}, freeBlock},
	{"it is free", func(p patched, root []byte, n uint32) {
		binary.LittleEndian.PutUint32(p.Head[superOffset+20:], n)
	}, 16000},
}

// TestReadHostile has endless and impossible structures. Reading them ends with
// an error.
func TestReadHostile(t *testing.T) {
	for _, c := range hostile {
		p := small(t)
		c.make(p, p.unchecked(), c.n)
		if _, err := Read(p); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v, want %s", err, c.says)
		}
	}
	deep := rootfs.Dir(0o755)
	if err := deep.Place(strings.Repeat("d/", walk.Default.Path/2+1)+"leaf", rootfs.Dir(0o755)); err != nil {
		t.Fatal(err)
	}
	img, err := Format(deep, Options{Size: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Read(img); err == nil || !strings.Contains(err.Error(), "a path of more than") {
		t.Errorf("%.200v", err)
	}
}

// zeros is a file of which only the size matters.
type zeros int64

func (z zeros) Size() int64                           { return int64(z) }
func (z zeros) ReadAt(b []byte, _ int64) (int, error) { clear(b); return len(b), nil }

// TestReadChecksums turns a bit in each piece of metadata that is read.
func TestReadChecksums(t *testing.T) {
	tree := rootfs.Dir(0o755)
	tree.Xattrs = map[string]string{"user.large": strings.Repeat("v", 700)}
	tree.Children["five extents"] = rootfs.File(0o644, zeros(5*maxExtent*headBlock))
	many := rootfs.Dir(0o755)
	tree.Children["an index with nodes"] = many
	for i := range 8000 {
		many.Children[fmt.Sprintf("a name that takes some room %d", i)] = rootfs.Link("x")
	}
	img, err := Format(tree, Options{Size: 256 << 20, BlockSize: headBlock})
	if err != nil {
		t.Fatal(err)
	}
	reads := &recorder{ReaderAt: img, blocks: map[int64]bool{}}
	if _, err := Read(reads); err != nil {
		t.Fatal(err)
	}
	rd := &reader{r: img}
	if err := rd.open(); err != nil {
		t.Fatal(err)
	}
	root, _, err := rd.decode(inoRoot)
	if err != nil {
		t.Fatal(err)
	}
	at := map[string]int64{
		"label": superOffset + 120, "descriptor": 2 * headBlock, "root": int64(rd.tables[0])*headBlock + inodeSize + 16,
		"attributes": int64(root.FileACLLo)*headBlock + headBlock - 1,
	}
	blocks := slices.Sorted(maps.Keys(reads.blocks))
	for i, n := range blocks {
		if i < 8 || i > len(blocks)-8 { // roots and nodes stand before leaves, trees behind them
			at[fmt.Sprint("block ", n)] = n*headBlock + 9
		}
	}
	for what, off := range at {
		if _, err := Read(flipped{img, off}); !errors.Is(err, errChecksum) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A recorder keeps the numbers of the blocks that are read as a whole: those of
// extent trees, directories and attributes.
type recorder struct {
	io.ReaderAt
	blocks map[int64]bool
}

func (r *recorder) ReadAt(b []byte, off int64) (int, error) {
	if len(b) == headBlock && off > superOffset {
		r.blocks[off/headBlock] = true
	}
	return r.ReaderAt.ReadAt(b, off)
}

// A flipped reader has one bit turned.
type flipped struct {
	io.ReaderAt
	at int64
}

func (f flipped) ReadAt(b []byte, off int64) (int, error) {
	n, err := f.ReaderAt.ReadAt(b, off)
	if f.at >= off && f.at < off+int64(n) {
		b[f.at-off] ^= 1
	}
	return n, err
}

// FuzzRead: damage is an error, and never more than that. Without checksums it
// gets further.
func FuzzRead(f *testing.F) {
	whole := small(f)
	f.Add(uint64(1), uint(8), uint(0), uint32(0))
	for i, c := range hostile {
		f.Add(uint64(1), uint(0), uint(i+1), c.n)
	}
	f.Fuzz(func(t *testing.T, seed uint64, n, kind uint, number uint32) {
		p := patched{disktest.Patched{ReaderAt: whole.ReaderAt, Head: bytes.Clone(whole.Head)}}
		if kind %= uint(len(hostile)) + 2; kind > 0 {
			root := p.unchecked()
			if kind <= uint(len(hostile)) {
				hostile[kind-1].make(p, root, number%(headSize/headBlock))
			}
		}
		r := rand.New(rand.NewPCG(seed, 0))
		for range n % 64 {
			p.Head[1024+r.IntN(600<<10)] ^= byte(1 << r.IntN(8))
		}
		if root, err := Read(p); err == nil {
			for _, in := range root.Walk() {
				if in.Content != nil && in.Size() < 1<<20 {
					in.Content.ReadAt(make([]byte, in.Size()), 0)
				}
			}
		}
	})
}
