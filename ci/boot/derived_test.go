package boot

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/oci"
	imported "github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree/container"
)

// derivedProof is a program of the derived layer that says what became of it.
const derivedProof = `#!/bin/sh
echo on >/proc/sys/kernel/printk_devkmsg
say() { printf '<1>PROOF: derived-%s=%s\n' "$1" "$2" >/dev/kmsg; }
say etc "$(cat /etc/derived.conf) $(cat /usr/etc/derived.conf)"
say var "$(cat /var/lib/derived/data)"
say less "$(test -e /usr/bin/less && echo there || echo gone)"
say run "$(test -e /run/derived && echo there || echo gone)"
say twice "$(cat /usr/share/derived/again)"
say mode "$(stat -c %a /usr/bin/derived-suid)"
say changed "$(cat /usr/lib/derived-over)"
say labels "$(stat -c %C /usr/bin/derived-suid /etc/derived.conf /var/lib/derived/data | tr '\n' ' ')"
`

const derivedUnit = `[Unit]
Description=Say what became of the derived layer
After=local-fs.target
Before=ohp-proof.service

[Service]
Type=oneshot
ExecStart=/usr/libexec/derived-proof
`

// derivedLayers are what a Containerfile on top of the fixture might make.
var derivedLayers = [][]tar.Header{
	{
		{Name: "usr/lib/derived-over", Typeflag: tar.TypeReg, Mode: 0o644, Linkname: "first\n"},
		{Name: "usr/lib/derived-dir/gone", Typeflag: tar.TypeReg, Mode: 0o644, Linkname: "x"},
	},
	{
		{Name: "etc/derived.conf", Typeflag: tar.TypeReg, Mode: 0o644, Linkname: "from-the-layer\n"},
		{Name: "usr/bin/.wh.less", Typeflag: tar.TypeReg, Mode: 0o644},
		{Name: "usr/lib/.wh.derived-dir", Typeflag: tar.TypeReg, Mode: 0o644},
		{Name: "usr/lib/derived-over", Typeflag: tar.TypeReg, Mode: 0o644, Linkname: "second\n"},
		{Name: "usr/bin/derived-suid", Typeflag: tar.TypeReg, Mode: 0o4755, Linkname: "#!/bin/sh\n"},
		{Name: "usr/share/derived/once", Typeflag: tar.TypeReg, Mode: 0o644, Linkname: "one file\n"},
		{Name: "usr/share/derived/again", Typeflag: tar.TypeLink, Linkname: "usr/share/derived/once"},
		{Name: "var/lib/derived/data", Typeflag: tar.TypeReg, Mode: 0o644, Linkname: "in-var\n"},
		{Name: "run/derived", Typeflag: tar.TypeReg, Mode: 0o644, Linkname: "never seen\n"},
		{Name: "usr/libexec/derived-proof", Typeflag: tar.TypeReg, Mode: 0o755, Linkname: derivedProof},
		{Name: "usr/lib/systemd/system/derived-proof.service", Typeflag: tar.TypeReg, Mode: 0o644, Linkname: derivedUnit},
		{Name: "usr/lib/systemd/system/ohp-proof.service.requires/derived-proof.service", Typeflag: tar.TypeSymlink, Linkname: "../derived-proof.service"},
	},
}

// A container is an OCI layout of one image that is being changed.
type container struct {
	t                *testing.T
	dir              string
	manifest, config map[string]any
}

// open copies a container in an OCI layout to change the copy.
func open(t *testing.T, ref string) *container {
	t.Helper()
	from, digest, _ := strings.Cut(strings.TrimPrefix(ref, "oci:"), "@")
	c := &container{t: t, dir: t.TempDir()}
	c.check(os.CopyFS(c.dir, os.DirFS(from)))
	read := func(digest string, v any) {
		data, err := os.ReadFile(c.blob(digest))
		c.check(err)
		c.check(json.Unmarshal(data, v))
	}
	read(digest, &c.manifest)
	read(c.manifest["config"].(map[string]any)["digest"].(string), &c.config)
	return c
}

func (c *container) check(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *container) blob(digest string) string {
	return filepath.Join(c.dir, "blobs", strings.Replace(digest, ":", "/", 1))
}

// put adds a blob and returns what describes it.
func (c *container) put(mediaType string, data []byte) map[string]any {
	d := fmt.Sprintf("sha256:%x", sha256.Sum256(data))
	c.check(os.WriteFile(c.blob(d), data, 0o644))
	return map[string]any{"mediaType": mediaType, "digest": d, "size": len(data)}
}

func (c *container) rootfs() map[string]any { return c.config["rootfs"].(map[string]any) }

func (c *container) labels() map[string]any {
	return c.config["config"].(map[string]any)["Labels"].(map[string]any)
}

// add puts a layer on top.
func (c *container) add(layer []byte) {
	var z bytes.Buffer
	g := gzip.NewWriter(&z)
	_, err := g.Write(layer)
	c.check(err)
	c.check(g.Close())
	c.rootfs()["diff_ids"] = append(c.rootfs()["diff_ids"].([]any), fmt.Sprintf("sha256:%x", sha256.Sum256(layer)))
	c.manifest["layers"] = append(c.manifest["layers"].([]any), c.put("application/vnd.oci.image.layer.v1.tar+gzip", z.Bytes()))
}

// save returns the reference of what the container has become.
func (c *container) save() string {
	encode := func(v any) []byte {
		data, err := json.Marshal(v)
		c.check(err)
		return data
	}
	c.manifest["config"] = c.put("application/vnd.oci.image.config.v1+json", encode(c.config))
	d := c.put("application/vnd.oci.image.manifest.v1+json", encode(c.manifest))
	c.check(os.WriteFile(filepath.Join(c.dir, "index.json"), encode(map[string]any{"schemaVersion": 2, "manifests": []any{d}}), 0o644))
	return "oci:" + c.dir + "@" + d["digest"].(string)
}

// archive makes a layer. What a header has as the target of a link is the
// content of a regular file.
func archive(t *testing.T, headers []tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		var content string
		if h.Typeflag == tar.TypeReg {
			content, h.Linkname = h.Linkname, ""
			h.Size = int64(len(content))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		w.Write([]byte(content))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestDerived boots the full fixture with layers on top: new, changed and
// deleted files, in /usr, /etc and /var, all of them labelled, in a repository
// that the system's own ostree finds whole.
func TestDerived(t *testing.T) {
	wanted(t, "full")
	c := open(t, reference(t, "full-chunked"))
	for _, l := range derivedLayers {
		c.add(archive(t, l))
	}
	disk := build(t, c.save(), "--platform", "qemu", "--karg", "fixture.poweroff", "--karg", "fixture.fsck")["qemu"]
	m := boot(t, Options{Disk: disk, Firmware: BIOS, Memory: 1536, Timeout: 8 * time.Minute, Keep: true})
	m.is("derived-etc", "from-the-layer from-the-layer")
	m.is("derived-var", "in-var")
	m.is("derived-less", "gone")
	m.is("derived-run", "gone")
	m.is("derived-twice", "one file")
	m.is("derived-mode", "4755")
	m.is("derived-changed", "second")
	m.has("derived-labels", ":bin_t:", ":etc_t:", ":var_lib_t:")
	m.is("failed", "")
	m.is("fsck", "clean")
	m.is("unlabeled", "0")
}

// TestPlain boots the tiny fixture as a container without any ostree data and
// without labels: the system compares every one of its entries, labels
// included, with what the real ostree committed.
func TestPlain(t *testing.T) {
	wanted(t, "tiny")
	ref := reference(t, "tiny-base")
	c := open(t, ref)
	layer := plainLayer(t, ref)
	c.manifest["layers"], c.rootfs()["diff_ids"] = []any{}, []any{}
	delete(c.config, "history")
	delete(c.labels(), "ostree.commit")
	delete(c.labels(), "ostree.final-diffid")
	delete(c.labels(), "ostree.bootable")
	c.add(layer)
	disk := build(t, c.save(), "--platform", "qemu")["qemu"]
	m := boot(t, Options{Disk: disk, Firmware: UEFI, Memory: 512, Timeout: 4 * time.Minute})
	m.has("manifest", "ok ")
	m.has("composefs", "ok ")
	m.has("etc", "ok ")
	if bad := m.Proof["mismatch"]; len(bad) > 0 {
		t.Errorf("%d entries differ: %q", len(bad), bad[:min(len(bad), 5)])
	}
}

// plainLayer returns the tree of an encapsulated container as container tools
// would have it in one layer: /etc in its place, and no labels.
func plainLayer(t *testing.T, ref string) []byte {
	t.Helper()
	image, err := oci.Pull(t.Context(), ref, oci.Options{Cache: filepath.Join(scratch, "cache"), Arch: "amd64"})
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	pulled := &imported.Image{Digest: image.Digest.String(), Manifest: image.Manifest, Config: image.Config}
	for _, l := range image.Layers {
		pulled.Layers = append(pulled.Layers, imported.Layer{Digest: l.Digest.String(), DiffID: l.DiffID.String(), Index: l.Index, Blob: l.Blob})
	}
	tree, err := imported.Import(pulled, imported.Options{Reference: "docker://localhost/plain"})
	if err != nil {
		t.Fatal(err)
	}
	var headers []tar.Header
	for name, n := range tree.Root.Walk() {
		h := tar.Header{Name: "./" + strings.TrimPrefix(name, "usr/"), Mode: int64(n.Mode & 0o7777), Uid: int(n.UID), Gid: int(n.GID), PAXRecords: map[string]string{}}
		if name != "usr/etc" && !strings.HasPrefix(name, "usr/etc/") {
			h.Name = "./" + name
		}
		for k, v := range n.Xattrs {
			if k != "security.selinux" {
				h.PAXRecords["SCHILY.xattr."+k] = v
			}
		}
		switch {
		case n.IsDir():
			h.Typeflag = tar.TypeDir
		case n.IsLink():
			h.Typeflag, h.Linkname = tar.TypeSymlink, n.Target
		default:
			content, err := rootfs.ReadAll(n.Content, 1<<30)
			if err != nil {
				t.Fatal(err)
			}
			h.Typeflag, h.Linkname = tar.TypeReg, string(content)
		}
		headers = append(headers, h)
	}
	return archive(t, headers)
}
