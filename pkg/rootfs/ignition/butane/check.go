package butane

import (
	"fmt"
	"strconv"

	"github.com/coreos/ignition/v2/config/v3_6_experimental/types"
	"go.yaml.in/yaml/v3"
)

// imagePartitions are the numbers of the partitions in an image.
var imagePartitions = map[string]int{
	"BIOS-BOOT": 1, "PowerPC-PReP-boot": 1, "EFI-SYSTEM": 2, "boot": 3, "root": 4,
}

// minRoot is the smallest size of a root partition that has room for upgrades, in
// MiB.
const minRoot = 8192

// checkPartitions warns about partitions that cause problems only after the first
// boot.
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
				t.warnf(n, "storage.disks.partitions: without a number, an existing partition %s of an earlier installation is reused", *p.Label)
			}
			if t.minor >= 3 && *p.Label == "root" {
				t.checkRoot(n, disk, j)
			}
		}
	}
}

// checkRoot warns about a root partition that is too small or cannot grow.
func (t *translation) checkRoot(n *yaml.Node, disk types.Disk, root int) {
	if size := disk.Partitions[root].SizeMiB; size != nil && *size != 0 {
		if *size < minRoot {
			t.warnf(n, "storage.disks.partitions: root has %d MiB, should have at least %d", *size, minRoot)
		}
		return
	}
	for i, p := range disk.Partitions {
		if i != root && (p.StartMiB == nil || *p.StartMiB == 0) {
			t.warnf(n, "storage.disks.partitions: root cannot grow, because a partition without start_mib may follow it directly")
			return
		}
	}
}

// group checks that a group has a name. Ignition would check that only on the
// machine; the same goes for user.
func (t *translation) group(n *yaml.Node, m object, _ string) { t.named("passwd.groups", n, m) }

func (t *translation) user(n *yaml.Node, m object, path string) {
	t.named("passwd.users", n, m)
	t.keyFiles(n, m, path)
}

func (t *translation) named(where string, n *yaml.Node, m object) {
	if name, _ := m["name"].(string); name == "" {
		t.errorf(n, "%s: missing name", where)
	}
}

// mode warns about a decimal mode whose digits are a usual mode in octal, such as
// 644.
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

// usualMode reports whether a mode lets the owner read, gives the group no more
// than the owner, and others no more than the group.
func usualMode(mode int) bool {
	owner, group, other := mode>>6&7, mode>>3&7, mode&7
	return owner >= 4 && group&^owner == 0 && other&^group == 0 && (group == 0 || group >= 4) && (other == 0 || other >= 4)
}
