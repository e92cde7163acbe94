package pull

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/publish"
)

// TestPublished pulls published images in every form and view, by the tag and by the
// operating system's container: every file is unchanged.
func TestPublished(t *testing.T) {
	for _, form := range []publish.Form{publish.ArtifactTag, publish.ConfigType, publish.Container} {
		t.Run(string(form), func(t *testing.T) {
			s := newShop(t)
			refs, metadata := pushBuild(t, s, form)
			for _, ref := range []string{refs[0], metadata} {
				o := options(t)
				for _, o.Platform = range []string{"kubevirt", "live-kernel", "metal"} {
					o.Format = map[string]string{"metal": "kernel"}[o.Platform]
					want := map[string][]byte{"kubevirt": qcow2Content}[o.Platform]
					if want == nil {
						want = kernelContent
					}
					if got, err := get(t, temp(t), ref, o); err != nil || !bytes.Equal(got.content, want) {
						t.Errorf("%s: %s %s: %v", ref, o.Platform, o.Format, err)
					}
				}
			}
			refs = append(refs, metadata)
			for _, ref := range refs {
				for platform, want := range map[string][]byte{"qemu": qcow2Content, "metal": rawContent} {
					if strings.Contains(ref, "containerdisk") || strings.HasSuffix(ref, "-pxe") || strings.Contains(ref, "podman-machine") && platform == "metal" || strings.Contains(ref, "tink") && platform == "qemu" {
						continue
					}
					o := options(t)
					o.Platform, o.Decompress = platform, true
					got, err := get(t, temp(t), ref, o)
					if err != nil {
						t.Errorf("%s: %s: %v", ref, platform, err)
						continue
					}
					name := map[string]string{"qemu": "os-1-qemu.x86_64.qcow2", "metal": "os-1-metal.x86_64.raw"}[platform]
					if got.Name != name || !bytes.Equal(got.content, want) || got.Uncompressed != hexOf(want) || got.Platform != platform {
						t.Errorf("%s: %s: %+v", ref, platform, got.File)
					}
				}
			}
		})
	}
}

var kernelContent = append([]byte("MZ"), noise(3, 5000)...)

// pushBuild publishes a build in a form, and returns where its images can be
// found, and its stream metadata.
func pushBuild(t *testing.T, s *shop, form publish.Form) (refs []string, metadata string) {
	t.Helper()
	dir := t.TempDir()
	meta := stream.Meta{
		BuildID: "1", Name: "os", OSTreeCommit: strings.Repeat("c", 64), OSTreeVersion: "1", OSTreeTimestamp: "2026-01-02T03:04:05Z",
		BaseArch: "x86_64", Container: &stream.Container{Image: s.name, Digest: s.os.Digest.String()},
		Images: map[string]stream.Artifact{
			"qemu": {Path: "os-1-qemu.x86_64.qcow2", SHA256: hexOf(qcow2Content), Size: int64(len(qcow2Content))},
			"metal": {Path: "os-1-metal.x86_64.raw.gz", SHA256: hexOf(gzipped(rawContent)), Size: int64(len(gzipped(rawContent))),
				UncompressedSHA256: hexOf(rawContent), UncompressedSize: int64(len(rawContent))},
		},
	}
	disk := tarball(file{"disk/disk.qcow2", qcow2Content})
	image := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",` +
		`"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:` + hexOf([]byte("{}")) + `","size":2},` +
		`"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:` + hexOf(disk) + `","size":` + fmt.Sprint(len(disk)) + `}]}`
	archive := tarball(file{"index.json", []byte(`{"manifests":[{"digest":"sha256:` + hexOf([]byte(image)) + `","size":` + fmt.Sprint(len(image)) + `}]}`)},
		file{"blobs/sha256/" + hexOf([]byte(image)), []byte(image)}, file{"blobs/sha256/" + hexOf([]byte("{}")), []byte("{}")}, file{"blobs/sha256/" + hexOf(disk), disk})
	meta.Images["kubevirt"] = stream.Artifact{Path: "os-1-kubevirt.x86_64.ociarchive", SHA256: hexOf(archive), Size: int64(len(archive))}
	meta.Images["live-kernel"] = stream.Artifact{Path: "os-1-live-kernel.x86_64", SHA256: hexOf(kernelContent), Size: int64(len(kernelContent))}
	for name, content := range map[string][]byte{"os-1-kubevirt.x86_64.ociarchive": archive, "os-1-live-kernel.x86_64": kernelContent, "os-1-qemu.x86_64.qcow2": qcow2Content, "os-1-metal.x86_64.raw.gz": gzipped(rawContent), "meta.json": stream.Marshal(&meta)} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s.failing(func(w http.ResponseWriter, req *http.Request, _ int) bool {
		if req.Method != http.MethodPut || !strings.Contains(req.URL.Path, "/manifests/") {
			return false
		}
		body, _ := io.ReadAll(req.Body)
		req.Body = io.NopCloser(bytes.NewReader(body))
		if form == publish.ConfigType && bytes.Contains(body, []byte(`"artifactType"`)) ||
			form == publish.Container && bytes.Contains(body, []byte(`"mediaType":"`+filetype.MediaTypePrefix)) {
			w.WriteHeader(http.StatusBadRequest)
			return true
		}
		return false
	})
	o := publish.Options{Registry: options(t).Registry, Views: []string{"all"}, As: "auto", Stream: "stable"}
	res, err := publish.Publish(t.Context(), dir, s.name+":x", o)
	if err != nil {
		t.Fatal(err)
	}
	s.failing(nil)
	if res.Form != form {
		t.Errorf("published as %s: %v", res.Form, res.Notes)
	}
	for _, tag := range res.Tags {
		refs = append(refs, s.name+":"+tag.Tag)
	}
	if form == publish.ArtifactTag {
		refs = append(refs, s.name+"@"+s.os.Digest.String())
	}
	for _, e := range res.Entries {
		if e.File == "stream.json" {
			metadata = s.name + "@" + e.Digest
		}
	}
	return refs, metadata
}
