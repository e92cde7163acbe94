package judges

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ignition/butane"
)

// TestValidate checks translated Butane configs with ignition-validate. It knows the
// versions up to 3.5, which is the translation of fcos 1.6.0.
func TestValidate(t *testing.T) {
	validate := filepath.Join(judge(t, "ignition-validate"), "ignition-validate")
	const body = `
passwd:
  users:
    - {name: core, ssh_authorized_keys: [ssh-ed25519 AAAA], groups: [wheel]}
storage:
  disks:
    - {device: /dev/vdb, wipe_table: true, partitions: [{number: 1, label: data, size_mib: 100}]}
  filesystems:
    - {path: /var/data, device: /dev/disk/by-partlabel/data, format: xfs, with_mount_unit: true}
  files:
    - {path: /etc/hostname, mode: 0644, contents: {inline: box}}
    - {path: /etc/large, contents: {inline: "` + "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" + `"}}
  directories:
    - {path: /var/d, mode: 0750, user: {name: core}}
  links:
    - {path: /etc/l, target: ../x}
systemd:
  units:
    - {name: a.service, enabled: true, contents: "[Service]\nExecStart=/usr/bin/true\n[Install]\nWantedBy=multi-user.target\n"}
`
	for _, version := range []string{"1.1.0", "1.2.0", "1.3.0", "1.4.0", "1.5.0", "1.6.0"} {
		t.Run(version, func(t *testing.T) {
			text, _, err := butane.Translate([]byte("variant: fcos\nversion: "+version+body), butane.Options{Name: "config.bu"})
			if err != nil {
				t.Fatal(err)
			}
			name := filepath.Join(t.TempDir(), "config.ign")
			if err := os.WriteFile(name, text, 0o644); err != nil {
				t.Fatal(err)
			}
			if out := run(t, ".", validate, name); out != "" {
				t.Errorf("%s\n%s", out, text)
			}
		})
	}
}
