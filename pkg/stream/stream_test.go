package stream

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// testBuild is a build and its architecture.
type testBuild struct {
	Dir string
	*Meta
}

// testBuilds returns two builds of one release, which together have a value for
// every field.
func testBuilds(t *testing.T) (builds []testBuild) {
	t.Helper()
	for _, dir := range []string{"aarch64", "x86_64"} {
		name := filepath.Join("testdata/builds", dir, "meta.json")
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		m, err := ParseMeta(name, text)
		if err != nil {
			t.Fatal(err)
		}
		builds = append(builds, testBuild{dir, m})
	}
	return builds
}

// released makes a release of the builds.
func released(t *testing.T, where Projection) *Document {
	t.Helper()
	var docs []*Document
	for _, b := range testBuilds(t) {
		r, err := NewRelease(b.Meta, "stable", where)
		if err != nil {
			t.Fatal(err)
		}
		docs = append(docs, documented(t, b.Dir, r))
	}
	d, err := Merge(docs...)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func projections(t *testing.T) map[string]Projection {
	t.Helper()
	http, err := HTTP("https://builds.example/prod/streams/{stream}/builds/{version}/{arch}/")
	if err != nil {
		t.Fatal(err)
	}
	manifests := map[string]Published{}
	for _, b := range testBuilds(t) {
		for _, a := range b.Images {
			manifests[a.SHA256] = Published{Manifest: digest.FromString("manifest of " + a.Path)}
		}
	}
	oci, err := OCI("registry.example/os/images", manifests)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]Projection{"http": http, "oci": oci}
}

// TestGolden makes every kind of document of two builds, and compares it with the reviewed
// one. Its schema and its readers accept it.
func TestGolden(t *testing.T) {
	for name, where := range projections(t) {
		release := released(t, where)
		r := &Release{}
		if err := release.Decode(r); err != nil {
			t.Fatal(err)
		}
		stream := documented(t, "stream.json", r.Current())
		for file, d := range map[string]*Document{
			"release.json": release, "stream.json": stream,
			"releases.json": documented(t, "releases.json", r.Index("https://builds.example/release.json")),
		} {
			if wrong, err := Check(d); err != nil || len(wrong) > 0 {
				t.Errorf("%s %s: %q, %v", name, file, wrong, err)
			}
			golden(t, filepath.Join("testdata", name, file), d.Bytes())
		}
		c, err := NewConfigMap("4.21.0", stream)
		if err != nil {
			t.Fatal(err)
		}
		text, err := c.YAML()
		if err != nil {
			t.Fatal(err)
		}
		golden(t, filepath.Join("testdata", name, "configmap.yaml"), text)
		for _, text := range [][]byte{text, Marshal(c)} {
			docs, err := ParseAll("configmap", text)
			if err != nil || len(docs) != 1 || !bytes.Equal(docs[0].Bytes(), stream.Bytes()) {
				t.Errorf("%v: %v", docs, err)
			}
		}
	}
}

// TestFormats: the keys are those of coreos-assembler's cmd-generate-release-meta.
func TestFormats(t *testing.T) {
	r := &Release{}
	if err := released(t, projections(t)["http"]).Decode(r); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range r.Current().Entries() {
		if e.Arch == "x86_64" {
			got = append(got, e.Platform+" "+e.Format+" "+e.Artifact)
		}
	}
	want := []string{"aws vmdk.xz disk", "gcp tar.gz disk", "hyperv vhdx.zip disk", "ibmcloud qcow2.xz disk", "kubevirt ociarchive disk",
		"metal 4k.raw.xz disk", "metal iso disk", "metal pxe kernel", "metal pxe initramfs", "metal pxe rootfs", "metal raw.xz disk",
		"qemu qcow2.xz disk", "vmware ova disk"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%q", got)
	}
	for file, want := range map[string]string{"a-qemu.x86_64.qcow2": "qcow2", "qemu.x86_64.-qemu.x86_64.raw.gz": "raw.gz", "a-qemu.aarch64.raw": "", "a-qemu.x86_64.": "", "": ""} {
		if got, err := formatOf(file, "qemu", "x86_64"); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", file, got, err)
		}
	}
}

func TestFind(t *testing.T) {
	r := &Release{}
	if err := released(t, projections(t)["http"]).Decode(r); err != nil {
		t.Fatal(err)
	}
	s := r.Current()
	for _, tc := range []struct{ arch, platform, format, artifact, want string }{
		{"aarch64", "qemu", "", "", "-qemu.aarch64.qcow2.xz"},
		{"x86_64", "metal", "4k.raw.xz", "", "-metal4k.x86_64.raw.xz"},
		{"x86_64", "metal", "pxe", "rootfs", "-live-rootfs.x86_64.img"},
	} {
		e, err := s.Find(tc.arch, tc.platform, tc.format, tc.artifact)
		if err != nil || !strings.HasSuffix(e.Location, tc.want) {
			t.Errorf("%v: %v, %v", tc, e, err)
		}
	}
	for _, tc := range []struct{ arch, platform, format, artifact, want string }{
		{"riscv64", "qemu", "", "", `architecture "riscv64": must be one of: aarch64, x86_64`},
		{"x86_64", "nokia", "", "", `platform "nokia": must be one of: aws, gcp`},
		{"x86_64", "metal", "", "", `format "": must be one of: 4k.raw.xz, iso, pxe, raw.xz`},
		{"x86_64", "metal", "pxe", "", `artifact "": must be one of: kernel, initramfs, rootfs`},
		{"x86_64", "metal", "pxe", "disk", `artifact "disk": must be one of: kernel`},
	} {
		if _, err := s.Find(tc.arch, tc.platform, tc.format, tc.artifact); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v: %v", tc, err)
		}
	}
	if _, err := (&Stream{}).Find("x86_64", "", "", ""); err == nil {
		t.Error("found in nothing")
	}
}

func TestProjections(t *testing.T) {
	for base, want := range map[string]string{
		"builds.example/x": "not an absolute", "ftp://a/b": "not an absolute", "https://u:p@a/b": "credentials", "/x": "not an absolute",
		"https://{arch}.example/": "must have a host and a path", "https://a/?x={arch}": "must have a host and a path", "https://a/#x": "must have a host and a path", "https://": "not an absolute", "https://a b/": "invalid character",
	} {
		if _, err := HTTP(base); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), ":p@") {
			t.Errorf("%s: %v", base, err)
		}
	}
	for _, repository := range []string{"registry.example/os:tag", "registry.example/os@sha256:" + strings.Repeat("0", 64), "os", "https://registry.example/os", ""} {
		if _, err := OCI(repository, nil); err == nil {
			t.Errorf("%s: taken", repository)
		}
	}
	oci, err := OCI("registry.example/os", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewRelease(testBuilds(t)[0].Meta, "s", oci); err == nil || !strings.Contains(err.Error(), "images.aws: ohp-os-41.20260101.0-aws.aarch64.vmdk.xz: not in registry.example/os") {
		t.Errorf("%v", err)
	}
	http, err := HTTP("https://a.example/{arch}")
	if err != nil {
		t.Fatal(err)
	}
	d, err := http(&Meta{BaseArch: "x86_64"}, "s", Artifact{Path: "100%?#.raw"})
	if err != nil || d.Location != "https://a.example/x86_64/100%25%3F%23.raw" || d.Signature != d.Location+".sig" {
		t.Errorf("%v, %v", d, err)
	}
}

// TestCheck finds problems, with the path of the field.
func TestCheck(t *testing.T) {
	text := func(name string) string {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	stream, release, index, meta := text("oci/stream.json"), text("oci/release.json"), text("oci/releases.json"), text("builds/x86_64/meta.json")
	for _, tc := range []struct{ in, old, new, want string }{
		{stream, `"sha256": "`, `"sha256": "X`, "formats.vmdk.xz.disk.sha256: "},
		{stream, `"location": "https:`, `"location": "ftp:`, "disk.location: "},
		{stream, `"location": "https://`, `"location": "https://u:p@`, "disk.location: the URL has credentials"},
		{stream, `"location": "https://registry.example`, `"location": "https:///registry`, "disk.location: "},
		{stream, `"signature"`, `"sig"`, "artifacts.aws.formats.vmdk.xz.disk: missing location or signature"},
		{stream, `"signature": "https:`, `"signature": "mailto:`, "disk.signature: "},
		{stream, `"digest-ref": "registry.example/os/images@sha256:`, `"digest-ref": "registry.example/os/images@sha256:x`, "oci.digest-ref: "},
		{stream, `"digest-ref": "registry.example/os/`, `"digest-ref": "registry.example/`, `oci: digest-ref "registry.example/images@`},
		{stream, `"last-modified": "2026-01-01T00:00:07Z"`, `"last-modified": "yesterday"`, "metadata.last-modified: "},
		{stream, `"last-modified": "2026-01-01T00:00:07Z"`, `"last-modified": "2026-01-01T00:00:07+02:00"`, "metadata.last-modified: "},
		{stream, `"release": "41.20260101.0"`, `"release": 41`, "artifacts.aws.release: got number, want string"},
		{stream, `"disk": {`, `"extra": {"a": 1}, "disk": {`, "formats.vmdk.xz.extra: missing location or signature"},
		{stream, `"disk": {`, `"kernel": {`, "missing kernel or initramfs"},
		{stream, `"formats": {`, `"formats": [], "x": {`, "formats: got array, want object"},
		{stream, `"architectures": {`, `"architectures": {"mips": {"artifacts": {}}, `, "architectures.mips.artifacts: empty"},
		{stream, `"architectures"`, `"architectures": {}, "x"`, "architectures: empty"},
		{stream, `"stream": "stable"`, `"stream": ""`, "stream: "},
		{release, `"media": {`, `"commit": "zz", "media": {`, "architectures.aarch64.commit: "},
		{release, `"uncompressed-sha256": "`, `"uncompressed-sha256": null, "x": "`, ""},
		{release, `"release": "41.20260101.0"`, `"release": ""`, "release: "},
		{release, `"architectures": {`, `"architectures": {"mips": {"media": {}}, `, "architectures.mips.media: empty"},
		{index, `"metadata": "https://builds.example/release.json"`, `"metadata": "release.json"`, "releases.0.metadata: "},
		{index, `"oci-images"`, `"x"`, "releases.0.missing commits"},
		{meta, `"path": "`, `"path": "../`, "images."},
		{meta, `"ostree-commit"`, `"x"`, "missing property 'ostree-commit'"},
	} {
		changed := strings.Replace(tc.in, tc.old, tc.new, 1)
		if changed == tc.in {
			t.Errorf("%s is not in the document", tc.old)
		}
		d, err := Parse("x", []byte(changed))
		if err != nil {
			t.Errorf("%s: %v", tc.new, err)
			continue
		}
		wrong, err := Check(d)
		if err != nil {
			wrong = append(wrong, err.Error())
		}
		if all := strings.Join(wrong, "\n"); (tc.want == "") != (all == "") || !strings.Contains(all, tc.want) {
			t.Errorf("%s -> %s: %s, want %s", tc.old, tc.new, all, tc.want)
		}
	}
	if _, err := Check(documented(t, "x", map[string]any{"a": 1})); err == nil {
		t.Error("of no kind, and taken")
	}
}
