package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/ext4"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// lookAt runs the commands that look into files. It returns the error of inspect,
// which the others must have, too.
func lookAt(t *testing.T, name string) error {
	t.Helper()
	_, err := try("inspect", name)
	for _, args := range [][]string{{"ls", name}, {"ls", name, "/x"}, {"cat", name, "/x"}, {"diff", name, name}} {
		if _, other := try(args...); err == nil || other == nil || exitCode(other) != exitFailed || other.Error() != err.Error() {
			t.Errorf("%q: exit code %d: %v, but inspect: %v", args, exitCode(other), other, err)
		}
	}
	return err
}

// TestKinds: every format that is not read has a name, and is not called
// damaged.
func TestKinds(t *testing.T) {
	dir := t.TempDir()
	file := func(size, off int64, content string) string {
		name := filepath.Join(dir, "image")
		b := make([]byte, size)
		if off < 0 {
			off += size
		}
		copy(b[off:], content)
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
		return name
	}
	const size = 1 << 17
	for _, table := range [][]fileKind{diskKinds, volumeKinds, otherKinds} {
		for _, k := range table {
			if k.open != nil {
				continue
			}
			if err := lookAt(t, file(size, k.off, k.magic)); exitCode(err) != exitFailed || !strings.Contains(err.Error(), k.name) {
				t.Errorf("%s: exit code %d: %v", k.name, exitCode(err), err)
			}
		}
	}
	for _, tc := range []struct{ content, says string }{
		{"", "begins with zeros"},
		{"just a text\n" + strings.Repeat("ä\n", size), "this is text, not a disk"},
		{" {\"a\": 1}" + strings.Repeat(" ", size), "JSON"},
		{strings.Repeat("\x80\x01", size), "the format is not known"},
		{"\x1f\x8b", "is compressed with gzip"}, {"\xfd7zXZ\x00", "is compressed with xz"}, {"\x28\xb5\x2f\xfd", "is compressed with zstd"},
		{strings.Repeat("\x00", 510) + "\x55\xaa", "MBR, and only GPT"},
		{strings.Repeat("\x00", 1080) + "\x53\xef", "this is the file system ext4, not a disk"},
		{"XFSB", "this is the file system xfs, not a disk"},
	} {
		if err := lookAt(t, file(size, 0, tc.content)); exitCode(err) != exitFailed || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%.20q: exit code %d: %v", tc.content, exitCode(err), err)
		}
	}
	if err := lookAt(t, file(0, 0, "")); exitCode(err) != exitFailed || !strings.Contains(err.Error(), "the file is empty") {
		t.Errorf("an empty file: %v", err)
	}
	protective := make([]byte, 512)
	protective[450], protective[510], protective[511] = 0xee, 0x55, 0xaa
	if _, err := try("inspect", file(size, 0, string(protective))); exitCode(err) != exitVerify {
		t.Errorf("a disk that lost its table: exit code %d: %v", exitCode(err), err)
	}
}

// TestHybrid: an ISO image that is a disk as well is read as one.
func TestHybrid(t *testing.T) {
	name, _ := smallDisk(t, rootfs.Dir(0o755))
	overwrite(t, name, 32769, []byte("CD001"))
	found, err := inspect(name)
	if err != nil || found.Format != "raw" || len(found.Problems) > 0 {
		t.Errorf("%v, %+v", err, found)
	}
	if _, err := try("ls", name, "/"); err != nil {
		t.Error(err)
	}
}

// TestCutShort: an image of a format that is read is damaged when its end is
// missing, wherever that is.
func TestCutShort(t *testing.T) {
	name, _ := smallDisk(t, rootfs.Dir(0o755))
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	img, err := disk.New(int64(len(raw)), disk.Extent{Blob: bytes.NewReader(raw)})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"qemu", "metal", "aws", "hyperv"} {
		p, err := cloud.Lookup("x86_64", id)
		if err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(t.TempDir(), "image")
		if _, _, err := writeFile(out, 0o644, func(f *os.File) error {
			return p[0].Format.WriteFile(cloud.Output{File: f, Compression: "none", Plain: newSink(t.Context(), nil)}, img, cloud.Facts{ID: [16]byte{1}})
		}); err != nil {
			t.Fatal(err)
		}
		if _, err := try("inspect", out); err != nil {
			t.Errorf("%s: %v", id, err)
		}
		whole := stat(t, out).Size()
		for _, size := range []int64{whole / 2, 4000, 40} {
			if id == "metal" && size < 1<<20 { // there is no header, which could be cut
				continue
			}
			if err := os.Truncate(out, size); err != nil {
				t.Fatal(err)
			}
			for _, args := range [][]string{{"inspect", out}, {"ls", out}, {"cat", out, "/x"}, {"diff", "--exit-code", out, name}} {
				if _, err := try(args...); exitCode(err) != exitVerify {
					t.Errorf("%q: %s of %d bytes: exit code %d: %v", args, id, size, exitCode(err), err)
				}
			}
		}
	}
}

// TestOtherFileSystem: a partition that is not read is no damage.
func TestOtherFileSystem(t *testing.T) {
	for _, k := range volumeKinds {
		name, at := smallDisk(t, rootfs.Dir(0o755))
		overwrite(t, name, at["root"], make([]byte, 4096))
		overwrite(t, name, at["root"]+k.off, []byte(k.magic))
		found, err := inspect(name)
		if err != nil || len(found.Problems) > 0 || len(found.Notes) != 1 || !strings.Contains(found.Notes[0], k.name) {
			t.Errorf("%s: %v, %+v", k.name, err, found)
		}
		if _, err := try("cat", name, "/etc/os-release"); exitCode(err) != exitFailed || !strings.Contains(err.Error(), k.name) {
			t.Errorf("%s: cat: %v", k.name, err)
		}
		changed := name + ".changed"
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		b[at["root"]+5<<20]++
		if err := os.WriteFile(changed, b, 0o644); err != nil {
			t.Fatal(err)
		}
		d, err := new(buildOptions).diff(t.Context(), name, changed)
		if err != nil || d.Equal || len(d.Partitions) != 1 || !d.Partitions[0].Content {
			t.Errorf("%s: diff: %v, %+v", k.name, err, d)
		}
	}
}

// TestOtherSystem: a disk of a system that ostree has not deployed is whole.
func TestOtherSystem(t *testing.T) {
	name, at := smallDisk(t, rootfs.Dir(0o755))
	for part, tree := range map[string]*rootfs.Inode{"root": rootfs.Dir(0o755), "boot": rootfs.Dir(0o755)} {
		fs, err := ext4.Format(tree, ext4.Options{Size: 8 << 20, Label: part})
		if err != nil {
			t.Fatal(err)
		}
		b, err := rootfs.ReadAll(fs, 8<<20)
		if err != nil {
			t.Fatal(err)
		}
		overwrite(t, name, at[part], b)
	}
	found, err := inspect(name)
	if err != nil || len(found.Problems) > 0 || len(found.Notes) != 2 {
		t.Errorf("%v, %+v", err, found)
	}
	if _, err := try("inspect", name); err != nil {
		t.Error(err)
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
		var found folder
		if err := json.Unmarshal([]byte(p.stdout), &found); err != nil || p.code != 0 {
			t.Fatalf("%s: %v: %s%s", verb, err, p.stdout, p.stderr)
		}
		image := folderImage{Platform: "qemu", Format: "qcow2", Compression: "xz", Path: filepath.Join(dir, "aarch64/os-qemu.qcow2.xz"), Size: 3, VirtualSize: 10 << 30, SHA256: strings.Repeat("1", 64)}
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

// TestQEMUKinds has the files that qemu-img makes.
func TestQEMUKinds(t *testing.T) {
	for line, says := range map[string]string{
		"vdi":                                    "VDI disk",
		"qed":                                    "QED disk",
		"parallels":                              "Parallels disk",
		"qcow":                                   "QCOW disk, version 1",
		"vmdk -o subformat=twoGbMaxExtentSparse": "VMDK descriptor",
		"vmdk -o subformat=monolithicFlat":       "VMDK descriptor",
		"vmdk -o subformat=twoGbMaxExtentFlat":   "VMDK descriptor",
		"qcow2 -o extended_l2=on":                "qcow2: header: has subclusters",
		"qcow2 -o data_file=data":                "qcow2: header: needs an external data file",
		"qcow2 -b /dev/null -F raw":              "qcow2: header: needs a backing file",
		"qcow2 --object secret,id=s,data=x -o encrypt.format=aes,encrypt.key-secret=s": "qcow2: header: encrypted", // luks measures the machine's speed
	} {
		t.Chdir(t.TempDir())
		args := strings.Fields(line)
		treetest.Run(t, "qemu-img", append(append([]string{"create", "-q", "-f"}, args...), "image", "2M")...)
		if err := lookAt(t, "image"); exitCode(err) != exitFailed || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: exit code %d: %v", line, exitCode(err), err)
		}
	}
}
