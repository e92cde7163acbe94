package build

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
)

// testBuilds returns two builds of one release.
func testBuilds(t *testing.T) []Build {
	t.Helper()
	builds, err := Open(os.DirFS("../testdata/builds"))
	if err != nil {
		t.Fatal(err)
	}
	if len(builds) != 2 || builds[0].Dir != "aarch64" || builds[1].BaseArch != "x86_64" {
		t.Fatalf("%v", builds)
	}
	return builds
}

// TestOpen reads the facts of both documents.
func TestOpen(t *testing.T) {
	for _, b := range testBuilds(t) {
		if len(b.Files) != len(b.Images) || !slices.IsSortedFunc(b.Files, func(x, y cloud.File) int { return strings.Compare(x.Platform, y.Platform) }) {
			t.Errorf("%s: %d files of %d images", b.Dir, len(b.Files), len(b.Images))
		}
		f, ok := b.File("qemu")
		if !ok || f.VirtualSize == 0 || f.Type.Format != filetype.QCOW2 || f.Plain == f.Content {
			t.Errorf("%s: %+v", b.Dir, f)
		}
		if _, ok := b.File("nokia"); ok {
			t.Errorf("%s: found a platform that does not exist", b.Dir)
		}
		text, err := os.ReadFile("../testdata/builds/" + b.Dir + "/" + MetaFile)
		if err != nil {
			t.Fatal(err)
		}
		d, err := stream.Parse(b.Dir, text)
		if err != nil {
			t.Fatal(err)
		}
		if wrong, err := stream.Check(d); err != nil || len(wrong) > 0 {
			t.Errorf("%s: %q, %v", b.Dir, wrong, err)
		}
	}
	if _, err := Open(fstest.MapFS{"a/b": {}}); !errors.Is(err, ErrNoBuild) {
		t.Errorf("no build: %v", err)
	}
	for _, name := range []string{MetaFile, "x86_64/" + MetaFile} {
		if _, err := Open(fstest.MapFS{name: {Data: []byte("{")}}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		large := bytes.Repeat([]byte(" "), stream.MaxDocument+1)
		if _, err := Open(fstest.MapFS{name: {Data: large}}); err == nil || !strings.Contains(err.Error(), "more than") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Open(fstest.MapFS{MetaFile: {Mode: fs.ModeDir}}); err == nil {
		t.Error("a folder was read as meta.json")
	}
}

// A cosaBuild has the fields that coreos-assembler's reader of builds, pkg/builds,
// knows and this package writes. The reader rejects all other fields.
type cosaBuild struct {
	BuildID   string                  `json:"buildid"`
	Name      string                  `json:"name"`
	Commit    string                  `json:"ostree-commit"`
	Timestamp string                  `json:"ostree-timestamp"`
	Version   string                  `json:"ostree-version"`
	Arch      string                  `json:"coreos-assembler.basearch"`
	Imported  bool                    `json:"coreos-assembler.oci-imported"`
	Base      *cosaContainer          `json:"base-oscontainer"`
	KubeVirt  *cosaContainer          `json:"kubevirt"`
	Images    map[string]cosaArtifact `json:"images"`
	Amis      []map[string]string     `json:"amis"`
	AwsWinLi  []map[string]string     `json:"aws-winli"`
	Aliyun    []map[string]string     `json:"aliyun"`
	IBM       []map[string]string     `json:"ibmcloud"`
	PowerVS   []map[string]string     `json:"powervs"`
	Azure     map[string]string       `json:"azure"`
	GCP       map[string]string       `json:"gcp"`
}

type cosaContainer struct {
	Image  string   `json:"image"`
	Digest string   `json:"digest"`
	Tags   []string `json:"tags"`
}

type cosaArtifact struct {
	Path               string  `json:"path"`
	SHA256             string  `json:"sha256"`
	Size               float64 `json:"size"`
	SkipCompression    bool    `json:"skip-compression"`
	UncompressedSHA256 string  `json:"uncompressed-sha256"`
	UncompressedSize   int     `json:"uncompressed-size"`
}

// cosaPlatforms are the platforms of ours that coreos-assembler knows.
var cosaPlatforms = strings.Fields(`aliyun applehv aws azure azurestack digitalocean exoscale gcp hetzner hyperv ibmcloud kubevirt
	metal metal4k nutanix openstack oraclecloud proxmoxve qemu virtualbox vmware vultr`)

// TestCosa checks that coreos-assembler can read meta.json.
func TestCosa(t *testing.T) {
	for _, p := range cloud.Platforms {
		if !p.Emerging && !slices.Contains(cosaPlatforms, p.ID) {
			t.Errorf("%s: coreos-assembler has no such platform", p.ID)
		}
	}
	for _, b := range testBuilds(t) {
		b.set(cloud.File{Platform: "qemu", Name: "a.qcow2", VirtualSize: 1, SectorSize: 1, Secret: true, Manifest: "x", SkipCompression: true})
		d := json.NewDecoder(bytes.NewReader(b.metaJSON()))
		d.DisallowUnknownFields()
		if err := d.Decode(&cosaBuild{}); err != nil {
			t.Error(err)
		}
	}
}

// scaleway is an image of a platform that meta.json does not list.
var scaleway = cloud.File{
	Platform: "scaleway", Name: "a-scaleway.qcow2.xz", Type: filetype.Type{Format: "qcow2", Compression: "xz"},
	Content: cloud.Content{Size: 7, SHA256: strings.Repeat("a", 64)}, Plain: cloud.Content{Size: 8, SHA256: strings.Repeat("b", 64)},
	VirtualSize: 9, SectorSize: 4096, Secret: true, Manifest: "sha256:m", Published: []cloud.Place{{Repository: "r", Manifest: "m"}},
}

// TestUnlisted writes an image that coreos-assembler has no platform for to
// images.json only, and reads it back.
func TestUnlisted(t *testing.T) {
	b := testBuilds(t)[0]
	b.set(scaleway)
	b.unlisted = append(b.unlisted, scaleway.Platform)
	listed := b.metaJSON()
	if bytes.Contains(listed, []byte("scaleway")) || !bytes.Contains(listed, []byte(`"metal"`)) {
		t.Errorf("meta.json: %s", listed)
	}
	open := func(change func(*image)) (*Build, error) {
		all := imagesOf(&b)
		i := all[scaleway.Name]
		change(&i)
		all[scaleway.Name] = i
		return read(fstest.MapFS{MetaFile: {Data: listed}, ImagesFile: {Data: stream.Marshal(all)}})
	}
	got, err := open(func(*image) {})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(b.Files, got.Files); diff != "" || len(got.Images) != len(b.Images) || !slices.Equal(got.unlisted, b.unlisted) {
		t.Errorf("%+v\n%s", got.Images, diff)
	}
	bad := b.Images["scaleway"]
	for name, change := range map[string]func(*image){
		"no platform":  func(i *image) { i.Platform = "" },
		"listed":       func(i *image) { i.Platform = "metal" },
		"another file": func(i *image) { a := bad; a.Path = "../secret"; i.Artifact = &a },
		"no digest":    func(i *image) { a := bad; a.SHA256 = "x"; i.Artifact = &a },
	} {
		if _, err := open(change); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestTypeOf reads the type of a file from its name.
func TestTypeOf(t *testing.T) {
	for want, file := range map[string][2]string{
		"qcow2": {"qemu", "a-43.1-qemu.x86_64.qcow2"}, "qcow2.xz": {"qemu", "a-43.1-qemu.x86_64.qcow2.xz"}, "vhdx.zip": {"hyperv", "a.vhdx.zip"},
		"gce.tgz": {"gcp", "a-gcp.x86_64.tar.gz"}, "iso": {"live-iso", "a-live-iso.x86_64.iso"}, "ova": {"vmware", "a.ova"}, "raw.gzip": {"metal", "a.raw.gz"},
		"raw.zstd": {"metal", "a.raw.zst"}, "kernel": {"live-kernel", "a-live-kernel-x86_64"}, "initramfs": {"live-initramfs", "a-live-initramfs.x86_64.img"},
	} {
		if got := typeOf(file[0], file[1]).MediaType(); got != "application/vnd.diskimage."+want {
			t.Errorf("%s: %s", file, got)
		}
	}
}

// TestImages reads images.json, which may be missing or be about other files, but
// must be valid.
func TestImages(t *testing.T) {
	b := testBuilds(t)[0]
	metal, _ := b.File("metal")
	for text, want := range map[string]string{"": "raw.xz", `{"other": {"format": "vmdk"}}`: "raw.xz", `{"` + metal.Name + `": {"format": "vmdk", "ignition": true}}`: "vmdk", "{": "error"} {
		dir := fstest.MapFS{MetaFile: {Data: b.metaJSON()}}
		if text != "" {
			dir[ImagesFile] = &fstest.MapFile{Data: []byte(text)}
		}
		got := "error"
		opened, err := read(dir)
		if err == nil {
			f, _ := opened.File("metal")
			got = f.Type.String()
			if f.Secret != strings.Contains(text, "ignition") {
				t.Errorf("%s: secret is %v", text, f.Secret)
			}
		}
		if got != want {
			t.Errorf("%s: %s, %v, want %s", text, got, err, want)
		}
	}
}

// TestContainer checks the name of the container in meta.json.
func TestContainer(t *testing.T) {
	digest := "sha256:" + strings.Repeat("d", 64)
	at := "@" + digest
	for _, tc := range []struct {
		reference, origin string
		want              stream.Container
	}{
		{"docker://registry.example/os" + at, "ostree-unverified-registry:registry.example/other:1", stream.Container{Image: "registry.example/os"}},
		{"docker://registry.example:5000/os:43" + at, "", stream.Container{Image: "registry.example:5000/os", Tags: []string{"43"}}},
		{"oci:/some/Where" + at, "ostree-unverified-registry:registry.example/os:43", stream.Container{Image: "registry.example/os", Tags: []string{"43"}}},
		{"oci:/some/Where" + at, "ostree-unverified-image:oci:/some/Where" + at, stream.Container{Image: "oci:/some/Where"}},
	} {
		tc.want.Digest = digest
		if diff := cmp.Diff(&tc.want, containerOf(tc.reference, tc.origin, digest)); diff != "" {
			t.Errorf("%s, %s: %s", tc.reference, tc.origin, diff)
		}
	}
}
