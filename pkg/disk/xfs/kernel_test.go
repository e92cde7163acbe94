package xfs

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// mount mounts an image file and returns where. The test must be root's.
func mount(t *testing.T, path string, options ...string) (dir string, unmount func()) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("not root: the kernel mounts nothing for us")
	}
	dir = t.TempDir()
	treetest.Run(t, "mount", "-t", "xfs", "-o", strings.Join(append([]string{"loop"}, options...), ","), path, dir)
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

// TestKernelReads compares what the kernel shows with the trees.
func TestKernelReads(t *testing.T) {
	for stride, features := range []Features{LTS6_1, LTS4_19, LTS5_10, LTS6_6} {
		for _, c := range cases() {
			t.Run(fmt.Sprint(c.Name, features), func(t *testing.T) {
				o := options(gib)
				o.stride, o.Features = uint64(stride), features
				dir, _ := mount(t, writeSparse(t, mustFormat(t, c.Root, o)), "ro")
				if err := treetest.Compare(dir, shown(t, c.Root, features)); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
}

// shown changes a tree to what the kernel shows of it: access control lists
// are there twice, also in the form of the disk, and without bigtime no time is
// later than 2038.
func shown(t *testing.T, root *rootfs.Inode, f Features) *rootfs.Inode {
	t.Helper()
	names := map[string]string{"system.posix_acl_access": "trusted.SGI_ACL_FILE", "system.posix_acl_default": "trusted.SGI_ACL_DEFAULT"}
	for _, in := range root.Walk() {
		if !f.bigtime() {
			in.MTime.Sec = min(in.MTime.Sec, 1<<31-1)
		}
		in.Xattrs = maps.Clone(in.Xattrs)
		for name, raw := range names {
			if value, ok := in.Xattrs[name]; ok {
				acl, err := diskACL(value)
				if err != nil {
					t.Fatal(err)
				}
				in.Xattrs[raw] = acl
			}
		}
	}
	return root
}

// TestKernelWrites lets the kernel change all kinds of things until the file
// system is full, grow it and go on.
func TestKernelWrites(t *testing.T) {
	for i, features := range []Features{LTS6_1, LTS6_1, LTS4_19, LTS5_10, LTS6_6, LTS6_6} {
		root := fit(treetest.Random(7))
		root.Children["append"] = rootfs.File(0o644, treetest.Pattern{Seed: 1, Length: 3*blockSize + 1})
		crowd := rootfs.Dir(0o755)
		for i := range 3000 {
			crowd.Children[fmt.Sprint(i)] = rootfs.Text(0o644, "x")
		}
		root.Children["crowd"] = crowd
		o := options(512 << 20)
		o.Features, o.SectorSize = features, []int{512, 4096}[i%2]
		path := writeSparse(t, mustFormat(t, root, o))
		dir, unmount := mount(t, path)
		change(t, dir)
		fill(t, filepath.Join(dir, "full"))
		unmount()
		repair(t, path)
		if err := os.Truncate(path, 2*gib); err != nil {
			t.Fatal(err)
		}
		dir, unmount = mount(t, path)
		treetest.Run(t, "xfs_growfs", dir)
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err != nil || int64(st.Blocks)*st.Bsize < 19*gib/10 {
			t.Errorf("grown to %d blocks of %d bytes, %v", st.Blocks, st.Bsize, err)
		}
		fill(t, filepath.Join(dir, "fuller"))
		unmount()
		repair(t, path)
		treetest.Run(t, "xfs_admin", "-U", "11111111-2222-3333-4444-555555555555", path)
		repair(t, path)
		dir, unmount = mount(t, path, "ro")
		if got, err := os.ReadFile(filepath.Join(dir, "append")); err != nil || len(got) != 3*blockSize+1+1<<20 {
			t.Errorf("append: %d bytes, %v", len(got), err)
		}
		unmount()
	}
}

func change(t *testing.T, dir string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.OpenFile(filepath.Join(dir, "append"), os.O_WRONLY|os.O_APPEND, 0)
	must(err)
	_, err = f.Write(make([]byte, 1<<20))
	must(err)
	must(f.Close())
	for i := range 3000 {
		name := filepath.Join(dir, "crowd", fmt.Sprint(i))
		if i%3 == 0 {
			must(os.Remove(name))
		}
		must(os.WriteFile(name+"-new-and-with-a-long-name", []byte("new"), 0o600))
	}
	for i := range 200 {
		name := filepath.Join(dir, "new", fmt.Sprint(i))
		must(os.MkdirAll(name, 0o755))
		must(unix.Setxattr(name, "user.big", make([]byte, 100+20*i), 0))
	}
	// What was made by us is changed as well, attributes of every form.
	must(filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.Type() == os.ModeSymlink || strings.HasPrefix(name, filepath.Join(dir, "crowd")) {
			return err
		}
		if err := unix.Lsetxattr(name, "user.more", make([]byte, 300), 0); err != nil && err != syscall.EPERM {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	}))
}

// fill writes until there is no space.
func fill(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buf := make([]byte, 8<<20)
	for {
		if _, err := f.Write(buf); err != nil {
			if !strings.Contains(err.Error(), "no space left") {
				t.Fatal(err)
			}
			return
		}
	}
}
