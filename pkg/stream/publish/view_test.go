package publish

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
)

// archive returns an OCI archive of a container with one layer.
func archive(layer []byte) (b []byte, image digest.Digest) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	add := func(name string, content []byte) imgspec.Descriptor {
		d := imgspec.Descriptor{MediaType: imgspec.MediaTypeImageLayer, Digest: digest.FromBytes(content), Size: int64(len(content))}
		if name == "" {
			name = "blobs/sha256/" + d.Digest.Encoded()
		}
		w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: d.Size})
		w.Write(content)
		return d
	}
	text := func(v any) []byte { t, _ := json.Marshal(v); return t }
	var m imgspec.Manifest
	m.SchemaVersion, m.MediaType = 2, imgspec.MediaTypeImageManifest
	m.Layers = []imgspec.Descriptor{add("", layer)}
	m.Config = add("", text(imgspec.Image{Platform: imgspec.Platform{OS: "linux", Architecture: "amd64"}, RootFS: imgspec.RootFS{Type: "layers", DiffIDs: []digest.Digest{m.Layers[0].Digest}}}))
	m.Config.MediaType = imgspec.MediaTypeImageConfig
	d := add("", text(m))
	d.MediaType = m.MediaType
	var x imgspec.Index
	x.SchemaVersion, x.Manifests = 2, []imgspec.Descriptor{d}
	add("index.json", text(x))
	add("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	w.Close()
	return out.Bytes(), d.Digest
}

// viewed publishes with all views and returns the registry.
func viewed(t *testing.T) (*fake, *Result) {
	reg := newFake(t)
	reg.put("os", system)
	dir := t.TempDir()
	for _, arch := range []string{"x86_64", "aarch64"} {
		list := images(arch, 20000)
		oci, _ := archive(noise("disk of "+arch, 5000))
		list = append(list, image{platform: "kubevirt", path: "os-1-kubevirt." + arch + ".ociarchive", content: oci})
		makeBuild(t, filepath.Join(dir, arch), arch, list, container(reg.host))
	}
	o := options(t)
	o.Views = []string{"all"}
	r := publish(t, dir, reg.host+"/os:1", o)
	tags := []string{}
	for _, tag := range r.Tags {
		tags = append(tags, tag.Tag)
	}
	if want := []string{"1", "1-pxe", "1-podman-machine", "1-fcos", "1-containerdisk", "1-ironic", "1-tink-amd64.gz", "1-tink-arm64.gz"}; !slices.Equal(tags, want) || len(r.Notes) != 0 {
		t.Errorf("tags %q, notes %q", tags, r.Notes)
	}
	return reg, r
}

// file returns the bytes that a consumer ends up with.
func (f *fake) file(t *testing.T, d digest.Digest) (title string, content []byte, m imgspec.Manifest) {
	t.Helper()
	f.read(t, "os", d.String(), &m)
	return m.Layers[0].Annotations[imgspec.AnnotationTitle], f.blobs["os@"+m.Layers[0].Digest.String()], m
}

// podmanMachine chooses as podman's pkg/machine/ocipull/source.go does: the top
// must be a list; of its instances the first whose annotation disktype, and
// platform.architecture in the form of uname(1), and platform.os are right; it
// must have at most one layer, and that a title.
func podmanMachine(t *testing.T, reg *fake, tag, arch, diskType string) (string, []byte, error) {
	for _, d := range reg.index(t, "os", tag).Manifests {
		if d.Annotations["disktype"] != diskType || d.Platform.Architecture != arch || d.Platform.OS != "linux" {
			continue
		}
		title, content, m := reg.file(t, d.Digest)
		if len(m.Layers) > 1 || title == "" {
			return "", nil, fmt.Errorf("%d layers, title %q", len(m.Layers), title)
		}
		return title, content, nil
	}
	return "", nil, errors.New("no valid disk artifact found")
}

// cosaImport chooses as coreos-assembler's cmd-import does: artifactType begins
// with application/vnd.diskimage., platform.os is the platform, and the layer is
// the first. The same reference must be a container for others: an entry with
// os linux, of the architecture.
func cosaImport(t *testing.T, reg *fake, tag, arch, platform string) (disk []byte, container digest.Digest) {
	for _, d := range reg.index(t, "os", tag).Manifests {
		switch {
		case d.Platform.Architecture != arch:
		case d.Platform.OS == "linux" && container == "":
			container = d.Digest
		case strings.HasPrefix(d.ArtifactType, "application/vnd.diskimage.") && d.Platform.OS == platform:
			_, disk, _ = reg.file(t, d.Digest)
		}
	}
	return disk, container
}

// ironic chooses as Ironic's image_service.py does: disktype on the entry is
// qcow2 or qemu for one, raw or applehv for the other; x86_64 and amd64 are
// the same; exactly one layer; and an artifactType or the empty config, for
// otherwise it takes it for a bootable container.
func ironic(t *testing.T, reg *fake, tag, arch, diskType string) ([]byte, error) {
	kinds := map[string][]string{"qcow2": {"qcow2", "qemu"}, "raw": {"raw", "applehv"}}[diskType]
	for _, d := range reg.index(t, "os", tag).Manifests {
		if !slices.Contains(kinds, d.Annotations["disktype"]) || d.Platform.Architecture != arch {
			continue
		}
		_, content, m := reg.file(t, d.Digest)
		if len(m.Layers) != 1 {
			return nil, fmt.Errorf("%d layers", len(m.Layers))
		}
		if m.ArtifactType == "" && m.Config.MediaType != "application/vnd.oci.empty.v1+json" {
			return nil, errors.New("taken for a container")
		}
		return content, nil
	}
	return nil, errors.New("nothing")
}

// oci2disk writes as Tinkerbell's does: of the manifest that the reference names
// every layer of type application/vnd.oci.image.layer.v1.tar, decompressed as
// filepath.Ext of the reference says.
func oci2disk(t *testing.T, reg *fake, tag string) (content []byte, decompressor string) {
	var m imgspec.Manifest
	reg.read(t, "os", tag, &m)
	for _, l := range m.Layers {
		if l.MediaType == "application/vnd.oci.image.layer.v1.tar" {
			content = append(content, reg.blobs["os@"+l.Digest.String()]...)
		}
	}
	return content, filepath.Ext(reg.host + "/os:" + tag)
}

func TestViews(t *testing.T) {
	reg, _ := viewed(t)
	for arch, goArch := range map[string]string{"x86_64": "amd64", "aarch64": "arm64"} {
		disk := map[string]image{}
		for _, i := range images(arch, 20000) {
			disk[i.platform] = i
		}
		for _, kind := range []string{"qemu", "applehv"} {
			title, content, err := podmanMachine(t, reg, "1-podman-machine", arch, kind)
			if err != nil || title != disk[kind].path || !bytes.Equal(content, disk[kind].content) {
				t.Errorf("podman machine: %s %s: %q, %v", arch, kind, title, err)
			}
		}
		if _, _, err := podmanMachine(t, reg, "1-podman-machine", arch, "hyperv"); err == nil {
			t.Error("podman machine: an image that there is not")
		}
		for _, platform := range []string{"qemu", "metal", "metal4k"} {
			content, os := cosaImport(t, reg, "1-fcos", goArch, platform)
			if !bytes.Equal(content, disk[platform].content) || os != digest.FromBytes(system) {
				t.Errorf("cosa import: %s %s, container %s", arch, platform, os)
			}
		}
		for kind, platform := range map[string]string{"qcow2": "qemu", "raw": "metal"} {
			if content, err := ironic(t, reg, "1-ironic", goArch, kind); err != nil || !bytes.Equal(content, disk[platform].content) {
				t.Errorf("ironic: %s %s: %v", arch, kind, err)
			}
		}
		if content, z := oci2disk(t, reg, "1-tink-"+goArch+".gz"); z != ".gz" || !bytes.Equal(content, disk["metal"].content) {
			t.Errorf("oci2disk: %s: %s", arch, z)
		}
		// KubeVirt takes the container of the architecture, with the bytes that it had.
		_, image := archive(noise("disk of "+arch, 5000))
		for _, d := range reg.index(t, "os", "1-containerdisk").Manifests {
			if d.Platform.Architecture == goArch && (d.Digest != image || d.Platform.OS != "linux" || d.ArtifactType != "") {
				t.Errorf("containerdisk: %+v", d)
			}
		}
	}
	if x := reg.index(t, "os", "1-containerdisk"); len(x.Manifests) != 2 {
		t.Errorf("containerdisk: %+v", x)
	}
	// In the images' index, containers come after the artifacts.
	var containers, last int
	for i, d := range reg.index(t, "os", "1").Manifests {
		if d.ArtifactType == "" {
			containers++
		} else if d.Platform.OS == "linux" {
			last = i
		}
		if (d.ArtifactType == "") != (d.Annotations[stream.AnnotationPlatform] == "kubevirt") {
			t.Errorf("%+v", d)
		}
	}
	if containers != 2 || reg.index(t, "os", "1").Manifests[last+1].ArtifactType != "" {
		t.Errorf("%d containers, behind entry %d", containers, last)
	}
}

// TestViewsThatDoNotApply are an error if they were asked for by name.
func TestViewsThatDoNotApply(t *testing.T) {
	reg := newFake(t)
	dir := t.TempDir()
	makeBuild(t, dir, "x86_64", images("x86_64", 1000)[3:4], nil) // metal4k
	for _, v := range Views {
		o := options(t)
		o.Views = []string{v.Name}
		if _, err := Publish(t.Context(), dir, reg.host+"/os:1", o); err == nil || !strings.Contains(err.Error(), "view "+v.Name) {
			t.Errorf("%s: %v", v.Name, err)
		}
	}
	if reg.count("POST ") != 0 {
		t.Error("something was sent")
	}
	o := options(t)
	o.Views = []string{"all"}
	if r := publish(t, dir, reg.host+"/os:1", o); len(r.Notes) != len(Views)+1 || len(r.Tags) != 1 {
		t.Errorf("%+v", r)
	}
	o.Views = []string{"vagrant"}
	if _, err := Publish(t.Context(), dir, reg.host+"/os:1", o); !errors.Is(err, ErrOptions) {
		t.Error(err)
	}
}

// TestArchive has damaged and wrong OCI archives.
func TestArchive(t *testing.T) {
	good, _ := archive([]byte("layer"))
	for name, b := range map[string][]byte{
		"empty": {}, "no tarball": []byte(strings.Repeat("x", 2048)), "cut": good[:1024],
		"layer": bytes.Replace(good, []byte("layer"), []byte("laser"), 1), "no index": bytes.Replace(good, []byte("index.json"), []byte("Index.json"), 1),
		"manifest": bytes.Replace(good, []byte(`"layers":[`), []byte(`"Layers":[`), 1), "size": bytes.Replace(good, []byte(`"size":5}`), []byte(`"size":6}`), 1),
	} {
		reg := newFake(t)
		dir := t.TempDir()
		makeBuild(t, dir, "x86_64", append(images("x86_64", 1000), image{platform: "kubevirt", path: "k.ociarchive", content: b}), nil)
		o := options(t)
		o.Views = []string{"containerdisk"}
		if _, err := Publish(t.Context(), dir, reg.host+"/os:1", o); err == nil || !strings.Contains(err.Error(), "k.ociarchive") {
			t.Errorf("%s: %v", name, err)
		}
		if len(reg.tags) != 0 {
			t.Errorf("%s: it was published", name)
		}
	}
}

// TestKubeVirt publishes a build that has nothing but a container for KubeVirt,
// without being asked for the view.
func TestKubeVirt(t *testing.T) {
	for _, as := range []string{"auto", "container"} {
		reg := newFake(t)
		reg.put("os", system)
		dir := t.TempDir()
		oci, want := archive(noise("disk", 5000))
		makeBuild(t, dir, "x86_64", []image{{platform: "kubevirt", path: "k.ociarchive", content: oci}}, container(reg.host))
		o := options(t)
		o.Stream, o.As = "stable", as
		r := publish(t, dir, reg.host+"/os:1", o)
		if len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "1-containerdisk") || r.Entries[0].Platform != "kubevirt" || r.Entries[0].Digest != want.String() {
			t.Errorf("%s: %+v", as, r)
		}
		for _, tag := range []string{"1", "1-containerdisk"} {
			if d := reg.index(t, "os", tag).Manifests[0]; d.Digest != want || d.Platform.Architecture != "amd64" {
				t.Errorf("%s: %s: %+v", as, tag, d)
			}
		}
		for key, b := range reg.blobs {
			if strings.Contains(string(b), `"generator"`) && !strings.Contains(string(b), `"digest-ref": "`+reg.host+"/os@"+want.String()) {
				t.Errorf("%s: %s does not name the container: %s", as, key, b)
			}
		}
	}
}
