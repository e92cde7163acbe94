package boot

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// tinyConfig is embedded only: the tiny system has no Ignition.
const tinyConfig = `{"ignition": {"version": "3.4.0"}, "storage": {"files": [{"path": "/etc/proof", "contents": {"source": "data:,proof"}}]}}
`

// TestTiny boots the tiny fixture. Its init compares every name of the
// deployment with a manifest that was made before the commit, twice: in the root file
// system and in the mounted composefs image.
func TestTiny(t *testing.T) {
	t.Parallel()
	wanted(t, "tiny")
	config := filepath.Join(t.TempDir(), "config.ign")
	if err := os.WriteFile(config, []byte(tinyConfig), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, container := range []struct {
		name, rootFS string
		sizes        []string
		boots        map[string]Firmware // by platform
	}{
		// Together, these are all pairs of container, format and firmware. The larger
		// sizes give FAT32, and blocks of 4 KiB in the boot file system.
		{"tiny-base", "ext4", nil, map[string]Firmware{"metal": BIOS, "qemu": UEFI}},
		{"tiny-chunked", "xfs", []string{"--esp-size", "600MiB", "--boot-size", "1GiB"}, map[string]Firmware{"metal": UEFI, "qemu": BIOS}},
	} {
		// The metal platform has no console of its own.
		images := build(t, reference(t, container.name), append(container.sizes, "--platform", "qemu,metal", "--root-fs", container.rootFS, "--ignition", config, "--karg", "console=ttyS0,115200n8")...)
		for platform, firmware := range container.boots {
			t.Run(fmt.Sprintf("%s/%s/%s", container.name, platform, firmware), func(t *testing.T) {
				t.Parallel()
				m := boot(t, Options{Disk: images[platform], Firmware: firmware})
				tinyProof(m, platform, container.rootFS, firmware)
			})
		}
	}
}

// TestMetal4K boots the tiny fixture from a disk with sectors of 4096 bytes.
func TestMetal4K(t *testing.T) {
	t.Parallel()
	wanted(t, "tiny")
	config := filepath.Join(t.TempDir(), "config.ign")
	if err := os.WriteFile(config, []byte(tinyConfig), 0o644); err != nil {
		t.Fatal(err)
	}
	disk := build(t, reference(t, "tiny-base"), "--platform", "metal4k", "--ignition", config, "--karg", "console=ttyS0,115200n8")["metal4k"]
	tinyProof(boot(t, Options{Disk: disk, Sector: 4096, Firmware: UEFI}), "metal", "xfs", UEFI)
}

// TestARM boots the tiny fixture of aarch64. The machine that makes the image cannot
// run programs of aarch64.
func TestARM(t *testing.T) {
	t.Parallel()
	wanted(t, "tiny")
	config := filepath.Join(t.TempDir(), "config.ign")
	if err := os.WriteFile(config, []byte(tinyConfig), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, container := range []struct{ name, platform, rootFS string }{{"arm64-base", "qemu", "xfs"}, {"arm64-chunked", "metal", "ext4"}} {
		images := build(t, reference(t, container.name), "--arch", "arm64", "--platform", container.platform,
			"--root-fs", container.rootFS, "--ignition", config, "--karg", "console=ttyAMA0")
		t.Run(container.name, func(t *testing.T) {
			t.Parallel()
			m := boot(t, Options{Disk: images[container.platform], Arch: "aarch64", Firmware: UEFI})
			tinyProof(m, container.platform, container.rootFS, UEFI)
		})
	}
}

func tinyProof(m *machine, platform, rootFS string, firmware Firmware) {
	m.t.Helper()
	m.never("mismatch", "error")
	m.is("firmware", string(firmware))
	m.is("gpt-backup", "ok")
	m.is("immutable", "true")
	for _, tree := range []string{"manifest", "etc", "composefs"} {
		if v := m.Get(tree); !strings.HasPrefix(v, "ok ") {
			m.t.Errorf("%s=%q, want it to be ok", tree, v)
		}
	}
	m.has("deployment", "ostree/deploy/ohpfixture/deploy/")
	m.has("root", " "+rootFS)
	m.has("stamp", "present 0 bytes")
	m.has("ignition-config", fmt.Sprintf("present %d bytes sha256 %x", len(tinyConfig), sha256.Sum256([]byte(tinyConfig))))
	m.has("var-seed", "present")
	for _, word := range []string{"rw", "ignition.firstboot", "ignition.platform.id=" + platform, "loglevel=2"} {
		m.argument(word, true)
	}
}
