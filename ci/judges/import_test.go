package judges

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/oci"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree/container"
)

// A host is a repository into which ostree-ext imports containers.
type host struct {
	t     *testing.T
	forky string
	dir   string
}

func newHost(t *testing.T) *host {
	h := &host{t, filepath.Join(judge(t, "ostree-ext"), "forky"), t.TempDir()}
	h.must("ostree", "init", "--mode=bare", "--repo=repo")
	return h
}

func (h *host) must(args ...string) string {
	h.t.Helper()
	return run(h.t, h.dir, append([]string{h.forky}, args...)...)
}

// pull imports the container in the folder "image" and returns the commit.
func (h *host) pull() (commit string, err error) {
	if _, err := try(h.dir, h.forky, "ostree-ext", "container", "image", "pull", "--quiet", "repo", "ostree-unverified-image:oci:image"); err != nil {
		return "", err
	}
	return strings.TrimSpace(h.must("ostree", "rev-parse", "--repo=repo", "ostree/container/image/oci_3A_image")), nil
}

// tree returns the checksum of the root of a commit.
func (h *host) tree(commit string) ostree.Checksum {
	h.t.Helper()
	b, err := os.ReadFile(filepath.Join(h.dir, "repo/objects", commit[:2], commit[2:]+".commit"))
	if err != nil {
		h.t.Fatal(err)
	}
	c, err := ostree.ParseCommit(b)
	if err != nil {
		h.t.Fatal(err)
	}
	return c.Tree
}

// ours imports the same container with this project's library.
func (h *host) ours() (*container.Tree, error) {
	image, err := oci.Pull(context.Background(), "oci:"+filepath.Join(h.dir, "image"), oci.Options{Cache: filepath.Join(h.dir, "cache"), Arch: "amd64"})
	if err != nil {
		return nil, err
	}
	h.t.Cleanup(func() { image.Close() })
	pulled := &container.Image{Digest: image.Digest.String(), Manifest: image.Manifest, Config: image.Config}
	for _, l := range image.Layers {
		pulled.Layers = append(pulled.Layers, container.Layer{Digest: l.Digest.String(), DiffID: l.DiffID.String(), Index: l.Index, Blob: l.Blob})
	}
	return container.Import(pulled, container.Options{Reference: "docker://localhost/os"})
}

// place puts a container of the fixture, with layers on top, into the folder
// "image".
func (h *host) place(reference string, layers ...[]entry) {
	h.t.Helper()
	from, id, _ := strings.Cut(strings.TrimPrefix(reference, "oci:"), "@")
	to := filepath.Join(h.dir, "image")
	run(h.t, h.dir, "rm", "-rf", to)
	run(h.t, h.dir, "cp", "-r", from, to) // another file system may hold the cache
	blob := func(d digest.Digest) string { return filepath.Join(to, "blobs/sha256", d.Encoded()) }
	read := func(d digest.Digest, v any) {
		h.t.Helper()
		b, err := os.ReadFile(blob(d))
		if err == nil {
			err = json.Unmarshal(b, v)
		}
		if err != nil {
			h.t.Fatal(err)
		}
	}
	write := func(mediaType string, b []byte) imgspec.Descriptor {
		d := imgspec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
		if err := os.WriteFile(blob(d.Digest), b, 0o644); err != nil {
			h.t.Fatal(err)
		}
		return d
	}
	var manifest imgspec.Manifest
	var config imgspec.Image
	read(digest.Digest(id), &manifest)
	read(manifest.Config.Digest, &config)
	for _, entries := range layers {
		text := tarOf(h.t, entries)
		var z bytes.Buffer
		w := gzip.NewWriter(&z)
		w.Write(text)
		w.Close()
		manifest.Layers = append(manifest.Layers, write(imgspec.MediaTypeImageLayerGzip, z.Bytes()))
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.FromBytes(text))
		config.History = append(config.History, imgspec.History{CreatedBy: "a layer"})
	}
	manifest.Config = write(imgspec.MediaTypeImageConfig, marshal(h.t, config))
	top := write(imgspec.MediaTypeImageManifest, marshal(h.t, manifest))
	index := imgspec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []imgspec.Descriptor{top}}
	if err := os.WriteFile(filepath.Join(to, "index.json"), marshal(h.t, index), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// An entry is one of a layer. What is not said is 0644, or 0755 of a folder,
// and root's.
type entry struct {
	tar.Header
	content string
}

func file(name, content string) entry {
	return entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))}, content}
}
func dir(name string) entry {
	return entry{tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755}, ""}
}
func symlink(name, to string) entry {
	return entry{tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to, Mode: 0o777}, ""}
}
func hardlink(name, to string) entry {
	return entry{tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: to, Mode: 0o644}, ""}
}
func (e entry) mode(mode int64) entry { e.Mode = mode; return e }
func (e entry) owner(uid, gid int) entry {
	e.Uid, e.Gid = uid, gid
	return e
}
func (e entry) changed() entry { e.ModTime = time.Unix(1795961682, 0); return e }
func (e entry) xattr(name, value string) entry {
	e.PAXRecords = map[string]string{"SCHILY.xattr." + name: value}
	return e
}

func tarOf(t *testing.T, entries []entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
