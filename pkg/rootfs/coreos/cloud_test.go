package coreos

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// TestCloud: settings that image.json lacks are those of Fedora CoreOS.
func TestCloud(t *testing.T) {
	for text, want := range map[string]Cloud{
		`{}`:           defaultCloud,
		`{"size": 12}`: defaultCloud,
		`{"vmware-secure-boot": false, "vmware-hw-version": 13}`: {VMwareHardware: 13, VMwareOSType: "fedora64Guest"},
		`{"aws-volume-type": "gp2", "aws-x86-boot-mode": "uefi", "aws-imdsv2-only": true, "vmware-os-type": "rhel9_64Guest"}`: {
			"gp2", "uefi", true, 17, "rhel9_64Guest", true,
		},
	} {
		c, err := ReadConfig(treetest.Texts(t, map[string]string{imageFile: text}), "amd64")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, c.Cloud); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
	if _, err := ReadConfig(treetest.Texts(t, map[string]string{imageFile: `{"vmware-hw-version": "new"}`}), "amd64"); err == nil {
		t.Error("a hardware version that is no number is taken")
	}
}
