package layout

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/gpt"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/raw"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/xfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/bls"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/coreos"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree/deploy"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

const (
	grubDir = "usr/lib/grub/i386-pc/"
	prepDir = "usr/lib/grub/powerpc-ieee1275/"
	bootupd = "usr/lib/bootupd/"
)

// policy labels each file system in its own way.
const policy = `/.*           system_u:object_r:default_t:s0
/             -d  system_u:object_r:root_t:s0
/boot(/.*)?       system_u:object_r:boot_t:s0
/lost\+found  -d  system_u:object_r:lost_found_t:s0
/boot/lost\+found -d  system_u:object_r:lost_found_t:s0
`

// kernelImage returns the least that is a kernel of GRUB: an executable for a
// machine with one section.
func kernelImage(t testing.TB, order binary.ByteOrder, machine uint16, address uint32) string {
	t.Helper()
	const header, code, name = 52, 16, ".text\x00"
	sections := []struct{ Name, Type, Flags, Addr, Off, Size, Link, Info, Align, EntSize uint32 }{
		{},
		{Name: 0, Type: 1, Flags: 2, Addr: address, Off: header, Size: code, Align: 1},
		{Name: 0, Type: 3, Off: header + code, Size: uint32(len(name)), Align: 1},
	}
	data := "\x01"
	if order == binary.BigEndian {
		data = "\x02"
	}
	var b bytes.Buffer
	for _, v := range []any{
		[]byte("\x7fELF\x01" + data + "\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00"),
		[]uint16{2, machine}, []uint32{1, address, 0, header + code + uint32(len(name)), 0}, []uint16{header, 0, 0, 40, uint16(len(sections)), 2},
		bytes.Repeat([]byte{0x90}, code), []byte(name), sections,
	} {
		if err := binary.Write(&b, order, v); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// sector512 returns a boot sector with the bytes at its end that are checked.
func sector512(end string) string {
	return strings.Repeat("\xcc", 512-len(end)) + end
}

// system returns an operating system with only the files that a disk needs.
func system(t testing.TB) *rootfs.Inode {
	t.Helper()
	root := rootfs.Dir(0o755)
	for name, text := range map[string]string{
		"usr/lib/modules/6.1/vmlinuz":                        "KERNEL",
		"usr/lib/modules/6.1/initramfs.img":                  "INITRAMFS",
		"usr/lib/os-release":                                 "ID=small\n",
		"usr/lib/ostree/prepare-root.conf":                   "[composefs]\nenabled = true\n",
		"usr/etc/selinux/config":                             "SELINUX=enforcing\nSELINUXTYPE=small\n",
		grubDir + "kernel.img":                               kernelImage(t, binary.LittleEndian, 3, 0x9000),
		prepDir + "kernel.img":                               kernelImage(t, binary.BigEndian, 20, 0x200000),
		prepDir + "moddep.lst":                               "ext2: fshelp\n",
		prepDir + "command.lst":                              "",
		grubDir + "boot.img":                                 sector512("\x55\xaa"),
		grubDir + "diskboot.img":                             sector512("\x20\x08"),
		grubDir + "lzma_decompress.img":                      strings.Repeat("\xdd", 64),
		grubDir + "moddep.lst":                               "ext2: fshelp\n",
		grubDir + "command.lst":                              "",
		bootupd + "updates/EFI/BOOT/B.EFI":                   "shim",
		bootupd + "updates/EFI/small/g.efi":                  "grub",
		bootupd + "updates/BIOS.json":                        `{"timestamp":"2026-01-01T00:00:00Z","version":"grub2-1"}`,
		bootupd + "updates/EFI.json":                         `{"timestamp":"2026-01-01T00:00:00Z","version":"grub2-1"}`,
		bootupd + "grub2-static/configs.d/x":                 "",
		bootupd + "grub2-static/grub-static-pre.cfg":         "pre\n",
		bootupd + "grub2-static/grub-static-efi.cfg":         "efi\n",
		"usr/etc/selinux/small/contexts/files/file_contexts": policy,
		"usr/share/coreos-assembler/platforms.json":          `{"qemu": {"grub_commands": ["serial"]}}`,
		"usr/lib/tmpfiles.d/x.conf":                          "",
		"sysroot/.keep":                                      "",
	} {
		place(t, root, name, text)
	}
	for _, module := range []string{"part_gpt", "ext2", "biosdisk", "fshelp", "normal"} {
		place(t, root, grubDir+module+".mod", "module "+module)
		place(t, root, prepDir+module+".mod", "module "+module)
	}
	return root
}

func place(t testing.TB, root *rootfs.Inode, name, text string) {
	t.Helper()
	if err := root.Place(name, rootfs.Text(0o644, text)); err != nil {
		t.Fatal(err)
	}
}

// store puts a tree into a repository.
func store(t testing.TB, r *ostree.Repo, n *rootfs.Inode) (tree, meta ostree.Checksum) {
	t.Helper()
	var made ostree.Tree
	for _, name := range n.Names() {
		child := n.Children[name]
		if child.IsDir() {
			tree, meta := store(t, r, child)
			made.Dirs = append(made.Dirs, ostree.TreeDir{Name: name, Tree: tree, Meta: meta})
			continue
		}
		content, err := rootfs.ReadAll(child.Content, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		id := ostree.Sum(append(ostree.FileHeader(0, 0, child.Mode, "", nil), content...))
		if err := r.AddFile(id, 0, 0, child.Mode, "", nil, child.Content); err != nil {
			t.Fatal(err)
		}
		made.Files = append(made.Files, ostree.TreeFile{Name: name, ID: id})
	}
	m := ostree.Meta{Mode: n.Mode}
	return r.AddMetadata(ostree.DirTreeObject, made.Bytes()), r.AddMetadata(ostree.DirMetaObject, m.Bytes())
}

var created = rootfs.Time{Sec: 1_700_000_000}

// deployed returns the deployment of a tree, and its configuration.
func deployed(t testing.TB, root *rootfs.Inode) (*deploy.Deployment, *coreos.Config) {
	t.Helper()
	repo := ostree.NewRepo()
	tree, meta := store(t, repo, root)
	c := ostree.Commit{Tree: tree, Meta: meta}
	d, err := deploy.New(repo, deploy.Options{
		Commit: repo.AddMetadata(ostree.CommitObject, c.Bytes()), Stateroot: "small",
		Origin: "ostree-unverified-registry:example.com/small", Time: created,
	})
	if err != nil {
		t.Fatal(err)
	}
	choices, err := coreos.ReadConfig(d.System, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	return d, choices
}

// asked are the options of a disk.
type asked struct {
	Options
	Variant
}

// options are those of a disk for a platform.
func options(platform string) asked {
	return asked{
		Options{Arch: "x86_64", RootFS: "ext4", Time: created, Seed: "sha256:1"},
		Variant{
			Kargs:    bls.Args{"rw", "$ignition_firstboot", "ignition.platform.id=" + platform},
			Platform: coreos.Platform{GRUB: []string{"serial"}},
		},
	}
}

// newDisk lays out one disk.
func newDisk(d *deploy.Deployment, choices *coreos.Config, o asked) (*Disk, error) {
	base, err := New(d, choices, o.Options)
	if err != nil {
		return nil, err
	}
	return base.Disk(o.Variant)
}

func layout(t testing.TB, o asked) *Disk {
	t.Helper()
	d, choices := deployed(t, system(t))
	made, err := newDisk(d, choices, o)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// TestMap holds disks against the maps of Fedora CoreOS, as its own first boot
// and its installer find them: sector by sector.
func TestMap(t *testing.T) {
	const (
		esp  = "2 EFI-SYSTEM C12A7328-F81F-11D2-BA4B-00A0C93EC93B 4096+260096"
		boot = "3 boot BC13C2FF-59E6-4262-A352-B275FD6F7172 264192+786432"
	)
	for _, want := range []struct {
		arch   string
		sector int64
		parts  []string
	}{
		{"x86_64", 512, []string{
			"1 BIOS-BOOT 21686148-6449-6E6F-744E-656564454649 2048+2048", esp, boot,
			"4 root 4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709 1050624+380928", // to total-2049
		}},
		{"x86_64", 4096, []string{
			"1 BIOS-BOOT 21686148-6449-6E6F-744E-656564454649 256+256",
			"2 EFI-SYSTEM C12A7328-F81F-11D2-BA4B-00A0C93EC93B 512+32512",
			"3 boot BC13C2FF-59E6-4262-A352-B275FD6F7172 33024+98304",
			"4 root 4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709 131328+47616",
		}},
		{"aarch64", 512, []string{
			"1 reserved 8DA63339-0007-60C0-C436-083AC8230908 2048+2048", esp, boot,
			"4 root B921B045-1DF0-41C3-AF44-4C6F280D3FAE 1050624+380928",
		}},
		{"riscv64", 512, []string{
			"1 reserved 8DA63339-0007-60C0-C436-083AC8230908 2048+2048", esp, boot,
			"4 root 72EC70A6-CF74-40E6-BD49-4BDA08E8F224 1050624+380928",
		}},
		{"ppc64le", 512, []string{
			"1 PowerPC-PReP-boot 9E1A2D38-C612-4316-AA26-8B49521E5A8B 2048+8192",
			"2 reserved 8DA63339-0007-60C0-C436-083AC8230908 10240+2048",
			"3 boot BC13C2FF-59E6-4262-A352-B275FD6F7172 12288+786432",
			"4 root C31C45E6-3F39-412E-80FB-4809C4980599 798720+632832",
		}},
	} {
		o := options("qemu")
		o.Arch, o.Sector, o.Size = want.arch, int(want.sector), 700*mib
		d := layout(t, o)
		table, err := gpt.Read(d, d.Size())
		if err != nil {
			t.Fatal(err)
		}
		if table.PrimaryErr != nil || table.BackupErr != nil || d.Size() != o.Size {
			t.Errorf("%s: size %d, tables %v, %v", want.arch, d.Size(), table.PrimaryErr, table.BackupErr)
		}
		var got []string
		for _, p := range table.Partitions {
			got = append(got, fmt.Sprintf("%d %s %s %d+%d", p.Number, p.Name, p.Type, p.Start/want.sector, p.Size/want.sector))
		}
		if diff := cmp.Diff(want.parts, got); diff != "" {
			t.Errorf("%s, sectors of %d bytes: %s", want.arch, want.sector, diff)
		}
		if table.DiskGUID.String() != "00000000-0000-4000-A000-000000000001" {
			t.Errorf("%s: disk GUID %s", want.arch, table.DiskGUID)
		}
		for i, p := range table.Partitions {
			if said := d.Partitions[i]; said.Start != p.Start || said.Size != p.Size || said.ID != p.ID || said.Name != p.Name {
				t.Errorf("%s: the disk says %+v, its table %+v", want.arch, said.Partition, p)
			}
		}
	}
	d, choices := deployed(t, system(t))
	for arch, why := range map[string]string{"s390x": "zipl", "mips": "there"} {
		o := options("qemu")
		o.Arch = arch
		if _, err := newDisk(d, choices, o); err == nil || !strings.Contains(err.Error(), arch) {
			t.Errorf("%s: %v, want %s", arch, err, why)
		}
	}
}

// TestFileSystems looks for labels and UUIDs at the offsets of their formats, like
// the first boot.
func TestFileSystems(t *testing.T) {
	d := layout(t, options("metal"))
	for _, want := range []struct {
		off  int64
		what string
		hex  string
	}{
		{0x5c, "sector of the core image", "0008000000000000"},
		{2 * mib, "FAT16 of the ESP", "eb3c90"},
		{2*mib + 39, "its serial, label and type", "e795777b" + hex.EncodeToString([]byte("EFI-SYSTEM FAT16   "))},
		{129*mib + 1024 + 0x38, "ext4 of boot", "53ef"},
		{129*mib + 1024 + 0x18, "its blocks of 1 KiB", "00000000"},
		{129*mib + 1024 + 0x68, "its UUID and label", "96d1558835964b3cadcaa2ff7279ea63" + hex.EncodeToString([]byte("boot\x00"))},
		{513*mib + 1024 + 0x18, "root with blocks of 4 KiB", "02000000"},
		{513*mib + 1024 + 0x68, "its UUID and label", "910678fff77e4a7d8d5386f2ac47a823" + hex.EncodeToString([]byte("root\x00"))},
	} {
		got := make([]byte, len(want.hex)/2)
		if _, err := d.ReadAt(got, want.off); err != nil {
			t.Fatal(err)
		}
		if hex.EncodeToString(got) != want.hex {
			t.Errorf("%s: at %d is %x, want %s", want.what, want.off, got, want.hex)
		}
	}
}

// TestRecord checks bootupd's record of installed components. It has GRUB for BIOS
// even on disks without it, so that bootupd does not adopt it.
func TestRecord(t *testing.T) {
	for _, tt := range []struct {
		arch   string
		sector int
		want   string
	}{
		{"x86_64", 512, "[BIOS EFI]"}, {"x86_64", 4096, "[BIOS EFI]"}, {"aarch64", 512, "[EFI]"}, {"aarch64", 4096, "[EFI]"}, {"ppc64le", 512, "[BIOS]"},
	} {
		o := options("metal")
		o.Arch, o.Sector = tt.arch, tt.sector
		boot := layout(t, o).Boot
		text, err := rootfs.ReadAll(boot.Lookup("bootupd-state.json").Content, mib)
		if err != nil {
			t.Fatal(err)
		}
		var state struct{ Installed map[string]any }
		if err := json.Unmarshal(text, &state); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(slices.Sorted(maps.Keys(state.Installed))); got != tt.want {
			t.Errorf("%s, sectors of %d bytes: %s, want %s", tt.arch, tt.sector, got, tt.want)
		}
		if has := boot.Lookup("grub2/i386-pc") != nil; has != (tt.arch == "x86_64" && tt.sector == 512) {
			t.Errorf("%s, sectors of %d bytes: modules for BIOS %v", tt.arch, tt.sector, has)
		}
	}
}

// TestBoot checks the files of the boot file system as a whole: that all are
// there, closed to others where they must be, dated and labelled.
func TestBoot(t *testing.T) {
	o := options("qemu")
	o.Ignition = []byte(`{"ignition":{"version":"3.4.0"}}`)
	boot := layout(t, o).Boot
	for name, mode := range map[string]uint32{
		".": 0o40755, "boot": 0o120777, "bootupd-state.json": 0o100644, "coreos/platforms.json": 0o100644, "efi": 0o40755,
		"grub2": 0o40700, "grub2/grub.cfg": 0o100600, "grub2/grubenv": 0o100600, "grub2/console.cfg": 0o100644,
		"grub2/i386-pc/normal.mod": 0o100644, "grub2/i386-pc/core.img": 0o100644,
		"ignition.firstboot": 0o100644, "ignition": 0o40700, "ignition/config.ign": 0o100600,
		"loader": 0o120777, "loader.1/entries/ostree-1.conf": 0o100644, "lost+found": 0o40700,
	} {
		n := boot.Lookup(name)
		if n == nil {
			t.Errorf("%s is missing", name)
		} else if n.Mode != mode {
			t.Errorf("%s has mode %o, want %o", name, n.Mode, mode)
		}
	}
	for name, n := range boot.Walk() {
		label := "boot_t"
		if name == "lost+found" {
			label = "lost_found_t"
		}
		if want := "system_u:object_r:" + label + ":s0\x00"; n.Xattrs["security.selinux"] != want {
			t.Errorf("%s has label %q, want %q", name, n.Xattrs["security.selinux"], want)
		}
		if n.MTime != created {
			t.Errorf("%s is of %v, want %v", name, n.MTime, created)
		}
	}
	// The first boot would take any of these for the work of an earlier one.
	for _, name := range []string{".root_uuid", "grub2/bootuuid.cfg", "grub2/user.cfg", "grub2/custom.cfg", "coreos-firstboot-network"} {
		if boot.Lookup(name) != nil {
			t.Errorf("%s is there", name)
		}
	}
	if layout(t, options("qemu")).Boot.Lookup("ignition") != nil {
		t.Error("a config is embedded that was not given")
	}
}

// TestBase lays out the common parts of disks once, and compares the disks with
// those that are laid out one by one.
func TestBase(t *testing.T) {
	d, choices := deployed(t, system(t))
	base, err := New(d, choices, options("qemu").Options)
	if err != nil {
		t.Fatal(err)
	}
	for _, platform := range []string{"qemu", "metal", "qemu"} {
		o := options(platform)
		got, err := base.Disk(o.Variant)
		if err != nil {
			t.Fatal(err)
		}
		if want := layout(t, o); sum(t, got) != sum(t, want) {
			t.Errorf("%s: another disk of a base", platform)
		}
	}
}

func TestLostFound(t *testing.T) {
	deployment, choices := deployed(t, system(t))
	d, err := newDisk(deployment, choices, options("qemu"))
	if err != nil {
		t.Fatal(err)
	}
	n := d.Root.Lookup("lost+found")
	if n == nil || n.Mode != 0o40700 || n.MTime != created || n.Xattrs["security.selinux"] != "system_u:object_r:lost_found_t:s0\x00" {
		t.Errorf("%+v", n)
	}
	if deployment.Root.Lookup("lost+found") != nil {
		t.Error("the deployment was changed")
	}
}

// TestPartitionGUIDs: disks of different content never share one, disks of the
// same content always do.
func TestPartitionGUIDs(t *testing.T) {
	variants := map[string]func(*asked){
		"the same":  func(*asked) {},
		"platform":  func(o *asked) { *o = options("metal") },
		"digest":    func(o *asked) { o.Seed = "sha256:2" },
		"size":      func(o *asked) { o.Size = 800 * mib },
		"Ignition":  func(o *asked) { o.Ignition = []byte("{}") },
		"arguments": func(o *asked) { o.Kargs = o.Kargs.Append("quiet") },
	}
	seen := map[gpt.GUID]string{}
	for name, vary := range variants {
		o := options("qemu")
		vary(&o)
		for _, p := range layout(t, o).Partitions {
			is := fmt.Sprintf("%s, partition %d", name, p.Number)
			if other := seen[p.ID]; other != "" {
				t.Errorf("%s and %s have GUID %s", is, other, p.ID)
			}
			seen[p.ID] = is
			if s := p.ID.String(); s[14] != '8' || !strings.Contains("89AB", s[19:20]) {
				t.Errorf("%s: GUID %s is not of version 8", is, s)
			}
		}
	}
	first, second := layout(t, options("qemu")), layout(t, options("qemu"))
	for i, p := range first.Partitions {
		if p.ID != second.Partitions[i].ID {
			t.Errorf("partition %d: %s, then %s", p.Number, p.ID, second.Partitions[i].ID)
		}
	}
}

// TestSize: a disk without a size has room, and a refusal names one that does.
func TestSize(t *testing.T) {
	d, choices := deployed(t, system(t))
	for _, rootFS := range []string{"ext4", "xfs"} {
		o := options("metal")
		o.RootFS = rootFS
		made, err := newDisk(d, choices, o)
		if err != nil {
			t.Fatal(err)
		}
		if made.Size()%mib != 0 || made.Size() <= 514*mib {
			t.Errorf("%s: disk of %d bytes", rootFS, made.Size())
		}
		o.Size = 514 * mib
		_, err = newDisk(d, choices, o)
		if err == nil {
			t.Fatalf("%s: a disk without room for a root is made", rootFS)
		}
		said := regexp.MustCompile(`of 514 MiB.* the content needs (\d+) MiB$`).FindStringSubmatch(err.Error())
		if said == nil {
			t.Fatal(err)
		}
		needed, err := strconv.ParseInt(said[1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		// The size in the error is the smallest that works.
		o.Size = needed * mib
		if made, err = newDisk(d, choices, o); err != nil || made.Size() != o.Size {
			t.Errorf("%s: %d MiB: %v", rootFS, needed, err)
		}
		o.Size = (needed - 1) * mib
		if _, err = newDisk(d, choices, o); err == nil {
			t.Errorf("%s: %d MiB do as well as the %d that are needed", rootFS, needed-1, needed)
		}
		for _, odd := range []int64{1, needed*mib + 512, -mib} {
			o.Size = odd
			if _, err = newDisk(d, choices, o); err == nil {
				t.Errorf("%s: a disk of %d bytes is made", rootFS, odd)
			}
		}
	}
}

// TestSameBytes makes a disk twice from trees made twice.
func TestSameBytes(t *testing.T) {
	first, second := sum(t, layout(t, options("metal"))), sum(t, layout(t, options("metal")))
	if first != second {
		t.Errorf("%s, then %s", first, second)
	}
}

func sum(t testing.TB, d *Disk) string {
	t.Helper()
	h := sha256.New()
	if err := raw.Write(h, d.Image); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// TestMissing has containers without a needed file. The error names it.
func TestMissing(t *testing.T) {
	for _, name := range []string{
		grubDir + "kernel.img", grubDir + "normal.mod", grubDir + "ext2.mod", bootupd + "grub2-static/grub-static-efi.cfg",
		bootupd + "grub2-static/grub-static-pre.cfg", bootupd + "grub2-static/configs.d", bootupd + "updates/EFI", bootupd + "updates/EFI.json",
	} {
		root := system(t)
		delete(root.Lookup(path.Dir(name)).Children, path.Base(name))
		d, choices := deployed(t, root)
		if _, err := newDisk(d, choices, options("qemu")); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
	}
}

// TestDiskYAML has containers with a disk.yaml: fixed properties are checked, and
// choices are followed.
func TestDiskYAML(t *testing.T) {
	const file = "usr/lib/image-builder/bootc/disk.yaml"
	yaml := readTestdata(t, "disk.yaml")
	made := func(text, rootFS string) (*Disk, error) {
		root := system(t)
		place(t, root, file, text)
		d, choices := deployed(t, root)
		if choices.RootFS != "xfs" || choices.Size != 12<<30 {
			t.Errorf("root file system %q, size %d", choices.RootFS, choices.Size)
		}
		o := options("metal")
		o.RootFS = rootFS
		return newDisk(d, choices, o)
	}
	d, err := made(yaml, "xfs")
	if err != nil {
		t.Fatal(err)
	}
	root := d.Partitions[3]
	var groups [4]byte
	if _, err := d.ReadAt(groups[:], root.Start+88); err != nil || groups != [4]byte{0, 0, 0, 4} || root.Size != 3000*mib {
		t.Errorf("agcount % x, size %d, %v", groups, root.Size, err)
	}
	if d, err = made(yaml, "ext4"); err != nil || d.Partitions[3].Filesystem != "ext4" { // the user has the last word
		t.Error(err)
	}
	for old, change := range map[string]struct{ to, says string }{
		"type: vfat":       {"type: ext4", `partition 2: payload type is "ext4"`},
		"96d15588":         {"00000000", `partition 3: payload uuid is "00000000-3596-4b3c-adca-a2ff7279ea63"`},
		"size: 1 MiB":      {"size: 2 MiB", "partition 1: size of 2 MiB, a CoreOS has 1 MiB"},
		"127 MiB":          {"20 MiB", "partition_table.partitions[1].size: EFI system partition of 20 MiB, must be 68 MiB to 32 GiB"},
		"label: BIOS-BOOT": {"label: bios", `partition 1: label is "bios", a CoreOS has "BIOS-BOOT"`},
		"agcount: 4":       {"agcount: 1", "xfs: 1 allocation groups, must be at least 2"},
		"type: gpt":        {"type: dos", `type is "dos"`},
		"4F68BCE3":         {"00000000", "partition 4: type"},
		"uuid: 00000000-0000-4000-a000-000000000001": {"uuid: 00000000-0000-4000-a000-000000000002", "uuid is"},
	} {
		if _, err := made(strings.Replace(yaml, old, change.to, 1), "xfs"); err == nil || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), change.says) {
			t.Errorf("%s: %v", change.to, err)
		}
	}
}

// TestFedora: a container with the files of Fedora CoreOS makes disks of all
// architectures, and nobody is warned of anything. A disk.yaml of an
// architecture whose partitions have other types is worth a warning.
func TestFedora(t *testing.T) {
	const file = "usr/lib/image-builder/bootc/disk.yaml"
	for _, test := range []struct {
		arch, disk string // architectures of the container and of disk.yaml
		warns      []string
		err        string
	}{
		{arch: "x86_64", disk: "x86_64"},
		{arch: "aarch64", disk: "aarch64"},
		{arch: "riscv64", disk: "riscv64"},
		{arch: "ppc64le", disk: "ppc64le"},
		{arch: "aarch64", disk: "x86_64", warns: []string{
			file + `: partition 1: type is "21686148-6449-6E6F-744E-656564454649", which is that of another architecture, and has no effect: the image has "8DA63339-0007-60C0-C436-083AC8230908"`,
			file + `: partition 4: type is "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709", which is that of another architecture, and has no effect: the image has "B921B045-1DF0-41C3-AF44-4C6F280D3FAE"`,
		}},
		{arch: "riscv64", disk: "aarch64", warns: []string{"partition 4: type is"}},
		{arch: "x86_64", disk: "aarch64", warns: []string{"partition 1: type is", "partition 4: type is"}},
		{arch: "ppc64le", disk: "x86_64", err: "partition 2: type is"},
	} {
		for _, platform := range []string{"qemu", "metal"} {
			root := system(t)
			delete(root.Children["usr"].Children["share"].Children, "coreos-assembler")
			files := treetest.Fedora(test.arch)
			files[file] = treetest.FedoraDisk(test.disk)
			for name, text := range files {
				place(t, root, name, text)
			}
			d, _ := deployed(t, root)
			choices, err := coreos.ReadConfig(d.System, test.arch)
			if err != nil || len(choices.Warnings) > 0 {
				t.Errorf("%s: %v, %q", test.arch, err, choices.Warnings)
				continue
			}
			o := options(platform)
			o.Arch, o.RootFS = test.arch, choices.RootFS
			o.Kargs, o.Platform = choices.Kargs(platform, nil), choices.Platform(platform)
			if platform != "metal" {
				o.Size, o.Grow = choices.Size, mib
			}
			made, err := newDisk(d, choices, o)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("%s of %s: %v", test.arch, test.disk, err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s of %s: %v", test.arch, test.disk, err)
				continue
			}
			if len(made.Warnings) != len(test.warns) || !slices.EqualFunc(made.Warnings, test.warns, strings.Contains) {
				t.Errorf("%s of %s: warnings %q", test.arch, test.disk, made.Warnings)
			}
			if platform != "metal" && made.Size() != 12<<30 {
				t.Errorf("%s of %s: %d bytes", test.arch, test.disk, made.Size())
			}
			if args := o.Kargs.String(); platform == "qemu" && !strings.HasSuffix(args, "ignition.platform.id=qemu console="+test.arch) {
				t.Errorf("%s: %s", test.arch, args)
			}
		}
	}
}

func readTestdata(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestFeatures(t *testing.T) {
	for kernel, want := range map[string]xfs.Features{
		"3.10.0-1160.el7.x86_64": xfs.LTS4_19, "4.18.0-553.el8_10.x86_64": xfs.LTS5_10, "5.14.0-503.el9": xfs.LTS6_1,
		"6.17.7-300.fc43.x86_64": xfs.LTS6_1, "7.2.12+deb14-cloud-amd64": xfs.LTS6_1, "odd": xfs.LTS6_1,
	} {
		if got := features(kernel); got != want {
			t.Errorf("%s: %d, want %d", kernel, got, want)
		}
	}
}
