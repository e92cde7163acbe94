package container

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/layer"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree"
)

// An entry is one of a layer that a test makes.
type entry struct {
	tar.Header
	body string
}

func file(name, body string) entry { return entry{tar.Header{Name: name, Mode: 0o644}, body} }
func dir(name string) entry {
	return entry{tar.Header{Name: name + "/", Mode: 0o755, Typeflag: tar.TypeDir}, ""}
}
func symlink(name, target string) entry {
	return entry{tar.Header{Name: name, Mode: 0o777, Typeflag: tar.TypeSymlink, Linkname: target}, ""}
}
func hardlink(name, target string) entry {
	return entry{tar.Header{Name: name, Mode: 0o644, Typeflag: tar.TypeLink, Linkname: target}, ""}
}

// by gives an entry to someone, with a mode if that is not 0.
func (e entry) by(uid, gid int, mode int64) entry {
	e.Uid, e.Gid = uid, gid
	if mode != 0 {
		e.Mode = mode
	}
	return e
}

func (e entry) xattr(name, value string) entry { return e.pax("SCHILY.xattr."+name, value) }

// pax adds a PAX record to an entry.
func (e entry) pax(key, value string) entry {
	records := map[string]string{key: value}
	maps.Copy(records, e.PAXRecords)
	e.PAXRecords = records
	return e
}

// tarOf returns the tar of a layer.
func tarOf(t testing.TB, entries []entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		e.Size = int64(len(e.body))
		if e.ModTime.IsZero() {
			e.ModTime = time.Unix(1700000000, 0)
		}
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// scan reads a layer. Its digest is that of the tar.
func scan(b []byte) (Layer, error) { return layerOf(b, layer.Limits{Holes: 1 << 20}) }

func layerOf(b []byte, limits layer.Limits) (l Layer, err error) {
	var pack bytes.Buffer
	x, err := layer.ScanPlain(bytes.NewReader(b), &pack, limits)
	if err != nil {
		return l, err
	}
	l.Index, l.DiffID = fixed(x), "sha256:"+ostree.Checksum(x.DiffID).String()
	l.Digest = l.DiffID
	l.use(pack.Bytes())
	return l, nil
}

func makeLayer(t testing.TB, entries ...entry) Layer {
	t.Helper()
	l, err := scan(tarOf(t, entries))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// makeImage returns an image of layers, the last of the commit being number
// final, or -1 in a plain one.
func makeImage(t testing.TB, final int, layers ...Layer) *Image {
	t.Helper()
	labels, ids := map[string]string{}, []string{}
	for i, l := range layers {
		if ids = append(ids, l.DiffID); i == final {
			labels[layer.FinalDiffID] = l.DiffID
		}
	}
	c, err := json.Marshal(map[string]any{"created": "2024-05-06T07:08:09Z",
		"config": map[string]any{"Labels": labels}, "rootfs": map[string]any{"diff_ids": ids}, "history": make([]struct{}, len(ids))})
	if err != nil {
		t.Fatal(err)
	}
	return &Image{Digest: "sha256:" + strings.Repeat("0", 64), Manifest: []byte("{}"), Config: c, Layers: layers}
}

// derivedImage returns the small base with layers on top.
func derivedImage(t testing.TB, layers ...Layer) *Image {
	base := readBase(t)
	return makeImage(t, 1, append(base.Layers, layers...)...)
}

// mustImport imports an image, and checks all of its commits.
func mustImport(t testing.TB, img *Image, o Options) *Tree {
	t.Helper()
	o.Reference, o.everywhere = testReference, true
	got, err := Import(img, o)
	if err != nil {
		t.Fatal(err)
	}
	checkRefs(t, got)
	return got
}

// checkRefs checks all that refs lead to.
func checkRefs(t testing.TB, got *Tree) {
	t.Helper()
	for name, commit := range got.Repo.Refs {
		root, err := got.Repo.Tree(commit)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		checkFiles(t, got.Repo, root)
	}
}

// checkFiles compares all files of a tree with their checksums.
func checkFiles(t testing.TB, r *ostree.Repo, root *rootfs.Inode) {
	t.Helper()
	ids := r.IDs()
	for name, n := range root.Walk() {
		if n.IsDir() {
			continue
		}
		b, err := rootfs.ReadAll(n.Content, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		object := append(ostree.FileHeader(n.UID, n.GID, n.Mode, n.Target, ostree.XattrsOf(n.Xattrs)), b...)
		if sum := ostree.Sum(object); sum != ids[n] {
			t.Errorf("%s: checksum is %s, not %s", name, sum, ids[n])
		}
	}
}

// contents lists a tree in short: names, and the content of files.
func contents(t testing.TB, root *rootfs.Inode) string {
	t.Helper()
	var list []string
	for name, n := range root.Walk() {
		b, err := rootfs.ReadAll(n.Content, 1<<20)
		switch {
		case err != nil:
			t.Fatal(err)
		case name == ".":
		case n.IsDir():
			list = append(list, name+"/")
		case n.IsLink():
			list = append(list, name+"->"+n.Target)
		default:
			list = append(list, name+"="+string(b))
		}
	}
	return strings.Join(list, " ")
}

func texts(warnings []Warning) (list []string) {
	for _, w := range warnings {
		list = append(list, w.String())
	}
	return list
}

// TestDerived imports an image with two derived layers, of which libostree
// made the same commits.
func TestDerived(t *testing.T) {
	e := readExpected(t)
	img := readImage(t)
	completeVector(&img.Layers[0])
	// The base has no prepare-root.conf, which would keep layers out of /opt.
	got, err := Import(img, Options{Reference: testReference, Importer: "0.15.3", everywhere: true})
	if err != nil {
		t.Fatal(err)
	}
	if got.Deployed.String() != e.MergeCommit {
		t.Errorf("merge commit %s", got.Deployed)
	}
	for i, want := range e.Derived {
		c, err := got.Repo.Commit(got.Repo.Refs[blobRefs+strings.Replace(e.Layers[2+i], ":", "_3A_", 1)])
		if err != nil {
			t.Fatal(err)
		}
		importer := []ostree.Property{ostree.StringProperty(keyImporter, "0.15.3")}
		if c.Timestamp != e.MergeTimestamp || fmt.Sprint(c.Metadata) != fmt.Sprint(importer) {
			t.Errorf("layer %d: commit %+v", 2+i, c)
		}
		c.Timestamp, c.Metadata = 0, nil // as they were made for the vector
		if sum := ostree.Sum(c.Bytes()); sum.String() != want {
			t.Errorf("layer %d: commit %s, want %s", 2+i, sum, want)
		}
	}
	want := []string{
		"layer 2: opt: for ostree 0755 7:8, because of a file below; for a container runtime 0755 0:0",
		"layer 2: opt/x: for ostree 0755 7:8, because of a file below; for a container runtime 0755 0:0",
		"layer 2: run: run/secret is not imported, nor is anything else in there; a container has it",
		"layer 2: usr/bin: ostree leaves it as lower layers have it, 0755 0:0; a container runtime makes it 0711 9:0",
		"layer 2: var/lib/data: what is in /var is copied at the first boot, and never updated",
	}
	if got := texts(got.Warnings); !slices.Equal(got, want) {
		t.Errorf("warnings\n%s", strings.Join(got, "\n"))
	}
	if n := got.Root.Lookup("usr/bin/new"); n == nil || n.Xattrs["user.k"] != "v" {
		t.Errorf("usr/bin/new: %+v", n)
	}
}
