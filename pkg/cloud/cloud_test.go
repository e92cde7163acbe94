package cloud

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/raw"
)

// one returns the platform of an id.
func one(t testing.TB, id string) Platform {
	t.Helper()
	list, err := Lookup("x86_64", id)
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	return list[0]
}

// TestPublished has names as they are in the streams of Fedora CoreOS.
func TestPublished(t *testing.T) {
	for id, want := range map[string]string{
		"qemu":         "qcow2.xz",
		"metal":        "raw.xz",
		"metal4k":      "raw.xz",
		"aws":          "vmdk.xz",
		"azure":        "vhd.xz",
		"azurestack":   "vhd.xz",
		"gcp":          "tar.gz",
		"openstack":    "qcow2.xz",
		"digitalocean": "qcow2.gz",
		"nutanix":      "qcow2",
		"hyperv":       "vhdx.zip",
		"applehv":      "raw.gz",
		"kubevirt":     "ociarchive",
		"vmware":       "ova",
		"virtualbox":   "ova",

		"akamai":          "raw.gz",
		"brightbox":       "qcow2.xz",
		"cloudstack":      "qcow2.xz",
		"nvidiabluefield": "raw.xz",
		"packet":          "raw.xz",
		"powervs":         "qcow2.gz",
		"scaleway":        "qcow2.xz",
		"upcloud":         "raw.xz",
	} {
		p := one(t, id)
		if got := p.BaseName("fedora-coreos", "44.20260801.1.0", "x86_64") + p.Format.Type().Suffix() + p.Compression.Suffix(); got != "fedora-coreos-44.20260801.1.0-"+id+".x86_64."+want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// TestIgnition: the table has every platform of Ignition's documentation (2.26),
// but for those that no image can be made for, which are refused with the reason.
func TestIgnition(t *testing.T) {
	have := map[string]bool{}
	for _, p := range Platforms {
		have[p.IgnitionID()] = true
	}
	for _, id := range strings.Fields(`akamai aliyun applehv aws azure azurestack brightbox cloudstack digitalocean exoscale gcp
		hetzner hyperv ibmcloud kubevirt metal nutanix nvidiabluefield openstack oraclecloud packet powervs proxmoxve qemu
		scaleway upcloud virtualbox vmware vultr zvm`) {
		_, err := Lookup("x86_64", id)
		if id == "zvm" {
			if err == nil || !strings.Contains(err.Error(), "s390x only") {
				t.Errorf("zvm: %v", err)
			}
		} else if !have[id] || err != nil {
			t.Errorf("%s is not in the table: %v", id, err)
		}
	}
}

func TestLookup(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range Platforms {
		if seen[p.ID] {
			t.Errorf("%s is in the table twice", p.ID)
		}
		seen[p.ID] = true
		got := one(t, p.ID)
		if got.ID != p.ID || got.Format.Suffix != p.Format.Suffix {
			t.Errorf("%s: %+v", p.ID, got)
		}
	}
	for _, id := range []string{"", "QEMU", "qemu ", "nokia"} {
		_, err := Lookup("x86_64", "qemu", id)
		if err == nil {
			t.Errorf("%q is found", id)
			continue
		}
		for _, p := range Platforms {
			if !strings.Contains(err.Error(), p.ID) {
				t.Errorf("%v does not name %s", err, p.ID)
			}
		}
	}
	for arch, want := range map[string]string{
		"x86_64": "qemu metal metal4k aliyun applehv aws azure azurestack digitalocean exoscale gcp hetzner hyperv ibmcloud kubevirt " +
			"nutanix openstack oraclecloud proxmoxve virtualbox vmware vultr",
		"aarch64": "qemu metal metal4k applehv aws azure gcp hetzner hyperv kubevirt openstack oraclecloud",
		"ppc64le": "qemu metal metal4k openstack",
	} {
		all, err := Lookup(arch, All, "qemu")
		var ids []string
		for _, p := range all {
			ids = append(ids, p.ID)
		}
		if got := strings.Join(ids, " "); got != want || err != nil {
			t.Errorf("%s: %s, want %s: %v", arch, got, want, err)
		}
	}
}

func TestDiskSize(t *testing.T) {
	for id, want := range map[string]int64{"qemu": 7 << 30, "metal": 0, "metal4k": 0, "packet": 0, "akamai": 0, "scaleway": 7 << 30, "ibmcloud": 100 << 30} {
		if got := one(t, id).DiskSize(7 << 30); got != want {
			t.Errorf("%s: %d, want %d", id, got, want)
		}
	}
	// "The virtual size must be a multiple of 1 MB": Azure's rule for images.
	if p := one(t, "azure"); p.Check(10<<30) != nil || p.Check(10<<30+512) == nil || p.Check(2041<<30) == nil {
		t.Error("azure takes what it must not")
	}
}

// TestFormats writes a disk in the format of each platform, over garbage where the
// file is an image.
func TestFormats(t *testing.T) {
	magic := map[string]string{
		"qcow2": "QFI\xfb", "raw": "content", "vmdk": "KDMV", "vhd": "content", "vhdx": "vhdxfile",
		"ova": "coreos.ovf\x00", "tar.gz": "\x1f\x8b", "ociarchive": "",
	}
	for _, p := range Platforms {
		size := int64(16 << 20)
		if p.Check(size) != nil {
			size = 1 << 30
		}
		img, err := disk.New(size, disk.Extent{Blob: bytes.NewReader(bytes.Repeat([]byte("content "), 1<<16))}, disk.Extent{Off: 8 << 20, Blob: disktest.Noise(1 << 20)})
		if err != nil {
			t.Fatal(err)
		}
		f, spool := create(t), create(t)
		m := Metadata{ID: [16]byte{1, 2, 3}, Name: "os-1-" + p.ID + ".x86_64", OS: "os", Version: "1", Arch: "x86_64", Spool: spool}
		switch {
		case (p.Format.Plan == nil) == (p.Format.Write == nil):
			t.Fatalf("%s: its format must have one of Plan and Write", p.ID)
		case p.Format.Plan != nil:
			checkPlan(t, p.Format, f, img, m)
		default:
			if err := p.Format.Write(f, img, m); err != nil {
				t.Fatalf("%s: %v", p.ID, err)
			}
		}
		head := make([]byte, 16)
		if _, err := f.ReadAt(head, 0); err != nil {
			t.Fatal(err)
		}
		if want, ok := magic[p.Format.Suffix]; !ok || !strings.HasPrefix(string(head), want) {
			t.Errorf("%s: begins with %q", p.ID, head)
		}
	}
}

// checkPlan writes a file that is an image, over garbage, and compares random ranges.
func checkPlan(t *testing.T, format Format, f *os.File, img *disk.Image, m Metadata) {
	t.Helper()
	file, err := format.Plan(img, m)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := disktest.Noise(3 << 20).WriteTo(f); err != nil {
		t.Fatal(err)
	}
	if err := raw.WriteFile(f, file, nil); err != nil {
		t.Fatal(err)
	}
	if info, err := f.Stat(); err != nil || info.Size() != file.Size() {
		t.Errorf("%s: %d bytes, want %d", m.Name, info.Size(), file.Size())
	}
	disktest.Ranges(t, f.Name(), file)
}

func create(t *testing.T) *os.File {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}
