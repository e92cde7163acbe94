package deploy

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/bls"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// TestOstree writes a deployment to a directory, and asks the real ostree which
// it thinks of it.
func TestOstree(t *testing.T) {
	dir := sysroot(t)
	root := system(t, fedora)
	suid := rootfs.Text(0o4755, "suid\n")
	suid.UID, suid.GID = 33, 42
	suid.Xattrs = map[string]string{"user.x": "y"}
	place(t, root, "usr/bin/suid", suid)
	_, d := deploy(t, root)
	d.Root.Children["boot"] = d.Policy.Label(boot(t, d, args), "/boot")
	write(t, d.Root, dir, map[*rootfs.Inode]string{})
	judge(t, dir, d)
}

// sysroot returns a directory that deployments can be written to.
func sysroot(t *testing.T) string {
	t.Helper()
	treetest.Tool(t, "ostree")
	treetest.Root(t)
	dir := t.TempDir()
	probe := filepath.Join(dir, "probe")
	if err := os.WriteFile(probe, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Lsetxattr(probe, "security.selinux", []byte(selinuxContext("usr_t")), 0); err != nil {
		treetest.Missing(t, "OHP_TOOLS", "setting an SELinux label: "+err.Error())
	}
	if err := os.Remove(probe); err != nil {
		t.Fatal(err)
	}
	return dir
}

// judge checks a deployment that was written to a directory.
func judge(t *testing.T, dir string, d *Deployment) {
	t.Helper()
	if out := run(t, "ostree", "fsck", "--repo="+dir+"/ostree/repo"); !strings.Contains(out, "Verifying content integrity") && !strings.Contains(out, "object fsck") {
		t.Errorf("fsck: %s", out)
	}
	status := run(t, "ostree", "admin", "status", "--sysroot="+dir)
	for _, want := range []string{d.options.Stateroot + " " + d.name(), "origin: <unknown origin type>"} {
		if !strings.Contains(status, want) {
			t.Errorf("status: %q, want %q", status, want)
		}
	}
	// Refs, bootlinks and boot entry must agree, or cleanup drops the deployment.
	run(t, "ostree", "admin", "cleanup", "--sysroot="+dir)
	if again := run(t, "ostree", "admin", "status", "--sysroot="+dir); again != status {
		t.Errorf("after cleanup: %q, want %q", again, status)
	}
	run(t, "ostree", "fsck", "--quiet", "--repo="+dir+"/ostree/repo")
	if diff := run(t, "ostree", "admin", "config-diff", "--sysroot="+dir, "--os="+d.options.Stateroot); strings.TrimSpace(diff) != "" {
		t.Errorf("config-diff: %s", diff)
	}
	if refs := run(t, "ostree", "refs", "--repo="+dir+"/ostree/repo"); !strings.Contains(refs, "ostree/1/1/0") {
		t.Errorf("refs: %s", refs)
	}
	entry, err := os.ReadFile(filepath.Join(dir, "boot/loader/entries/ostree-1.conf"))
	if err != nil {
		t.Fatal(err)
	}
	e, err := bls.Parse(string(entry))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(e.Values("initrd"), e.Get("linux")) {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// write makes a tree in an existing directory.
func write(t *testing.T, n *rootfs.Inode, name string, names map[*rootfs.Inode]string) {
	t.Helper()
	if first := names[n]; first != "" {
		try(t, os.Link(first, name))
		return
	}
	names[n] = name
	switch n.Type() {
	case rootfs.ModeDir:
		if err := os.Mkdir(name, 0o700); err != nil && !os.IsExist(err) {
			t.Fatal(err)
		}
		for _, child := range n.Names() {
			write(t, n.Children[child], filepath.Join(name, child), names)
		}
	case rootfs.ModeLink:
		try(t, os.Symlink(n.Target, name))
	case rootfs.ModeFile:
		f, err := os.Create(name)
		try(t, err)
		var content io.Reader = bytes.NewReader(nil)
		if n.Content != nil {
			content = io.NewSectionReader(n.Content, 0, n.Content.Size())
		}
		_, err = io.Copy(f, content)
		try(t, err)
		try(t, f.Close())
	default:
		t.Fatalf("%s: mode %#o", name, n.Mode)
	}
	try(t, os.Lchown(name, int(n.UID), int(n.GID)))
	if !n.IsLink() {
		try(t, unix.Chmod(name, n.Mode&0o7777))
	}
	for key, value := range n.Xattrs {
		try(t, unix.Lsetxattr(name, key, []byte(value), 0))
	}
	when := unix.Timespec{Sec: n.MTime.Sec, Nsec: int64(n.MTime.Nsec)}
	try(t, unix.UtimesNanoAt(unix.AT_FDCWD, name, []unix.Timespec{when, when}, unix.AT_SYMLINK_NOFOLLOW))
}

func try(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
