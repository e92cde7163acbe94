package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/inspect/inspecttest"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/build"
)

// TestNotRead: all commands that look into files have the same error for a file
// that they cannot read, and the same hint.
func TestNotRead(t *testing.T) {
	t.Chdir(t.TempDir())
	for content, want := range map[string]struct {
		code        int
		error, hint string
	}{
		"QFI\xfb\x00\x00\x00\x01":     {exitFailed, "image: QCOW disk, version 1: not supported", "qemu-img convert"},
		"\xfd7zXZ\x00":                {exitFailed, "image: compressed with xz", "decompress it first: xz --decompress --keep image"},
		"just text\n":                 {exitFailed, "image: gpt: no table: this is text, not a disk", ""},
		"vhdxfile":                    {exitVerify, "image: vhdx: ", ""},
		strings.Repeat("\x00", 1<<12): {exitFailed, "begins with zeros", ""},
	} {
		if err := os.WriteFile("image", []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, line := range []string{"inspect image", "ls image", "ls image /x", "cat image /x", "diff image image"} {
			hint, err := try(strings.Fields(line)...)
			if exitCode(err) != want.code || !strings.Contains(err.Error(), want.error) || !strings.Contains(hint, want.hint) {
				t.Errorf("%s: exit code %d: %v: %s", line, exitCode(err), err, hint)
			}
		}
	}
}

// TestOtherVolume: a partition of a kind that is not read is compared by its
// bytes.
func TestOtherVolume(t *testing.T) {
	name, at := inspecttest.SmallDisk(t, rootfs.Dir(0o755))
	inspecttest.Overwrite(t, name, at["root"], make([]byte, 4096))
	inspecttest.Overwrite(t, name, at["root"]+1024, []byte("\xe2\xe1\xf5\xe0"))
	if p := program(t, nil, "inspect", name); !strings.Contains(p.stdout, "note: root file system: erofs is not read") {
		t.Errorf("inspect: %s", p.stdout)
	}
	if _, err := try("cat", name, "/etc/os-release"); exitCode(err) != exitFailed || !strings.Contains(err.Error(), "erofs is not read") {
		t.Errorf("cat: %v", err)
	}
}

// TestFolder lists the images of builds.
func TestFolder(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const meta = `{"buildid": "41.1", "name": "os", "ostree-version": "41.1", "ostree-timestamp": "2026-01-01T00:00:00Z", "coreos-assembler.basearch": "ARCH",
		"ostree-commit": "379f1b10a1c750842d937eb3143098d3775d0b10bfad08e0aea86c892ef858df",
		"base-oscontainer": {"image": "registry.example/os", "digest": "sha256:2222222222222222222222222222222222222222222222222222222222222222"},
		"images": {"qemu": {"path": "os-qemu.qcow2.xz", "size": 3, "sha256": "1111111111111111111111111111111111111111111111111111111111111111"}}}`
	for _, arch := range []string{"x86_64", "aarch64"} {
		write(arch+"/meta.json", strings.Replace(meta, "ARCH", arch, 1))
		write(arch+"/images.json", `{"os-qemu.qcow2.xz": {"format": "qcow2", "compression": "xz", "virtual-size": 10737418240}}`)
		write(arch+"/os-qemu.qcow2.xz", "abc")
	}
	for _, verb := range []string{"inspect", "ls"} {
		p := finish(t, start(t, nil, verb, "--format", "json", dir))
		var found build.Listing
		if err := json.Unmarshal([]byte(p.stdout), &found); err != nil || p.code != 0 {
			t.Fatalf("%s: %v: %s%s", verb, err, p.stdout, p.stderr)
		}
		image := build.ListedImage{Platform: "qemu", Format: "qcow2", Compression: "xz", Path: filepath.Join(dir, "aarch64/os-qemu.qcow2.xz"), Size: 3, VirtualSize: 10 << 30, SHA256: strings.Repeat("1", 64)}
		if len(found.Builds) != 2 || found.Builds[0].Arch != "aarch64" || len(found.Builds[0].Images) != 1 || found.Builds[0].Images[0] != image {
			t.Errorf("%s: %+v", verb, found)
		}
		p = finish(t, start(t, nil, verb, filepath.Join(dir, "x86_64")))
		if p.code != 0 || !strings.Contains(p.stdout, "os 41.1, x86_64, commit 379f") || !strings.Contains(p.stdout, "  qemu      qcow2   xz           3 B   10 GiB\n") {
			t.Errorf("%s: %d: %s%s", verb, p.code, p.stdout, p.stderr)
		}
	}
	if hint, err := try("cat", dir, "/x"); exitCode(err) != exitFailed || !strings.Contains(hint, "aarch64/os-qemu.qcow2.xz, ") {
		t.Errorf("cat: %v: %s", err, hint)
	}
	write("x86_64/os-qemu.qcow2.xz", "abcd")
	if _, err := try("inspect", dir); !errors.Is(err, errProblems) {
		t.Errorf("a file of another size: %v", err)
	}
}
