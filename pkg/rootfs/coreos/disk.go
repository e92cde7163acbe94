package coreos

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// diskFiles are where image-builder looks for a partition table, newest first.
var diskFiles = []string{"usr/lib/image-builder/bootc/disk.yaml", "usr/lib/bootc-image-builder/disk.yaml"}

// A Disk is the partition table that a container asks image-builder for. Only
// what tells one disk from another is read.
type Disk struct {
	File       string      `yaml:"-"` // where it stands
	Type       string      `yaml:"type"`
	UUID       string      `yaml:"uuid"`
	Size       Bytes       `yaml:"size"`
	Partitions []Partition `yaml:"partitions"`
}

// A Partition is one of a [Disk]. What is empty is not asked for.
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

// Bytes is a size that may be written with a unit, such as "384 MiB".
type Bytes int64

var units = map[string]int64{
	"": 1, "B": 1, "BYTES": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
	"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40,
}

// UnmarshalYAML reads a number with or without a unit.
func (b *Bytes) UnmarshalYAML(node *yaml.Node) error {
	s := strings.TrimSpace(node.Value)
	end := len(s) - len(strings.TrimLeft(s, "0123456789"))
	n, err := strconv.ParseInt(s[:end], 10, 64)
	unit, known := units[strings.ToUpper(strings.TrimSpace(s[end:]))]
	if err != nil || !known || n > math.MaxInt64/unit {
		return fmt.Errorf("size %q is not a number of bytes, KiB, MiB, GiB or TiB", s)
	}
	*b = Bytes(n * unit)
	return nil
}

// readDisk reads the partition table, whose root says more than what bootc was
// told: image-builder has it overrule that.
func (c *Choices) readDisk(root *rootfs.Inode) error {
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
		if err := decodeYAML(text, &f); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if f.Disk == nil {
			return fmt.Errorf("%s: no partition_table", name)
		}
		f.Disk.File = name
		c.Disk = f.Disk
		if f.Disk.Size != 0 {
			c.Size = int64(f.Disk.Size)
		}
		if n := len(f.Disk.Partitions); n > 0 && f.Disk.Partitions[n-1].Payload.Type != "" {
			c.RootFS = f.Disk.Partitions[n-1].Payload.Type
		}
		return nil
	}
	return nil
}
