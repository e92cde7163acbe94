package coreos

import (
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

func TestDisk(t *testing.T) {
	const file = "usr/lib/bootc-image-builder/disk.yaml"
	for size, want := range map[string]int64{
		"10G": 10 << 30, `"10 GiB"`: 10 << 30, "3000000": 3000000, "7 kB": 7000, "2TiB": 2 << 40,
	} {
		c, err := ReadChoices(treetest.Texts(t, map[string]string{file: "partition_table:\n  size: " + size + "\n"}), "amd64")
		if err != nil || c.Size != want || c.Disk.File != file {
			t.Errorf("%s: %+v, %v", size, c, err)
		}
	}
	for text, says := range map[string]string{
		"partition_table:\n  size: OVERRIDDEN\n": `size "OVERRIDDEN" is not a number`,
		"partition_table: [1]\n":                 file,
		"mount_configuration: none\n":            "no partition_table",
		"partition_table:\n  size: 99999999 TiB": "is not a number",
		"partition_table:\n  size: -1":           "is not a number",
		"\t":                                     file,
	} {
		if _, err := ReadChoices(treetest.Texts(t, map[string]string{file: text}), "amd64"); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", text, err)
		}
	}
	// image-builder's word on the root is newer than bootc's.
	c, err := ReadChoices(treetest.Texts(t, map[string]string{
		file:                           "partition_table:\n  partitions:\n  - payload: {type: ext4}\n",
		"usr/lib/bootc/install/1.toml": "[install.filesystem.root]\ntype = \"xfs\"\n",
	}), "amd64")
	if err != nil || c.RootFS != "ext4" || c.Size != DefaultSize {
		t.Errorf("%+v, %v", c, err)
	}
}
