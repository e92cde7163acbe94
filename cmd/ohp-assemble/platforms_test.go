package main

import (
	"cmp"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/cmd/ohp-assemble/internal/progress"
	"github.com/ohp-assemble/ohp-assemble/manifests"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/assemble"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/upload"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest/golden"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest/tinyos"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/build"
)

// TestPlatforms has real tools turn the file of every format back into a disk,
// which must be the one that was planned.
func TestPlatforms(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("-short leaves out what reads many disks")
	}
	ref, dir := fixture(t, "tiny-base"), t.TempDir()
	var platforms []string
	for _, p := range cloud.Platforms {
		if p.Has(rootfs.MachineArch(runtime.GOARCH)) {
			platforms = append(platforms, p.ID)
		}
	}
	r := requested(t, ref, assemble.Request{Size: 1 << 30}, platforms...)
	ctx, quiet := context.Background(), progress.New(true)
	res, err := runBuild(ctx, quiet, r, dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Images) != len(platforms) {
		t.Errorf("%d images of %d platforms", len(res.Images), len(platforms))
	}
	plan := plannedBy(t, r)
	judged := map[string]bool{} // platforms of one format have one writer
	for i, img := range res.Images {
		if fileSum(t, img.Path) != img.SHA256 || img.UncompressedSHA256 != img.SHA256 {
			t.Errorf("%s: the file is not what the result says", img.Path)
		}
		if key := img.Format + map[string]string{"nutanix": "compressed", "metal4k": "4k"}[img.Platform]; judged[key] {
			continue
		} else {
			judged[key] = true
		}
		back := diskIn(t, img)
		if golden.File(t, back) != golden.Image(t, plan.Files[i].Disk.Image) {
			t.Errorf("%s: the disk in it is not the one that was planned", img.Path)
		}
		if img.Format != "raw" {
			os.Remove(back)
		}
	}
	if len(judged) != 10 {
		t.Errorf("judged were %v", judged)
	}
	checkMeta(t, dir, res)
}

// diskIn returns the raw disk in the file of an image, as real tools find it.
func diskIn(t *testing.T, img build.ImageReport) string {
	t.Helper()
	dir := t.TempDir()
	to := filepath.Join(dir, "disk.raw")
	convert := func(format, from string) { treetest.Run(t, "qemu-img", "convert", "-f", format, "-O", "raw", from, to) }
	switch img.Format {
	case "raw":
		return img.Path
	case "vhd":
		convert("vpc", img.Path)
	case "tar.gz":
		treetest.Run(t, "tar", "-C", dir, "-xSzf", img.Path, "disk.raw")
	case "ova":
		treetest.Run(t, "tar", "-C", dir, "-xf", img.Path, "disk.vmdk")
		convert("vmdk", filepath.Join(dir, "disk.vmdk"))
	case "ociarchive":
		treetest.Run(t, "skopeo", "copy", "-q", "oci-archive:"+img.Path, "dir:"+dir)
		var m struct{ Layers []struct{ Digest string } }
		text, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
		if err == nil {
			err = json.Unmarshal(text, &m)
		}
		if err != nil || len(m.Layers) != 1 {
			t.Fatalf("%s: %v", text, err)
		}
		name := strings.TrimSuffix(filepath.Base(img.Path), ".ociarchive") + ".qcow2"
		treetest.Run(t, "tar", "-C", dir, "-xf", filepath.Join(dir, strings.TrimPrefix(m.Layers[0].Digest, "sha256:")), "disk/"+name)
		convert("qcow2", filepath.Join(dir, "disk", name))
	default:
		convert(img.Format, img.Path)
	}
	return to
}

// opened reads the one build in a folder.
func opened(t *testing.T, dir string) build.Build {
	t.Helper()
	builds, err := build.Open(os.DirFS(dir))
	if err != nil || len(builds) != 1 {
		t.Fatal(builds, err)
	}
	return builds[0]
}

// checkMeta compares meta.json and the upload documents with a result.
func checkMeta(t *testing.T, dir string, res *build.Report) {
	t.Helper()
	m := opened(t, dir)
	if m.OSTreeCommit != res.Commit || m.BuildID != res.Version || m.BaseArch != res.Arch || m.Container.Digest != res.Digest || len(m.Images) != len(res.Images) {
		t.Errorf("meta.json: %+v", m)
	}
	for _, i := range res.Images {
		f, _ := m.File(i.Platform)
		if f.Name != filepath.Base(i.Path) || f.SHA256 != i.SHA256 || f.Size != i.Size || f.VirtualSize != i.VirtualSize || string(f.Type.Format) != i.Format || !f.Secret {
			t.Errorf("meta.json: images.%s: %+v", i.Platform, f)
		}
		text, err := os.ReadFile(upload.FileName(i.Path))
		if err != nil {
			t.Error(err)
			continue
		}
		var doc upload.Document
		if err := json.Unmarshal(text, &doc); err != nil || doc.Image.SHA256 != i.SHA256 || (doc.Snapshot != nil) != (i.Platform == "aws") {
			t.Errorf("%s: %+v, %v", upload.FileName(i.Path), doc.Image, err)
		}
	}
}

// TestCompress compresses a build at once and afterwards, with the same result,
// and undoes it. The images are small, but larger than a block of xz.
func TestCompress(t *testing.T) {
	ref, err := tinyos.Write(filepath.Join(t.TempDir(), "os"), tinyos.Plain)
	if err != nil {
		t.Fatal(err)
	}
	at := func(dir string, args ...string) build.Report {
		return built(t, nil, append([]string{ref, "--platform", "qemu,digitalocean,gcp", "--out", dir, "--cache", filepath.Join(dir, "cache")}, args...)...)
	}
	once, later := t.TempDir(), t.TempDir()
	packed, plain := at(once, "--compress", "zstd"), at(later)
	out := program(t, nil, "compress", later, "--compress", "zstd", "--format", "json").stdout
	for i, img := range packed.Images {
		if plain.Images[i].SHA256 != img.UncompressedSHA256 || plain.Images[i].Size != img.UncompressedSize {
			t.Errorf("%s: uncompressed it is %s, %d bytes", img.Path, img.UncompressedSHA256, img.UncompressedSize)
		}
		if img.Platform == "gcp" {
			if img.Compression != "none" {
				t.Errorf("%s is compressed twice", img.Path)
			}
			continue
		}
		if got := fileSum(t, filepath.Join(later, filepath.Base(img.Path))); got != img.SHA256 || !strings.Contains(out, got) || !strings.HasSuffix(img.Path, ".qcow2.zst") {
			t.Errorf("%s: build --compress and compress differ", img.Path)
		}
		if _, err := os.Stat(plain.Images[i].Path); err == nil {
			t.Errorf("%s is still there", plain.Images[i].Path)
		}
	}
	same := func(what string) {
		t.Helper()
		for _, name := range []string{build.MetaFile, upload.FileName(filepath.Base(packed.Images[0].Path))} {
			if a, b := fileSum(t, filepath.Join(once, name)), fileSum(t, filepath.Join(later, name)); a != b {
				t.Errorf("%s: %s differs", what, name)
			}
		}
	}
	same("compressed")
	program(t, nil, "compress", later) // there is nothing to do
	same("again")
	program(t, nil, "decompress", later)
	for _, img := range plain.Images {
		if fileSum(t, img.Path) != img.SHA256 {
			t.Errorf("%s is another", img.Path)
		}
	}
	program(t, nil, "compress", later, "--compress", "platform", "--keep")
	m := opened(t, later)
	qemu, _ := m.File("qemu")
	if ocean, _ := m.File("digitalocean"); ocean.Type.Compression != filetype.Gzip || qemu.Type.Compression != filetype.Xz {
		t.Errorf("%+v", m.Files)
	}
	// A file that does not match meta.json is not changed.
	name := filepath.Join(later, qemu.Name)
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("damage"), qemu.Size/2); err != nil {
		t.Fatal(err)
	}
	os.Remove(filepath.Join(later, qemu.PlainName()))
	if p := finish(t, start(t, nil, "decompress", later)); p.code != exitVerify || !strings.Contains(p.stderr, qemu.Name) {
		t.Errorf("exit code %d: %s", p.code, p.stderr)
	}
	if _, err := os.Stat(strings.TrimSuffix(name, ".xz")); err == nil {
		t.Error("a damaged image was decompressed")
	}
}

// TestExamples builds the images of the example definitions, of a container
// that there is. Their disks are smaller, because hashing zeros takes the longest.
func TestExamples(t *testing.T) {
	dir := t.TempDir()
	ref, err := tinyos.Write(filepath.Join(dir, "os"), tinyos.Plain)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(checkout, "manifests/examples"))); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil || len(files) < 2 {
		t.Fatal(files, err)
	}
	source := regexp.MustCompile(`source: .*`)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, source.ReplaceAll(text, []byte("source: "+ref)), 0o644); err != nil {
			t.Fatal(err)
		}
		r := built(t, nil, "-m", file, "--size", "2GiB", "--out", filepath.Join(dir, "out"), "--cache", filepath.Join(dir, "cache"))
		m, err := manifests.Parse(text, file)
		if err != nil || len(r.Images) != len(m.Spec.Platforms) {
			t.Errorf("%s: %d images, %v", file, len(r.Images), err)
		}
		for _, i := range r.Images {
			if m.Spec.Compression != "" && i.Compression != m.Spec.Compression || !strings.HasPrefix(filepath.Base(i.Path), cmp.Or(m.Metadata.Name, "tinyos")+"-") {
				t.Errorf("%s: %+v", file, i)
			}
		}
	}
}
