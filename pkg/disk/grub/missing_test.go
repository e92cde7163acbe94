package grub

import (
	"path"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// loaderTree returns a tree with the boot loader files of x86_64.
func loaderTree(t *testing.T) *rootfs.Inode {
	t.Helper()
	files := map[string]string{}
	for _, name := range []string{
		"usr/lib/efi/grub2/1/EFI/x", "usr/lib/grub/i386-pc/kernel.img", "usr/lib/grub/i386-pc/moddep.lst",
		"usr/lib/bootupd/updates/BIOS.json", "usr/lib/bootupd/updates/EFI.json", "usr/lib/bootupd/grub2-static/grub-static-efi.cfg",
		"usr/lib/bootupd/grub2-static/grub-static-pre.cfg", "usr/lib/bootupd/grub2-static/configs.d/10_blscfg.cfg",
	} {
		files[name] = "x"
	}
	return treetest.Texts(t, files)
}

// TestMissing: each architecture needs its own boot loaders, and all missing files
// are listed.
func TestMissing(t *testing.T) {
	root := loaderTree(t)
	if err := Missing(root, "x86_64"); err != nil {
		t.Error(err)
	}
	delete(root.Lookup("usr/lib/grub").Children, "i386-pc")
	if err := Missing(root, "aarch64"); err != nil {
		t.Error(err)
	}
	if err := Missing(root, "ppc64le"); err == nil || !strings.Contains(err.Error(), "powerpc-ieee1275/kernel.img") || strings.Contains(err.Error(), "EFI") {
		t.Errorf("ppc64le: %v", err)
	}
	for arch, want := range map[string]int{"x86_64": 8, "aarch64": 5, "riscv64": 5, "ppc64le": 4} {
		if err := Missing(rootfs.Dir(0o755), arch); err == nil || strings.Count(err.Error(), "\n") != want {
			t.Errorf("%s: want %d lines: %v", arch, want, err)
		}
	}
}

// TestMissingTypes: a directory in the place of a file, and a link that leads
// nowhere, are named with the path and the purpose.
func TestMissingTypes(t *testing.T) {
	for name, want := range map[string]string{
		"usr/lib/bootupd/updates/EFI.json":                 "EFI.json: not a regular file: bootupd's",
		"usr/lib/bootupd/grub2-static/configs.d":           "configs.d: not a directory: the boot",
		"usr/lib/grub/i386-pc/moddep.lst":                  "moddep.lst: not a regular file: GRUB",
		"usr/lib/bootupd/grub2-static/grub-static-efi.cfg": "grub-static-efi.cfg: not a regular file: the EFI",
	} {
		root := loaderTree(t)
		dir := root.Lookup(path.Dir(name))
		if dir.Children[path.Base(name)].IsDir() {
			dir.Children[path.Base(name)] = rootfs.Text(0o644, "")
		} else {
			dir.Children[path.Base(name)] = rootfs.Dir(0o755)
		}
		if err := Missing(root, "x86_64"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
		dir.Children[path.Base(name)] = rootfs.Link("/nonexistent")
		if err := Missing(root, "x86_64"); err == nil || !strings.Contains(err.Error(), name+": a link to /nonexistent") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
