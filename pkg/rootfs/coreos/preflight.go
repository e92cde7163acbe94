package coreos

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/selinux"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/usage"
)

// modulesDir holds a directory for each kernel.
const modulesDir = "usr/lib/modules"

// prepareRoot are the paths of the initramfs' configuration.
var prepareRoot = []string{"usr/lib/ostree/prepare-root.conf", "usr/etc/ostree/prepare-root.conf"}

// releaseFiles are the paths of os-release.
var releaseFiles = []string{"usr/lib/os-release", "usr/etc/os-release"}

// mountPoints are the directories that the initramfs and systemd mount file
// systems on. They must exist, because the root of a deployment is read-only.
var mountPoints = []string{"boot", "dev", "proc", "run", "sys", "sysroot", "tmp", "var"}

// Preflight checks that a tree is a bootable operating system: kernel, mount
// points, configuration of the initramfs and, unless noSELinux is true, an SELinux
// policy. The error lists everything that is missing, one item a line. Boot loaders
// are not checked here: the disk layout knows which ones a machine needs.
func Preflight(system *rootfs.Inode, noSELinux bool) error {
	root := Running(system)
	var missing []string
	if _, err := Kernel(root); err != nil {
		missing = append(missing, err.Error())
	}
	missing = append(missing, checkPrepareRoot(root)...)
	if err := checkRelease(root); err != nil {
		missing = append(missing, fmt.Sprintf("%v: the title of the boot entry", err))
	}
	missing = append(missing, checkTop(system)...)
	_, policyErr := selinux.Find(system)
	unlabelled := policyErr != nil && !noSELinux
	if unlabelled {
		missing = append(missing, policyErr.Error()+": the policy that labels files")
	}
	if len(missing) == 0 {
		return nil
	}
	err := fmt.Errorf("the container is not a bootable CoreOS:\n  %s", strings.Join(missing, "\n  "))
	if unlabelled {
		return usage.Avoidable{Field: "NoSELinux", Err: err}
	}
	return err
}

// checkRelease looks for the first os-release that exists.
func checkRelease(root *rootfs.Inode) error {
	for _, name := range releaseFiles {
		if _, err := root.FindFile(name); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return fmt.Errorf("missing %s", strings.Join(releaseFiles, " or "))
}

// checkTop returns the missing entries of a deployment's top directory.
func checkTop(root *rootfs.Inode) (missing []string) {
	for _, name := range mountPoints {
		n := root.Children[name]
		if n != nil && (n.IsDir() || name == "tmp" && n.IsLink()) { // /tmp may be a link to the physical root
			continue
		}
		missing = append(missing, "missing mount point /"+name)
	}
	if n := root.Children["ostree"]; n == nil || !n.IsLink() || strings.TrimPrefix(n.Target, "/") != "sysroot/ostree" {
		missing = append(missing, "missing link /ostree to sysroot/ostree: the path of the repository")
	}
	return missing
}

// checkPrepareRoot rejects modes of composefs in which the initramfs would not mount the
// root: on a new disk, files have no fs-verity, and an imported commit has no signature.
func checkPrepareRoot(root *rootfs.Inode) (missing []string) {
	exists := false
	for _, name := range prepareRoot {
		text, err := readFile(root, name)
		exists = exists || text != nil || err != nil
		if err != nil {
			missing = append(missing, fmt.Sprintf("%v: how the initramfs mounts the root", err))
		}
		switch how := Setting(string(text), "composefs", "enabled"); how {
		case "verity", "signed":
			missing = append(missing, fmt.Sprintf("%s: composefs mode %q is not possible: a new image has neither signatures nor fs-verity, so the initramfs would not mount its root; set it to yes and rebuild the initramfs", name, how))
		}
	}
	if !exists {
		missing = append(missing, fmt.Sprintf("missing %s: how the initramfs mounts the root", strings.Join(prepareRoot, " or ")))
	}
	return missing
}

// Setting returns the last value of a key in a group of a key file, such as
// prepare-root.conf, or "".
func Setting(text, group, key string) (value string) {
	in := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]") {
			in = line[1 : len(line)-1]
			continue
		}
		if k, v, ok := strings.Cut(line, "="); ok && in == group && strings.TrimSpace(k) == key {
			value = strings.TrimSpace(v)
		}
	}
	return value
}

// Kernel returns the version of the only kernel of an operating system tree. It
// must have an initramfs in its directory. A link to that directory is not a second
// kernel.
func Kernel(root *rootfs.Inode) (version string, err error) {
	modules, err := findDir(root, modulesDir)
	if err != nil {
		return "", err
	}
	var found []string
	if modules != nil {
		for _, name := range modules.Names() {
			if modules.Children[name].IsDir() && root.Resolve(path.Join(modulesDir, name, "vmlinuz")) != nil {
				found = append(found, name)
			}
		}
	}
	if len(found) == 0 {
		return "", fmt.Errorf("missing kernel %s/*/vmlinuz", modulesDir)
	}
	if len(found) > 1 {
		return "", fmt.Errorf("%s: %d kernels (%s), want one", modulesDir, len(found), strings.Join(found, ", "))
	}
	for _, name := range []string{"vmlinuz", "initramfs.img"} {
		name = path.Join(modulesDir, found[0], name)
		_, err := root.FindFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("missing %s", name)
		}
		if err != nil {
			return "", fmt.Errorf("%w: needed to boot", err)
		}
	}
	return found[0], nil
}
