package kubevirt

import (
	"crypto/sha256"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

var options = Options{
	Name:    "fedora-coreos-44.1.0-kubevirt.x86_64.qcow2",
	Arch:    "amd64",
	Version: "44.1.0",
	Time:    time.Unix(1700000000, 5),
}

func format(img *disk.Image) (*disk.Image, error) { return Format(img, options) }

// write writes an archive and returns its path.
func write(t testing.TB, img *disk.Image) string {
	t.Helper()
	file, err := format(img)
	if err != nil {
		t.Fatal(err)
	}
	return disktest.File(t, "image.ociarchive", file)
}

// TestLayer: a known digest of the layer gives the same file, without reading the
// disk.
func TestLayer(t *testing.T) {
	img := disktest.Images(t, 512)["text and noise"]
	layer, err := Layer(img, options)
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	if _, err := layer.WriteTo(h); err != nil {
		t.Fatal(err)
	}
	o := options
	o.Layer = digest.NewDigest(digest.SHA256, h)
	file, err := Format(img, o)
	if err != nil {
		t.Fatal(err)
	}
	disktest.Ranges(t, write(t, img), file)

	unread, err := disk.New(1<<20, disk.Extent{Blob: disktest.Unreadable(1 << 20)})
	if err != nil {
		t.Fatal(err)
	}
	if file, err = Format(unread, o); err != nil {
		t.Fatal(err)
	}
	if _, err := Digest(io.NewSectionReader(file, 0, 1<<20)); err != nil {
		t.Errorf("the disk was read: %v", err)
	}
}

// TestSkopeo: skopeo inspects the image and copies it, which verifies all digests and
// sizes.
func TestSkopeo(t *testing.T) {
	path := write(t, disktest.Images(t, 512)["text and noise"])
	var seen struct {
		Architecture, Os, Created string
		Labels                    map[string]string
		Layers                    []string
	}
	if err := json.Unmarshal([]byte(treetest.Run(t, "skopeo", "inspect", "oci-archive:"+path)), &seen); err != nil {
		t.Fatal(err)
	}
	if seen.Architecture != "amd64" || seen.Os != "linux" || seen.Labels["version"] != "44.1.0" || len(seen.Layers) != 1 || seen.Created != "2023-11-14T22:13:20Z" {
		t.Errorf("%+v", seen)
	}
	var config struct{ Config struct{ Entrypoint []string } }
	if err := json.Unmarshal([]byte(treetest.Run(t, "skopeo", "inspect", "--config", "oci-archive:"+path)), &config); err != nil {
		t.Fatal(err)
	}
	if len(config.Config.Entrypoint) != 1 {
		t.Errorf("%+v", config)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want := strings.TrimSpace(treetest.Run(t, "skopeo", "inspect", "--format", "{{.Digest}}", "oci-archive:"+path))
	if got, err := Digest(f); got != want || err != nil {
		t.Errorf("digest %s, %v, want %s", got, err, want)
	}
	if got, err := Digest(strings.NewReader("nothing")); err == nil {
		t.Errorf("nothing has the digest %s", got)
	}
	dir := filepath.Join(t.TempDir(), "dir")
	treetest.Run(t, "skopeo", "--insecure-policy", "copy", "oci-archive:"+path+":44.1.0", "dir:"+dir)
	list := treetest.Run(t, "tar", "--numeric-owner", "--full-time", "-tvf", filepath.Join(dir, strings.TrimPrefix(seen.Layers[0], "sha256:")))
	lines := strings.Split(strings.TrimSpace(list), "\n")
	if len(lines) != 2 || !strings.HasPrefix(lines[0], "drwxr-xr-x 107/107 ") || !strings.HasSuffix(lines[0], " 2023-11-14 22:13:20 disk/") ||
		!strings.HasPrefix(lines[1], "-r--r--r-- 107/107 ") || !strings.HasSuffix(lines[1], " disk/"+options.Name) {
		t.Errorf("%s", list)
	}
}

// TestUmoci: umoci unpacks the image, and QEMU finds the disk in it.
func TestUmoci(t *testing.T) {
	for name, img := range disktest.Images(t, 512) {
		t.Run(name, func(t *testing.T) {
			path, dir := write(t, img), t.TempDir()
			layout, bundle := filepath.Join(dir, "layout"), filepath.Join(dir, "bundle")
			if err := os.Mkdir(layout, 0o755); err != nil {
				t.Fatal(err)
			}
			treetest.Run(t, "tar", "-C", layout, "-xf", path)
			treetest.Run(t, "umoci", "unpack", "--rootless", "--image", layout+":44.1.0", bundle)
			unpacked := filepath.Join(bundle, "rootfs", "disk", options.Name)
			if out := treetest.Run(t, "qemu-img", "check", "-f", "qcow2", unpacked); !strings.Contains(out, "No errors") {
				t.Error(out)
			}
			disktest.Compare(t, unpacked, "qcow2", img)
		})
	}
}

func TestErrors(t *testing.T) {
	img := disktest.Images(t, 512)["small"]
	for _, change := range []func(*Options){
		func(o *Options) { o.Name = "a/b.qcow2" },
		func(o *Options) { o.Name = "../b.qcow2" },
		func(o *Options) { o.Name = "disk.raw" },
		func(o *Options) { o.Arch = "" },
		func(o *Options) { o.Version = "" },
	} {
		o := options
		change(&o)
		if _, err := Format(img, o); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
	disktest.Refuses(t, disktest.Written(format))
}
