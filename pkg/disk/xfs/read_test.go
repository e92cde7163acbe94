package xfs

import (
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

// TestReadKernel reads what mkfs.xfs made and the kernel wrote.
func TestReadKernel(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
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

// FuzzRead: damage is an error, and never more than that.
func FuzzRead(f *testing.F) {
	img, err := Format(fit(randomTree(1)), options(MinSize))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint64(1), uint(8))
	f.Fuzz(func(t *testing.T, seed uint64, n uint) {
		r := rand.New(rand.NewPCG(seed, 0))
		damage := map[int64]byte{}
		for range n % 64 {
			damage[r.Int64N(2<<20)] ^= byte(1 << r.IntN(8))
		}
		root, err := Read(damaged{img, damage})
		if err != nil {
			return
		}
		for _, in := range root.Walk() {
			if in.Content != nil && in.Size() < 1<<20 {
				in.Content.ReadAt(make([]byte, in.Size()), 0)
			}
		}
	})
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
