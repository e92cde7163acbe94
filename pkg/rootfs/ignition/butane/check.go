package butane

import (
	"fmt"
	"strconv"

	"github.com/coreos/ignition/v2/config/v3_6_experimental/types"
	"go.yaml.in/yaml/v3"
)

// imagePartitions has the numbers of the partitions that are in the image.
var imagePartitions = map[string]int{
	"BIOS-BOOT": 1, "PowerPC-PReP-boot": 1, "EFI-SYSTEM": 2, "boot": 3, "root": 4,
}

// minRoot is the smallest root that upgrades have room in, in MiB.
const minRoot = 8192

// checkPartitions warns of what boots at first and hurts later.
func (t *translation) checkPartitions(c types.Config) {
	for i, disk := range c.Storage.Disks {
		wiped := disk.WipeTable != nil && *disk.WipeTable
		for j, p := range disk.Partitions {
			if p.Label == nil {
				continue
			}
			n := t.at.nearest(fmt.Sprintf("$.storage.disks.%d.partitions.%d.label", i, j))
			if number := imagePartitions[*p.Label]; !wiped && number != 0 && number != p.Number {
				t.warnf(n, "storage.disks.partitions: %s is partition %d of the image, not %d", *p.Label, number, p.Number)
			}
			if t.minor >= 6 && !wiped && p.Number == 0 && disk.Device != "/dev/disk/by-id/coreos-boot-disk" {
				t.warnf(n, "storage.disks.partitions: without a number, a partition %s of an earlier installation would be taken", *p.Label)
			}
			if t.minor >= 3 && *p.Label == "root" {
				t.checkRoot(n, disk, j)
			}
		}
	}
}

func (t *translation) checkRoot(n *yaml.Node, disk types.Disk, root int) {
	if size := disk.Partitions[root].SizeMiB; size != nil && *size != 0 {
		if *size < minRoot {
			t.warnf(n, "storage.disks.partitions: root has %d MiB, should have %d", *size, minRoot)
		}
		return
	}
	for i, p := range disk.Partitions {
		if i != root && (p.StartMiB == nil || *p.StartMiB == 0) {
			t.warnf(n, "storage.disks.partitions: root cannot grow, the partition after it starts wherever there is room")
			return
		}
	}
}

// group and user must have names, which Ignition finds out when it is too late.
func (t *translation) group(n *yaml.Node, m object, _ string) { t.named("passwd.groups", n, m) }

func (t *translation) user(n *yaml.Node, m object, path string) {
	t.named("passwd.users", n, m)
	t.keyFiles(n, m, path)
}

func (t *translation) named(where string, n *yaml.Node, m object) {
	if name, _ := m["name"].(string); name == "" {
		t.errorf(n, "%s: no name", where)
	}
}

// mode warns of a mode that was meant to be octal: it looks like a usual
// one, and as the decimal number that YAML takes it for it is not.
func (t *translation) mode(n *yaml.Node, m object, _ string) { t.octal(n, "mode", m) }

func (t *translation) octal(n *yaml.Node, key string, m object) {
	from := child(n, key)
	mode, ok := m[camel(key)].(int)
	if !ok || from.Value[0] == '0' {
		return
	}
	if octal, err := strconv.ParseInt(from.Value, 8, 32); err == nil && usualMode(int(octal)) && !usualMode(mode) {
		t.warnf(from, "%s %s is decimal and means 0%o, is 0%s meant?", key, from.Value, mode, from.Value)
	}
}

// usualMode has the owner read, and nobody do more than who is nearer.
func usualMode(mode int) bool {
	owner, group, other := mode>>6&7, mode>>3&7, mode&7
	return owner >= 4 && group&^owner == 0 && other&^group == 0 && (group == 0 || group >= 4) && (other == 0 || other >= 4)
}
