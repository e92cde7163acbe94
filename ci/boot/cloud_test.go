package boot

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestClouds boots the tiny fixture from the file format of each cloud.
func TestClouds(t *testing.T) {
	t.Parallel()
	wanted(t, "tiny")
	config := filepath.Join(t.TempDir(), "config.ign")
	if err := os.WriteFile(config, []byte(tinyConfig), 0o644); err != nil {
		t.Fatal(err)
	}
	clouds := []struct {
		platform string
		firmware Firmware
		disk     func(t *testing.T, file string) string // returns the disk in the file
	}{
		{"aws", BIOS, itself},
		{"azure", UEFI, itself},
		{"gcp", UEFI, func(t *testing.T, file string) string { return member(t, file, "disk.raw") }},
		{"hyperv", UEFI, itself},
		{"kubevirt", BIOS, containerDisk},
		{"nutanix", UEFI, itself},
		{"virtualbox", BIOS, func(t *testing.T, file string) string { return member(t, file, "disk.vmdk") }},
		{"vmware", UEFI, func(t *testing.T, file string) string { return member(t, file, "disk.vmdk") }},
	}
	var platforms []string
	for _, c := range clouds {
		platforms = append(platforms, c.platform)
	}
	images := build(t, reference(t, "tiny-base"), "--platform", strings.Join(platforms, ","), "--ignition", config, "--karg", "console=ttyS0,115200n8")
	for _, c := range clouds {
		t.Run(c.platform, func(t *testing.T) {
			t.Parallel()
			m := boot(t, Options{Disk: c.disk(t, images[c.platform]), Firmware: c.firmware})
			tinyProof(m, c.platform, "xfs", c.firmware)
		})
	}
}

func itself(_ *testing.T, file string) string { return file }

// member extracts a file from a tar archive.
func member(t *testing.T, file, name string) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("tar", "-C", dir, "-xSf", file, name).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", file, err, out)
	}
	return filepath.Join(dir, name)
}

// containerDisk extracts the disk from a container image.
func containerDisk(t *testing.T, file string) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("skopeo", "copy", "-q", "oci-archive:"+file, "dir:"+dir).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", file, err, out)
	}
	blobs, err := filepath.Glob(filepath.Join(dir, strings.Repeat("[0-9a-f]", 64)))
	if err != nil {
		t.Fatal(err)
	}
	largest := slices.MaxFunc(blobs, func(a, b string) int { return int(fileSize(t, a) - fileSize(t, b)) })
	out, err := exec.Command("tar", "-tf", largest).Output()
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.Lines(string(out)) {
		if name = strings.TrimSpace(name); strings.HasSuffix(name, ".qcow2") {
			return member(t, largest, name)
		}
	}
	t.Fatalf("no disk in %s", out)
	return ""
}

func fileSize(t *testing.T, name string) int64 {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}
