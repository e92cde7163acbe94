package pull

import (
	"bytes"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"
	"golang.org/x/crypto/bcrypt"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
)

const (
	qcow2Type = filetype.MediaTypePrefix + "qcow2"
	rawGzip   = filetype.MediaTypePrefix + "raw.gzip"
)

// A shop is a registry with images of every producer.
type shop struct {
	*server
	qcow2, raw, os imgspec.Descriptor
}

var (
	qcow2Content = append([]byte("QFI\xfb"), noise(1, 300_000)...)
	rawContent   = diskOf(2, 2_000_000)
)

func newShop(t testing.TB) *shop {
	r := serve(t)
	s := &shop{server: r}
	s.qcow2 = r.artifact(qcow2Type, "os-1-qemu.x86_64.qcow2", qcow2Content, "one")
	s.raw = r.artifactOf(func(m *imgspec.Manifest) {
		m.ArtifactType = rawGzip
		m.Annotations = map[string]string{stream.AnnotationPlatform: "metal", stream.AnnotationUncompressed: hexOf(rawContent)}
	}, "os-1-metal.x86_64.raw.gz", gzipped(rawContent), "metal")
	s.os = r.artifactOf(func(m *imgspec.Manifest) {
		m.Config = r.push(imgspec.MediaTypeImageConfig, []byte(`{"os":"linux","architecture":"amd64"}`))
		m.Layers = append(m.Layers, r.push("application/vnd.oci.image.layer.v1.tar", tarball()))
	}, "", tarball(file{"etc/os-release", nil}), "os")
	return s
}

func TestProducers(t *testing.T) {
	s := newShop(t)
	r := s.server
	arm := r.artifact(qcow2Type, "os-1-qemu.aarch64.qcow2", noise(9, 1000))
	zst := r.artifactOf(func(m *imgspec.Manifest) {}, "podman-machine.x86_64.qemu.qcow2.zst", zstded(qcow2Content))
	apple := r.artifactOf(func(m *imgspec.Manifest) {}, "podman-machine.x86_64.applehv.raw.zst", zstded(rawContent))

	ours := r.index("ours",
		on(arm, "linux", "arm64", stream.AnnotationPlatform, "qemu", stream.AnnotationDiskType, "qemu"),
		on(s.qcow2, "linux", "amd64", stream.AnnotationPlatform, "qemu", stream.AnnotationDiskType, "qemu"),
		on(s.raw, "linux", "amd64", stream.AnnotationPlatform, "metal", stream.AnnotationDiskType, "qemu"))

	titleless := r.artifactOf(func(m *imgspec.Manifest) {
		m.ArtifactType = rawGzip
		m.Layers = append(m.Layers, r.push("text/plain", []byte("second")))
	}, "", gzipped(rawContent))
	r.index("fedora", on(s.os, "linux", "amd64"), on(s.qcow2, "qemu", "amd64"), on(titleless, "metal", "amd64"))

	r.index("podman", on(s.os, "linux", "amd64"),
		on(zst, "linux", "aarch64", stream.AnnotationDiskType, "qemu"),
		on(zst, "linux", "x86_64", stream.AnnotationDiskType, "qemu"),
		on(apple, "linux", "x86_64", stream.AnnotationDiskType, "applehv"))

	r.index("two-formats",
		on(s.qcow2, "linux", "amd64", stream.AnnotationPlatform, "openstack"),
		on(s.raw, "linux", "amd64", stream.AnnotationPlatform, "openstack"))

	// The forms for registries without artifacts.
	rung3 := r.artifactOf(func(m *imgspec.Manifest) {
		m.Config = r.push(qcow2Type, []byte("{}"))
	}, "os-1-qemu.x86_64.qcow2", qcow2Content, "custom-config")
	r.index("rung3", on(rung3, "linux", "amd64", stream.AnnotationPlatform, "qemu"))
	labels := map[string]string{stream.AnnotationPlatform: "kubevirt", stream.AnnotationUncompressed: hexOf(qcow2Content)}
	rung4 := r.container(tarball(file{"etc/passwd", []byte("x")}, file{"./disk/os.qcow2", qcow2Content}), labels, "containerdisk")
	r.index("rung4", on(rung4, "linux", "amd64", stream.AnnotationPlatform, "kubevirt"))
	r.index("containerdisks", on(rung4, "linux", "arm64"), on(rung4, "linux", "amd64"))
	r.container(gzipped(tarball(file{"disk/os.raw.gz", gzipped(rawContent)})), nil, "containerdisk.gz")
	// The example of the Open Hybrid Platform, before there were artifacts.
	r.artifactOf(func(m *imgspec.Manifest) {
		m.Config = r.push(imgspec.MediaTypeImageConfig, []byte("{}"))
		m.Layers[0].MediaType = imgspec.MediaTypeImageLayer
	}, "os-1-metal.x86_64.raw.gz", gzipped(rawContent), "tink")

	location := func(d imgspec.Descriptor) string {
		return `"location":"https://elsewhere.example/v2/os/blobs/x","oci":{"image":"elsewhere.example/os","digest-ref":"elsewhere.example/os@` + d.Digest.String() + `"}`
	}
	r.artifact(stream.StreamType, "stream.json", []byte(`{"stream":"stable","architectures":{
		"aarch64":{"artifacts":{"qemu":{"release":"1","formats":{"qcow2":{"disk":{`+location(arm)+`}}}}}},
		"x86_64":{"artifacts":{
			"metal":{"release":"1","formats":{"iso":{"disk":{"location":"https://example.com/a.iso"}},"raw.gz":{"disk":{`+location(s.raw)+`}}}},
			"qemu":{"release":"1","formats":{"qcow2":{"disk":{`+location(s.qcow2)+`,"sha256":"0"}}}}}}}}`), "stream")

	// Referrers of an operating system: an index, and a single disk.
	subject := r.artifactOf(func(m *imgspec.Manifest) { *m = manifestOf(t, r, s.os) }, "", nil)
	refer := func(d imgspec.Descriptor) imgspec.Descriptor {
		d.Platform = nil
		return d
	}
	indexRef := ours
	indexRef.ArtifactType = stream.IndexType
	signature := r.artifact("application/vnd.dev.cosign.simplesigning.v1+json", "sig", []byte("sig"))
	r.index("sha256-"+subject.Digest.Encoded(), refer(signature), indexRef)
	alone := r.container(tarball(file{"etc/alone", nil}), nil, "alone")
	r.index("sha256-"+alone.Digest.Encoded(), refer(signature), func() imgspec.Descriptor {
		d := refer(s.raw)
		d.Annotations = map[string]string{stream.AnnotationPlatform: "metal"}
		return d
	}())

	for _, tc := range []struct {
		ref, platform, format string
		title                 string // "" is: none that matches
		want                  []byte // decompressed
		gotFormat             string
	}{
		{":ours", "qemu", "", "os-1-qemu.x86_64.qcow2", qcow2Content, "qcow2"},
		{"@" + ours.Digest.String(), "metal", "", "os-1-metal.x86_64.raw", rawContent, "raw"},
		{":ours", "metal", "raw", "os-1-metal.x86_64.raw", rawContent, "raw"},
		{":ours", "metal", "qcow2", "", nil, ""},
		{":ours", "openstack", "", "", nil, ""},
		{":fedora", "qemu", "", "os-1-qemu.x86_64.qcow2", qcow2Content, "qcow2"},
		{":fedora", "metal", "", "disks-metal-amd64.raw", rawContent, "raw"},
		{":fedora", "linux", "", "", nil, ""},
		{":podman", "qemu", "", "podman-machine.x86_64.qemu.qcow2", qcow2Content, "qcow2"},
		{":podman", "applehv", "raw", "podman-machine.x86_64.applehv.raw", rawContent, "raw"},
		{":podman", "applehv", "raw.zst", "podman-machine.x86_64.applehv.raw", rawContent, "raw"},
		{":podman", "applehv", "qcow2", "", nil, ""},
		{":two-formats", "openstack", "", "os-1-qemu.x86_64.qcow2", qcow2Content, "qcow2"},
		{":two-formats", "openstack", "raw.gz", "os-1-metal.x86_64.raw", rawContent, "raw"},
		{":one", "", "", "os-1-qemu.x86_64.qcow2", qcow2Content, "qcow2"},
		{":one", "qemu", "qcow2", "os-1-qemu.x86_64.qcow2", qcow2Content, "qcow2"},
		{":metal", "metal", "", "os-1-metal.x86_64.raw", rawContent, "raw"},
		{":metal", "qemu", "", "", nil, ""},
		{":custom-config", "", "", "os-1-qemu.x86_64.qcow2", qcow2Content, "qcow2"},
		{":rung3", "qemu", "qcow2", "os-1-qemu.x86_64.qcow2", qcow2Content, "qcow2"},
		{":rung4", "kubevirt", "", "os.qcow2", qcow2Content, "qcow2"},
		{":containerdisk", "", "", "os.qcow2", qcow2Content, "qcow2"},
		{":containerdisks", "", "", "os.qcow2", qcow2Content, "qcow2"},
		{":containerdisk.gz", "", "", "os.raw", rawContent, "raw"},
		{":tink", "", "", "os-1-metal.x86_64.raw", rawContent, "raw"},
		{":stream", "qemu", "", "os-1-qemu.x86_64.qcow2", qcow2Content, "qcow2"},
		{":stream", "metal", "raw", "os-1-metal.x86_64.raw", rawContent, "raw"},
		{":stream", "metal", "iso", "", nil, ""},
		{"@" + subject.Digest.String(), "qemu", "", "os-1-qemu.x86_64.qcow2", qcow2Content, "qcow2"},
		{":alone", "metal", "", "os-1-metal.x86_64.raw", rawContent, "raw"},
	} {
		o := options(t)
		o.Platform, o.Format, o.Decompress = tc.platform, tc.format, true
		got, err := get(t, temp(t), r.name+tc.ref, o)
		what := fmt.Sprintf("%s %s %s", tc.ref, tc.platform, tc.format)
		if tc.title == "" {
			if err == nil || !strings.Contains(err.Error(), "no image for "+strings.TrimSuffix(tc.platform+"/amd64/"+tc.format, "/")+"; there is ") || strings.Contains(err.Error(), "?") {
				t.Errorf("%s: %v", what, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if got.Name != tc.title || got.File.Format != tc.gotFormat || !bytes.Equal(got.content, tc.want) {
			t.Errorf("%s: %s, %s, %d bytes; want %s, %s, %d", what, got.Name, got.File.Format, len(got.content), tc.title, tc.gotFormat, len(tc.want))
		}
		if got.SHA256 != hexOf(tc.want) || got.Uncompressed != hexOf(tc.want) || got.File.Size != int64(len(tc.want)) {
			t.Errorf("%s: said to be %+v", what, got.File)
		}
		// As it is in the registry it is another file, and its name says so.
		o.Decompress = false
		kept, err := get(t, temp(t), r.name+tc.ref, o)
		if err != nil || plainName(kept.Name) != tc.title || kept.SHA256 != hexOf(kept.content) {
			t.Errorf("%s: not decompressed: %v, %+v", what, err, kept.File)
		}
	}
}

func manifestOf(t *testing.T, r *server, d imgspec.Descriptor) imgspec.Manifest {
	t.Helper()
	layer := r.push(imgspec.MediaTypeImageLayer, tarball(file{"etc/another", nil}))
	config := r.push(imgspec.MediaTypeImageConfig, []byte(`{"os":"linux","architecture":"amd64"}`))
	return imgspec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspec.MediaTypeImageManifest, Config: config, Layers: []imgspec.Descriptor{layer}}
}

// TestReferrersAPI has a registry that lists referrers itself, in pages.
func TestReferrersAPI(t *testing.T) {
	s := newShop(t)
	d := s.raw
	d.Annotations = map[string]string{stream.AnnotationPlatform: "metal"}
	page := mustJSON(imgspec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspec.MediaTypeImageIndex, Manifests: []imgspec.Descriptor{d}})
	for _, status := range []int{200, 400, 404, 405, 501} {
		s.failing(func(w http.ResponseWriter, req *http.Request, _ int) bool {
			if !strings.Contains(req.URL.Path, "/referrers/") {
				return false
			}
			w.Header().Set("Content-Type", imgspec.MediaTypeImageIndex)
			if status == 200 && req.URL.Query().Get("page") == "" {
				w.Header().Set("Link", fmt.Sprintf(`<%s?page=2>; rel="next"`, req.URL.Path))
				w.Write([]byte(`{"schemaVersion":2,"manifests":[]}`))
				return true
			}
			w.WriteHeader(status)
			w.Write(page)
			return true
		})
		o := options(t)
		o.Platform = "metal"
		_, err := get(t, temp(t), s.name+":os", o)
		if status == 200 && err != nil || status != 200 && !errors.Is(err, registry.ErrNotFound) {
			t.Errorf("status %d: %v", status, err)
		}
	}
}

// TestEntryNames: an unknown format is left out.
func TestEntryNames(t *testing.T) {
	for want, e := range map[string]entry{
		"qemu/amd64/v3/raw.gzip": {platform: "qemu", arch: "amd64", variant: "v3", format: "raw.gzip"},
		"nutanix/amd64":          {platform: "nutanix", arch: "amd64"},
		"unknown/unknown":        {},
	} {
		if got := e.String(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestChoice(t *testing.T) {
	s := newShop(t)
	s.index("both",
		on(s.qcow2, "linux", "amd64", stream.AnnotationPlatform, "qemu"),
		on(s.raw, "linux", "amd64", stream.AnnotationPlatform, "metal"))
	s.index("containers", on(s.os, "linux", "amd64"))
	for _, tc := range []struct{ ref, platform, arch, want string }{
		{":both", "", "amd64", "images for several platforms, name one: qemu/amd64/qcow2, metal/amd64/raw.gzip"},
		{":both", "qemu", "s390x", "no image for qemu/s390x; there is qemu/amd64/qcow2, metal/amd64/raw.gzip"},
		{":both", "", "s390x", "no image for s390x; there is qemu/amd64/qcow2, metal/amd64/raw.gzip"},
		{":os", "qemu", "amd64", "a container image of 2 layers, and no disk image refers to it"},
		{":containers", "qemu", "riscv64", "without a container for riscv64"},
		{":none", "qemu", "amd64", "the registry answers 404 manifest unknown"},
		{"@sha256:" + strings.Repeat("0", 64), "qemu", "amd64", "404"},
		{":both@sha256:00", "qemu", "amd64", "invalid"},
	} {
		o := options(t)
		o.Platform, o.Arch = tc.platform, tc.arch
		_, err := Find(t.Context(), s.name+tc.ref, o)
		if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.HasPrefix(err.Error(), s.name+tc.ref+": ") {
			t.Errorf("%s: %v", tc.ref, err)
		}
	}
	o := options(t)
	if _, err := Find(t.Context(), "oci:dir", o); err == nil || !strings.Contains(err.Error(), "not in a registry") {
		t.Error(err)
	}
	// The first that matches is it.
	s.index("twice",
		on(s.qcow2, "linux", "amd64", stream.AnnotationPlatform, "qemu"),
		on(s.raw, "linux", "x86_64", stream.AnnotationPlatform, "qemu"))
	img, err := Find(t.Context(), s.name+":twice", o)
	if err != nil || img.Manifest != s.qcow2.Digest {
		t.Errorf("%v, %v", img, err)
	}
}

// TestTarGz: the archive that Google takes has one name, however a producer
// calls it, and is found by each of them.
func TestTarGz(t *testing.T) {
	s := newShop(t)
	r, content := s.server, gzipped(tarball(file{"disk.raw", rawContent}))
	d := r.artifact(filetype.MediaTypePrefix+"gce.tgz", "os-1-gcp.x86_64.tar.gz", content, "alone")
	titleless := r.artifact(filetype.MediaTypePrefix+"gce.tgz", "", content)
	r.index("index", on(d, "linux", "amd64", stream.AnnotationPlatform, "gcp"))
	r.index("titleless", on(titleless, "linux", "amd64", stream.AnnotationPlatform, "gcp"))
	r.index("container", on(r.container(tarball(file{"disk/os.tar.gz", content}), nil), "linux", "amd64", stream.AnnotationPlatform, "gcp"))
	r.artifact(stream.StreamType, "stream.json", []byte(`{"architectures":{"x86_64":{"artifacts":{"gcp":{"formats":{"tar.gz":{"disk":{"oci":{"digest-ref":"a.example/os@`+d.Digest.String()+`"}}}}}}}}}`), "stream")
	for _, ref := range []string{":alone", ":index", ":titleless", ":container", ":stream"} {
		for _, format := range []string{"", "tar.gz", "tar.gzip", "gce.tgz"} {
			o := options(t)
			o.Platform, o.Format = "gcp", format
			got, err := get(t, temp(t), s.name+ref, o)
			if err != nil || got.File.Format != "tar.gz" || !strings.HasSuffix(got.Name, ".tar.gz") || !bytes.Equal(got.content, content) {
				t.Errorf("%s, asked for %q: %s, %s, %v", ref, format, got.Name, got.File.Format, err)
			}
		}
	}
	o := options(t)
	o.Platform, o.Format = "gcp", "raw"
	if _, err := Find(t.Context(), s.name+":index", o); err == nil || !strings.Contains(err.Error(), "there is gcp/amd64/tar.gz") {
		t.Error(err)
	}
}

// TestTitles has names that lead somewhere else, in all places where there are some.
func TestTitles(t *testing.T) {
	r := serve(t)
	for i, title := range []string{
		"../evil", "..", ".", "/etc/passwd", "a/b", `a\b`, "a\nb", "a\x00b", "a\x1b[2Jb", "\u202egpj.exe", ".bashrc",
		"\xff", strings.Repeat("x", 300), "a\u00a0b", "disk.raw/", "~/../x",
	} {
		tag := fmt.Sprint("title", i)
		r.artifact(qcow2Type, title, []byte("disk"), tag)
		got, err := get(t, temp(t), r.name+":"+tag, options(t))
		if err == nil || !strings.Contains(err.Error(), "file name ") {
			t.Errorf("%q: %v, %q", title, err, got.Name)
		}
		if !utf8.ValidString(title) || strings.Contains(title, "\x00") {
			continue
		}
		r.container(tarball(file{"disk/" + title, []byte("disk")}), nil, tag)
		got, err = get(t, temp(t), r.name+":"+tag, options(t))
		if err == nil && got.Name != filepath.Base(title) || err != nil && !strings.Contains(err.Error(), "file name ") && !strings.Contains(err.Error(), "no file in the folder disk") {
			t.Errorf("tar %q: %v, %q", title, err, got.Name)
		}
	}
	r.artifactOf(func(m *imgspec.Manifest) {
		m.ArtifactType = qcow2Type
		m.Layers[0].Annotations = map[string]string{imgspec.AnnotationTitle: ""}
	}, "", []byte("disk"), "empty")
	if _, err := Find(t.Context(), r.name+":empty", options(t)); err == nil || !strings.Contains(err.Error(), `file name ""`) {
		t.Errorf("empty: %v", err)
	}
	for _, title := range []string{"a", "disk image.raw", "größe.raw", "a..b", "-rf"} {
		r.artifact(qcow2Type, title, []byte("disk"), "good")
		if got, err := get(t, temp(t), r.name+":good", options(t)); err != nil || got.Name != title {
			t.Errorf("%q: %v", title, err)
		}
	}
}

// TestMalformed has manifests that no producer makes.
func TestMalformed(t *testing.T) {
	s := newShop(t)
	good := mustJSON(s.qcow2)
	for name, tc := range map[string]struct{ body, want string }{
		"no JSON":      {"<html>", "invalid character"},
		"nothing":      {"{}", "must be either an index or a manifest with layers"},
		"both":         {`{"layers":[` + string(good) + `],"manifests":[` + string(good) + `]}`, "must be either an index or"},
		"no layer":     {`{"artifactType":"` + qcow2Type + `","layers":[]}`, "no layer"},
		"bad digest":   {`{"artifactType":"` + qcow2Type + `","layers":[{"digest":"sha256:../../x","size":1}]}`, "is not a digest"},
		"sha512":       {`{"artifactType":"` + qcow2Type + `","layers":[{"digest":"sha512:` + strings.Repeat("0", 128) + `","size":1}]}`, "is not a digest"},
		"negative":     {`{"artifactType":"` + qcow2Type + `","layers":[{"digest":"` + s.raw.Digest.String() + `","size":-1}]}`, "layer of -1 bytes"},
		"endless":      {`{"artifactType":"` + qcow2Type + `","layers":[{"digest":"` + s.raw.Digest.String() + `","size":9223372036854775807}]}`, "layer of 9223372036854775807 bytes"},
		"other type":   {`{"artifactType":"text/plain","layers":[{"digest":"` + s.raw.Digest.String() + `","size":1}]}`, `type "text/plain" is not that of a disk`},
		"huge":         {strings.Repeat(" ", registry.MaxManifest+1), "has more than 4194304 bytes"},
		"uncompressed": {`{"artifactType":"` + qcow2Type + `","annotations":{"dev.ohp.uncompressed-sha256":"xyz"},"layers":[{"digest":"` + s.raw.Digest.String() + `","size":1}]}`, "is not a SHA-256"},
		"index digest": {`{"manifests":[{"digest":"x","artifactType":"` + qcow2Type + `"}]}`, "is not a digest"},
		"bad stream":   {`{"artifactType":"` + stream.StreamType + `","layers":[]}`, "has no layer"},
	} {
		s.failing(func(w http.ResponseWriter, req *http.Request, _ int) bool {
			if !strings.Contains(req.URL.Path, "/manifests/") {
				return false
			}
			w.Write([]byte(tc.body))
			return true
		})
		if _, err := Find(t.Context(), s.name+":x", options(t)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestAuth pulls with a password, with tokens, and with none of them.
func TestAuth(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	htpasswd := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(htpasswd, fmt.Appendf(nil, "user:%s\n", hash), 0o600); err != nil {
		t.Fatal(err)
	}
	basic := serveAs(t, configuration.Auth{"htpasswd": {"realm": "test", "path": htpasswd}}, false)
	token := serve(t)
	for _, r := range []*server{basic, token} {
		r.artifact(qcow2Type, "disk.qcow2", qcow2Content, "one")
	}
	token.failing(bearer(token, func() string { return "token" }))
	for _, r := range []*server{basic, token} {
		for password, want := range map[string]error{"secret": nil, "guess": registry.ErrAccess, "": registry.ErrAccess} {
			o := options(t)
			if password != "" {
				login := base64.StdEncoding.EncodeToString([]byte("user:" + password))
				os.WriteFile(o.Registry.AuthFile, fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, r.Listener.Addr(), login), 0o600)
			}
			got, err := get(t, temp(t), r.name+":one", o)
			if !errors.Is(err, want) || want == nil && (err != nil || !bytes.Equal(got.content, qcow2Content)) {
				t.Errorf("password %q: %v", password, err)
			}
			// Given credentials override the file.
			for given, want := range map[string]error{"secret": nil, "hunter2": registry.ErrAccess} {
				o.Registry.Login = &registry.Login{Username: "user", Password: given}
				if _, err := get(t, temp(t), r.name+":one", o); !errors.Is(err, want) || err != nil && strings.Contains(err.Error(), given) {
					t.Errorf("password %q, %q given: %v", password, given, err)
				}
			}
		}
	}
}

// TestTLS: unknown certificates are rejected by default.
func TestTLS(t *testing.T) {
	r := serveAs(t, nil, true)
	r.artifact(qcow2Type, "disk.qcow2", qcow2Content, "one")
	o := options(t)
	o.Registry.TLSVerify = nil
	if _, err := get(t, temp(t), r.name+":one", o); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("unknown certificate: %v", err)
	}
	config := t.TempDir()
	certs := filepath.Join(config, "containers/certs.d", r.Listener.Addr().String())
	os.MkdirAll(certs, 0o755)
	os.WriteFile(filepath.Join(certs, "ca.crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate().Raw}), 0o644)
	no := false
	lax := o
	lax.Registry.TLSVerify = &no
	named := o
	named.Registry.CertDir = certs
	for _, o := range []Options{lax, named} {
		if _, err := get(t, temp(t), r.name+":one", o); err != nil {
			t.Error(err)
		}
	}
	t.Setenv("XDG_CONFIG_HOME", config)
	if _, err := get(t, temp(t), r.name+":one", o); err != nil {
		t.Errorf("certificates of the user: %v", err)
	}
	// Plain HTTP is not taken for HTTPS.
	plain := serve(t)
	plain.artifact(qcow2Type, "disk.qcow2", qcow2Content, "one")
	if _, err := get(t, temp(t), plain.name+":one", o); err == nil {
		t.Error("plain HTTP, and nobody allowed it")
	}
}

// TestMirror pulls from the second of two mirrors of a registry that is not there.
func TestMirror(t *testing.T) {
	empty, full := serve(t), serve(t)
	full.artifact(qcow2Type, "disk.qcow2", qcow2Content, "one")
	o := options(t)
	o.Registry.TLSVerify = nil
	conf := fmt.Sprintf("[[registry]]\nprefix=\"vendor.example\"\nlocation=\"127.0.0.1:1\"\n"+
		"[[registry.mirror]]\nlocation=%q\ninsecure=true\n[[registry.mirror]]\nlocation=%q\ninsecure=true\n", empty.Listener.Addr(), full.Listener.Addr())
	os.WriteFile(o.Registry.RegistryConf, []byte(conf), 0o644)
	got, err := get(t, temp(t), "vendor.example/disks:one", o)
	if err != nil || !bytes.Equal(got.content, qcow2Content) {
		t.Error(err)
	}
	_, err = get(t, temp(t), "vendor.example/disks:two", o)
	if err == nil || strings.Count(err.Error(), ";") != 2 || strings.Contains(err.Error(), "\n") {
		t.Error(err)
	}
	os.WriteFile(o.Registry.RegistryConf, []byte("[[registry]]\nprefix=\"vendor.example\"\nblocked=true\nlocation=\"vendor.example\"\n"), 0o644)
	blocked := o
	blocked.Registry.RegistryConf = filepath.Join(t.TempDir(), "blocked.conf")
	os.Rename(o.Registry.RegistryConf, blocked.Registry.RegistryConf)
	if _, err := Find(t.Context(), "vendor.example/disks:one", blocked); !errors.Is(err, registry.ErrAccess) {
		t.Error(err)
	}
}

// TestLocation pulls from where registries.conf places a name. The image keeps
// the name, and a login is for the host of that name only.
func TestLocation(t *testing.T) {
	r := serve(t)
	disk := r.artifact(qcow2Type, "disk.qcow2", qcow2Content, "one")
	o := options(t)
	o.Registry.TLSVerify = nil
	conf := "[[registry]]\nprefix=\"*.vendor.example\"\nlocation=%q\ninsecure=true\nblocked=%v\n"
	os.WriteFile(o.Registry.RegistryConf, fmt.Appendf(nil, conf, r.Listener.Addr(), false), 0o644)
	o.Registry.Login = &registry.Login{Username: "user", Password: "secret"}
	r.failing(func(_ http.ResponseWriter, req *http.Request, _ int) bool {
		if req.Header.Get("Authorization") != "" {
			t.Errorf("%s: with a login for another host", req.URL)
		}
		return false
	})
	got, err := get(t, temp(t), "eu.vendor.example/disks:one", o)
	if err != nil || !bytes.Equal(got.content, qcow2Content) || got.Reference != "eu.vendor.example/disks@"+disk.Digest.String() {
		t.Error(got, err)
	}
	o.Registry.RegistryConf = filepath.Join(t.TempDir(), "blocked.conf")
	os.WriteFile(o.Registry.RegistryConf, fmt.Appendf(nil, conf, r.Listener.Addr(), true), 0o644)
	named, err := reference.ParseNormalizedNamed("eu.vendor.example/disks:one")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := List(t.Context(), named, o); !errors.Is(err, registry.ErrAccess) {
		t.Error(err)
	}
}

// TestNested pulls disks that an index in an index has, and the ones that belong
// to a container in there.
func TestNested(t *testing.T) {
	r := serve(t)
	disk := r.artifact(qcow2Type, "disk.qcow2", qcow2Content)
	disk.Annotations = map[string]string{stream.AnnotationPlatform: "qemu"}
	disk.Platform = &imgspec.Platform{OS: "linux", Architecture: "amd64"}
	other := r.artifact("application/vnd.example.delta", "delta", []byte("delta"))
	other.ArtifactType, other.Platform = "application/vnd.example.delta", disk.Platform
	index := func(tag string, entries ...imgspec.Descriptor) imgspec.Descriptor {
		x := imgspec.Index{MediaType: imgspec.MediaTypeImageIndex, Manifests: entries}
		x.SchemaVersion = 2
		return r.push(x.MediaType, mustJSON(x), tag)
	}
	one := index("flat", disk)
	two := index("nested", other, one)
	index("twice", two)
	deep := two
	for range maxDepth {
		deep = index("deep", deep)
	}
	for tag, want := range map[string]string{"flat": "", "nested": "", "twice": "", "deep": "more than 8 deep"} {
		got, err := get(t, temp(t), r.name+":"+tag, options(t))
		if want == "" && (err != nil || !bytes.Equal(got.content, qcow2Content)) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", tag, err)
		}
	}
}

// TestContainer chooses among the containers of an index.
func TestContainer(t *testing.T) {
	entry := func(name, arch, variant string) imgspec.Descriptor {
		d := imgspec.Descriptor{MediaType: imgspec.MediaTypeImageManifest, Digest: digest.Digest(name)}
		if arch != "" {
			d.Platform = &imgspec.Platform{OS: "linux", Architecture: arch, Variant: variant}
		}
		return d
	}
	base, v3, arm, any := entry("base", "amd64", ""), entry("v3", "amd64", "v3"), entry("arm", "arm64", "v8"), entry("any", "", "")
	delta := base
	delta.Digest, delta.ArtifactType = "delta", "application/vnd.example.delta"
	attestation := entry("attestation", "unknown", "unknown")
	for _, tc := range []struct {
		entries    []imgspec.Descriptor
		arch, want digest.Digest
	}{
		{[]imgspec.Descriptor{v3, base, arm}, "amd64", "base"},
		{[]imgspec.Descriptor{arm, v3}, "amd64", "v3"},
		{[]imgspec.Descriptor{any, v3}, "amd64", "v3"},
		{[]imgspec.Descriptor{attestation, delta, any, any}, "amd64", "any"},
		{[]imgspec.Descriptor{attestation, delta, arm}, "amd64", ""},
		{nil, "amd64", ""},
	} {
		if got := container(tc.entries, string(tc.arch)); got != tc.want {
			t.Errorf("%v: got %q, want %q", tc.entries, got, tc.want)
		}
	}
}

// TestVariants: a machine of a variant runs images of its own and of older ones.
func TestVariants(t *testing.T) {
	s := newShop(t)
	variant := func(d imgspec.Descriptor, v string) imgspec.Descriptor {
		d = on(d, "linux", "amd64", stream.AnnotationPlatform, "qemu")
		d.Platform.Variant = v
		return d
	}
	plain, v3 := variant(s.qcow2, ""), variant(s.raw, "v3")
	s.index("plain", plain)
	s.index("both", v3, plain)
	s.index("v3", v3)
	for _, tc := range []struct {
		ref, arch string
		want      imgspec.Descriptor
	}{
		{":plain", "amd64/v3", plain}, {":plain", "x86_64/v2", plain}, {":both", "amd64/v3", v3}, {":both", "amd64/v4", v3},
		{":both", "amd64/v2", plain}, {":both", "amd64", plain}, {":v3", "x86_64", v3}, {":v3", "amd64/v2", v3},
	} {
		o := options(t)
		o.Platform, o.Arch = "qemu", tc.arch
		img, err := Find(t.Context(), s.name+tc.ref, o)
		if err != nil || img.Manifest != tc.want.Digest {
			t.Errorf("%s for %s: %v, %v", tc.ref, tc.arch, img, err)
		}
	}
	o := options(t)
	o.Platform, o.Arch = "qemu", "arm64/v8"
	if _, err := Find(t.Context(), s.name+":both", o); err == nil || !strings.Contains(err.Error(), "no image for qemu/arm64/v8; there is qemu/amd64/v3/raw.gzip, qemu/amd64/qcow2") {
		t.Error(err)
	}
}
