package coreos

import (
	"path"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// TestNothingIsLost: something else in the place of a configuration file is an error
// or a warning that names the place.
func TestNothingIsLost(t *testing.T) {
	files := []string{
		"usr/lib/bootc/install/1.toml", "usr/etc/bootc/install/1.toml", "usr/local/lib/bootc/install/1.toml", "usr/lib/bootc/kargs.d/1.toml",
		imageFile, platformsFile, diskFiles[0], diskFiles[1], isoFiles[0], isoFiles[1], boundDir + "/1.image",
	}
	dirs := []string{"usr/lib/bootc/install", "usr/etc/bootc/install", "usr/lib/bootc/kargs.d", boundDir}
	bad := map[string]*rootfs.Inode{
		"a dangling link":    rootfs.Link("/nonexistent"),
		"a link that leaves": rootfs.Link("../../../../../../../../proc/none"),
		"a FIFO":             {Mode: rootfs.ModeFIFO | 0o644},
		"a device":           {Mode: rootfs.ModeChar | 0o644, Rdev: 0x103},
	}
	badFile := map[string]*rootfs.Inode{"a directory": rootfs.Dir(0o755), "not UTF-8": rootfs.Text(0o644, "# \xff\n"), "large": rootfs.File(0o644, treetest.Pattern{Length: maxFile + 1})}
	badDir := map[string]*rootfs.Inode{"a file": rootfs.Text(0o644, "kargs = []")}
	check := func(place, what string, in *rootfs.Inode) {
		t.Helper()
		root := rootfs.Dir(0o755)
		if err := root.Place(place, in); err != nil {
			t.Fatal(err)
		}
		c, err := ReadConfig(root, "amd64")
		var said string
		switch {
		case err != nil:
			said = err.Error()
		case len(c.Warnings) > 0:
			said = c.Warnings[0]
		}
		place = strings.TrimPrefix(place, "usr/") // usr/etc is the place of etc
		if !strings.Contains(said, place) {
			t.Errorf("%s is %s: %q, %v", place, what, said, err)
		}
		if lost := strings.Contains(place, "iso.yaml") || strings.Contains(place, "bound-images"); lost != (err == nil) && place != "lib/bootc" {
			t.Errorf("%s is %s: %v, %q", place, what, err, said)
		}
	}
	for _, name := range files {
		for what, in := range bad {
			check(name, what, in)
		}
		for what, in := range badFile {
			check(name, what, in)
		}
	}
	for _, dir := range append(dirs, "usr/lib/bootc", "usr/share/coreos-assembler", path.Dir(diskFiles[0])) {
		for what, in := range bad {
			check(dir, what, in)
		}
		for what, in := range badDir {
			check(dir, what, in)
		}
	}
}

// TestRead: links are followed as the running system follows them, masked files do
// not count, and neither do names that no program reads.
func TestRead(t *testing.T) {
	root := treetest.Texts(t, map[string]string{
		"usr/share/args":                       "kargs = [\"linked\"]",
		"usr/etc/my/args":                      "kargs = [\"etc\"]",
		"usr/lib/bootc/kargs.d/README":         "not TOML",
		"usr/lib/bootc/kargs.d/10-x.conf":      "kargs = [\"conf\"]",
		"usr/lib/bootc/kargs.d/.toml":          "not TOML",
		"usr/lib/bootc/kargs.d/.5.toml":        "kargs = [\"hidden\"]",
		"usr/lib/bootc/install/.hidden.toml":   "[install]\nkargs = [\"no\"]",
		"usr/lib/bootc/install/20.toml":        "[install]\nkargs = [\"masked\"]",
		"usr/etc/os/30.toml":                   "[install]\nkargs = [\"install\"]",
		"usr/lib/image-builder/bootc/x.txt":    "",
		"usr/lib/bootc/install/sub/dir/x.toml": "no",
	})
	for name, target := range map[string]string{
		"usr/lib/bootc/kargs.d/1.toml":         "../../../share/args",
		"usr/lib/bootc/kargs.d/2.toml":         "/etc/my/args",
		"usr/lib/bootc/kargs.d/3.txt":          "/nonexistent",
		"usr/etc/bootc/install/20.toml":        "/dev/null",
		"usr/etc/bootc/install/30.toml":        "../../os/30.toml",
		"usr/etc/bootc/install/40.toml":        "../../../usr/lib/bootc/install/20.toml",
		"usr/local":                            "../var/usrlocal",
		"usr/lib/image-builder/bootc/disk.yml": "/nonexistent",
		imageFile:                              "/dev/null",
	} {
		if err := root.Place(name, rootfs.Link(target)); err != nil {
			t.Fatal(err)
		}
	}
	c, err := ReadConfig(root, "amd64")
	if err != nil || len(c.Warnings) > 0 {
		t.Fatalf("%v, %q", err, c.Warnings)
	}
	args := c.Kargs("metal", nil)
	if want := "rw install masked hidden linked etc $ignition_firstboot mitigations=auto,nosmt ignition.platform.id=metal"; args.String() != want {
		t.Errorf("%s", args)
	}
}

func TestRelease(t *testing.T) {
	for what, in := range map[string]*rootfs.Inode{"not UTF-8": rootfs.Text(0o644, "NAME=\xff\n"), "not a regular file": rootfs.Dir(0o755), "a link to x": rootfs.Link("x")} {
		root := rootfs.Dir(0o755)
		if err := root.Place("usr/lib/os-release", in); err != nil {
			t.Fatal(err)
		}
		if c, err := ReadConfig(root, "amd64"); err != nil || len(c.Warnings) != 1 || !strings.HasPrefix(c.Warnings[0], "usr/lib/os-release: "+what) {
			t.Errorf("%s: %q, %v", what, c.Warnings, err)
		}
	}
}

func TestBoundImages(t *testing.T) {
	files := map[string]string{
		"usr/share/containers/systemd/a.image":     "[Image]\nImage=registry.example/a:1\n",
		"usr/share/containers/systemd/b.container": "[Container]\nImage=registry.example/b\n",
		"usr/share/containers/systemd/c.image":     "[Image]\n",
	}
	root := treetest.Texts(t, files)
	for name := range files {
		if err := root.Place(boundDir+"/"+path.Base(name), rootfs.Link("/"+name)); err != nil {
			t.Fatal(err)
		}
	}
	c, err := ReadConfig(root, "amd64")
	if want := boundDir + ": bound images (registry.example/a:1, registry.example/b, c.image): bootc install would pull these images, the disk does not have them"; err != nil || len(c.Warnings) != 1 || c.Warnings[0] != want {
		t.Errorf("%q, %v", c.Warnings, err)
	}
	many := rootfs.Dir(0o755)
	for _, letter := range "abcdefghijklm" {
		if err := many.Place(boundDir+"/"+string(letter)+".image", rootfs.Text(0o644, "")); err != nil {
			t.Fatal(err)
		}
	}
	c, err = ReadConfig(many, "amd64")
	if err != nil || len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "bound images (a.image, ") || !strings.Contains(c.Warnings[0], "j.image, 3 more)") {
		t.Errorf("%q, %v", c.Warnings, err)
	}
	empty := rootfs.Dir(0o755)
	if err := empty.Place(boundDir, rootfs.Dir(0o755)); err != nil {
		t.Fatal(err)
	}
	if c, err := ReadConfig(empty, "amd64"); err != nil || c.Warnings != nil {
		t.Errorf("%q, %v", c.Warnings, err)
	}
}

// TestKernel has entries beside a kernel that are no kernels.
func TestKernel(t *testing.T) {
	const vmlinuz, initramfs = "/vmlinuz", "/initramfs.img"
	kernel := map[string]string{modulesDir + "/6.1" + vmlinuz: "k", modulesDir + "/6.1" + initramfs: "i", "usr/share/6.2" + vmlinuz: "k", "usr/share/6.2" + initramfs: "i"}
	for name, in := range map[string]*rootfs.Inode{
		"current":     rootfs.Link("6.1"),
		"absolute":    rootfs.Link("/usr/lib/modules/6.1"),
		"another":     rootfs.Link("../../share/6.2"),
		"gone":        rootfs.Link("/nonexistent"),
		"file":        rootfs.Text(0o644, ""),
		"5.0/extra":   rootfs.Text(0o644, ""),
		"5.1/vmlinuz": rootfs.Link("/nonexistent"),
	} {
		root := treetest.Texts(t, kernel)
		if err := root.Place(path.Join(modulesDir, name), in); err != nil {
			t.Fatal(err)
		}
		if version, err := Kernel(root); err != nil || version != "6.1" {
			t.Errorf("%s: %q, %v", name, version, err)
		}
	}
	for name, tc := range map[string]struct {
		in   *rootfs.Inode
		want string
	}{
		"6.1/initramfs.img":  {rootfs.Dir(0o755), "6.1/initramfs.img: not a regular file"},
		"6.1/vmlinuz":        {rootfs.Dir(0o755), "6.1/vmlinuz: not a regular file"},
		"6.1/vmlinuz/":       {rootfs.Link("/nonexistent"), "missing kernel usr/lib/modules/*/vmlinuz"},
		"6.1/initramfs.img/": {rootfs.Link("/nonexistent"), "6.1/initramfs.img: a link to /nonexistent, which does not exist"},
		"7.0":                {root7(), "2 kernels (6.1, 7.0)"},
	} {
		root := treetest.Texts(t, kernel)
		at := path.Join(modulesDir, name)
		delete(root.Lookup(path.Dir(at)).Children, path.Base(at))
		if err := root.Place(at, tc.in); err != nil {
			t.Fatal(err)
		}
		if _, err := Kernel(root); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	root := rootfs.Dir(0o755)
	if err := root.Place(modulesDir, rootfs.Text(0o644, "")); err != nil {
		t.Fatal(err)
	}
	if _, err := Kernel(root); err == nil || !strings.Contains(err.Error(), modulesDir+": not a directory") {
		t.Error(err)
	}
}

func root7() *rootfs.Inode {
	dir := rootfs.Dir(0o755)
	dir.Children["vmlinuz"] = rootfs.Text(0o644, "k")
	return dir
}

// TestPreflightTypes: a file where a directory must be is not taken for one,
// and the reverse.
func TestPreflightTypes(t *testing.T) {
	for name, want := range map[string]string{
		"usr/lib/os-release":               "usr/lib/os-release: not a regular file: the title",
		"usr/lib/ostree/prepare-root.conf": "usr/lib/ostree/prepare-root.conf: not a regular file",
		"usr/etc/selinux/config":           "usr/etc/selinux/config: not a regular file",
	} {
		root := completeTree(t, nil)
		dir := root.Lookup(path.Dir(name))
		dir.Children[path.Base(name)] = rootfs.Dir(0o755)
		if err := Preflight(root, false); err == nil || !strings.Contains(err.Error(), want) || strings.Count(err.Error(), path.Base(name)) != 1 {
			t.Errorf("%s: %v", name, err)
		}
		dir.Children[path.Base(name)] = rootfs.Link("/nonexistent")
		if err := Preflight(root, false); err == nil || !strings.Contains(err.Error(), name+": a link to /nonexistent") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A link in /etc leads from there, not from usr/etc.
	root := completeTree(t, map[string]string{"usr/lib/os-release": "", "usr/share/os-release": "ID=x"})
	if err := root.Place("usr/etc/os-release", rootfs.Link("../usr/share/os-release")); err != nil {
		t.Fatal(err)
	}
	if err := Preflight(root, false); err != nil {
		t.Error(err)
	}
}
