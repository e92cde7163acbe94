package coreos

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/usage"
)

// container has a choice of everything.
var container = map[string]string{
	"usr/lib/bootc/install/10-grub.toml": "[install.ostree]\nbls-append-except-default = 'grub_users=\"x\"'\n",
	"usr/lib/bootc/install/15fcos.toml": `[install]
stateroot = "fcos"
root-fs-type = "ext4"
root-mount-spec = ""
boot-mount-spec = ""
kargs = ["first=1", "debug=a"]
karg-deletes = ["debug", "quiet"]
[install.filesystem.root]
type = "xfs"
`,
	"usr/lib/bootc/install/20.toml":     "[install]\nkargs = [\"hidden\"]\n",
	"usr/etc/bootc/install/20.toml":     "[install]\nkargs = [\"second\"]\n",
	"usr/lib/bootc/install/30-arm.toml": "[install]\nmatch-architectures = [\"aarch64\"]\nstateroot = \"arm\"\nkargs = [\"arm\"]\n",
	"usr/lib/bootc/install/README":      "not TOML",
	"usr/lib/bootc/kargs.d/20.toml":     "kargs = [\"last\"]\n",
	"usr/lib/bootc/kargs.d/10.toml":     "kargs = [\"quiet\", \"some\"]\nmatch-architectures = [\"x86_64\"]\n",
	"usr/lib/bootc/kargs.d/15.toml":     "kargs = [\"none\"]\nmatch-architectures = []\n",
	imageFile:                           `{"size": 16, "extra-kargs": ["mitigations=off"], "osname": "older", "rootfs": "btrfs", "container-imgref": "ostree-image-signed:docker://example.com/os:stable", "other": {}}`,
	platformsFile:                       `{"qemu": {"grub_commands": ["serial"], "kernel_arguments": ["console=ttyS9"]}, "own": {"kernel_arguments": ["own"]}}`,
}

func TestChoices(t *testing.T) {
	c, err := ReadConfig(treetest.Texts(t, container), "amd64")
	if err != nil {
		t.Fatal(err)
	}
	if c.Stateroot != "fcos" || c.RootFS != "xfs" || c.Size != 16<<30 || c.BLSAppend != `grub_users="x"` ||
		string(c.PlatformsJSON) != container[platformsFile] {
		t.Errorf("%+v", c)
	}
	const common = "rw first=1 second some last $ignition_firstboot mitigations=off ignition.platform.id="
	for platform, want := range map[string]string{
		"qemu":  common + "qemu console=ttyS9 mine",
		"own":   common + "own own mine",
		"metal": common + "metal mine",
		"aws":   common + "aws mine", // the container has platforms, and not this

		"akamai":   common + "akamai console=tty0 console=ttyS0,19200n8 mine", // which Fedora CoreOS does not know
		"upcloud":  common + "upcloud mine",
		"scaleway": common + "scaleway console=tty0 console=ttyS0,115200n8 mine",
	} {
		args := c.Kargs(platform, []string{"mine"})
		if diff := cmp.Diff(want, args.String()); diff != "" {
			t.Error(diff)
		}
	}
	arm, err := ReadConfig(treetest.Texts(t, container), "aarch64")
	if err != nil {
		t.Fatal(err)
	}
	args := arm.Kargs("metal", nil)
	if arm.Stateroot != "arm" || args.String() != "rw first=1 second arm last $ignition_firstboot mitigations=off ignition.platform.id=metal" {
		t.Errorf("%s: %s", arm.Stateroot, args)
	}
}

func TestDefaults(t *testing.T) {
	for arch, want := range map[string]string{
		"amd64":   "rw $ignition_firstboot mitigations=auto,nosmt ignition.platform.id=qemu console=tty0 console=ttyS0,115200n8",
		"aarch64": "rw $ignition_firstboot mitigations=auto,nosmt ignition.platform.id=qemu",
	} {
		c, err := ReadConfig(rootfs.Dir(0o755), arch)
		if err != nil {
			t.Fatal(err)
		}
		if c.Size != DefaultSize || c.Stateroot != "" || c.BLSAppend != DefaultBLSAppend || c.PlatformsJSON != nil {
			t.Errorf("%+v", c)
		}
		if args := c.Kargs("qemu", nil); args.String() != want {
			t.Errorf("%s: %s", arch, args)
		}
		if p := c.Platform("qemu"); len(p.GRUB) != 3 {
			t.Errorf("%s: %v", arch, p)
		}
	}
}

func TestChoicesErrors(t *testing.T) {
	for name, text := range map[string]string{
		imageFile:                           `{"size": "big"}`,
		platformsFile:                       `["qemu"]`,
		"usr/lib/bootc/install/syntax.toml": "[install\n",
		"usr/lib/bootc/install/type.toml":   "[install]\nstateroot = 1\n",
		"usr/lib/bootc/install/table.toml":  "[install]\nfilesystem = \"xfs\"\n",
		"usr/lib/bootc/install/arg.toml":    "[install]\nkargs = [\"a\\nb\"]\n",
		"usr/lib/bootc/kargs.d/type.toml":   "kargs = \"x\"\n",
		"usr/lib/bootc/kargs.d/dir.toml/x":  "",
	} {
		c, err := ReadConfig(treetest.Texts(t, map[string]string{name: text}), "x86_64")
		if err == nil {
			t.Errorf("%s: %s: read as %+v", name, text, c)
		} else if !strings.HasPrefix(err.Error(), "coreos: "+strings.TrimSuffix(name, "/x")) {
			t.Errorf("%v does not name %s", err, name)
		} else if strings.Contains(err.Error(), "struct {") {
			t.Errorf("%v shows a type of the program", err)
		}
	}
	for _, name := range []string{"../x", "..", "a b"} {
		if _, err := ReadConfig(treetest.Texts(t, map[string]string{imageFile: `{"osname": "` + name + `"}`}), "x86_64"); err == nil {
			t.Errorf("stateroot %q is accepted", name)
		}
	}
	for _, size := range []string{"0", "-1", "9223372036854775807"} {
		if _, err := ReadConfig(treetest.Texts(t, map[string]string{imageFile: `{"size": ` + size + `}`}), "x86_64"); err == nil {
			t.Errorf("size %s is accepted", size)
		}
	}
}

// complete has the files that every image needs.
var complete = map[string]string{
	"usr/lib/modules/6.1/vmlinuz":       "k",
	"usr/lib/modules/6.1/initramfs.img": "i",
	"usr/lib/modules/5.0/extra":         "",
	"usr/lib/os-release":                "",
	"usr/lib/ostree/prepare-root.conf":  "[composefs]\nenabled = yes\n",
	"usr/etc/selinux/config":            "SELINUX=enforcing\nSELINUXTYPE=targeted\n",
}

// completeTree returns them as a tree, some of them changed; "" is a file that
// is not there.
func completeTree(t *testing.T, changed map[string]string) *rootfs.Inode {
	files := maps.Clone(complete)
	maps.Copy(files, changed)
	for name, text := range changed {
		if text == "" {
			delete(files, name)
		}
	}
	root := treetest.Texts(t, files)
	for _, name := range mountPoints {
		root.Children[name] = rootfs.Dir(0o755)
	}
	root.Children["ostree"] = rootfs.Link("sysroot/ostree")
	return root
}

func TestPreflight(t *testing.T) {
	root := completeTree(t, nil)
	if err := Preflight(root, false); err != nil {
		t.Error(err)
	}
	if version, err := Kernel(root); version != "6.1" || err != nil {
		t.Errorf("%q, %v", version, err)
	}
	err := Preflight(rootfs.Dir(0o755), false)
	if err == nil {
		t.Fatal("an empty tree passes")
	}
	if lines := strings.Count(err.Error(), "\n"); lines != 13 {
		t.Errorf("%d lines: %v", lines, err)
	}
	two := completeTree(t, map[string]string{"usr/lib/modules/7.0/vmlinuz": "k"})
	if _, err := Kernel(two); err == nil || !strings.Contains(err.Error(), "2 kernels (6.1, 7.0)") {
		t.Errorf("two kernels: %v", err)
	}
}

// TestPreflightRefuses breaks a bootable system in the ways a layer could.
func TestPreflightRefuses(t *testing.T) {
	const (
		conf    = "usr/lib/ostree/prepare-root.conf"
		selinux = "usr/etc/selinux/config"
	)
	for name, tc := range map[string]struct {
		files map[string]string
		want  string
	}{
		"no initramfs":    {map[string]string{"usr/lib/modules/6.1/initramfs.img": ""}, "missing usr/lib/modules/6.1/initramfs.img"},
		"no policy":       {map[string]string{selinux: ""}, selinux + ": missing: the policy"},
		"disabled policy": {map[string]string{selinux: "SELINUX=disabled\nSELINUXTYPE=targeted\n"}, selinux + `: SELINUX is "disabled"`},
		"signed":          {map[string]string{conf: "[composefs]\nenabled = signed\n"}, conf + `: composefs mode "signed"`},
		"verity":          {map[string]string{conf: "[composefs]\nenabled=verity\n"}, conf + `: composefs mode "verity"`},
		"verity in etc":   {map[string]string{"usr/etc/ostree/prepare-root.conf": "[composefs]\nenabled=verity\n"}, "usr/etc/ostree/prepare-root.conf: composefs mode"},
	} {
		err := Preflight(completeTree(t, tc.files), false)
		if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Count(err.Error(), "\n") != 1 {
			t.Errorf("%s: %v", name, err)
		}
		var avoidable usage.Avoidable
		if policy := strings.Contains(name, "policy"); errors.As(err, &avoidable) != policy || policy && avoidable.Field != "NoSELinux" {
			t.Errorf("%s: %#v", name, err)
		}
		waived := Preflight(completeTree(t, tc.files), true)
		if policy := strings.Contains(name, "policy"); policy != (waived == nil) {
			t.Errorf("%s, without SELinux: %v", name, waived)
		}
	}
	for _, name := range append(mountPoints, "ostree") {
		for what, n := range map[string]*rootfs.Inode{"nothing": nil, "a file": rootfs.Text(0o644, "")} {
			root := completeTree(t, nil)
			root.Children[name] = n
			if n == nil {
				delete(root.Children, name)
			}
			if err := Preflight(root, false); err == nil || !strings.Contains(err.Error(), "/"+name) {
				t.Errorf("%s is %s: %v", name, what, err)
			}
		}
	}
	root := completeTree(t, nil)
	root.Children["tmp"] = rootfs.Link("sysroot/tmp")
	if err := Preflight(root, false); err != nil {
		t.Errorf("/tmp of old: %v", err)
	}
}
