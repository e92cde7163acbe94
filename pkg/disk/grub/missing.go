package grub

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// A need is a file or directory that a disk cannot be made without.
type need struct {
	paths   []string // one of them must exist; directories end with a slash
	purpose string
}

// needs are the needs of every architecture.
var needs = []need{
	{[]string{static + "/grub-static-pre.cfg"}, "the boot partition's grub.cfg"},
	{[]string{static + "/configs.d/"}, "the boot partition's grub.cfg"},
}

// efiNeeds are the needs of machines that start from UEFI.
var efiNeeds = []need{
	{[]string{efiByName + "/", updates + "/EFI/"}, "the EFI system partition"},
	{[]string{updates + "/EFI.json"}, "bootupd's record of the boot loaders for UEFI"},
	{[]string{static + "/grub-static-efi.cfg"}, "the EFI system partition's grub.cfg"},
}

// targetNeeds are the needs of a core image.
func targetNeeds(target, firmware string) []need {
	return []need{
		{[]string{targets + "/" + target + "/kernel.img"}, "GRUB for " + firmware},
		{[]string{targets + "/" + target + "/moddep.lst"}, "GRUB for " + firmware},
	}
}

// needsOf returns the needs of a machine, in the order of its boot.
func needsOf(arch string) (all []need) {
	switch arch {
	case "ppc64le":
		all = targetNeeds(TargetPReP, "Open Firmware")
	case "x86_64":
		all = append(targetNeeds(TargetBIOS, "BIOS firmware"), need{[]string{updates + "/BIOS.json"}, "bootupd's record of GRUB for BIOS"})
		fallthrough
	default:
		all = append(all, efiNeeds...)
	}
	return append(all, needs...)
}

// Missing returns an error that lists the boot loader files which a tree lacks, or
// nil. The architecture is in the words of uname -m: x86_64. Only the presence of
// each file is checked.
func Missing(root *rootfs.Inode, arch string) error {
	var missing []string
	for _, n := range needsOf(arch) {
		if err := n.check(root); err != nil {
			missing = append(missing, fmt.Sprintf("%v: %s", err, n.purpose))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("the container has no complete boot loader:\n  %s", strings.Join(missing, "\n  "))
}

// check looks for the first path that exists.
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
	return fmt.Errorf("missing %s", strings.Join(n.paths, " or "))
}
