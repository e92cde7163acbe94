package butane

import (
	"fmt"
	"slices"
	"strings"

	"github.com/coreos/ignition/v2/config/v3_6_experimental/types"
	"go.yaml.in/yaml/v3"
)

// bootDevice is the section boot_device. Its disks and file systems replace those
// of the image. Ignition finds the old ones by their labels and copies their
// content to the new ones.
type bootDevice struct {
	Layout string
	Mirror struct{ Devices []string }
	Luks   struct {
		Discard   *bool
		Tang      []types.Tang
		Threshold *int
		Tpm2      *bool
	}

	node *yaml.Node // nil if the config has no boot_device
}

// Partition types, as in the image.
const (
	biosBoot = "21686148-6449-6E6F-744E-656564454649"
	prepBoot = "9E1A2D38-C612-4316-AA26-8B49521E5A8B"
	efi      = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
	reserved = "8DA63339-0007-60C0-C436-083AC8230908" // keeps the numbers of the partitions after it
)

// A part is a partition that each disk of a mirror has. Its label is the name and
// the number of the disk: boot-1.
type part struct {
	name string
	mib  int // 0 for all of the remaining space
	guid string
}

// layouts are the partitions before boot and root, which have the numbers 3 and 4
// on all architectures. None may be smaller than its counterpart in the image; see
// create_disk.sh of coreos-assembler.
var layouts = map[string][]part{
	"x86_64":  {{"bios", 1, biosBoot}, {"esp", 127, efi}},
	"aarch64": {{"reserved", 1, reserved}, {"esp", 127, efi}},
	"ppc64le": {{"prep", 4, prepBoot}, {"reserved", 1, reserved}},
}

// readBootDevice checks and keeps the section boot_device.
func (t *translation) readBootDevice(n *yaml.Node, m object, _ string) {
	b := &t.boot
	recast(m, b)
	b.node = n
	mirror, luks := child(n, "mirror"), child(n, "luks")
	if layout := child(n, "layout"); b.Layout != "" && layouts[b.Layout] == nil {
		t.errorf(layout, "boot_device.layout: unsupported layout %q, must be x86_64, aarch64 or ppc64le", b.Layout)
	}
	switch devices := b.Mirror.Devices; {
	case len(devices) == 1:
		t.errorf(child(mirror, "devices"), "boot_device.mirror: want at least two devices, got one")
	case len(devices) > 1 && b.Layout == "" && t.minor >= 7:
		t.errorf(mirror, "boot_device.mirror: missing layout, must be x86_64, aarch64 or ppc64le")
	case len(devices) > 1 && b.Layout == "":
		t.warnf(mirror, "boot_device.mirror: missing layout, assuming x86_64")
	}
	if l, ok := m["luks"].(object); ok {
		for _, name := range []string{"cex", "device"} {
			if _, ok := l[name]; ok {
				t.errorf(child(luks, name), "boot_device.luks.%s: only for s390x, which is not supported", name)
			}
		}
		if !b.encrypted() && (b.Luks.Discard != nil || b.Luks.Threshold != nil) {
			t.errorf(luks, "boot_device.luks: want tang or tpm2; without them nothing is encrypted")
		} else if n := b.pins(); b.Luks.Threshold != nil && *b.Luks.Threshold > n {
			t.errorf(child(luks, "threshold"), "boot_device.luks.threshold: %d is more than the %d configured by tang and tpm2", *b.Luks.Threshold, n)
		}
	}
}

// encrypted reports whether the root file system is encrypted.
func (b *bootDevice) encrypted() bool { return b.pins() != 0 }

// pins returns the number of Clevis pins that can unlock the root file system.
func (b *bootDevice) pins() int {
	n := len(b.Luks.Tang)
	if b.Luks.Tpm2 != nil && *b.Luks.Tpm2 {
		n++
	}
	return n
}

// bootDevice returns the sugar of boot_device: a mirror, an encrypted root file
// system, or an encrypted one on a mirror.
func (t *translation) bootDevice(c types.Config) (_, sugar types.Config, from places) {
	b, s := &t.boot, &sugar.Storage
	from = places{"$": b.node}
	mirrored := len(b.Mirror.Devices) != 0
	if !mirrored && !b.encrypted() {
		return c, sugar, from
	}
	root := "/dev/disk/by-partlabel/root"
	if mirrored {
		b.mirror(s)
		root = "/dev/md/md-root"
	}
	if b.encrypted() {
		s.Luks = []types.Luks{{
			Name:       "root",
			Device:     new(root),
			Label:      new("luks-root"),
			WipeVolume: new(true),
			Discard:    b.Luks.Discard,
			Clevis:     types.Clevis{Tang: b.Luks.Tang, Threshold: b.Luks.Threshold, Tpm2: b.Luks.Tpm2},
		}}
		root = "/dev/mapper/root"
	}
	s.Filesystems = append(s.Filesystems, fresh(root, "xfs", "root"))
	return c, sugar, from
}

// mirror adds the disks, the RAID arrays and the file systems of a mirror, except
// for the root file system.
func (b *bootDevice) mirror(s *types.Storage) {
	layout := b.Layout
	if layout == "" {
		layout = "x86_64"
	}
	parts := slices.Concat(layouts[layout], []part{{"boot", 384, ""}, {"root", 0, ""}})
	for i, device := range b.Mirror.Devices {
		disk := types.Disk{Device: device, WipeTable: new(true)}
		for _, p := range parts {
			disk.Partitions = append(disk.Partitions, p.partition(i+1))
		}
		s.Disks = append(s.Disks, disk)
		if parts[1].name == "esp" {
			esp := fmt.Sprintf("esp-%d", i+1)
			s.Filesystems = append(s.Filesystems, fresh("/dev/disk/by-partlabel/"+esp, "vfat", esp))
		}
	}
	// Metadata 1.0 has its superblock at the end of a partition. Programs without
	// a RAID driver, such as GRUB, find the file system at the start.
	s.Raid = []types.Raid{b.raid("boot", "--metadata=1.0"), b.raid("root")}
	s.Filesystems = append(s.Filesystems, fresh("/dev/md/md-boot", "ext4", "boot"))
}

func (p part) partition(disk int) types.Partition {
	made := types.Partition{Label: new(fmt.Sprintf("%s-%d", p.name, disk))}
	if p.mib != 0 {
		made.SizeMiB = new(p.mib)
	}
	if p.guid != "" {
		made.TypeGUID = new(p.guid)
	}
	return made
}

func (b *bootDevice) raid(name string, options ...types.RaidOption) types.Raid {
	r := types.Raid{Name: "md-" + name, Level: new("raid1"), Options: options}
	for i := range b.Mirror.Devices {
		r.Devices = append(r.Devices, types.Device(fmt.Sprintf("/dev/disk/by-partlabel/%s-%d", name, i+1)))
	}
	return r
}

// fresh returns a new file system that replaces an existing one.
func fresh(device, format, label string) types.Filesystem {
	return types.Filesystem{Device: device, Format: &format, Label: &label, WipeFilesystem: new(true)}
}

// A grubUser may edit GRUB's menu entries and use its command line.
type grubUser struct {
	node         *yaml.Node
	Name         string
	PasswordHash string
}

func (t *translation) grubUser(n *yaml.Node, m object, _ string) {
	u := grubUser{node: n}
	recast(m, &u)
	for _, w := range [][2]string{{"name", u.Name}, {"password_hash", u.PasswordHash}} {
		if w[1] == "" {
			t.errorf(n, "grub.users: missing %s", w[0])
		} else if strings.ContainsFunc(w[1], notGrubWord) {
			t.errorf(child(n, w[0]), "grub.users.%s: invalid value %q, it has a character with a meaning in GRUB scripts", w[0], w[1])
		}
	}
	t.users = append(t.users, u)
}

// notGrubWord reports whether a character ends or changes a word in GRUB's shell,
// or separates the names in superusers.
func notGrubWord(r rune) bool {
	return r <= ' ' || r >= 0x7f || strings.ContainsRune("\"'\\$`;,&|<>{}[]()#*?~!", r)
}

// grub appends the users to user.cfg, which the image's grub.cfg reads.
func (t *translation) grub(c types.Config) (_, sugar types.Config, from places) {
	if len(t.users) == 0 {
		return c, sugar, nil
	}
	var names, commands []string
	for _, u := range t.users {
		names = append(names, u.Name)
		commands = append(commands, "password_pbkdf2 "+u.Name+" "+u.PasswordHash+"\n")
	}
	script := "# Generated by ohp-assemble\n\nset superusers=\"" + strings.Join(names, " ") + "\"\n" + strings.Join(commands, "")
	source, compression := dataURL([]byte(script), true)
	sugar.Storage.Filesystems = []types.Filesystem{{
		Device: "/dev/disk/by-label/boot",
		Format: new("ext4"),
		Path:   new("/boot"),
	}}
	sugar.Storage.Files = []types.File{{
		Node: types.Node{Path: "/boot/grub2/user.cfg"},
		FileEmbedded1: types.FileEmbedded1{
			Append: []types.Resource{{Source: &source, Compression: &compression}},
		},
	}}
	return c, sugar, places{"$": t.users[0].node}
}
