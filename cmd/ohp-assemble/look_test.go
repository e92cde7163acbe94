package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/inspect"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/inspect/inspecttest"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// TestLook reads whole images back and compares them with their plans.
func TestLook(t *testing.T) {
	for platform, rootFS := range map[string]string{"qemu": "xfs", "metal": "ext4"} {
		image, plan := buildAndPlan(t, fixture(t, "tiny-base"), platform, rootFS)
		f, d, err := inspect.OpenFile(image)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		tree, err := d.Booted()
		if err != nil || tree.Err() != nil {
			t.Fatal(err, tree.Err())
		}
		root, deployed := tree.Root, inspect.Deployments(plan.Root)[0].Root
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
		name, at := inspecttest.SmallDisk(t, rootfs.Dir(0o755))
		inspecttest.Overwrite(t, name, at[c.part]+c.off, c.b)
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

// TestInspectShort: an image that lost its end, or has changed in a place where only
// a checksum shows it.
func TestInspectShort(t *testing.T) {
	name, at := inspecttest.SmallDisk(t, rootfs.Dir(0o755))
	if err := os.Truncate(name, at["root"]+(8<<20)); err != nil {
		t.Fatal(err)
	}
	if p := finish(t, start(t, nil, "inspect", name)); p.code != exitVerify || !strings.Contains(p.stderr, "it was cut short") {
		t.Errorf("%d, %s%s", p.code, p.stdout, p.stderr)
	}
	if p := finish(t, start(t, nil, "inspect", os.Args[0])); p.code != exitFailed {
		t.Errorf("no disk at all: %d, %s", p.code, p.stderr)
	}
	name, at = inspecttest.SmallDisk(t, rootfs.Dir(0o755))
	inspecttest.Overwrite(t, name, at["boot"]+1024+120, []byte("BOOT")) // its label
	if p := finish(t, start(t, nil, "inspect", name)); p.code != exitVerify || !strings.Contains(p.stdout, "checksum") {
		t.Errorf("%d, %s%s", p.code, p.stdout, p.stderr)
	}
}

// TestLookISO: a live medium has paths of its own.
func TestLookISO(t *testing.T) {
	t.Chdir(t.TempDir())
	treetest.Run(t, "sh", "-ec", "mkdir -p tree/images; echo initrd >tree/images/initrd.img; echo [general] >tree/.treeinfo; genisoimage -quiet -R -V LIVE -o os.iso tree")
	for line, want := range map[string]string{
		"ls os.iso": ".treeinfo\n", "ls os.iso /images": "initrd.img\n", "cat os.iso /images/initrd.img": "initrd\n", "cat os.iso .treeinfo": "[general]\n",
		"inspect os.iso": "\nfile system iso9660, label LIVE, UUID ",
	} {
		if p := program(t, nil, strings.Fields(line)...); !strings.Contains(p.stdout, want) {
			t.Errorf("%s: no %q in %s", line, want, p.stdout)
		}
	}
	p := finish(t, start(t, nil, "diff", "--exit-code", "os.iso", "os.iso"))
	if p.code != 0 || p.stdout != "no differences: 3 files\n" {
		t.Errorf("diff: %d, %s%s", p.code, p.stdout, p.stderr)
	}
	if err := os.Truncate("os.iso", 40<<10); err != nil {
		t.Fatal(err)
	}
	if p := finish(t, start(t, nil, "ls", "os.iso")); p.code != exitVerify || !strings.Contains(p.stderr, "os.iso: iso9660: ") {
		t.Errorf("cut short: %d, %s", p.code, p.stderr)
	}
}

// TestPlainEqualsBase: a container without commit and labels gives the tree that
// the real ostree committed and labelled, to the last attribute.
func TestPlainEqualsBase(t *testing.T) {
	for _, os := range []string{"tiny", "full"} {
		var trees [2]*rootfs.Inode
		for i, form := range []string{"base", "plain"} {
			plan := diskOf(t, fixture(t, os+"-"+form), "metal")
			trees[i] = inspect.Deployments(plan.Root)[0].Root
		}
		files := 0
		for range trees[0].Walk() {
			files++
		}
		for d, err := range rootfs.Diff(trees[0], trees[1]) {
			if err != nil {
				t.Fatal(err)
			}
			if d.Path != ".ostree.cfs" || len(d.What) != 1 { // its time is that of the container
				t.Errorf("%s: %s: %q", os, d.Path, d.What)
			}
		}
		t.Logf("%s: %d files", os, files)
	}
}
