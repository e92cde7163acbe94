package publish

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
	folder "github.com/ohp-assemble/ohp-assemble/pkg/stream/build"
)

// system is a container's manifest that builds are made of.
var system = []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}`)

// An image is a file for a test's build.
type image struct {
	platform, path string
	details        string // in images.json; empty for none
	uncompressed   string // SHA-256, if the file is compressed
	content        []byte
}

// noise returns bytes that begin as a format does.
func noise(magic string, size int) []byte {
	b := make([]byte, size)
	r := rand.NewChaCha8(sha256.Sum256(fmt.Append(nil, magic, size)))
	r.Read(b)
	copy(b, magic)
	return b
}

func sum(b []byte) string { s := sha256.Sum256(b); return hex.EncodeToString(s[:]) }

// images are the disks of the build that most tests publish.
func images(arch string, size int) []image {
	gz := noise("\x1f\x8b", size)
	return []image{
		{platform: "metal", path: "os-1-metal." + arch + ".raw.gz", content: gz,
			details: `{"format": "raw", "compression": "gzip", "virtual-size": 1073741824}`, uncompressed: strings.Repeat("ab", 32)},
		{platform: "qemu", path: "os-1-qemu." + arch + ".qcow2", content: noise("QFI\xfb", size+1), details: `{"format": "qcow2", "virtual-size": 10737418240}`},
		{platform: "applehv", path: "os-1-applehv." + arch + ".raw.gz", content: gz, details: `{"format": "raw", "compression": "gzip"}`},
		{platform: "metal4k", path: "os-1-metal4k." + arch + ".raw", content: noise("", size/2), details: `{"format": "raw", "virtual-size": 1073741824, "sector-size": 4096}`},
		{platform: "live-kernel", path: "os-1-live-kernel-" + arch, content: noise("MZ", 1000)},
		{platform: "live-initramfs", path: "os-1-live-initramfs." + arch + ".img", content: noise("070701", 2000)},
		{platform: "live-rootfs", path: "os-1-live-rootfs." + arch + ".img", content: noise("070701", 3000)},
	}
}

// makeBuild writes a build.
func makeBuild(t testing.TB, dir, arch string, images []image, container *stream.Container) {
	t.Helper()
	m := &stream.Meta{
		BuildID: "1", Name: "os", OSTreeCommit: strings.Repeat("c", 64), OSTreeVersion: "43.1+x", OSTreeTimestamp: "2026-01-02T03:04:05Z",
		BaseArch: arch, Container: container, Images: map[string]stream.Artifact{},
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	details := map[string]json.RawMessage{}
	for _, i := range images {
		a := stream.Artifact{Path: i.path, SHA256: sum(i.content), Size: int64(len(i.content)), UncompressedSHA256: i.uncompressed}
		if m.Images[i.platform] = a; i.details != "" {
			details[i.path] = json.RawMessage(i.details)
		}
		write(t, filepath.Join(dir, i.path), i.content)
	}
	write(t, filepath.Join(dir, folder.MetaFile), stream.Marshal(m))
	write(t, filepath.Join(dir, folder.ImagesFile), stream.Marshal(details))
}

func write(t testing.TB, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// container is the container of a test's builds in a registry.
func container(host string) *stream.Container {
	return &stream.Container{Image: host + "/os", Digest: digest.FromBytes(system).String()}
}

func options(t testing.TB) Options { return Options{Registry: insecure(t)} }

// publish publishes and expects that to succeed.
func publish(t testing.TB, dir, to string, o Options) *Result {
	t.Helper()
	r, err := Publish(t.Context(), dir, to, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (f *fake) index(t testing.TB, repo, name string) (x imgspec.Index) {
	t.Helper()
	f.read(t, repo, name, &x)
	return x
}

func (f *fake) read(t testing.TB, repo, name string, v any) {
	t.Helper()
	key := repo + "@" + name
	if !strings.Contains(name, ":") {
		key = f.tags[repo+":"+name]
	}
	b, ok := f.manifests[key]
	if !ok {
		t.Fatalf("no %s in %s", name, repo)
	}
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatal(err)
	}
}

// TestLayout publishes two architectures beside their operating system and looks
// at every manifest.
func TestLayout(t *testing.T) {
	reg := newFake(t)
	reg.put("os", system)
	dir := t.TempDir()
	for _, arch := range []string{"x86_64", "aarch64"} {
		makeBuild(t, filepath.Join(dir, arch), arch, images(arch, 10000), container(reg.host))
	}
	o := options(t)
	o.Documents = []Document{{"stream.json", stream.StreamType, []byte(`{"stream":"stable"}`)}}
	plan, err := NewPlan(t.Context(), dir, reg.host+"/os", o)
	if err != nil {
		t.Fatal(err)
	}
	if n := reg.count("POST ") + reg.count("PUT "); n != 0 {
		t.Errorf("the plan sent %d requests that write", n)
	}
	got := publish(t, dir, reg.host+"/os", o)
	if got.Tag != "43.1_x-images" || got.Form != Artifact {
		t.Errorf("%+v", got)
	}
	planned := plan.Result
	for i := range got.Entries {
		planned.Entries[i].Transfer = got.Entries[i].Transfer
	}
	if diff := cmp.Diff(*got, planned); diff != "" {
		t.Errorf("the plan has other digests: %s", diff)
	}
	x := reg.index(t, "os", got.Tag)
	if x.ArtifactType != stream.IndexType || x.Annotations[imgspec.AnnotationCreated] != "2026-01-02T03:04:05Z" {
		t.Errorf("%+v", x)
	}
	want := []string{}
	for _, arch := range []string{"amd64", "arm64"} {
		for _, p := range []string{"qemu qcow2 qcow2", "applehv raw.gzip applehv", "live-initramfs initramfs initramfs", "live-kernel kernel kernel", "live-rootfs rootfs rootfs", "metal raw.gzip raw", "metal4k raw raw"} {
			p, rest, _ := strings.Cut(p, " ")
			typ, disk, _ := strings.Cut(rest, " ")
			if p == "qemu" {
				disk = "qemu"
			}
			want = append(want, strings.Join([]string{"linux", arch, p, filetype.MediaTypePrefix + typ, disk}, " "))
		}
	}
	for _, d := range []string{"application/vnd.ohp.build.v1+json", "application/vnd.ohp.build.v1+json", "application/vnd.ohp.stream.v1+json"} {
		want = append(want, "unknown unknown  "+d+" ")
	}
	entries := []string{}
	for _, d := range x.Manifests {
		entries = append(entries, strings.Join([]string{d.Platform.OS, d.Platform.Architecture, d.Annotations[stream.AnnotationPlatform], d.ArtifactType, d.Annotations[stream.AnnotationDiskType]}, " "))
		var m imgspec.Manifest
		reg.read(t, "os", d.Digest.String(), &m)
		if m.ArtifactType != d.ArtifactType || len(m.Layers) != 1 || m.Layers[0].MediaType != d.ArtifactType ||
			m.Config.MediaType != imgspec.MediaTypeEmptyJSON || m.Layers[0].Annotations[imgspec.AnnotationTitle] != m.Annotations[imgspec.AnnotationTitle] {
			t.Errorf("%+v", m)
		}
		delete(m.Annotations, imgspec.AnnotationTitle)
		if diff := cmp.Diff(m.Annotations, d.Annotations); diff != "" {
			t.Error(diff)
		}
		if of := m.Subject; (of == nil) != (d.ArtifactType == stream.StreamType) || of != nil && of.Digest != digest.FromBytes(system) {
			t.Errorf("%s: subject %+v", d.ArtifactType, of)
		}
	}
	if diff := cmp.Diff(want, entries); diff != "" {
		t.Error(diff)
	}
	metal := x.Manifests[5].Annotations
	if diff := cmp.Diff(map[string]string{
		"disktype": "raw", "org.opencontainers.image.version": "43.1+x",
		"org.opencontainers.image.created": "2026-01-02T03:04:05Z", "org.opencontainers.image.base.name": reg.host + "/os",
		"org.opencontainers.image.base.digest": digest.FromBytes(system).String(), "dev.ohp.platform": "metal",
		"dev.ohp.uncompressed-sha256": strings.Repeat("ab", 32), "dev.ohp.virtual-size": "1073741824", "dev.ohp.sector-size": "512",
	}, metal); diff != "" {
		t.Error(diff)
	}
	if s := x.Manifests[6].Annotations[stream.AnnotationSectorSize]; s != "4096" {
		t.Errorf("metal4k has sectors of %s", s)
	}
	pxe := reg.index(t, "os", got.Tag+"-pxe")
	if len(pxe.Manifests) != 6 || pxe.ArtifactType != stream.PXEType || pxe.Manifests[0].Annotations[stream.AnnotationPlatform] != "live-kernel" {
		t.Errorf("%+v", pxe)
	}
	// Blobs that are the same in both architectures were sent once, and a second
	// run sends nothing.
	posts := reg.count("POST ")
	if want := len(slices.Compact(slices.Sorted(blobDigests(got)))) + 1; posts != want {
		t.Errorf("%d uploads, there are %d blobs", posts, want)
	}
	again := publish(t, dir, "docker://"+reg.host+"/os", o)
	if again.Digest != got.Digest || reg.count("POST ") != posts {
		t.Errorf("the second run sent blobs, or another index")
	}
	for _, e := range again.Entries {
		if e.Transfer != registry.Present {
			t.Errorf("%+v", e)
		}
	}
}

func blobDigests(r *Result) func(func(string) bool) {
	return func(yield func(string) bool) {
		for _, e := range r.Entries {
			if !yield(e.Blob) {
				return
			}
		}
	}
}

// TestElsewhere publishes into another repository: no subject, but annotations.
func TestElsewhere(t *testing.T) {
	reg := newFake(t)
	reg.put("os", system)
	dir := t.TempDir()
	makeBuild(t, dir, "x86_64", images("x86_64", 5000), container(reg.host))
	got := publish(t, dir, reg.host+"/disks:1", options(t))
	if len(got.Notes) != 1 || !strings.Contains(got.Notes[0], "is not in this repository") {
		t.Errorf("%q", got.Notes)
	}
	for _, d := range reg.index(t, "disks", "1").Manifests {
		var m imgspec.Manifest
		if reg.read(t, "disks", d.Digest.String(), &m); m.Subject != nil || m.Annotations[imgspec.AnnotationBaseImageDigest] == "" {
			t.Errorf("%+v", m)
		}
	}
	// Blobs of the repository in MountFrom are mounted, not sent.
	o := options(t)
	o.MountFrom = reg.host + "/disks"
	posts := reg.count("PATCH ")
	for _, e := range publish(t, dir, reg.host+"/prod:1", o).Entries {
		if e.Transfer != registry.Mounted {
			t.Errorf("%s: %s", e.File, e.Transfer)
		}
	}
	if n := reg.count("PATCH ") - posts; n != 0 {
		t.Errorf("%d blobs were sent", n)
	}
}

// TestChanged has files that do not match meta.json.
func TestChanged(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{
		"bit":       func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		"shorter":   func(b []byte) []byte { return b[:len(b)-1] },
		"magic":     func(b []byte) []byte { b[0]++; return b },
		"container": func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
	} {
		reg := newFake(t)
		dir := t.TempDir()
		i := images("x86_64", 200000)[:2]
		makeBuild(t, dir, "x86_64", i, nil)
		write(t, filepath.Join(dir, i[1].path), change(bytes.Clone(i[1].content)))
		o := options(t)
		if name == "container" {
			o.As = name
		}
		_, err := Publish(t.Context(), dir, reg.host+"/os:1", o)
		if err == nil || !errors.Is(err, ErrFile) || !strings.Contains(err.Error(), i[1].path) {
			t.Errorf("%s: %v", name, err)
		}
		if len(reg.tags) != 0 {
			t.Errorf("%s: it was published", name)
		}
		for key, b := range reg.blobs {
			if !strings.HasSuffix(key, sum(b)) {
				t.Errorf("%s: blob %s", name, key)
			}
		}
	}
}

// TestStream publishes the stream's metadata with the images, which leads to
// them, in every form that a registry takes.
func TestStream(t *testing.T) {
	for _, as := range []string{"artifact", "container"} {
		reg := newFake(t)
		dir := t.TempDir()
		disks := images("x86_64", 3000)
		makeBuild(t, dir, "x86_64", disks, nil)
		o := options(t)
		o.Stream, o.As = "testing", as
		r := publish(t, dir, reg.host+"/os:1", o)
		digests := map[string]string{}
		for _, e := range r.Entries {
			digests[e.File] = e.Digest
		}
		var m imgspec.Manifest
		reg.read(t, "os", digests["stream.json"], &m)
		text := reg.blobs["os@"+m.Layers[0].Digest.String()]
		if as == "container" { // it is a tar of this one file
			text = text[bytes.IndexByte(text, '{') : bytes.LastIndexByte(text, '}')+1]
		}
		var s stream.Stream
		if err := json.Unmarshal(text, &s); err != nil {
			t.Fatalf("%s: %v: %q", as, err, text)
		}
		d := s.Architectures["x86_64"].Artifacts["qemu"].Formats["qcow2"].Disk
		if s.Stream != "testing" || d == nil || d.OCI.DigestRef != reg.host+"/os@"+digests["os-1-qemu.x86_64.qcow2"] || d.SHA256 != sum(disks[1].content) {
			t.Errorf("%s: %s", as, text)
		}
		if digests["release.json"] == "" {
			t.Errorf("%s: no release.json", as)
		}
	}
}

// TestSecret: an image with a config in it is published only on demand.
func TestSecret(t *testing.T) {
	reg := newFake(t)
	dir := t.TempDir()
	disks := images("x86_64", 3000)
	disks[1].details = `{"format": "qcow2", "ignition": true}`
	makeBuild(t, dir, "x86_64", disks, nil)
	o := options(t)
	if _, err := Publish(t.Context(), dir, reg.host+"/os:1", o); !errors.Is(err, ErrSecret) || !strings.Contains(err.Error(), disks[1].path) || len(reg.log) != 0 {
		t.Errorf("%v, after %d requests", err, len(reg.log))
	}
	o.Secrets = true
	publish(t, dir, reg.host+"/os:1", o)
}

// TestSame publishes the same bytes from one processor and from many.
func TestSame(t *testing.T) {
	dir := t.TempDir()
	disks := images("x86_64", 30000)
	makeBuild(t, dir, "x86_64", disks, nil)
	var all []map[string][]byte
	for _, n := range []int{1, 2, 7} {
		old := runtime.GOMAXPROCS(n)
		reg := newFake(t)
		o := options(t)
		o.Views = []string{"all"}
		o.Stream = "stable"
		publish(t, dir, reg.host+"/os:1", o)
		runtime.GOMAXPROCS(old)
		all = append(all, reg.manifests)
	}
	// The name of the registry, which has another port each time, is in the stream.
	for _, manifests := range all {
		maps.DeleteFunc(manifests, func(_ string, b []byte) bool {
			return strings.Contains(string(b), "vnd.ohp.stream") || strings.Contains(string(b), "vnd.ohp.release") || strings.Contains(string(b), "vnd.ohp.images")
		})
	}
	if len(all[0]) < 10 || !maps.EqualFunc(all[0], all[1], bytes.Equal) || !maps.EqualFunc(all[0], all[2], bytes.Equal) {
		t.Errorf("%d, %d and %d manifests", len(all[0]), len(all[1]), len(all[2]))
	}
}

// TestTaken sees that a container keeps its tag.
func TestTaken(t *testing.T) {
	reg := newFake(t)
	reg.put("os", system)
	reg.tags["os:1"] = "os@" + digest.FromBytes(system).String()
	dir := t.TempDir()
	makeBuild(t, dir, "x86_64", images("x86_64", 5000), container(reg.host))
	_, err := Publish(t.Context(), dir, reg.host+"/os:1", options(t))
	if err == nil || !strings.Contains(err.Error(), "choose another tag") || reg.count("POST ") != 0 {
		t.Error(err)
	}
	// One of ours is replaced.
	publish(t, dir, reg.host+"/os:2", options(t))
	makeBuild(t, dir, "x86_64", images("x86_64", 6000), container(reg.host))
	publish(t, dir, reg.host+"/os:2", options(t))
}

// TestLost: images of the same version that a tag has are not dropped by
// accident.
func TestLost(t *testing.T) {
	reg := newFake(t)
	x86, arm, all := t.TempDir(), t.TempDir(), t.TempDir()
	makeBuild(t, x86, "x86_64", images("x86_64", 5000)[:2], nil)
	makeBuild(t, arm, "aarch64", images("aarch64", 5000)[:2], nil)
	o := options(t)
	publish(t, x86, reg.host+"/ma:1", o)
	posts := reg.count("POST ")
	_, err := Publish(t.Context(), arm, reg.host+"/ma:1", o)
	if !errors.Is(err, ErrLost) || !strings.Contains(err.Error(), "qemu/amd64, metal/amd64 of version 43.1+x") || reg.count("POST ") != posts {
		t.Errorf("%v, %d uploads", err, reg.count("POST ")-posts)
	}
	// Both in one run lose nothing.
	makeBuild(t, filepath.Join(all, "x86_64"), "x86_64", images("x86_64", 5000)[:2], nil)
	makeBuild(t, filepath.Join(all, "aarch64"), "aarch64", images("aarch64", 5000)[:2], nil)
	publish(t, all, reg.host+"/ma:1", o)
	// A missing platform is an error as well, unless Replace is set.
	makeBuild(t, all+"/x86_64", "x86_64", images("x86_64", 5000)[:1], nil)
	if _, err := Publish(t.Context(), all, reg.host+"/ma:1", o); !errors.Is(err, ErrLost) || !strings.Contains(err.Error(), "qemu/amd64 of") {
		t.Error(err)
	}
	o.Replace = true
	publish(t, all, reg.host+"/ma:1", o)
	// Another version replaces the images.
	o.Replace = false
	text, err := os.ReadFile(filepath.Join(arm, folder.MetaFile))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(arm, folder.MetaFile), bytes.Replace(text, []byte("43.1+x"), []byte("43.2"), 1))
	publish(t, arm, reg.host+"/ma:1", o)
}

// TestSystemName: a container that came from no registry is called as the
// repository that has it.
func TestSystemName(t *testing.T) {
	reg := newFake(t)
	reg.put("os", system)
	dir := t.TempDir()
	c := container("localhost")
	c.Image = "localhost/fixture"
	makeBuild(t, dir, "x86_64", images("x86_64", 5000)[:2], c)
	o := options(t)
	o.Stream = "stable"
	r := publish(t, dir, reg.host+"/os:1", o)
	x := reg.index(t, "os", "1")
	for _, a := range []map[string]string{x.Annotations, x.Manifests[0].Annotations, x.Manifests[len(x.Manifests)-1].Annotations} {
		if a[imgspec.AnnotationBaseImageName] != reg.host+"/os" {
			t.Errorf("%q", a)
		}
	}
	last := r.Entries[len(r.Entries)-1]
	if text := string(reg.blobs["os@"+last.Blob]); last.File != "release.json" || strings.Contains(text, "localhost") || !strings.Contains(text, `"image": "`+reg.host+`/os@`) {
		t.Errorf("%s: %s", last.File, text)
	}
}

// TestLocation publishes to a name that registries.conf places elsewhere. Mirrors
// get nothing.
func TestLocation(t *testing.T) {
	reg, mirror := newFake(t), newFake(t)
	reg.put("real/os", system)
	o := options(t)
	o.Registry.TLSVerify = nil
	o.Registry.RegistryConf = filepath.Join(t.TempDir(), "registries.conf")
	write(t, o.Registry.RegistryConf, fmt.Appendf(nil, "[[registry]]\nprefix=\"*.example\"\nblocked=true\n"+
		"[[registry]]\nprefix=\"vendor.example/team\"\nlocation=\"%s/real\"\ninsecure=true\n[[registry.mirror]]\nlocation=%q\n", reg.host, mirror.host))
	dir := t.TempDir()
	makeBuild(t, dir, "x86_64", images("x86_64", 5000), &stream.Container{Image: "vendor.example/team/os", Digest: digest.FromBytes(system).String()})
	got := publish(t, dir, "vendor.example/team/disks:1", o)
	if want := "vendor.example/team/disks@" + got.Digest; got.Reference != want || len(reg.index(t, "real/disks", "1").Manifests) == 0 {
		t.Errorf("%s, want %s", got.Reference, want)
	}
	if !slices.Contains(got.Notes, "registries.conf places vendor.example/team/disks at "+reg.host+"/real/disks: published there") {
		t.Errorf("%q", got.Notes)
	}
	for _, e := range got.Entries {
		if e.Platform != "" && e.OCI != "oci://"+reg.host+"/real/disks@"+e.Digest {
			t.Errorf("%s: %s", e.File, e.OCI)
		}
	}
	// The names of other repositories are placed in the same way.
	for to, from := range map[string]string{"one": "vendor.example/team/disks", "two": reg.host + "/real/disks", "three": "real/disks"} {
		o.MountFrom = from
		for _, e := range publish(t, dir, "vendor.example/team/"+to+":1", o).Entries {
			if e.Transfer != registry.Mounted {
				t.Errorf("%s: %s: %s", from, e.File, e.Transfer)
			}
		}
	}
	if len(mirror.log) > 0 {
		t.Errorf("the mirror was asked for %q", mirror.log)
	}
	o.MountFrom = ""
	if _, err := Publish(t.Context(), dir, "other.example/os:1", o); !errors.Is(err, registry.ErrAccess) || !strings.HasSuffix(err.Error(), "registries.conf blocks *.example") {
		t.Error(err)
	}
}
