package coreos

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// modulesDir holds a directory for each kernel.
const modulesDir = "usr/lib/modules"

// A need is something that an image cannot be made without.
type need struct {
	paths   []string // any of them will do
	purpose string
	arch    string // the only one that needs it; empty for all, "efi" for all that start from UEFI
}

// needs is in the order of the boot.
var needs = []need{
	{[]string{"usr/lib/grub/i386-pc/kernel.img"}, "GRUB for BIOS firmware", "x86_64"},
	{[]string{"usr/lib/grub/i386-pc/moddep.lst"}, "GRUB for BIOS firmware", "x86_64"},
	{[]string{"usr/lib/grub/powerpc-ieee1275/kernel.img"}, "GRUB for Open Firmware", "ppc64le"},
	{[]string{"usr/lib/grub/powerpc-ieee1275/moddep.lst"}, "GRUB for Open Firmware", "ppc64le"},
	{[]string{"usr/lib/efi", "usr/lib/bootupd/updates/EFI"}, "the EFI system partition", "efi"},
	{[]string{"usr/lib/bootupd/updates/BIOS.json"}, "bootupd's note of which GRUB there is for BIOS", "x86_64"},
	{[]string{"usr/lib/bootupd/updates/EFI.json"}, "bootupd's note of which boot loaders there are for UEFI", "efi"},
	{[]string{"usr/lib/bootupd/grub2-static/grub-static-efi.cfg"}, "the EFI system partition's grub.cfg", "efi"},
	{[]string{"usr/lib/bootupd/grub2-static/grub-static-pre.cfg"}, "the boot partition's grub.cfg", ""},
	{[]string{"usr/lib/bootupd/grub2-static/configs.d"}, "the boot partition's grub.cfg", ""},
	{[]string{"usr/lib/ostree/prepare-root.conf", "usr/etc/ostree/prepare-root.conf", "etc/ostree/prepare-root.conf"}, "how the initramfs mounts the root", ""},
	{[]string{"usr/lib/os-release", "usr/etc/os-release", "etc/os-release"}, "the title of the boot entry", ""},
}

// Preflight checks that an operating system tree has all that an image of it
// needs. The error names all that is missing, a line each.
func Preflight(root *rootfs.Inode, arch string) error {
	var missing []string
	if _, err := Kernel(root); err != nil {
		missing = append(missing, err.Error())
	}
	for _, n := range needs {
		if !n.by(rootfs.MachineArch(arch)) {
			continue
		}
		if !slices.ContainsFunc(n.paths, func(name string) bool { return root.Resolve(name) != nil }) {
			missing = append(missing, fmt.Sprintf("%s: missing: %s", strings.Join(n.paths, " or "), n.purpose))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("the container is not a CoreOS that an image can be made of:\n  %s", strings.Join(missing, "\n  "))
}

// by reports whether machines of an architecture need it.
func (n need) by(arch string) bool {
	return n.arch == "" || n.arch == arch || n.arch == "efi" && arch != "ppc64le"
}

// Kernel returns the version of the only kernel of an operating system tree,
// which has an initramfs next to it.
func Kernel(root *rootfs.Inode) (version string, err error) {
	var found []string
	if modules := root.Resolve(modulesDir); modules != nil {
		for _, name := range modules.Names() {
			if modules.Resolve(path.Join(name, "vmlinuz")) != nil {
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
		if n := root.Resolve(name); n == nil || !n.IsFile() {
			return "", fmt.Errorf("%s: missing: what is booted", name)
		}
	}
	return found[0], nil
}
