// Package layout lays out the CoreOS disk: its partitions and their content.
//
//	#  name        size      content
//	1  BIOS-BOOT   1 MiB     GRUB's core image, started by the boot code in the MBR
//	2  EFI-SYSTEM  127 MiB   FAT16, from 512 MiB on FAT32: shim and GRUB of the container
//	3  boot        384 MiB   ext4: kernel, boot entry, GRUB configuration, Ignition config
//	4  root        the rest  XFS or ext4: repository and deployment
//
// That is x86_64. On aarch64 and riscv64, which have no BIOS, 1 is reserved and
// empty. On ppc64le 1 is PowerPC-PReP-boot, 4 MiB with GRUB's core image for Open
// Firmware, and 2 is reserved. A disk with sectors of 4096 bytes starts from UEFI
// only: its BIOS-BOOT is empty, and its boot has blocks of 4 KiB. So has a boot
// of 512 MiB and more.
//
// Options and the container may choose the sizes of EFI-SYSTEM, boot and root.
//
// Numbers, names, labels, GUIDs and UUIDs are those of Fedora CoreOS, because its
// first boot looks for them. So is the GUID of the disk: it marks a fresh disk,
// whose backup table the first boot moves to its end.
package layout

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/ext4"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/fat"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/gpt"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/grub"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/xfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/bls"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/coreos"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ignition"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree/deploy"
)

const (
	mib = 1 << 20

	// Where partitions begin and end; the last MiB of the disk stays free for
	// the backup of the table.
	biosSize     = 1 * mib
	reservedSize = 1 * mib
	prepSize     = 4 * mib

	espSerial = 0x7B7795E7
)

var (
	// DiskGUID marks a fresh disk for the first boot.
	DiskGUID = gpt.MustParse("00000000-0000-4000-a000-000000000001")

	// The first boot replaces these by random ones, so that they must be
	// these.
	bootUUID = uuid{0x96, 0xd1, 0x55, 0x88, 0x35, 0x96, 0x4b, 0x3c, 0xad, 0xca, 0xa2, 0xff, 0x72, 0x79, 0xea, 0x63}
	rootUUID = uuid{0x91, 0x06, 0x78, 0xff, 0xf7, 0x7e, 0x4a, 0x7d, 0x8d, 0x53, 0x86, 0xf2, 0xac, 0x47, 0xa8, 0x23}
)

// A uuid is the UUID of a file system, in printed order.
type uuid [16]byte

func (u uuid) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// RootFSTypes are the types of root file systems, the default first.
var RootFSTypes = []string{"xfs", "ext4"}

// Options are the properties of a disk.
type Options struct {
	Arch   string      // as the machine names it: x86_64, aarch64, riscv64 or ppc64le
	Sector int         // bytes of a sector: 512 or 4096; zero means 512
	Size   int64       // of the disk in bytes; zero is as small as the content allows, with some slack
	Grow   int64       // Size is a wish: the disk is larger if the content takes more, and a multiple of so many bytes, whole MiB; zero means exactly Size
	RootFS string      // of the root: xfs or ext4
	ESP    coreos.Size // of the EFI system partition; zero means as the container asks
	Boot   coreos.Size // of the boot partition; zero means as the container asks
	Time   rootfs.Time // when the file systems were made
	Seed   string      // what this disk is made from: partition GUIDs derive from it
}

// A Variant has the properties that differ between platforms. All of them are in
// the boot file system.
type Variant struct {
	Kargs    bls.Args // kernel command line without ostree=
	Platform coreos.Platform
	Ignition []byte // config to embed; nil embeds nothing
}

// A Disk is a disk laid out.
type Disk struct {
	*disk.Image
	ID         gpt.GUID // identifies the disk: no disk with other content has it
	Partitions []Partition
	Entry      bls.Entry     // the boot entry
	SecureBoot bool          // the EFI system partition has shim, which Secure Boot can start
	Root, Boot *rootfs.Inode // content of the file systems
	Warnings   []string      // about room that the disk lacks, and a disk.yaml that is not followed
	Notes      []string      // about sizes that are not those that were asked for
}

// A Partition is one of the disk's, for people and tests.
type Partition struct {
	gpt.Partition
	Filesystem string // "" for none
	Label      string // of the file system
	UUID       string // of the file system, or its serial
	Allocated  int64  // bytes that are not holes
	SizeBy     string // file, option or reason that chose the size; "" for a fixed size
}

// A Base has the parts that all disks of a deployment with the same options share:
// everything except the boot file system.
type Base struct {
	deployment *deploy.Deployment
	choices    *coreos.Config
	options    Options
	firmware   *firmware
	sizes      sizes
	root       *rootfs.Inode
	rootFS     *disk.Image
	rootBy     string // origin of its size
	size       int64
	notes      []string
}

// New lays out the parts that all disks of a deployment share.
func New(d *deploy.Deployment, choices *coreos.Config, o Options) (*Base, error) {
	var notes []string
	if wish := min(o.Size, 1<<60); o.Grow > 0 {
		if o.Size = multiple(wish, o.Grow); o.Size != roundUp(wish) {
			notes = append(notes, fmt.Sprintf("its disks have a multiple of %s: it has %s", people(o.Grow), people(o.Size)))
		}
	}
	sizes, err := chosen(choices, o)
	if err != nil {
		return nil, err
	}
	f, err := newFirmware(d.System, o, sizes.esp)
	if err != nil {
		return nil, err
	}
	b := &Base{deployment: d, choices: choices, options: o, firmware: f, sizes: sizes, root: d.Root, notes: notes}
	if o.RootFS == "ext4" {
		b.root = withLostFound(d)
	}
	around := 1*mib + sizes.boot.Bytes + tail(choices.Disk)
	for _, p := range f.partitions {
		around += p.Size
	}
	if err := b.formatRoot(around); err != nil {
		return nil, err
	}
	return b, nil
}

// tail returns how much is free behind the last partition: at least 1 MiB. The
// first boot moves the backup table there.
func tail(want *coreos.Disk) int64 {
	const backup = 34 * 512 // image-builder's count
	if want == nil {
		return mib
	}
	return max(mib, roundUp(min(int64(want.ExtraPadding), 1<<60)+backup))
}

// Disk lays out the disk of one platform.
func (b *Base) Disk(v Variant) (*Disk, error) {
	boot, entry, err := b.bootTree(v)
	if err != nil {
		return nil, err
	}
	bootFS, err := b.formatBoot(boot, v)
	if err != nil {
		return nil, err
	}
	out := &Disk{
		Entry: entry, SecureBoot: b.firmware.shim, Root: b.root, Boot: boot,
		Warnings: slices.Concat(b.sizes.warnings, b.warnings(boot, bootFS)), Notes: b.notes,
	}
	out.Partitions = slices.Concat(b.firmware.partitions, []Partition{
		filesystem("boot", gpt.XBOOTLDR, "ext4", bootUUID.String(), b.sizes.boot.By, bootFS),
		filesystem("root", b.firmware.rootType, b.options.RootFS, rootUUID.String(), b.rootBy, b.rootFS),
	})
	foreign, err := agrees(b.choices.Disk, out.Partitions)
	if err != nil {
		return nil, err
	}
	out.Warnings = append(out.Warnings, foreign...)
	var parts []gpt.Partition
	next := int64(mib)
	for i := range out.Partitions {
		p := &out.Partitions[i]
		p.Number, p.Start, p.ID = i+1, next, b.derivedGUID(v, i+1)
		next += p.Size
		parts = append(parts, p.Partition)
	}
	out.ID = out.Partitions[len(out.Partitions)-1].ID
	out.Image, err = gpt.Layout(b.size, gpt.Options{DiskGUID: DiskGUID, SectorSize: b.options.Sector, BootCode: b.firmware.mbr}, parts...)
	return out, err
}

// A firmware has the partitions and files that the firmware of a machine starts.
type firmware struct {
	partitions []Partition   // 1 and 2
	mbr        []byte        // boot code before the table, for BIOS
	target     string        // GRUB's name of the platform that core is for; "" without core
	core       []byte        // GRUB's core image, as in /boot
	esp        *rootfs.Inode // the EFI system partition; nil for none
	shim       bool          // the partition has shim
	state      []byte        // bootupd-state.json
	bootBlock  int           // bytes of a block of the boot file system; zero is as mke2fs chooses
	rootType   gpt.GUID
}

// Supports returns why no disk can be laid out for an architecture, nil if one
// can.
func Supports(arch string) error {
	switch arch {
	case "x86_64", "aarch64", "riscv64", "ppc64le":
		return nil
	case "s390x":
		return errors.New("architecture s390x: its firmware follows a list of disk blocks that zipl writes, and no disk is made without running zipl on such a machine: use coreos-assembler there")
	}
	return fmt.Errorf("architecture %q: disks are made for x86_64 (amd64), aarch64 (arm64), riscv64 and ppc64le", arch)
}

// newFirmware lays out the partitions and files of the firmware of an architecture.
func newFirmware(system *rootfs.Inode, o Options, esp coreos.Size) (*firmware, error) {
	f, err := newLoaders(system, o, esp)
	if err == nil {
		f.state, err = grub.State(system, f.esp, f.hasBIOS(o))
	}
	return f, err
}

// hasBIOS reports whether bootupd is told that GRUB for BIOS is installed. It is
// told so of x86_64 disks with sectors of 4096 bytes too, though they have no
// such GRUB: bootupd adopts a component that the container has and the record
// does not, if there is a partition BIOS-BOOT, so that its first update would
// run grub2-install and fill /boot with modules that no BIOS can read. The
// record keeps that away until the container brings a newer GRUB. Of
// coreos-assembler's disks of that kind, those made by "bootc install" have the
// same record (and the modules), while others have none and bootupd adopts.
func (f *firmware) hasBIOS(o Options) bool { return f.core != nil || o.Arch == "x86_64" }

// newLoaders lays out the partitions of boot loaders.
func newLoaders(system *rootfs.Inode, o Options, esp coreos.Size) (*firmware, error) {
	f := &firmware{}
	var err error
	if o.Sector == 4096 {
		f.bootBlock = 4096
	}
	reserved := Partition{Partition: gpt.Partition{Name: "reserved", Type: gpt.Reserved, Size: reservedSize}}
	switch o.Arch {
	case "x86_64":
		f.rootType = gpt.RootX86_64
		if o.Sector != 4096 { // no BIOS reads such a disk
			f.target = grub.TargetBIOS
			if f.mbr, f.core, err = grub.BIOS(system, mib/512, biosSize/512); err != nil {
				return nil, err
			}
		}
		f.partitions = append(f.partitions, loader("BIOS-BOOT", gpt.BIOSBoot, biosSize, grub.Embed(f.core, mib/512)))
	case "aarch64":
		f.rootType = gpt.RootAArch64
		f.partitions = append(f.partitions, reserved)
	case "riscv64":
		f.rootType = gpt.RootRISCV64
		f.partitions = append(f.partitions, reserved)
	case "ppc64le":
		f.rootType, f.target = gpt.RootPPC64LE, grub.TargetPReP
		if f.core, err = grub.PReP(system, prepSize); err != nil {
			return nil, err
		}
		f.partitions = append(f.partitions, loader("PowerPC-PReP-boot", gpt.PReP, prepSize, f.core), reserved)
		return f, nil
	default:
		return nil, Supports(o.Arch)
	}
	vendor := ""
	if f.esp, vendor, err = grub.ESP(system); err != nil {
		return nil, err
	}
	f.shim = slices.ContainsFunc(f.esp.Lookup(vendor).Names(), func(name string) bool { return strings.HasPrefix(name, "shim") })
	bits := fat.Bits(esp.Bytes)
	fs, err := fat.Format(f.esp, fat.Options{Size: esp.Bytes, SectorSize: o.Sector, Bits: bits, Label: "EFI-SYSTEM", VolumeID: espSerial, Time: o.Time})
	if err != nil {
		return nil, fmt.Errorf("partition EFI-SYSTEM of %s, chosen by %s: %w", esp, esp.By, err)
	}
	f.partitions = append(f.partitions, filesystem("EFI-SYSTEM", gpt.EFISystem, fmt.Sprintf("fat%d", bits), fmt.Sprintf("%04X-%04X", espSerial>>16, espSerial&0xffff), esp.By, fs))
	return f, nil
}

// loader returns a partition that begins with a boot loader.
func loader(name string, kind gpt.GUID, size int64, core []byte) Partition {
	return Partition{Partition: gpt.Partition{Name: name, Type: kind, Size: size, Content: bytes.NewReader(core)}, Allocated: int64(len(core))}
}

// bootTree returns the tree of the boot file system, and its boot entry.
func (b *Base) bootTree(v Variant) (*rootfs.Inode, bls.Entry, error) {
	d, f := b.deployment, b.firmware
	boot, entry, err := d.Boot(v.Kargs)
	if err != nil {
		return nil, nil, err
	}
	grub2, err := grub.Dir(d.System, f.target, f.core)
	if err != nil {
		return nil, nil, err
	}
	grub2.Children["console.cfg"] = rootfs.File(0o644, bytes.NewReader(grub.Console(v.Platform.GRUB)))
	place := map[string]*rootfs.Inode{
		"grub2":              grub2,
		"bootupd-state.json": rootfs.File(0o644, bytes.NewReader(f.state)),
		"lost+found":         rootfs.Dir(0o700),
	}
	if b.choices.PlatformsJSON != nil {
		place["coreos/platforms.json"] = rootfs.File(0o644, bytes.NewReader(b.choices.PlatformsJSON))
	}
	for name, n := range place {
		if err := boot.Place(name, n); err != nil {
			return nil, nil, err
		}
	}
	if v.Ignition != nil {
		if err := ignition.Place(boot, v.Ignition); err != nil {
			return nil, nil, err
		}
	}
	for _, n := range boot.Walk() { // every inode of it was made for this disk
		n.MTime = b.options.Time
	}
	return d.Policy.Label(boot, "/boot"), entry, nil
}

// withLostFound returns the root file system with the directory that ext4 has
// for e2fsck, so that it has a label.
func withLostFound(d *deploy.Deployment) *rootfs.Inode {
	root := *d.Root
	root.Children = maps.Clone(d.Root.Children)
	lost := rootfs.Dir(0o700)
	lost.MTime = root.MTime
	root.Children["lost+found"] = d.Policy.Label(lost, "/lost+found")
	return &root
}

// formatRoot lays out the root file system. On a disk of a given size it takes the
// rest of the disk. On a disk without a size, or one that the first boot fills, it
// takes the size of the content and, like coreos-assembler, two fifths more for the
// first boot.
func (b *Base) formatRoot(around int64) error {
	o, want := b.options, b.choices.Disk
	format, need, err := b.rootFormat()
	if err != nil {
		return err
	}
	if o.Size%mib != 0 {
		return fmt.Errorf("disk of %s: not a whole number of MiB", rootfs.Bytes(o.Size))
	}
	left := o.Size - around
	fill := o.Size > 0 && (want == nil || want.Policy.GrowRoot == nil || *want.Policy.GrowRoot)
	if fill && left > 0 {
		if img, err := format(left); err == nil {
			b.rootFS, b.rootBy, b.size = img, "the size of the disk", o.Size
			return nil
		}
	}
	least, err := need()
	if err != nil {
		return fmt.Errorf("partition root: %w", err)
	}
	least = roundUp(least)
	small := o.Size > 0 && left < least
	if small && o.Grow == 0 {
		return fmt.Errorf("disk of %s is too small: %sthe content needs %s", people(o.Size), b.sizes.unusual(), people(least+around))
	}
	size, by := roundUp(least*7/5), "the content"
	if o.RootFS == "xfs" {
		size = max(size, assemblerRoot(b.root))
	}
	if asked := b.sizes.root; asked.Bytes >= size {
		size, by = asked.Bytes, asked.By
	}
	if small {
		o.Size = multiple(around+size, o.Grow)
		b.notes = []string{fmt.Sprintf("a disk of %s is too small for the content: it has %s", people(around+left), people(o.Size))}
		left = o.Size - around
	}
	if o.Size > 0 && left != size && (fill || size > left) {
		size, by = left, "the size of the disk"
	}
	if b.rootFS, err = format(size); err != nil {
		return fmt.Errorf("partition root: %w", err)
	}
	b.rootBy, b.size = by, cmp.Or(o.Size, around+size)
	return nil
}

// assemblerRoot returns how large coreos-assembler makes the root of a metal
// image. XFS has two allocation groups in it, and grows by more groups of their
// size. From 400 groups on, the first boot of Fedora CoreOS makes the file system
// anew, in memory: with groups of 460 MiB that is on disks of 180 GiB and more. A
// root that is not smaller than coreos-assembler's, with as many groups, has
// groups that are not smaller. The size of the content with a log of 64 MiB and
// two fifths more is larger almost always: 920 MiB for a system of 480 MiB, for
// which coreos-assembler takes 684 MiB. A tree of mostly symbolic links is the
// exception, because coreos-assembler counts a block for each of them.
func assemblerRoot(root *rootfs.Inode) int64 {
	objects := root.Lookup("ostree/repo/objects")
	if objects == nil {
		return 0
	}
	var blocks, inodes int64
	for _, n := range objects.Walk() {
		switch {
		case n.IsFile():
			blocks += n.Size()/4096 + 1
		case n.IsLink():
			blocks += int64(len(n.Target))/4096 + 1
		default:
			continue
		}
		inodes++
	}
	const blocksPerMiB, inodesPerMiB = mib / 4096, mib / 512
	total := blocks/blocksPerMiB + 1 + inodes/inodesPerMiB
	return total * 7 / 5 * mib // and 1 MiB, which is outside of the partition
}

// rootFormat returns functions that make the root file system in a size, and that
// return the size that it needs.
func (b *Base) rootFormat() (format func(size int64) (*disk.Image, error), need func() (int64, error), err error) {
	root, o := b.root, b.options
	switch o.RootFS {
	case "xfs":
		groups, f := 0, features(b.deployment.Kernel)
		if want := b.choices.Disk; want != nil && len(want.Partitions) > 0 {
			groups = want.Partitions[len(want.Partitions)-1].Payload.MKFS.Groups
		}
		format = func(size int64) (*disk.Image, error) {
			img, err := xfs.Format(root, xfs.Options{Size: size, SectorSize: o.Sector, Label: "root", UUID: rootUUID, Groups: groups, Features: f})
			if err != nil && groups != 0 {
				err = fmt.Errorf("with the agcount of %s: %w", b.choices.Disk.File, err)
			}
			return img, err
		}
		return format, func() (int64, error) { return xfs.Size(root, f) }, nil
	case "ext4":
		// Small blocks would have no room for large attributes.
		fs := ext4.Options{BlockSize: 4096, Label: "root", UUID: rootUUID, Time: o.Time}
		format = func(size int64) (*disk.Image, error) {
			fs.Size = size
			return ext4.Format(root, fs)
		}
		return format, func() (int64, error) { return ext4.Size(root, fs) }, nil
	}
	return nil, nil, fmt.Errorf("root file system %q: must be xfs or ext4", o.RootFS)
}

// features returns those of XFS that a kernel knows, and that are not so new
// that its tools might not. Later ones than those of Linux 6.1 would keep the
// disk from older rescue systems for little.
func features(kernel string) xfs.Features {
	var major, minor int
	if n, _ := fmt.Sscanf(kernel, "%d.%d", &major, &minor); n < 2 {
		return xfs.LTS6_1
	}
	switch at := major*1000 + minor; {
	case at < 4016:
		return xfs.LTS4_19
	case at < 5010:
		return xfs.LTS5_10
	}
	return xfs.LTS6_1
}

func roundUp(n int64) int64 { return multiple(n, mib) }

// multiple returns the least multiple of step that is not less than n.
func multiple(n, step int64) int64 { return (n + step - 1) / step * step }

// filesystem returns a partition that is filled by a file system of its name.
func filesystem(name string, kind gpt.GUID, format, uuid, by string, img *disk.Image) Partition {
	return Partition{gpt.Partition{Name: name, Type: kind, Size: img.Size(), Content: img}, format, name, uuid, img.Allocated(), by}
}

// derivedGUID returns a GUID for a partition that no disk of other content has.
func (b *Base) derivedGUID(v Variant, number int) gpt.GUID {
	h := sha256.New()
	fmt.Fprintf(h, "ohp-assemble partition\n%d\n%d\n%s\n%s\n", number, b.size, b.options.Seed, strings.Join(v.Kargs, "\n"))
	fmt.Fprintf(h, "%x\n", sha256.Sum256(v.Ignition))
	if esp, boot := b.sizes.esp.Bytes, b.sizes.boot.Bytes; esp != coreos.DefaultESPSize && esp != 0 || boot != coreos.DefaultBootSize {
		fmt.Fprintf(h, "%d\n%d\n", esp, boot)
	}
	var g gpt.GUID
	copy(g[:], h.Sum(nil))
	g[7] = g[7]&0x0f | 0x80 // version 8: made in a way of our own (RFC 9562); the third group is little-endian
	g[8] = g[8]&0x3f | 0x80
	return g
}
