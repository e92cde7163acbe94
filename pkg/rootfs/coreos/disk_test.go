package coreos

import (
	"cmp"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

func TestDisk(t *testing.T) {
	const file = "usr/lib/bootc-image-builder/disk.yaml"
	for size, want := range map[string]int64{
		"10G": 10 << 30, `"10 GiB"`: 10 << 30, "3000000": 3000000, "7 kB": 7000, "2TiB": 2 << 40, "1.5 GiB": 3 << 29, "OVERRIDDEN": DefaultSize,
	} {
		c, err := ReadConfig(treetest.Texts(t, map[string]string{file: "partition_table:\n  size: " + size + "\n"}), "amd64")
		if err != nil || c.Size != want || c.Disk.File != file {
			t.Errorf("%s: %+v, %v", size, c, err)
		}
	}
	for text, says := range map[string]string{
		"partition_table:\n  size: many\n":       `invalid size "many", must be a number`,
		"partition_table: [1]\n":                 file + ": yaml: unmarshal errors: line 1: cannot unmarshal !!seq into a table of keys",
		"partition_table:\n  policy: 1\n":        "cannot unmarshal !!int `1` into a table of keys",
		"partition_table:\n  size: 99999999 TiB": "must be a number",
		"partition_table:\n  size: -1":           "must be a number",
		"\t":                                     file,
	} {
		if _, err := ReadConfig(treetest.Texts(t, map[string]string{file: text}), "amd64"); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, text := range []string{"", "mount_configuration: none\n", "partition_table:\n", "# nothing\n"} {
		c, err := ReadConfig(treetest.Texts(t, map[string]string{file: text}), "amd64")
		if want := file + ": no partition_table: the file has no effect on an image"; err != nil || c.Disk != nil || len(c.Warnings) != 1 || c.Warnings[0] != want {
			t.Errorf("%q: %+v, %v", text, c, err)
		}
	}
	// image-builder's word on the root is newer than bootc's.
	c, err := ReadConfig(treetest.Texts(t, map[string]string{
		file:                           "partition_table:\n  partitions:\n  - payload: {type: ext4}\n",
		"usr/lib/bootc/install/1.toml": "[install.filesystem.root]\ntype = \"xfs\"\n",
	}), "amd64")
	if err != nil || c.RootFS != "ext4" || c.Size != DefaultSize {
		t.Errorf("%+v, %v", c, err)
	}
	// The size of disk.yaml goes before that of image.json.
	c, err = ReadConfig(treetest.Texts(t, map[string]string{file: "partition_table: {size: 20 GiB}\n", imageFile: `{"size": 12}`}), "amd64")
	if err != nil || c.Size != 20<<30 || c.SizeBy != file {
		t.Errorf("%+v, %v", c, err)
	}
}

const (
	newDiskFile = "usr/lib/image-builder/bootc/disk.yaml"
	repartDir   = "usr/lib/repart.d/"
)

// fedoraDisk is a disk.yaml of the shape of Fedora CoreOS', with the types and
// sizes of an architecture.
func fedoraDisk(first, second, third, root string) string {
	return `mount_configuration: none
partition_table:
  type: "gpt"
  uuid: "00000000-0000-4000-a000-000000000001"
  extra_padding: 1031168
  policy:
    grow_root_to_fill_disk: false
  partitions:
    - ` + first + `
      bootable: true
    - ` + second + `
    - ` + third + `
      type: BC13C2FF-59E6-4262-A352-B275FD6F7172
      payload_type: "filesystem"
      payload:
        type: "ext4"
        uuid: "96d15588-3596-4b3c-adca-a2ff7279ea63"
        mountpoint: "/boot"
        label: "boot"
        fstab_options: "defaults"
        fstab_freq: 0
        fstab_passno: 0
    - ` + root + `
      payload_type: "filesystem"
      payload:
        type: "xfs"
        uuid: "910678ff-f77e-4a7d-8d53-86f2ac47a823"
        mountpoint: "/"
        label: "root"
        mkfs_options:
          agcount: 2
`
}

const (
	espType   = "type: C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
	biosPart  = "type: 21686148-6449-6E6F-744E-656564454649"
	x86Root   = "type: 4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"
	powerRoot = "type: C31C45E6-3F39-412E-80FB-4809C4980599"
)

// TestSizes: which file chooses the size of which partition.
func TestSizes(t *testing.T) {
	disk := fedoraDisk(biosPart, espType+"\n      size: 600 MiB", "size: 1 GiB", x86Root+"\n      size: 3000 MiB")
	yamlESP, yamlBoot := Size{600 << 20, newDiskFile, "partition_table.partitions[1].size"}, Size{1 << 30, newDiskFile, "partition_table.partitions[2].size"}
	yamlRoot := Size{3000 << 20, newDiskFile, "partition_table.partitions[3].size"}
	repart := func(name, kind string, lines ...string) (string, string) {
		return repartDir + name, "[Partition]\nType=" + kind + "\n" + strings.Join(lines, "\n") + "\n"
	}
	type files map[string]string
	one := func(name, kind string, lines ...string) files {
		file, text := repart(name, kind, lines...)
		return files{file: text}
	}
	bootFile := repartDir + "30-boot.conf"
	for _, test := range []struct {
		name            string
		arch            string
		files           files
		esp, boot, root Size
		says            []string // of the warnings, one each
	}{
		{name: "nothing", files: files{}},
		{name: "disk.yaml", files: files{newDiskFile: disk}, esp: yamlESP, boot: yamlBoot, root: yamlRoot},
		{name: "disk.yaml with labels only", files: files{newDiskFile: "partition_table:\n  partitions:\n  - size: 1 MiB\n  - {label: EFI-SYSTEM, size: 600 MiB}\n  - {payload: {label: boot}, size: 1 GiB}\n  - {}\n"}, esp: yamlESP, boot: yamlBoot},
		{
			name: "a placeholder", arch: "ppc64le",
			files: files{newDiskFile: fedoraDisk("type: 9E1A2D38-C612-4316-AA26-8B49521E5A8B\n      size: 4 MiB", "type: 8DA63339-0007-60C0-C436-083AC8230908\n      size: 1 MiB", "size: 384 MiB", powerRoot+"\n      size: OVERRIDDEN")},
			boot:  Size{384 << 20, newDiskFile, "partition_table.partitions[2].size"},
			says:  []string{newDiskFile + ": partition_table.partitions[3].size is OVERRIDDEN"},
		},
		{
			name:  "keys of disk.yaml",
			files: files{newDiskFile: "mount_configuration: units\nfoo: 1\npartition_table:\n  start_offset: 8 MiB\n  partitions: [{attrs: [1], payload_type: luks, payload: {type: xfs, mkfs_options: {verity: true}}}]\n"},
			says: []string{
				newDiskFile + ": key mount_configuration has no effect", "attrs", "mkfs_options.verity", "payload_type", "start_offset", newDiskFile + ": unknown key foo",
			},
		},
		{
			name:  "alignment in disk.yaml",
			files: files{newDiskFile: "partition_table:\n  grain_size: 1 MiB\n  absolute_start_offset: true\n"},
		},
		{
			name:  "another alignment",
			files: files{newDiskFile: "partition_table:\n  grain_size: 4 MiB\n"},
			says:  []string{"key partition_table.grain_size has no effect on an image: partitions of a CoreOS are whole MiB"},
		},
		// repart.d goes before disk.yaml.
		{name: "a size", files: one("30-boot.conf", "xbootldr", "SizeMinBytes=2G", "SizeMaxBytes=2G"), boot: Size{2 << 30, bootFile, "SizeMinBytes"}},
		{name: "a minimum", files: one("30-boot.conf", "bc13c2ff-59e6-4262-a352-b275fd6f7172", "SizeMinBytes=1G"), boot: Size{1 << 30, bootFile, "SizeMinBytes"}},
		{name: "a minimum below a maximum", files: one("30-boot.conf", "xbootldr", "SizeMinBytes=1G", "SizeMaxBytes=2G"), boot: Size{1 << 30, bootFile, "SizeMinBytes"}},
		{name: "a maximum", files: one("30-boot.conf", "xbootldr", "SizeMaxBytes=300M"), boot: Size{300 << 20, bootFile, "SizeMaxBytes"}},
		{name: "the default is in the range", files: one("30-boot.conf", "xbootldr", "SizeMinBytes=64M", "SizeMaxBytes=1G")},
		{name: "not whole MiB", files: one("30-boot.conf", "xbootldr", "SizeMinBytes=500000000", "SizeMaxBytes=500000000"), boot: Size{477 << 20, bootFile, "SizeMinBytes"}},
		{name: "a fraction", files: one("30-boot.conf", "xbootldr", "SizeMinBytes = 1.5G"), boot: Size{3 << 29, bootFile, "SizeMinBytes"}},
		{name: "by label", files: one("30-boot.conf", "linux-generic", "Label=boot", "SizeMinBytes=1G"), boot: Size{1 << 30, bootFile, "SizeMinBytes"}},
		{
			name:  "over disk.yaml",
			files: files{newDiskFile: disk, bootFile: "[Partition]\nType=xbootldr\nSizeMinBytes=2G\n"},
			esp:   yamlESP, boot: Size{2 << 30, bootFile, "SizeMinBytes"}, root: yamlRoot,
		},
		{
			name:  "below disk.yaml",
			files: files{newDiskFile: disk, bootFile: "[Partition]\nType=xbootldr\nSizeMinBytes=512M\n"},
			esp:   yamlESP, boot: Size{512 << 20, bootFile, "SizeMinBytes"}, root: yamlRoot,
		},
		{
			name:  "a range that has the size of disk.yaml and the default",
			files: files{newDiskFile: disk, bootFile: "[Partition]\nType=xbootldr\nSizeMaxBytes=4G\n"},
			esp:   yamlESP, boot: yamlBoot, root: yamlRoot,
		},
		{
			name:  "a range that has the default only",
			files: files{newDiskFile: disk, bootFile: "[Partition]\nType=xbootldr\nSizeMaxBytes=700M\n"},
			esp:   yamlESP, boot: Size{700 << 20, bootFile, "SizeMaxBytes"}, root: yamlRoot,
		},
		{
			name: "all of them", arch: "aarch64",
			files: files{
				repartDir + "10-esp.conf":  "# our own\n[Partition]\nType=esp\nFormat=vfat\nSizeMinBytes=1G\nSizeMaxBytes=1G\n",
				bootFile:                   "[Partition]\nType=xbootldr\nFormat=ext4\nSizeMinBytes=1024M\nWeight=0\n",
				repartDir + "50-root.conf": "[Partition]\nType=root-arm64\nFormat=xfs\nSizeMinBytes=5G\n",
			},
			esp: Size{1 << 30, repartDir + "10-esp.conf", "SizeMinBytes"}, boot: Size{1 << 30, bootFile, "SizeMinBytes"}, root: Size{5 << 30, repartDir + "50-root.conf", "SizeMinBytes"},
		},
		{
			name:  "/etc hides /usr/lib, a link to /dev/null and an empty file hide both",
			files: files{bootFile: "[Partition]\nType=xbootldr\nSizeMinBytes=2G\n", "usr/etc/repart.d/30-boot.conf": "[Partition]\nType=xbootldr\nSizeMinBytes=1G\n", repartDir + "10-esp.conf": "[Partition]\nType=esp\nSizeMinBytes=1G\n", "usr/etc/repart.d/10-esp.conf": "\n"},
			boot:  Size{1 << 30, "usr/etc/repart.d/30-boot.conf", "SizeMinBytes"},
		},
		{
			name:  "additions",
			files: files{bootFile: "[Partition]\nType=xbootldr\nSizeMinBytes=2G\nSizeMaxBytes=4G\n", "usr/etc/repart.d/30-boot.conf.d/a.conf": "[Partition]\nSizeMinBytes=3G\n"},
			boot:  Size{3 << 30, "usr/etc/repart.d/30-boot.conf.d/a.conf", "SizeMinBytes"},
		},
		// Parts that the image does not have.
		{name: "another partition", files: one("60-var.conf", "var", "SizeMinBytes=5G"), says: []string{repartDir + "60-var.conf: the image has no such partition (Type=var"}},
		{name: "no ESP on ppc64le", arch: "ppc64le", files: one("10-esp.conf", "esp", "SizeMinBytes=1G"), says: []string{"no such partition (Type=esp"}},
		{name: "the root of another architecture", files: one("50-root.conf", "root-arm64", "SizeMinBytes=5G"), says: []string{"no such partition (Type=root-arm64"}},
		{
			name:  "a second root",
			files: files{repartDir + "50-root-a.conf": "[Partition]\nType=root\n", repartDir + "51-root-b.conf": "[Partition]\nType=root\nSizeMinBytes=9G\n"},
			says:  []string{"51-root-b.conf: the image has no such partition"},
		},
		{name: "no loader has a size", files: one("00-bios.conf", "21686148-6449-6E6F-744E-656564454649", "SizeMinBytes=2M")},
		// Values without a meaning.
		{name: "no size", files: one("30-boot.conf", "xbootldr", "SizeMinBytes=1 GiB", "SizeMaxBytes=-1"), says: []string{"SizeMinBytes=1 GiB is not a number", "SizeMaxBytes=-1 is not"}},
		{name: "no range", files: one("30-boot.conf", "xbootldr", "SizeMinBytes=2G", "SizeMaxBytes=1G"), says: []string{"SizeMinBytes=2G is more than SizeMaxBytes=1G"}},
		{name: "root grows", files: one("50-root.conf", "root", "SizeMaxBytes=4G"), says: []string{"SizeMaxBytes=4G has no effect: root grows"}},
		{name: "no definition", files: files{bootFile: "Type=esp\n[Partition]\nType=xbootldr\nnonsense\n[Other]\n"}, says: []string{`line "nonsense" is neither`}},
		{
			name:  "keys",
			files: one("50-root.conf", "root", "Encrypt=tpm2", "Frmat=xfs", "Format=btrfs"),
			says:  []string{"key Partition.Encrypt has no effect", "key Partition.Format has no effect", "unknown key Partition.Frmat"},
		},
		{name: "no directory", files: files{"usr/lib/repart.d": "x"}, says: []string{"usr/lib/repart.d: not a directory: it has no effect"}},
		{name: "no file", files: files{bootFile + "/x": "x"}, says: []string{bootFile + ": not a regular file: it has no effect"}},
	} {
		c, err := ReadConfig(treetest.Texts(t, test.files), cmp.Or(test.arch, "x86_64"))
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if c.ESP != test.esp || c.Boot != test.boot || c.Root != test.root {
			t.Errorf("%s: ESP %+v, boot %+v, root %+v", test.name, c.ESP, c.Boot, c.Root)
		}
		if len(c.Warnings) != len(test.says) {
			t.Errorf("%s: warnings %q", test.name, c.Warnings)
			continue
		}
		for i, says := range test.says {
			if !strings.Contains(c.Warnings[i], says) {
				t.Errorf("%s: warning %q, want %q", test.name, c.Warnings[i], says)
			}
		}
	}
}

// TestRepartLinks: a link to /dev/null hides a definition, a dangling one is a
// fault.
func TestRepartLinks(t *testing.T) {
	root := treetest.Texts(t, map[string]string{repartDir + "30-boot.conf": "[Partition]\nType=xbootldr\nSizeMinBytes=2G\n"})
	for name, target := range map[string]string{"30-boot.conf": "/dev/null", "10-esp.conf": "missing"} {
		if err := root.Place("usr/etc/repart.d/"+name, &rootfs.Inode{Mode: rootfs.ModeLink | 0o777, Target: target}); err != nil {
			t.Fatal(err)
		}
	}
	if err := root.Place("usr/local", &rootfs.Inode{Mode: rootfs.ModeLink | 0o777, Target: "../var/usrlocal"}); err != nil {
		t.Fatal(err)
	}
	c, err := ReadConfig(root, "x86_64")
	if err != nil || c.Boot != (Size{}) || len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "usr/etc/repart.d/10-esp.conf") {
		t.Errorf("%+v, %q, %v", c.Boot, c.Warnings, err)
	}
}

func TestSizeString(t *testing.T) {
	for n, want := range map[int64]string{0: "0 bytes", 1000: "1000 bytes", 384 << 20: "384 MiB", 1 << 30: "1 GiB", 1<<20 + 1<<19: "1.5 MiB", 1536 << 20: "1536 MiB"} {
		if got := (Size{Bytes: n}).String(); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
