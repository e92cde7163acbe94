package ext4

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// TestRead: what is formatted is read, to the last attribute.
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

// TestReadKernel reads what mke2fs made and the kernel wrote.
func TestReadKernel(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
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

// FuzzRead: damage is an error, and never more than that.
func FuzzRead(f *testing.F) {
	tree := treetest.Random(1)
	img, err := Format(tree, Options{Size: 16 << 20, BlockSize: 1024})
	if err != nil {
		f.Fatal(err)
	}
	whole, err := io.ReadAll(io.NewSectionReader(img, 0, img.Size()))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint64(1), uint(8))
	f.Fuzz(func(t *testing.T, seed uint64, n uint) {
		b := bytes.Clone(whole)
		r := rand.New(rand.NewPCG(seed, 0))
		for range n % 64 {
			b[1024+r.IntN(600<<10)] ^= byte(1 << r.IntN(8))
		}
		if root, err := Read(bytes.NewReader(b)); err == nil {
			for _, in := range root.Walk() {
				if in.Content != nil && in.Size() < 1<<20 {
					in.Content.ReadAt(make([]byte, in.Size()), 0)
				}
			}
		}
	})
}
