package xfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
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
	trees := cases()
	for seed := range uint64(60) {
		trees = append(trees, treetest.Case{Name: "random", Root: fit(randomTree(seed))})
	}
	for i, c := range trees {
		o := options(2 * gib)
		o.stride = uint64(i % 3)
		if i%2 == 0 {
			o.SectorSize = 4096
		}
		got, err := Read(mustFormat(t, c.Root, o))
		if err != nil {
			t.Errorf("%s %d: %v", c.Name, i, err)
			continue
		}
		for d, err := range rootfs.Diff(c.Root, got) {
			if err != nil {
				t.Fatal(err)
			}
			t.Errorf("%s %d: %s: %q, %v", c.Name, i, d.Path, d.What, d.B)
		}
	}
}

// TestReadKernel reads a file system that mkfs.xfs made and the kernel wrote.
func TestReadKernel(t *testing.T) {
	treetest.Root(t)
	img := filepath.Join(t.TempDir(), "img")
	if err := os.WriteFile(img, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(img, 400<<20); err != nil {
		t.Fatal(err)
	}
	treetest.Run(t, "mkfs.xfs", "-q", img)
	dir, _ := treetest.Mount(t, "xfs", img)
	treetest.Run(t, "sh", "-ec", `cd "$1"
		for i in $(seq 3000); do echo $i >a-file-with-a-long-name-$i; done
		rm *-name-1?
		mkdir dir; ln a-file-with-a-long-name-20 dir/link; ln -s target dir/short; ln -s "$(printf '%0900d' 7)" dir/long; mknod dir/null c 1 3
		for i in $(seq 0 2 600); do dd if=/dev/zero of=holes bs=4096 count=1 seek=$i conv=notrunc status=none; done
		setfattr -n user.name -v value dir
		for i in $(seq 90); do setfattr -n user.$i -v "$(printf '%0300d' 7)" dir/link; done
		setfattr -n user.large -v "$(printf '%09000d' 7)" dir/link
		fallocate -l 1M unwritten
		sync -f .; xfs_freeze -f .; xfs_freeze -u .`, "sh", dir)
	f, err := os.Open(img)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := Read(f)
	if err == nil {
		err = treetest.Compare(dir, got)
	}
	if err != nil {
		t.Error(err)
	}
}

// TestReadUnclean reads a file system whose log was not replayed. Its older files
// are there.
func TestReadUnclean(t *testing.T) {
	f, err := os.Open(treetest.Unclean(t, "xfs"))
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

const freeBlock = 400 // in a small file system nothing is used from there on

// A patched file system has another beginning, which is changed here.
type patched struct{ disktest.Patched }

// small returns a small file system and its beginning.
func small(t testing.TB) patched {
	t.Helper()
	img := mustFormat(t, fit(randomTree(2)), options(MinSize))
	head := make([]byte, (freeBlock+16)*blockSize)
	if _, err := img.ReadAt(head, 0); err != nil {
		t.Fatal(err)
	}
	return patched{disktest.Patched{ReaderAt: img, Head: head}}
}

// root returns the inode of the root and its number.
func (p patched) root() ([]byte, uint64) {
	ino := be.Uint64(p.Head[56:])
	return p.Head[ino*inodeSize:][:inodeSize], ino
}

// at returns a block.
func (p patched) at(block uint64) []byte { return p.Head[block*blockSize:][:blockSize] }

// extentOf makes a directory of two blocks that stand where mappings say.
func extentOf(root []byte, maps ...mapping) {
	root[5] = formatExtents
	root[82] = 0
	be.PutUint64(root[56:], 2*blockSize)
	be.PutUint32(root[76:], uint32(len(maps)))
	be.PutUint64(root[24:], uint64(len(maps)))
	for i, m := range maps {
		be.PutUint64(root[coreSize+i*mapSize:], m.off<<9)
		be.PutUint64(root[coreSize+i*mapSize+8:], m.linear<<21|m.n)
	}
}

// A hostile is damage with the right checksums.
var hostile = []struct {
	says string
	make func(p patched, root []byte, ino uint64, n uint32)
	n    uint32
}{
	{"two owners", func(p patched, root []byte, ino uint64, n uint32) { // a tree whose branches are one
		for level := range uint64(7) {
			b := p.at(freeBlock + level)
			clear(b)
			copy(b, "BMA3")
			be.PutUint16(b[4:], uint16(level))
			be.PutUint64(b[24:], daddr(freeBlock+level))
			be.PutUint64(b[56:], ino)
			if level > 0 {
				be.PutUint16(b[6:], uint16(n))
				for i := range mapMax {
					be.PutUint64(b[longHead+mapMax*8+i*8:], freeBlock+level-1)
				}
			}
			seal(b, 64)
		}
		root[5], root[82] = formatBtree, 0
		be.PutUint16(root[coreSize:], 7)
		be.PutUint16(root[coreSize+2:], 1)
		be.PutUint64(root[coreSize+4+8*((inodeSize-coreSize-4)/mapSize):], freeBlock+6)
	}, mapMax},
	{"not in order", func(p patched, root []byte, _ uint64, n uint32) {
		extentOf(root, mapping{0, uint64(n), 1}, mapping{0, uint64(n), 1})
	}, freeBlock},
	{"two owners", func(p patched, root []byte, ino uint64, n uint32) { // a directory of a block twice
		extentOf(root, mapping{0, uint64(n), 1}, mapping{1, uint64(n), 1})
		emptyDir(p.at(uint64(n)%(freeBlock+1)), uint64(n), ino)
	}, freeBlock},
	{"belongs elsewhere", func(p patched, root []byte, ino uint64, n uint32) {
		extentOf(root, mapping{0, freeBlock, 2})
		emptyDir(p.at(freeBlock), freeBlock, ino+uint64(n))
	}, 1},
	{"a block has the magic number", func(p patched, root []byte, ino uint64, n uint32) {
		extentOf(root, mapping{0, freeBlock, 2})
		b := p.at(freeBlock)
		emptyDir(b, freeBlock, ino)
		b[3] ^= byte(n)
		seal(b, dirCRC)
	}, 1},
	{"invalid entry \".\"", func(p patched, root []byte, _ uint64, n uint32) { localOf(root, ".", n) }, 131},
	{"invalid entry \"a/b\"", func(p patched, root []byte, _ uint64, n uint32) { localOf(root, "a/b", n) }, 131},
	{"groups of", func(p patched, _ []byte, _ uint64, n uint32) {
		be.PutUint32(p.Head[88:], n)
		seal(p.Head[:512], 224)
	}, 1 << 20},
}

// emptyDir writes a block of a directory.
func emptyDir(b []byte, linear, owner uint64) {
	clear(b)
	copy(b, "XDD3")
	be.PutUint64(b[8:], daddr(linear))
	be.PutUint64(b[40:], owner)
	be.PutUint16(b[dirHead:], 0xffff)
	be.PutUint16(b[dirHead+2:], blockSize-dirHead)
	seal(b, dirCRC)
}

// localOf makes a directory of one name.
func localOf(root []byte, name string, ino uint32) {
	b := append([]byte{1, 0, 0, 0, 0, 128, byte(len(name)), 0, 0}, name...)
	b = be.AppendUint32(append(b, 1), ino)
	root[5], root[82] = formatLocal, 0
	be.PutUint64(root[56:], uint64(len(b)))
	copy(root[coreSize:], b)
}

// TestReadHostile has endless and impossible structures. Reading them ends with
// an error.
func TestReadHostile(t *testing.T) {
	for i, c := range hostile {
		p := small(t)
		if slices.Max(p.at(freeBlock)) > 0 {
			t.Fatal("a free block is used")
		}
		root, ino := p.root()
		c.make(p, root, ino, c.n)
		seal(root, inodeCRC)
		if _, err := Read(p); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%d: %v, want %s", i, err, c.says)
		}
	}
	deep := rootfs.Dir(0o755)
	if err := deep.Place(strings.Repeat("d/", walk.Default.Path/2+1)+"leaf", rootfs.Dir(0o755)); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(mustFormat(t, deep, options(MinSize))); err == nil || !strings.Contains(err.Error(), "a path of more than") {
		t.Errorf("%.200v", err)
	}
}

// TestReadChecksums turns a bit in each piece of metadata that is read.
func TestReadChecksums(t *testing.T) {
	tree, many := rootfs.Dir(0o755), rootfs.Dir(0o755)
	for i := range 500 {
		many.Children[fmt.Sprintf("a name that takes some room %d", i)] = rootfs.Link("x")
	}
	attrs := map[string]string{"user.large": strings.Repeat("v", 9000)}
	for i := range 90 {
		attrs[fmt.Sprint("user.", i)] = strings.Repeat("v", 300)
	}
	tree.Children["many"], tree.Children["link"] = many, rootfs.Link(strings.Repeat("l", 900))
	tree.Children["attrs"] = &rootfs.Inode{Mode: rootfs.ModeFile | 0o644, Xattrs: attrs}
	tree.Children["pieces"] = rootfs.Text(0o644, strings.Repeat("x", 300*blockSize))
	o := options(MinSize)
	o.stride = 1
	img := mustFormat(t, tree, o)
	reads := &recorder{ReaderAt: img, blocks: map[int64]bool{}}
	if _, err := Read(reads); err != nil {
		t.Fatal(err)
	}
	root, err := (&reader{r: img}).open()
	if err != nil {
		t.Fatal(err)
	}
	at := map[string]int64{"label": 108, "AGF": 512 + 20, "AGI": 1024 + 20, "AGFL": 1536 + 40, "root": int64(root)*inodeSize + 40}
	magics := map[string]bool{}
	for n := range reads.blocks {
		b := make([]byte, 10)
		if _, err := img.ReadAt(b, n*blockSize); err != nil {
			t.Fatal(err)
		}
		magics[string(b[:4])], magics[string(b[8:])] = true, true
		at[fmt.Sprint("block ", n)] = n*blockSize + 20
	}
	for _, magic := range []string{"BMA3", "XDD3", "XSLM", "XARM", "\x3e\xbe", "\x3b\xee"} {
		if !magics[magic] {
			t.Errorf("no block %q was read", magic)
		}
	}
	for what, off := range at {
		if _, err := Read(damaged{img, map[int64]byte{off: 1}}); !errors.Is(err, errChecksum) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// FuzzRead: damage is an error, and never more than that. Where checksums are
// right it gets further.
func FuzzRead(f *testing.F) {
	whole := small(f)
	f.Add(uint64(1), uint(8), uint(0), uint32(0))
	for i, c := range hostile {
		f.Add(uint64(1), uint(0), uint(i+1), c.n)
	}
	f.Add(uint64(1), uint(4), uint(len(hostile)+1), uint32(0))
	f.Fuzz(func(t *testing.T, seed uint64, n, kind uint, number uint32) {
		p := patched{disktest.Patched{ReaderAt: whole.ReaderAt, Head: bytes.Clone(whole.Head)}}
		root, ino := p.root()
		r := rand.New(rand.NewPCG(seed, 0))
		switch kind %= uint(len(hostile)) + 2; {
		case kind == 0:
			for range n % 64 {
				p.Head[r.IntN(len(p.Head))] ^= byte(1 << r.IntN(8))
			}
		case kind <= uint(len(hostile)):
			hostile[kind-1].make(p, root, ino, number)
			seal(root, inodeCRC)
		default: // some inodes
			for range n % 64 {
				in := p.Head[ino*inodeSize:][inodeSize*r.IntN(32):][:inodeSize]
				in[r.IntN(inodeSize)] ^= byte(1 << r.IntN(8))
				seal(in, inodeCRC)
			}
		}
		tree, err := Read(p)
		if err != nil {
			return
		}
		for _, in := range tree.Walk() {
			if in.Content != nil && in.Size() < 1<<20 {
				in.Content.ReadAt(make([]byte, in.Size()), 0)
			}
		}
	})
}

// A recorder keeps the numbers of the blocks that are read as a whole: those of
// metadata.
type recorder struct {
	io.ReaderAt
	blocks map[int64]bool
}

func (r *recorder) ReadAt(b []byte, off int64) (int, error) {
	if len(b) == blockSize {
		r.blocks[off/blockSize] = true
	}
	return r.ReaderAt.ReadAt(b, off)
}

// A damaged reader has some bits turned.
type damaged struct {
	io.ReaderAt
	bits map[int64]byte
}

func (d damaged) ReadAt(b []byte, off int64) (int, error) {
	n, err := d.ReaderAt.ReadAt(b, off)
	for at, bits := range d.bits {
		if at >= off && at < off+int64(n) {
			b[at-off] ^= bits
		}
	}
	return n, err
}
