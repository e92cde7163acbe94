// Package inspecttest makes small disk images for the tests of programs that
// look into them.
package inspecttest

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/ext4"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/fat"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/gpt"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/raw"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// SmallDisk writes a raw disk with the file systems EFI-SYSTEM, boot and root,
// and without an operating system. The root file system has the files of root
// and a few more. It returns the name of the file and the offset of each file
// system by label.
func SmallDisk(t testing.TB, root *rootfs.Inode) (name string, at map[string]int64) {
	t.Helper()
	const mib = 1 << 20
	place := func(tree *rootfs.Inode, name, text string) *rootfs.Inode {
		if err := tree.Place(name, rootfs.Text(0o644, text)); err != nil {
			t.Fatal(err)
		}
		return tree
	}
	place(root, "etc/os-release", "ID=small\n")
	place(root, "ostree/deploy/README", "none yet\n")
	root.Children["efi"] = rootfs.Link("boot/efi")
	entry := place(rootfs.Dir(0o755), "loader/entries/1.conf", "title small\nlinux /vmlinuz\n")
	esp, err1 := fat.Format(place(rootfs.Dir(0o755), "EFI/BOOT/BOOTX64.EFI", "MZ"), fat.Options{Size: 10 * mib, Label: "EFI-SYSTEM"})
	boot, err2 := ext4.Format(entry, ext4.Options{Size: 8 * mib, Label: "boot"})
	main, err3 := ext4.Format(root, ext4.Options{Size: 16 * mib, Label: "root"})
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	at = map[string]int64{}
	var parts []gpt.Partition
	next := int64(mib)
	for i, p := range []struct {
		name string
		kind gpt.GUID
		fs   rootfs.Blob
	}{{"EFI-SYSTEM", gpt.EFISystem, esp}, {"boot", gpt.XBOOTLDR, boot}, {"root", gpt.RootX86_64, main}} {
		parts = append(parts, gpt.Partition{Number: i + 1, Name: p.name, Type: p.kind, ID: gpt.GUID{byte(i + 1)}, Start: next, Content: p.fs})
		at[p.name] = next
		next += p.fs.Size()
	}
	img, err := gpt.Layout(next+mib, gpt.Options{DiskGUID: gpt.GUID{9}}, parts...)
	if err != nil {
		t.Fatal(err)
	}
	name = filepath.Join(t.TempDir(), "small.raw")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := raw.WriteFile(f, img, nil); err != nil {
		t.Fatal(err)
	}
	return name, at
}

// Overwrite writes bytes into a file.
func Overwrite(t testing.TB, name string, off int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, off); err != nil {
		t.Fatal(err)
	}
}
