package judges

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"maps"
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
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/system"
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

// object returns an object of the host's repository.
func (h *host) object(id ostree.Checksum, t ostree.ObjectType) []byte {
	h.t.Helper()
	b, err := os.ReadFile(filepath.Join(h.dir, "repo/objects", ostree.ObjectPath(id, t)))
	if err != nil {
		h.t.Fatal(err)
	}
	return b
}

// commit returns a commit of the host's repository.
func (h *host) commit(id string) *ostree.Commit {
	h.t.Helper()
	sum, err := ostree.ParseChecksum(id)
	if err != nil {
		h.t.Fatal(err)
	}
	c, err := ostree.ParseCommit(h.object(sum, ostree.CommitObject))
	if err != nil {
		h.t.Fatal(err)
	}
	return c
}

// ours imports the same container with this project's library.
func (h *host) ours() (*container.Tree, error) {
	image, err := oci.Pull(context.Background(), "oci:"+filepath.Join(h.dir, "image"), oci.Options{Cache: filepath.Join(h.dir, "cache"), Arch: "amd64"})
	if err != nil {
		return nil, err
	}
	h.t.Cleanup(func() { image.Close() })
	return container.Import(system.ContainerImage(image), container.Options{Reference: "docker://localhost/os"})
}

// place puts a container of the fixture, with layers on top, into the folder
// "image".
func (h *host) place(reference string, layers ...[]entry) {
	h.t.Helper()
	from, id, _ := strings.Cut(strings.TrimPrefix(reference, "oci:"), "@")
	to := filepath.Join(h.dir, "image")
	run(h.t, h.dir, "rm", "-rf", to)
	run(h.t, h.dir, "cp", "-r", from, to) // the cache may be on another file system
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

// An entry is an entry of a layer. By default its owner is root and its mode 0644, or
// 0755 for folders.
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
func folder(name string) entry { // as it is spelled
	e := dir("")
	e.Name = name
	return e
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
func (e entry) changed() entry     { e.ModTime = time.Unix(1795961682, 0); return e }
func (e entry) at(sec int64) entry { e.ModTime = time.Unix(sec, 0); return e }
func (e entry) fraction() entry    { e.ModTime = time.Unix(1795961682, 500000000); return e }
func (e entry) gnu() entry         { e.Format = tar.FormatGNU; return e }
func (e entry) pax(key, value string) entry {
	e.PAXRecords = maps.Clone(e.PAXRecords)
	if e.PAXRecords == nil {
		e.PAXRecords = map[string]string{}
	}
	e.PAXRecords[key] = value
	return e
}
func (e entry) xattr(name, value string) entry { return e.pax("SCHILY.xattr."+name, value) }

// blocks are raw bytes of the tar, for forms that the Go library cannot write.
func blocks(b []byte) entry {
	return entry{content: string(b) + strings.Repeat("\x00", -len(b)&511)}
}

// header returns the header of an entry with another type.
func header(t byte, e entry) []byte {
	var b bytes.Buffer
	if err := tar.NewWriter(&b).WriteHeader(&e.Header); err != nil {
		panic(err)
	}
	h := b.Bytes()
	h[156] = t
	return sum(h)
}

// sum writes the checksum of a header.
func sum(h []byte) []byte {
	copy(h[148:], "        ")
	n := 0
	for _, c := range h {
		n += int(c)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", n))
	return h
}

// old returns a header as it was before ustar.
func old(h []byte) []byte {
	clear(h[257:265])
	return sum(h)
}

// oldSparse returns the header of a sparse file in the old form of GNU tar. The file
// has 8 KiB, with 512 bytes of data in the middle.
func oldSparse(name string) []byte {
	h := header('S', file(name, "").gnu())
	copy(h[124:], "00000001000\x00")
	copy(h[386:], "00000010000\x0000000001000\x0000000020000\x0000000000000\x00")
	copy(h[483:], "00000020000\x00")
	return sum(h)
}

// sparse returns the PAX records of the same file in the current form.
func sparse(name string) []string {
	return []string{"GNU.sparse.major", "1", "GNU.sparse.minor", "0", "GNU.sparse.name", name, "GNU.sparse.realsize", "8192"}
}

// records are the PAX records of the next entry, in order.
func records(pairs ...string) entry {
	var text string
	for i := 0; i < len(pairs); i += 2 {
		r := " " + pairs[i] + "=" + pairs[i+1] + "\n"
		n := len(r) + 1
		for n != len(r)+len(fmt.Sprint(n)) {
			n++
		}
		text += fmt.Sprint(n) + r
	}
	return blocks(append(header(tar.TypeXHeader, file("records", text)), text...))
}

func tarOf(t *testing.T, entries []entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if e.Typeflag == 0 {
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
			b.WriteString(e.content)
			continue
		}
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
