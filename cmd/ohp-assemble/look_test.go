package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/ext4"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/fat"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/gpt"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/raw"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// TestLook reads whole images back and compares them with what was to be there.
func TestLook(t *testing.T) {
	for platform, rootFS := range map[string]string{"qemu": "xfs", "metal": "ext4"} {
		image, plan := buildAndPlan(t, fixture(t, "tiny-base"), platform, rootFS)
		f, err := os.Open(image)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		disk, _, err := openImage(f)
		if err != nil {
			t.Fatal(err)
		}
		root, broken, err := booted(disk)
		if err != nil || len(broken) > 0 {
			t.Fatal(err, broken.why())
		}
		_, deployed := firstDeployment(plan.Root)
		want := map[string]*rootfs.Inode{"sysroot": plan.Root, "boot": plan.Boot, "usr": deployed.Children["usr"], "etc": deployed.Children["etc"]}
		for at, tree := range want {
			for d, err := range rootfs.Diff(tree, root.Children[at]) {
				if err != nil {
					t.Fatal(err)
				}
				if d.Path != "lost+found" && d.Path != "efi" && !strings.HasPrefix(d.Path, "efi/") {
					t.Errorf("%s: /%s: %s: %q", image, at, d.Path, d.What)
				}
			}
		}
		for file, want := range map[string]string{
			"/etc/os-release": "ID=", "etc/../usr/lib/os-release": "ID=", "/boot/loader/entries/ostree-1.conf": "options ",
			"/boot/efi/EFI/BOOT/BOOTX64.EFI": "MZ", "/ostree/repo/config": "[core]",
		} {
			p := finish(t, start(t, nil, "cat", image, file))
			if p.code != 0 || !strings.Contains(p.stdout, want) {
				t.Errorf("cat %s: %d, %.100q, %s", file, p.code, p.stdout, p.stderr)
			}
		}
		for file, want := range map[string]string{"/etc": "not a regular file", "/nothing": "/nothing: no such", "/etc/os-release/x": "/etc/os-release/x"} {
			p := finish(t, start(t, nil, "cat", image, file))
			if p.code != exitFailed || p.stdout != "" || !strings.Contains(p.stderr, want) {
				t.Errorf("cat %s: %d, %.100q, %s", file, p.code, p.stdout, p.stderr)
			}
		}
		p := finish(t, start(t, nil, "ls", image, "/boot"))
		if p.code != 0 || !strings.Contains(p.stdout, "loader -> loader.1\n") || !strings.Contains(p.stdout, "drwx") {
			t.Errorf("ls: %d, %s%s", p.code, p.stdout, p.stderr)
		}
	}
}

// smallDisk writes a disk with three file systems, small and without an
// operating system, and returns where they stand.
func smallDisk(t *testing.T, root *rootfs.Inode) (name string, at map[string]int64) {
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

// overwrite puts bytes into a file.
func overwrite(t *testing.T, name string, off int64, b []byte) {
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

// TestLookDamaged: damage fails the commands that need the damaged part, and
// inspect always.
func TestLookDamaged(t *testing.T) {
	const works, no = 0, exitVerify
	loop := bytes.Repeat([]byte{3, 0}, 30) // every chain of the FAT
	for _, c := range []struct {
		part           string
		off            int64
		b              []byte
		says           string
		etc, boot, efi int // exit codes
	}{
		{"root", 0, nil, "", works, works, works},
		{"EFI-SYSTEM", 4 * 512, loop, "partition 1: fat: ", works, works, no},
		{"EFI-SYSTEM", 13, []byte{0}, "partition 1: fat: boot sector: ", works, works, no},
		{"boot", 1024 + 40, []byte{0, 0, 0, 0}, "partition 2: ext4: superblock: ", works, no, works},
		{"root", 1024 + 88, []byte{144, 0}, "partition 3: ext4: superblock: ", no, works, works},
	} {
		name, at := smallDisk(t, rootfs.Dir(0o755))
		overwrite(t, name, at[c.part]+c.off, c.b)
		for file, want := range map[string]int{"/etc/os-release": c.etc, "/boot/loader/entries/1.conf": c.boot, "/boot/efi/EFI/BOOT/BOOTX64.EFI": c.efi} {
			p := finish(t, start(t, nil, "cat", name, file))
			if p.code != want || want != works && !strings.Contains(p.stderr, c.says) || strings.Contains(p.stderr, "runtime error") {
				t.Errorf("%s %d: cat %s: %d, %s", c.part, c.off, file, p.code, p.stderr)
			}
		}
		want := exitVerify
		if c.b == nil {
			want = works
		}
		if p := finish(t, start(t, nil, "inspect", name)); p.code != want {
			t.Errorf("%s %d: inspect: %d, %s%s", c.part, c.off, p.code, p.stdout, p.stderr)
		}
	}
}

// TestInspectShort: an image that lost its end, or has changed where only a
// checksum tells.
func TestInspectShort(t *testing.T) {
	name, at := smallDisk(t, rootfs.Dir(0o755))
	if err := os.Truncate(name, at["root"]+(8<<20)); err != nil {
		t.Fatal(err)
	}
	if p := finish(t, start(t, nil, "inspect", name)); p.code != exitVerify || !strings.Contains(p.stderr, "it was cut short") {
		t.Errorf("%d, %s%s", p.code, p.stdout, p.stderr)
	}
	if p := finish(t, start(t, nil, "inspect", os.Args[0])); p.code != exitFailed {
		t.Errorf("no disk at all: %d, %s", p.code, p.stderr)
	}
	name, at = smallDisk(t, rootfs.Dir(0o755))
	overwrite(t, name, at["boot"]+1024+120, []byte("BOOT")) // its label
	if p := finish(t, start(t, nil, "inspect", name)); p.code != exitVerify || !strings.Contains(p.stdout, "checksum") {
		t.Errorf("%d, %s%s", p.code, p.stdout, p.stderr)
	}
}

func TestModeString(t *testing.T) {
	for mode, want := range map[uint32]string{
		0o100644: "-rw-r--r--", 0o104755: "-rwsr-xr-x", 0o041777: "drwxrwxrwt", 0o041776: "drwxrwxrwT", 0o102644: "-rw-r-Sr--",
		0o120777: "lrwxrwxrwx", 0o020600: "crw-------", 0o060000: "b---------", 0o010000: "p---------", 0o140000: "s---------",
	} {
		if got := modeString(mode); got != want {
			t.Errorf("%#o: %s, want %s", mode, got, want)
		}
	}
}

// TestPlainEqualsBase: of a container without commit and labels comes the tree
// that the real ostree committed and labelled, to the last attribute.
func TestPlainEqualsBase(t *testing.T) {
	for _, os := range []string{"tiny", "full"} {
		var trees [2]*rootfs.Inode
		for i, form := range []string{"base", "plain"} {
			plan := diskOf(t, fixture(t, os+"-"+form), "metal")
			_, trees[i] = firstDeployment(plan.Root)
		}
		files := 0
		for range trees[0].Walk() {
			files++
		}
		for d, err := range rootfs.Diff(trees[0], trees[1]) {
			if err != nil {
				t.Fatal(err)
			}
			if d.Path != ".ostree.cfs" || len(d.What) != 1 { // whose time is the container's
				t.Errorf("%s: %s: %q", os, d.Path, d.What)
			}
		}
		t.Logf("%s: %d files", os, files)
	}
}
