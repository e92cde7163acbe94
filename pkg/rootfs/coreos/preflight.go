package coreos

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/selinux"
)

// modulesDir holds a directory for each kernel.
const modulesDir = "usr/lib/modules"

// A need is something that an image cannot be made without.
type need struct {
	paths   []string // any of them will do; directories end with a slash
	purpose string
	arch    string // the only one that needs it; empty for all, "efi" for all that start from UEFI
}

// needs is in the order of the boot.
var needs = []need{
	{[]string{"usr/lib/grub/i386-pc/kernel.img"}, "GRUB for BIOS firmware", "x86_64"},
	{[]string{"usr/lib/grub/i386-pc/moddep.lst"}, "GRUB for BIOS firmware", "x86_64"},
	{[]string{"usr/lib/grub/powerpc-ieee1275/kernel.img"}, "GRUB for Open Firmware", "ppc64le"},
	{[]string{"usr/lib/grub/powerpc-ieee1275/moddep.lst"}, "GRUB for Open Firmware", "ppc64le"},
	{[]string{"usr/lib/efi/", "usr/lib/bootupd/updates/EFI/"}, "the EFI system partition", "efi"},
	{[]string{"usr/lib/bootupd/updates/BIOS.json"}, "bootupd's note of which GRUB there is for BIOS", "x86_64"},
	{[]string{"usr/lib/bootupd/updates/EFI.json"}, "bootupd's note of which boot loaders there are for UEFI", "efi"},
	{[]string{"usr/lib/bootupd/grub2-static/grub-static-efi.cfg"}, "the EFI system partition's grub.cfg", "efi"},
	{[]string{"usr/lib/bootupd/grub2-static/grub-static-pre.cfg"}, "the boot partition's grub.cfg", ""},
	{[]string{"usr/lib/bootupd/grub2-static/configs.d/"}, "the boot partition's grub.cfg", ""},
	{prepareRoot, "how the initramfs mounts the root", ""},
	{releaseFiles, "the title of the boot entry", ""},
}

// prepareRoot are where the initramfs has its configuration from.
var prepareRoot = []string{"usr/lib/ostree/prepare-root.conf", "usr/etc/ostree/prepare-root.conf"}

// releaseFiles are where a system has its os-release.
var releaseFiles = []string{"usr/lib/os-release", "usr/etc/os-release"}

// mountPoints are what the initramfs and systemd mount something on before
// anything could make them: the root of a deployment is read-only.
var mountPoints = []string{"boot", "dev", "proc", "run", "sys", "sysroot", "tmp", "var"}

// Preflight checks that an operating system tree has all that an image of it
// needs, an SELinux policy among it unless the image is to go without. The
// error names all that is missing, a line each.
func Preflight(system *rootfs.Inode, arch string, noSELinux bool) error {
	root := Running(system)
	var missing []string
	if _, err := Kernel(root); err != nil {
		missing = append(missing, err.Error())
	}
	for _, n := range needs {
		if !n.by(rootfs.MachineArch(arch)) {
			continue
		}
		if err := n.check(root); err != nil {
			missing = append(missing, fmt.Sprintf("%v: %s", err, n.purpose))
		}
	}
	missing = append(missing, checkTop(system)...)
	missing = append(missing, checkComposefs(root)...)
	if _, err := selinux.Find(system); err != nil && !noSELinux {
		missing = append(missing, err.Error()+": the policy that files are labelled by; --no-selinux makes an image without labels")
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("the container is not a CoreOS that an image can be made of:\n  %s", strings.Join(missing, "\n  "))
}

// check looks for the first of the paths that exists.
func (n need) check(root *rootfs.Inode) error {
	for _, name := range n.paths {
		find := root.FindFile
		if strings.HasSuffix(name, "/") {
			find = root.FindDir
		}
		if _, err := find(strings.TrimSuffix(name, "/")); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return fmt.Errorf("%s: missing", strings.Join(n.paths, " or "))
}

// checkTop looks for what must be at the top of a deployment.
func checkTop(root *rootfs.Inode) (missing []string) {
	for _, name := range mountPoints {
		n := root.Children[name]
		if n != nil && (n.IsDir() || name == "tmp" && n.IsLink()) { // /tmp may be that of the physical root
			continue
		}
		missing = append(missing, name+": no directory: what the boot mounts something on")
	}
	if n := root.Children["ostree"]; n == nil || !n.IsLink() || strings.TrimPrefix(n.Target, "/") != "sysroot/ostree" {
		missing = append(missing, "ostree: not a link to sysroot/ostree: where the system finds its repository")
	}
	return missing
}

// checkComposefs refuses a root that the initramfs would not mount: on a new
// disk no file has fs-verity, and no one has signed the commit of an import.
func checkComposefs(root *rootfs.Inode) (missing []string) {
	for _, name := range prepareRoot {
		text, err := readFile(root, name)
		if err != nil {
			missing = append(missing, err.Error())
		}
		switch how := Setting(string(text), "composefs", "enabled"); how {
		case "verity", "signed":
			missing = append(missing, fmt.Sprintf("%s: composefs is %q: no image has that, and the initramfs would not mount its root; say yes, and make the initramfs again", name, how))
		}
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

// by reports whether machines of an architecture need it.
func (n need) by(arch string) bool {
	return n.arch == "" || n.arch == arch || n.arch == "efi" && arch != "ppc64le"
}

// Kernel returns the version of the only kernel of an operating system tree,
// which has an initramfs next to it. A kernel is a directory; a link to one is not
// a second kernel.
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
		return "", fmt.Errorf("%s/*/vmlinuz: missing: the kernel", modulesDir)
	}
	if len(found) > 1 {
		return "", fmt.Errorf("%s: %d kernels (%s), there must be one", modulesDir, len(found), strings.Join(found, ", "))
	}
	for _, name := range []string{"vmlinuz", "initramfs.img"} {
		name = path.Join(modulesDir, found[0], name)
		_, err := root.FindFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%s: missing", name)
		}
		if err != nil {
			return "", fmt.Errorf("%w: no system boots without it", err)
		}
	}
	return found[0], nil
}
