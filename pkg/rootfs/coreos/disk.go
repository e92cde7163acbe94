package coreos

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// diskFiles are the paths of image-builder's partition table, newest first.
var diskFiles = []string{"usr/lib/image-builder/bootc/disk.yaml", "usr/lib/bootc-image-builder/disk.yaml"}

// A Disk is the partition table of a container's disk.yaml, for image-builder. It has
// only the properties that differ between operating systems.
type Disk struct {
	File         string      `yaml:"-"` // path of the disk.yaml
	Type         string      `yaml:"type"`
	UUID         string      `yaml:"uuid"`
	Size         Bytes       `yaml:"size"`
	ExtraPadding Bytes       `yaml:"extra_padding"` // free space between the last partition and the backup table
	Partitions   []Partition `yaml:"partitions"`
	Policy       struct {
		GrowRoot *bool `yaml:"grow_root_to_fill_disk"` // nil means true
	} `yaml:"policy"`
}

// A Partition is a partition of a [Disk]. Empty fields mean the default.
type Partition struct {
	Label   string `yaml:"label"` // name in the table
	Size    Bytes  `yaml:"size"`
	Type    string `yaml:"type"` // GUID
	Payload struct {
		Type  string `yaml:"type"`
		UUID  string `yaml:"uuid"`
		Label string `yaml:"label"`
		MKFS  struct {
			Groups int `yaml:"agcount"`
		} `yaml:"mkfs_options"`
	} `yaml:"payload"`
}

// Bytes is a size in bytes. In YAML it may have a unit, such as "384 MiB".
type Bytes int64

// placeholder is the size OVERRIDDEN. Fedora CoreOS' build replaces it by a
// number before it puts the file into a container.
const placeholder Bytes = -1

var units = map[string]int64{
	"": 1, "B": 1, "BYTES": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
	"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40,
}

// UnmarshalYAML reads a number with or without a unit.
func (b *Bytes) UnmarshalYAML(node *yaml.Node) error {
	s := strings.TrimSpace(node.Value)
	if s == "OVERRIDDEN" {
		*b = placeholder
		return nil
	}
	n, ok := parseSize(s, units)
	if !ok {
		return fmt.Errorf("invalid size %q, must be a number of bytes, KiB, MiB, GiB or TiB", s)
	}
	*b = Bytes(n)
	return nil
}

// parseSize reads a number, which may have a fraction, with one of the units.
// Units are in capitals here and in any case of letters in s.
func parseSize(s string, units map[string]int64) (int64, bool) {
	end := len(s) - len(strings.TrimLeft(s, "0123456789."))
	unit, known := units[strings.ToUpper(strings.TrimSpace(s[end:]))]
	whole, fraction, _ := strings.Cut(s[:end], ".")
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || !known || n >= math.MaxInt64/unit {
		return 0, false
	}
	part := 0.0
	if fraction != "" {
		if part, err = strconv.ParseFloat("0."+fraction, 64); err != nil {
			return 0, false
		}
	}
	return n*unit + int64(math.Round(part*float64(unit))), true
}

// A Size is the size of a partition and its place in an option or a file. The zero
// Size means the default.
type Size struct {
	Bytes int64
	By    string // option or file
	Key   string // in the file
}

// String returns the size with a unit. Whole MiB are exact, as in options: 1536 MiB,
// not 1.5 GiB.
func (s Size) String() string {
	switch {
	case s.Bytes < 1<<20:
		return fmt.Sprintf("%d bytes", s.Bytes)
	case s.Bytes%(1<<40) == 0:
		return fmt.Sprintf("%d TiB", s.Bytes>>40)
	case s.Bytes%(1<<30) == 0:
		return fmt.Sprintf("%d GiB", s.Bytes>>30)
	case s.Bytes%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", s.Bytes>>20)
	}
	return fmt.Sprintf("%.1f MiB", float64(s.Bytes)/(1<<20))
}

// Place returns the file and key, or the option, of the size, for errors.
func (s Size) Place() string {
	if s.Key == "" {
		return s.By
	}
	return s.By + ": " + s.Key
}

// A partitionKind is the purpose of a partition of a CoreOS.
type partitionKind int

const (
	otherPartition partitionKind = iota // not in a CoreOS
	loaderPartition
	espPartition
	bootPartition
	rootPartition
)

// partitionKinds maps partition types of all architectures, by GUID and by the name in
// systemd.
var partitionKinds = map[string]partitionKind{
	"21686148-6449-6e6f-744e-656564454649": loaderPartition,
	"9e1a2d38-c612-4316-aa26-8b49521e5a8b": loaderPartition,
	"8da63339-0007-60c0-c436-083ac8230908": loaderPartition,
	"c12a7328-f81f-11d2-ba4b-00a0c93ec93b": espPartition,
	"bc13c2ff-59e6-4262-a352-b275fd6f7172": bootPartition,
	"esp":                                  espPartition,
	"xbootldr":                             bootPartition,
	"root":                                 rootPartition,
}

// rootTypes are the types of root, by architecture.
var rootTypes = map[string][]string{
	"x86_64":  {"root-x86-64", "4f68bce3-e8cd-4db1-96e7-fbcaf984b709"},
	"aarch64": {"root-arm64", "b921b045-1df0-41c3-af44-4c6f280d3fae"},
	"riscv64": {"root-riscv64", "72ec70a6-cf74-40e6-bd49-4bda08e8f224"},
	"ppc64le": {"root-ppc64-le", "c31c45e6-3f39-412e-80fb-4809c4980599"},
}

// partitionLabels maps the labels of partitions without a type of their own.
var partitionLabels = map[string]partitionKind{"EFI-SYSTEM": espPartition, "boot": bootPartition, "root": rootPartition}

// partitionKind returns which partition of a CoreOS has a type and a label.
func (c *Config) partitionKind(guid, label string) partitionKind {
	guid = strings.ToLower(guid)
	kind, known := partitionKinds[guid]
	switch {
	case slices.Contains(rootTypes[c.arch], guid):
		kind = rootPartition
	case !known && slices.Contains([]string{"", "linux-generic", "0fc63daf-8483-4772-8e79-3d69d8477de4"}, guid):
		kind = partitionLabels[label]
	}
	if kind == espPartition && c.arch == "ppc64le" {
		return otherPartition
	}
	return kind
}

// wish returns the field for the size of a kind of partition. It returns nil for a
// kind with a fixed size.
func (c *Config) wish(kind partitionKind) *Size {
	switch kind {
	case espPartition:
		return &c.ESP
	case bootPartition:
		return &c.Boot
	case rootPartition:
		return &c.Root
	}
	return nil
}

// diskKeys are the keys of a disk.yaml that image-builder knows.
var diskKeys = foreignKeys{
	"mount_configuration": {use: unsupported, reason: "the first boot finds the file systems by their labels", fine: []any{"none"}},
	"partition_table":     {use: used},

	"partition_table.type":          {use: used},
	"partition_table.uuid":          {use: used},
	"partition_table.size":          {use: used},
	"partition_table.extra_padding": {use: used},
	"partition_table.partitions":    {use: used},
	"partition_table.policy":        {use: used},
	"partition_table.sector_size":   {use: unsupported, reason: "the platform chooses the size of sectors", fine: []any{512}},
	"partition_table.start_offset":  {use: unsupported, reason: "the first partition of a CoreOS starts at 1 MiB", fine: []any{0, 1 << 20, "1 MiB", "1 M"}},

	"partition_table.grain_size": {use: unsupported, reason: "partitions of a CoreOS are whole MiB", fine: []any{0, 1 << 20, "1 MiB", "1 M"}},

	"partition_table.absolute_start_offset": {use: irrelevant}, // 1 MiB is the least either way

	"partition_table.policy.grow_root_to_fill_disk": {use: used},
	"partition_table.policy.ensure_xbootldr":        {use: irrelevant}, // a CoreOS always has it

	"partition_table.partitions.label":        {use: used},
	"partition_table.partitions.size":         {use: used},
	"partition_table.partitions.type":         {use: used},
	"partition_table.partitions.payload":      {use: used},
	"partition_table.partitions.bootable":     {use: irrelevant}, // has no effect on a GPT
	"partition_table.partitions.start":        {use: unsupported, reason: "partitions of a CoreOS follow each other without gaps"},
	"partition_table.partitions.uuid":         {use: unsupported, reason: "GUIDs of partitions are derived from the content"},
	"partition_table.partitions.attrs":        {use: unsupported, reason: "partitions of a CoreOS have no attributes"},
	"partition_table.partitions.payload_type": {use: unsupported, reason: "partitions of a CoreOS have plain file systems", fine: []any{"", "filesystem", "no-payload"}},

	"partition_table.partitions.payload.type":          {use: used},
	"partition_table.partitions.payload.uuid":          {use: used},
	"partition_table.partitions.payload.label":         {use: used},
	"partition_table.partitions.payload.mkfs_options":  {use: used},
	"partition_table.partitions.payload.mountpoint":    {use: irrelevant}, // labels decide
	"partition_table.partitions.payload.fstab_options": {use: irrelevant},
	"partition_table.partitions.payload.fstab_freq":    {use: irrelevant},
	"partition_table.partitions.payload.fstab_passno":  {use: irrelevant},

	"partition_table.partitions.payload.mkfs_options.agcount":  {use: used},
	"partition_table.partitions.payload.mkfs_options.geometry": {use: irrelevant}, // a BIOS' heads and sectors
	"partition_table.partitions.payload.mkfs_options.verity":   {use: unsupported, reason: "no file of an image has fs-verity", fine: []any{false}},
}

// readDisk reads the partition table. As in image-builder, its root file system
// overrides the one of bootc's configuration.
func (c *Config) readDisk(root *rootfs.Inode) error {
	for _, name := range diskFiles {
		text, err := readFile(root, name)
		if err != nil {
			return err
		}
		if text == nil {
			continue
		}
		var f struct {
			Disk *Disk `yaml:"partition_table"`
		}
		keys, err := decodeYAML(text, &f)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		c.checkKeys(name, diskKeys, keys)
		if f.Disk == nil {
			c.warn("%s: no partition_table: the file has no effect on an image", name)
			return nil
		}
		f.Disk.File = name
		c.Disk = f.Disk
		c.readSizes(f.Disk)
		if n := len(f.Disk.Partitions); n > 0 && f.Disk.Partitions[n-1].Payload.Type != "" {
			c.RootFS = f.Disk.Partitions[n-1].Payload.Type
		}
		return nil
	}
	return nil
}

// readSizes takes the sizes of a partition table.
func (c *Config) readSizes(d *Disk) {
	known := func(b *Bytes, key string) bool {
		if *b == placeholder {
			c.warn("%s: %s is OVERRIDDEN, which the build of the container should have replaced by a number: it has no effect", d.File, key)
			*b = 0
		}
		return *b != 0
	}
	if known(&d.Size, "partition_table.size") {
		c.Size, c.SizeBy = int64(d.Size), d.File
	}
	known(&d.ExtraPadding, "partition_table.extra_padding")
	for i := range d.Partitions {
		p := &d.Partitions[i]
		kind, key := c.partitionKind(p.Type, cmp.Or(p.Label, p.Payload.Label)), fmt.Sprintf("partition_table.partitions[%d].size", i)
		if i == len(d.Partitions)-1 {
			kind = rootPartition
		}
		if wish := c.wish(kind); known(&p.Size, key) && wish != nil {
			*wish = Size{int64(p.Size), d.File, key}
		}
	}
}
