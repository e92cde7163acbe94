package main

import (
	"os"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// TestLook reads whole images back and compares them with what was to be there.
func TestLook(t *testing.T) {
	for platform, rootFS := range map[string]string{"qemu": "xfs", "metal": "ext4"} {
		image, plan := buildAndPlan(t, fixture(t, "tiny-base"), platform, "--root-fs", rootFS)
		f, err := os.Open(image)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		disk, _, err := openImage(f)
		if err != nil {
			t.Fatal(err)
		}
		root, err := booted(disk, disk.Size())
		if err != nil {
			t.Fatal(err)
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
