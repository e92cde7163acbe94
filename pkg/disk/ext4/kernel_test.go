package ext4

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

func TestKernelReads(t *testing.T) {
	blockSizes(t, func(t *testing.T, block int) {
		for _, c := range treetest.Cases(block) {
			t.Run(c.Name, func(t *testing.T) {
				o := bootOptions()
				o.BlockSize = block
				dir, _ := treetest.Mount(t, "ext4", disktest.WriteSparse(t, mustFormat(t, c.Root, o)), "ro")
				if err := treetest.Compare(dir, c.Root); err != nil {
					t.Fatal(err)
				}
			})
		}
	})
}

// TestKernelComparesNotEqual proves that the comparison can fail.
func TestKernelComparesNotEqual(t *testing.T) {
	root := treetest.Random(3)
	dir, _ := treetest.Mount(t, "ext4", disktest.WriteSparse(t, mustFormat(t, root, bootOptions())), "ro")
	if err := treetest.Compare(dir, treetest.Random(4)); err == nil {
		t.Error("two trees are taken for equal")
	}
	for _, in := range root.Walk() {
		if in.IsFile() && in.Size() > 0 {
			in.Content = treetest.Pattern{Seed: 1, Length: in.Size()}
			break
		}
	}
	if err := treetest.Compare(dir, root); err == nil || !strings.Contains(err.Error(), "content differs") {
		t.Errorf("changed content gives %v", err)
	}
}

// TestKernelWrites has the kernel use and grow file systems, so that its own
// structures follow ours.
func TestKernelWrites(t *testing.T) {
	blockSizes(t, func(t *testing.T, block int) {
		root := treetest.Random(7)
		crowd := rootfs.Dir(0o755)
		for i := range 3000 {
			crowd.Children[fmt.Sprint(i)] = rootfs.Text(0o644, "x")
		}
		root.Children["crowd"] = crowd
		root.Children["same"] = rootfs.File(0o444, treetest.Pattern{Seed: 1, Length: int64(3*block + 1)})
		root.Children["same"].Immutable = true
		o := bootOptions()
		o.BlockSize = block
		path := disktest.WriteSparse(t, mustFormat(t, root, o))
		treetest.Endure(t, "ext4", path, root)
		dir, _ := treetest.Mount(t, "ext4", path, "ro")
		if got, err := os.ReadFile(filepath.Join(dir, "same")); err != nil || len(got) != 3*block+1 {
			t.Errorf("same: %d bytes, %v", len(got), err)
		}
	})
}

// TestSizes has sizes from the least to more than 32 bits count, in the hands of
// the kernel.
func TestSizes(t *testing.T) {
	t.Setenv("TMPDIR", "/dev/shm") // files may be larger there
	small := rootfs.Dir(0o755)
	small.Children["a"] = rootfs.Text(0o644, "all there is")
	root := treetest.Random(1)
	for _, size := range []int64{miB, 3*miB + 5*kiB, 64 * miB, 1 * tiB, 64 * tiB} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			tree := root
			if size < 64*miB {
				tree = small
			}
			path := disktest.WriteSparse(t, mustFormat(t, tree, Options{Size: size, Label: "root"}))
			dir, unmount := treetest.Mount(t, "ext4", path)
			if err := treetest.Compare(dir, tree); err != nil {
				t.Error(err)
			}
			if size < 64*miB {
				treetest.Fill(t, filepath.Join(dir, "full"))
			} else if err := os.CopyFS(filepath.Join(dir, "copy"), os.DirFS(".")); err != nil {
				t.Error(err)
			}
			unmount()
			if size < 10*tiB { // of more, e2fsck reads every bitmap for minutes
				treetest.Judge(t, "ext4", path)
			}
		})
	}
}

func TestNewUUID(t *testing.T) {
	root := treetest.Random(9)
	path := disktest.WriteSparse(t, mustFormat(t, root, bootOptions()))
	treetest.Run(t, "tune2fs", "-U", "random", path)
	treetest.Judge(t, "ext4", path)
	dir, _ := treetest.Mount(t, "ext4", path, "ro")
	if err := treetest.Compare(dir, root); err != nil {
		t.Error(err)
	}
}

// TestGrows enlarges file systems to 5 times their size, unmounted and mounted.
func TestGrows(t *testing.T) {
	for _, o := range []Options{
		{Size: 64 * miB, BlockSize: 1024},
		{Size: 600 * miB},
		{Size: 2600 * miB},
	} {
		root := treetest.Random(11)
		t.Run(fmt.Sprintf("unmounted %d", o.Size), func(t *testing.T) {
			path := disktest.WriteSparse(t, mustFormat(t, root, o))
			if err := os.Truncate(path, 5*o.Size); err != nil {
				t.Fatal(err)
			}
			treetest.Run(t, "resize2fs", path)
			grown(t, path, root, o)
		})
		t.Run(fmt.Sprintf("mounted %d", o.Size), func(t *testing.T) {
			if !mayResize(t) {
				t.Skip("no CAP_SYS_RESOURCE: the kernel resizes nothing for us")
			}
			path := disktest.WriteSparse(t, mustFormat(t, root, o))
			if err := os.Truncate(path, 5*o.Size); err != nil {
				t.Fatal(err)
			}
			dir, unmount := treetest.Mount(t, "ext4", path, "rw")
			device := strings.TrimSpace(treetest.Run(t, "findmnt", "-no", "SOURCE", dir))
			treetest.Run(t, "resize2fs", device)
			unmount()
			grown(t, path, root, o)
		})
	}
}

// mayResize reports whether we have the capability that the kernel asks for,
// which containers take even from root.
func mayResize(t *testing.T) bool {
	t.Helper()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		t.Fatal(err)
	}
	return data[0].Effective&(1<<unix.CAP_SYS_RESOURCE) != 0
}

func grown(t *testing.T, path string, root *rootfs.Inode, o Options) {
	t.Helper()
	treetest.Judge(t, "ext4", path)
	s := readSuper(t, path)
	block := int64(kiB) << s.LogBlockSize
	if got := (int64(s.BlocksCountLo)) * block; got < 5*o.Size-128*miB {
		t.Errorf("%d bytes after growing from %d", got, o.Size)
	}
	dir, _ := treetest.Mount(t, "ext4", path, "ro")
	if err := treetest.Compare(dir, root); err != nil {
		t.Error(err)
	}
}
