package ext4

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// mount mounts an image file and returns where. The test must be root's.
func mount(t *testing.T, path, options string) (dir string, unmount func()) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("not root: the kernel mounts nothing for us")
	}
	dir = t.TempDir()
	if out, err := exec.Command("mount", "-t", "ext4", "-o", "loop,"+options, path, dir).CombinedOutput(); err != nil {
		treetest.Missing(t, "OHP_TOOLS", "mount: "+err.Error()+"\n"+string(out))
	}
	done := false
	unmount = func() {
		if !done {
			done = true
			treetest.Run(t, "umount", dir)
		}
	}
	t.Cleanup(unmount)
	return dir, unmount
}

func TestKernelReads(t *testing.T) {
	blockSizes(t, func(t *testing.T, block int) {
		for _, c := range treetest.Cases(block) {
			t.Run(c.Name, func(t *testing.T) {
				o := bootOptions()
				o.BlockSize = block
				dir, _ := mount(t, writeSparse(t, mustFormat(t, c.Root, o)), "ro")
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
	dir, _ := mount(t, writeSparse(t, mustFormat(t, root, bootOptions())), "ro")
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

// TestKernelWrites lets the kernel change all kinds of things, crossing from
// what we wrote to what it makes.
func TestKernelWrites(t *testing.T) {
	blockSizes(t, func(t *testing.T, block int) {
		root := treetest.Random(7)
		crowd := rootfs.Dir(0o755)
		for i := range 3000 {
			crowd.Children[fmt.Sprint(i)] = rootfs.Text(0o644, "x")
		}
		root.Children["crowd"] = crowd
		root.Children["append"] = rootfs.File(0o644, treetest.Pattern{Seed: 1, Length: int64(3*block + 1)})
		o := bootOptions()
		o.BlockSize = block
		path := writeSparse(t, mustFormat(t, root, o))
		dir, unmount := mount(t, path, "rw")
		change(t, dir)
		unmount()
		fsck(t, path)
		dir, _ = mount(t, path, "ro")
		if got, err := os.ReadFile(filepath.Join(dir, "append")); err != nil || len(got) != 3*block+1+miB {
			t.Errorf("append: %d bytes, %v", len(got), err)
		}
	})
}

func change(t *testing.T, dir string) {
	t.Helper()
	at := func(name string) string { return filepath.Join(dir, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.OpenFile(at("append"), os.O_WRONLY|os.O_APPEND, 0)
	must(err)
	_, err = f.Write(make([]byte, miB))
	must(err)
	must(f.Close())
	for i := range 3000 {
		name := at(fmt.Sprintf("crowd/%d", i))
		if i%3 == 0 {
			must(os.Remove(name))
		}
		must(os.WriteFile(name+"-new-and-with-a-long-name", []byte("new"), 0o600))
	}
	for i := range 200 {
		name := at(fmt.Sprintf("new/%d", i))
		must(os.MkdirAll(name, 0o755))
		must(unix.Setxattr(name, "user.big", make([]byte, 100+i), 0))
		must(os.Symlink(strings.Repeat("l", i+1), name+"/link"))
	}
	must(os.RemoveAll(at("new/3")))
	must(os.Rename(at("new/4"), at("crowd/moved")))
	must(os.Link(at("append"), at("new/link")))
	must(os.WriteFile(at("large"), make([]byte, 20*miB), 0o600))
}

func TestNewUUID(t *testing.T) {
	root := treetest.Random(9)
	path := writeSparse(t, mustFormat(t, root, bootOptions()))
	treetest.Run(t, "tune2fs", "-U", "random", path)
	fsck(t, path)
	dir, _ := mount(t, path, "ro")
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
			path := writeSparse(t, mustFormat(t, root, o))
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
			path := writeSparse(t, mustFormat(t, root, o))
			if err := os.Truncate(path, 5*o.Size); err != nil {
				t.Fatal(err)
			}
			dir, unmount := mount(t, path, "rw")
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
	fsck(t, path)
	s := readSuper(t, path)
	block := int64(kiB) << s.LogBlockSize
	if got := (int64(s.BlocksCountLo)) * block; got < 5*o.Size-128*miB {
		t.Errorf("%d bytes after growing from %d", got, o.Size)
	}
	dir, _ := mount(t, path, "ro")
	if err := treetest.Compare(dir, root); err != nil {
		t.Error(err)
	}
}
