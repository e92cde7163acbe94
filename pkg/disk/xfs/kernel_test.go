package xfs

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// TestKernelReads compares mounted file systems with their trees.
func TestKernelReads(t *testing.T) {
	for stride, features := range []Features{LTS6_1, LTS4_19, LTS5_10, LTS6_6} {
		for _, c := range cases() {
			t.Run(fmt.Sprint(c.Name, features), func(t *testing.T) {
				o := options(gib)
				o.stride, o.Features = uint64(stride), features
				dir, _ := treetest.Mount(t, "xfs", disktest.WriteSparse(t, mustFormat(t, c.Root, o)), "ro")
				if err := treetest.Compare(dir, shown(t, c.Root, features)); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
}

// shown changes a tree to the form that the kernel shows: access control lists
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

// TestKernelWrites has the kernel use and grow file systems of all features,
// and changes their UUID.
func TestKernelWrites(t *testing.T) {
	for i, features := range []Features{LTS6_1, LTS6_1, LTS4_19, LTS5_10, LTS6_6, LTS6_6} {
		root := fit(treetest.Random(7))
		root.Children["same"] = rootfs.File(0o444, treetest.Pattern{Seed: 1, Length: 3*blockSize + 1})
		root.Children["same"].Immutable = true
		crowd := rootfs.Dir(0o755)
		for i := range 3000 {
			crowd.Children[fmt.Sprint(i)] = rootfs.Text(0o644, "x")
		}
		root.Children["crowd"] = crowd
		for i := range 70 { // some of which get one more
			in := rootfs.Text(0o644, "x")
			in.Xattrs = map[string]string{"user.large": strings.Repeat("v", 300*i)}
			root.Children[fmt.Sprint("attributes-", i)] = in
		}
		o := options(512 << 20)
		o.Features, o.SectorSize = features, []int{512, 4096}[i%2]
		path := disktest.WriteSparse(t, mustFormat(t, root, o))
		treetest.Endure(t, "xfs", path, shown(t, root, features))
		treetest.Run(t, "xfs_admin", "-U", "11111111-2222-3333-4444-555555555555", path)
		treetest.Judge(t, "xfs", path)
		dir, unmount := treetest.Mount(t, "xfs", path, "ro")
		if got, err := os.ReadFile(filepath.Join(dir, "same")); err != nil || len(got) != 3*blockSize+1 {
			t.Errorf("same: %d bytes, %v", len(got), err)
		}
		unmount()
	}
}
