package deploy

import (
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/selinux"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// realPolicy returns a system with the policy of a distribution.
func realPolicy(t *testing.T, name string) *rootfs.Inode {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(treetest.Vectors(t, "selinux"), "policy", name, "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("policy of %s: %d files, %v", name, len(files), err)
	}
	root := system(t, "/x a:b:c:d\n")
	contexts := root.Lookup("usr/etc/selinux/targeted/contexts/files")
	clear(contexts.Children)
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var r io.Reader = f
		base, packed := strings.CutSuffix(filepath.Base(file), ".gz")
		if packed {
			if r, err = gzip.NewReader(f); err != nil {
				t.Fatal(err)
			}
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		contexts.Children[base] = rootfs.Text(0o644, string(text))
	}
	return root
}

// TestRealPolicies has no file without a context, and those that a CoreOS has.
func TestRealPolicies(t *testing.T) {
	for _, c := range []struct{ name, ostree, repo, origin string }{
		{"fedora", "usr_t", "system_conf_t", "system_conf_t"},
		{"rhcos", "usr_t", "system_conf_t", "system_conf_t"},
		{"debian", "usr_t", "usr_t", "etc_t"},
	} {
		_, d := deploy(t, realPolicy(t, c.name))
		for name, n := range d.Root.Walk() {
			if n.Xattrs[selinux.Xattr] == "" {
				t.Errorf("%s: %s has no context", c.name, name)
			}
		}
		for name, want := range map[string]string{
			".": "root_t", "boot": "boot_t", "ostree": c.ostree, "ostree/deploy/fedora-coreos/backing": c.ostree,
			"ostree/repo/config": c.repo, d.dirPath() + ".origin": c.origin, d.dirPath(): "root_t",
			d.dirPath() + "/.ostree.cfs": "usr_t", d.dirPath() + "/etc": "etc_t", "ostree/deploy/fedora-coreos/var/lib": "var_lib_t",
		} {
			if got := d.Root.Lookup(name).Xattrs[selinux.Xattr]; got != selinuxContext(want) {
				t.Errorf("%s: %s: %q, want %s", c.name, name, got, want)
			}
		}
	}
}

// TestVectorLabels compares with the contexts that ostree set.
func TestVectorLabels(t *testing.T) {
	_, d := deploy(t, realPolicy(t, "debian"))
	compared := 0
	for line := range strings.Lines(readFile(t, "xattrs.txt")) {
		name, value, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "# file: "), "\t"+selinux.Xattr+"=")
		name = strings.ReplaceAll(name, vectorCommit, d.options.Commit.String())
		n := d.Root.Lookup(name)
		switch {
		case !ok:
			t.Fatalf("%q is no context of a file", line)
		case strings.HasPrefix(name, "boot/"):
			continue // links to the deployment's kernel there, copies here
		case strings.HasSuffix(name, "/proc"), strings.HasSuffix(name, "/usr/etc/selinux"):
			continue // the commit's own context: ostree asks for /mnt, and the policy was patched for /usr/etc
		case n == nil:
			t.Errorf("%s is missing", name)
		case n.Xattrs[selinux.Xattr] != strings.Trim(value, `"`)+"\x00":
			t.Errorf("%s: %q, want %s", name, n.Xattrs[selinux.Xattr], value)
		}
		compared++
	}
	if compared < 40 {
		t.Errorf("only %d files compared", compared)
	}
}
