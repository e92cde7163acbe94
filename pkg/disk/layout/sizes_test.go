package layout

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/gpt"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/coreos"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/usage"
)

func option(n int64) coreos.Size { return coreos.Size{Bytes: n * mib, By: "--option"} }

// TestSizes chooses the sizes of partitions on each architecture, and has the tools
// of the file systems judge the result.
func TestSizes(t *testing.T) {
	const repart = "usr/lib/repart.d/30-boot.conf"
	for _, test := range []struct {
		arch      string
		sector    int
		esp, boot coreos.Size
		repart    string // boot's minimum in the container
		want      [3]string
		block     int // of boot
	}{
		{arch: "x86_64", want: [3]string{"BIOS-BOOT 1", "EFI-SYSTEM 127 fat16 default", "boot 384 ext4 default"}, block: 1024},
		{arch: "x86_64", repart: "512M", want: [3]string{"BIOS-BOOT 1", "EFI-SYSTEM 127 fat16 default", "boot 512 ext4 " + repart}, block: 4096},
		{arch: "x86_64", repart: "512M", boot: option(1024), esp: option(1024), want: [3]string{"BIOS-BOOT 1", "EFI-SYSTEM 1024 fat32 --option", "boot 1024 ext4 --option"}, block: 4096},
		{arch: "x86_64", sector: 4096, boot: option(1024), esp: option(600), want: [3]string{"BIOS-BOOT 1", "EFI-SYSTEM 600 fat32 --option", "boot 1024 ext4 --option"}, block: 4096},
		{arch: "x86_64", sector: 4096, boot: option(64), esp: option(68), want: [3]string{"BIOS-BOOT 1", "EFI-SYSTEM 68 fat16 --option", "boot 64 ext4 --option"}, block: 4096},
		{arch: "x86_64", boot: option(64), esp: option(68), want: [3]string{"BIOS-BOOT 1", "EFI-SYSTEM 68 fat16 --option", "boot 64 ext4 --option"}, block: 1024},
		{arch: "aarch64", esp: option(512), want: [3]string{"reserved 1", "EFI-SYSTEM 512 fat32 --option", "boot 384 ext4 default"}, block: 1024},
		{arch: "riscv64", boot: option(511), esp: option(511), want: [3]string{"reserved 1", "EFI-SYSTEM 511 fat16 --option", "boot 511 ext4 --option"}, block: 1024},
		{arch: "ppc64le", repart: "1G", want: [3]string{"PowerPC-PReP-boot 4", "reserved 1", "boot 1024 ext4 " + repart}, block: 4096},
	} {
		t.Run(fmt.Sprintf("%s %d %s", test.arch, test.sector, test.want), func(t *testing.T) {
			root := system(t)
			if test.repart != "" {
				place(t, root, repart, "[Partition]\nType=xbootldr\nSizeMinBytes="+test.repart+"\n")
			}
			d, choices := deployed(t, root)
			o := options("metal")
			o.Arch, o.Sector, o.Size, o.ESP, o.Boot = test.arch, test.sector, 3000*mib, test.esp, test.boot
			made, err := newDisk(d, choices, o)
			if err != nil {
				t.Fatal(err)
			}
			table, err := gpt.Read(made, made.Size())
			if err != nil || table.PrimaryErr != nil || table.BackupErr != nil || made.Size() != o.Size || made.Warnings != nil {
				t.Errorf("%v, %+v, warnings %q", err, table, made.Warnings)
			}
			var got [3]string
			for i, p := range made.Partitions[:3] {
				got[i] = strings.TrimSpace(fmt.Sprintf("%s %d %s %s", table.Partitions[i].Name, table.Partitions[i].Size/mib, p.Filesystem, p.SizeBy))
				judge(t, p, test.block)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if last := made.Partitions[3]; last.Start+last.Size != o.Size-mib || last.SizeBy != "the size of the disk" {
				t.Errorf("root %+v", last)
			}
			if test.esp == test.boot { // by default
				return
			}
			o.ESP, o.Boot = option(128), option(385)
			if test.arch == "ppc64le" {
				o.ESP = coreos.Size{}
			}
			if other, err := newDisk(d, choices, o); err != nil || other.Partitions[3].ID == made.Partitions[3].ID {
				t.Errorf("disks whose partitions differ in size have the same GUIDs, %v", err)
			}
		})
	}
}

// judge has a file system judged by the tool of its kind.
func judge(t *testing.T, p Partition, block int) {
	t.Helper()
	if p.Filesystem == "" {
		return
	}
	name := filepath.Join(t.TempDir(), "part")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(p.Size); err != nil {
		t.Fatal(err)
	}
	piece := make([]byte, mib)
	for off := int64(0); off < p.Size; off += mib {
		if _, err := p.Content.ReadAt(piece, off); err != nil && err != io.EOF {
			t.Fatal(err)
		}
		if bytes.Count(piece, []byte{0}) == len(piece) {
			continue
		}
		if _, err := f.WriteAt(piece, off); err != nil {
			t.Fatal(err)
		}
	}
	var said, want string
	switch p.Filesystem {
	case "ext4":
		treetest.Run(t, "e2fsck", "-fn", name)
		said, want = treetest.Run(t, "dumpe2fs", "-h", name), fmt.Sprintf("Block size:               %d\n", block)
	case "fat16", "fat32":
		said, want = treetest.Run(t, "fsck.fat", "-nv", name), strings.TrimPrefix(p.Filesystem, "fat")+" bit entries"
	}
	if !strings.Contains(said, want) {
		t.Errorf("%s: want %q: %s", p.Name, want, said)
	}
}

// TestBounds has impossible sizes. The error names their origin and the possible
// ones.
func TestBounds(t *testing.T) {
	root := system(t)
	place(t, root, "usr/lib/repart.d/10-esp.conf", "[Partition]\nType=esp\nSizeMaxBytes=10M\n")
	d, choices := deployed(t, root)
	for _, test := range []struct {
		arch      string
		esp, boot coreos.Size
		says      string
	}{
		{"x86_64", option(33 << 10), coreos.Size{}, "--option: EFI system partition of 33 GiB, must be"},
		{"x86_64", option(128), option(63), "--option: boot partition of 63 MiB, must be 64 MiB to 1 TiB, in whole MiB"},
		{"x86_64", option(128), coreos.Size{Bytes: 100*mib + 512, By: "x.yaml:1:2: spec.disk.bootSize"}, "x.yaml:1:2: spec.disk.bootSize: boot partition of 100.0 MiB, must be"},
		{"ppc64le", option(128), coreos.Size{}, "--option: a disk for ppc64le has no EFI system partition"},
	} {
		o := options("qemu")
		o.Arch, o.ESP, o.Boot = test.arch, test.esp, test.boot
		if _, err := newDisk(d, choices, o); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%v, want %s", err, test.says)
		}
	}
	// A wrong size in repart.d may be for another disk.
	made, err := newDisk(d, choices, options("qemu"))
	const says = "usr/lib/repart.d/10-esp.conf: SizeMaxBytes: EFI system partition of 10 MiB, must be 68 MiB to 32 GiB, in whole MiB; it has the default of 127 MiB"
	if err != nil || !slices.Contains(made.Warnings, says) || made.Partitions[1].Size != coreos.DefaultESPSize {
		t.Errorf("%v, want the warning %s", err, says)
	}
	o := options("qemu")
	o.Size, o.ESP, o.Boot = 600*mib, option(128), option(512)
	if _, err := newDisk(d, choices, o); err == nil || !strings.Contains(err.Error(), "disk of 600 MiB is too small: with an EFI system partition of 128 MiB, chosen by --option, with a boot partition of 512 MiB, chosen by --option, the content needs ") {
		t.Error(err)
	}
	// Firmware without an EFI system partition does not look at its size.
	o = options("qemu")
	o.Arch = "ppc64le"
	if _, err := newDisk(d, choices, o); err != nil {
		t.Error(err)
	}
}

// TestRoom: a kernel that does not fit is refused, one that fits once is warned
// of.
func TestRoom(t *testing.T) {
	const initramfs = "usr/lib/modules/6.1/initramfs.img"
	for _, test := range []struct {
		size     int64 // MiB of the initramfs
		ignition int
		says     string // of the error, then of the warning
		warns    string
	}{
		{size: 150},
		{size: 160, warns: "/boot has 349 MiB for kernels, and the kernels and initramfs of two deployments, with 10 % to spare, need 353 MiB (2 x 161 MiB): updates may fail for lack of room; 384 MiB is chosen by default"},
		{size: 420, says: "partition boot of 384 MiB, chosen by default, is too small for usr/lib/modules/6.1/vmlinuz (6 bytes), usr/lib/modules/6.1/initramfs.img (420 MiB): want at least "},
		{size: 300, ignition: 90 * mib, says: "(300 MiB), the Ignition config (90 MiB): want at least "},
	} {
		root := system(t)
		d, choices := deployed(t, root)
		d.System.Lookup(initramfs).Content = treetest.Pattern{Length: test.size * mib}
		o := options("metal")
		o.Ignition = bytes.Repeat([]byte("{"), test.ignition)
		made, err := newDisk(d, choices, o)
		switch {
		case test.says != "":
			var avoidable usage.Avoidable
			if err == nil || !strings.Contains(err.Error(), test.says) || !errors.As(err, &avoidable) || avoidable.Field != "Boot" {
				t.Errorf("%d MiB: %v", test.size, err)
				continue
			}
			var n int64
			fmt.Sscanf(err.Error()[strings.Index(err.Error(), "at least "):], "at least %d MiB", &n)
			o.Boot = option(n)
			if _, err := newDisk(d, choices, o); err != nil {
				t.Errorf("%d MiB: the size that the error names is too small: %v", test.size, err)
			}
		case err != nil:
			t.Error(err)
		case strings.Join(made.Warnings, "\n") != test.warns:
			t.Errorf("%d MiB: warnings %q", test.size, made.Warnings)
		}
	}
}

// TestPolicy: a disk.yaml may leave it to the first boot to fill the disk, and
// may keep more room behind root.
func TestPolicy(t *testing.T) {
	yaml := readTestdata(t, "disk.yaml") // with grow_root_to_fill_disk: false
	for _, test := range []struct {
		old, new   string
		size       int64
		root, tail int64
		by, warns  string
	}{
		{size: 0, root: 3000, tail: 1, by: "usr/lib/image-builder/bootc/disk.yaml"},
		{size: 10 << 10, root: 3000, tail: 10<<10 - 513 - 3000, by: "usr/lib/image-builder/bootc/disk.yaml"},
		{old: "fill_disk: false", new: "fill_disk: true", size: 10 << 10, root: 10<<10 - 514, tail: 1, by: "the size of the disk"},
		{old: "size: 3000 MiB", new: "size: OVERRIDDEN", size: 10 << 10, root: 420, tail: 10<<10 - 513 - 420, by: "the content"},
		{old: "extra_padding: 1031168", new: "extra_padding: 4 MiB", size: 0, root: 3000, tail: 5, by: "usr/lib/image-builder/bootc/disk.yaml"},
		{size: 2000, root: 2000 - 514, tail: 1, by: "the size of the disk", warns: "partition_table.partitions[3].size: root of 3000 MiB does not fit on the disk, root has 1486 MiB"},
	} {
		root := system(t)
		place(t, root, "usr/lib/image-builder/bootc/disk.yaml", strings.Replace(yaml, test.old, test.new, 1))
		d, choices := deployed(t, root)
		o := options("qemu")
		o.RootFS, o.Size = "xfs", test.size*mib
		made, err := newDisk(d, choices, o)
		if err != nil {
			t.Errorf("%+v: %v", test, err)
			continue
		}
		p := made.Partitions[3]
		if tail := made.Size() - p.Start - p.Size; p.Size != test.root*mib || tail != test.tail*mib || p.SizeBy != test.by || test.size != 0 && made.Size() != o.Size {
			t.Errorf("%+v: root of %d MiB by %s, %d MiB behind it", test, p.Size/mib, p.SizeBy, tail/mib)
		}
		if warns := strings.Join(made.Warnings, "\n"); !strings.Contains(warns, test.warns) || test.warns == "" && warns != "" {
			t.Errorf("%+v: warnings %q", test, warns)
		}
	}
}

// TestGroups: the allocation groups of a small image are not smaller than those
// of coreos-assembler, for any content. The sizes are its estimates for such
// objects, less 1 MiB.
func TestGroups(t *testing.T) {
	for name, test := range map[string]struct {
		fill     func(objects *rootfs.Inode)
		estimate int64 // MiB
	}{
		"large files": {func(objects *rootfs.Inode) {
			for i := range 10 {
				objects.Children[fmt.Sprint(i, ".file")] = &rootfs.Inode{Mode: rootfs.ModeFile | 0o644, Content: treetest.Pattern{Length: 100 * mib}}
			}
		}, 1401},
		"links": {func(objects *rootfs.Inode) {
			for i := range 200_000 {
				objects.Children[fmt.Sprint(i, ".file")] = &rootfs.Inode{Mode: rootfs.ModeLink | 0o777, Target: "x"}
			}
		}, 1230},
	} {
		d, choices := deployed(t, system(t))
		objects := rootfs.Dir(0o755)
		test.fill(objects)
		if err := d.Root.Place("ostree/repo/objects/xx", objects); err != nil {
			t.Fatal(err)
		}
		o := options("metal")
		o.RootFS = "xfs"
		made, err := newDisk(d, choices, o)
		if err != nil {
			t.Fatal(err)
		}
		root := made.Partitions[3]
		var super [92]byte
		if _, err := made.ReadAt(super[:], root.Start); err != nil {
			t.Fatal(err)
		}
		blocks, groups := int64(super[84])<<24|int64(super[85])<<16|int64(super[86])<<8|int64(super[87]), super[91]
		if groups != 2 || blocks*4096 < test.estimate/2*mib {
			t.Errorf("%s: %d groups of %d MiB, coreos-assembler has 2 of %d MiB", name, groups, blocks*4096/mib, test.estimate/2)
		}
	}
}

// TestGrow: the disk that a container asks for is larger if its content takes
// more.
func TestGrow(t *testing.T) {
	d, choices := deployed(t, system(t))
	o := options("qemu")
	o.Size = 514 * mib
	if _, err := newDisk(d, choices, o); err == nil || !strings.Contains(err.Error(), "too small") {
		t.Errorf("a disk that is too small: %v", err)
	}
	o.Grow = mib
	grown, err := newDisk(d, choices, o)
	if err != nil {
		t.Fatal(err)
	}
	o.Size = 0
	least, err := newDisk(d, choices, o)
	if err != nil {
		t.Fatal(err)
	}
	if grown.Size() != least.Size() || len(grown.Notes) != 1 || !strings.HasPrefix(grown.Notes[0], "a disk of 514 MiB is too small for the content: it has ") {
		t.Errorf("%d bytes, want %d; %q", grown.Size(), least.Size(), grown.Notes)
	}
	for _, size := range []int64{2 << 30, 2<<30 - mib + 1} { // disks have whole MiB
		o.Size = size
		if made, err := newDisk(d, choices, o); err != nil || made.Size() != 2<<30 || len(made.Notes) != 0 {
			t.Errorf("a disk of %d bytes, which is large enough: %v", size, err)
		}
	}
	o.Grow = 0
	if _, err := newDisk(d, choices, o); err == nil || !strings.Contains(err.Error(), "not a whole number of MiB") {
		t.Errorf("an option with a fraction of a MiB: %v", err)
	}
}
