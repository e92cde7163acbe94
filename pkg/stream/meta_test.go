package stream

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud"
)

// A cosaBuild has the fields that coreos-assembler's reader of builds,
// pkg/builds, knows of what we write. It refuses all others.
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

// cosaPlatforms are those that it knows. (It has more that are no platform of ours.)
var cosaPlatforms = strings.Fields(`aliyun applehv aws azure azurestack digitalocean exoscale gcp hetzner hyperv ibmcloud kubevirt
	metal metal4k nutanix openstack oraclecloud proxmoxve qemu virtualbox vmware vultr`)

// TestCosa: coreos-assembler reads what we write.
func TestCosa(t *testing.T) {
	for _, p := range cloud.Platforms {
		if !p.Emerging && !slices.Contains(cosaPlatforms, p.ID) {
			t.Errorf("%s: coreos-assembler has no such platform", p.ID)
		}
	}
	for _, b := range testBuilds(t) {
		m := *b.Meta
		m.Images = maps.Clone(m.Images)
		m.Images["qemu"] = Artifact{Path: "a.qcow2", Detail: Detail{Format: "qcow2", Compression: "x", VirtualSize: 1, SectorSize: 1, Ignition: true}}
		d := json.NewDecoder(bytes.NewReader(Marshal(m)))
		d.DisallowUnknownFields()
		if err := d.Decode(&cosaBuild{}); err != nil {
			t.Error(err)
		}
	}
}

// TestUnlisted: images of platforms that coreos-assembler has no name for are in
// images.json, and read from there.
func TestUnlisted(t *testing.T) {
	m := *testBuilds(t)[0].Meta
	m.Images = maps.Clone(m.Images)
	a := Artifact{Path: "a-scaleway.qcow2", SHA256: strings.Repeat("a", 64), Size: 7, Unlisted: true, Detail: Detail{Format: "qcow2", VirtualSize: 9}}
	m.Images["scaleway"] = a
	listed := Marshal(m.Listed())
	if bytes.Contains(listed, []byte("scaleway")) || !bytes.Contains(listed, []byte(`"metal"`)) {
		t.Errorf("meta.json: %s", listed)
	}
	read := func(change func(*FileDetail)) (*Meta, error) {
		details := m.Details()
		f := details[a.Path]
		change(&f)
		details[a.Path] = f
		return ReadMeta(fstest.MapFS{MetaFile: {Data: listed}, DetailsFile: {Data: Marshal(details)}})
	}
	got, err := read(func(*FileDetail) {})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(a, got.Images["scaleway"]); diff != "" || len(got.Images) != len(m.Images) || got.Images["metal"].Unlisted {
		t.Errorf("%+v\n%s", got.Images, diff)
	}
	for name, change := range map[string]func(*FileDetail){
		"no platform":  func(f *FileDetail) { f.Platform = "" },
		"listed":       func(f *FileDetail) { f.Platform = "metal" },
		"another file": func(f *FileDetail) { b := a; b.Path = "../secret"; f.Artifact = &b },
		"no digest":    func(f *FileDetail) { b := a; b.SHA256 = "x"; f.Artifact = &b },
	} {
		if _, err := read(change); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestEncoding: what nothing else tells, the name of the file does.
func TestEncoding(t *testing.T) {
	for want, file := range map[string][2]string{
		"qcow2": {"qemu", "a-43.1-qemu.x86_64.qcow2"}, "qcow2.xz": {"qemu", "a-43.1-qemu.x86_64.qcow2.xz"}, "vhdx.zip": {"hyperv", "a.vhdx.zip"},
		"gce.tgz": {"gcp", "a-gcp.x86_64.tar.gz"}, "iso": {"live-iso", "a-live-iso.x86_64.iso"}, "ova": {"vmware", "a.ova"}, "raw.gzip": {"metal", "a.raw.gz"},
		"raw.zstd": {"metal", "a.raw.zst"}, "kernel": {"live-kernel", "a-live-kernel-x86_64"}, "initramfs": {"live-initramfs", "a-live-initramfs.x86_64.img"},
	} {
		if got := MediaType(encoding(file[0], file[1])); got != "application/vnd.diskimage."+want {
			t.Errorf("%s: %s", file, got)
		}
	}
}

// TestDetails: images.json is for the files that it names, and if there
// is one it can be read.
func TestDetails(t *testing.T) {
	m := *testBuilds(t)[0].Meta
	for text, want := range map[string]string{"": "raw xz", `{"other": {"format": "vmdk"}}`: "raw xz", `{"` + m.Images["metal"].Path + `": {"format": "vmdk", "ignition": true}}`: "vmdk ", "{": "error"} {
		dir := fstest.MapFS{MetaFile: {Data: Marshal(m)}}
		if text != "" {
			dir[DetailsFile] = &fstest.MapFile{Data: []byte(text)}
		}
		got := "error"
		read, err := ReadMeta(dir)
		if err == nil {
			a := read.Images["metal"]
			got = a.Format + " " + a.Compression
			if a.Ignition != strings.Contains(text, "ignition") {
				t.Errorf("%s: ignition is %v", text, a.Ignition)
			}
		}
		if got != want {
			t.Errorf("%s: %s, %v, want %s", text, got, err, want)
		}
	}
}
