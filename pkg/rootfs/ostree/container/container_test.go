package container

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/layer"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree/internal/ostreetest"
)

const testReference = "docker://quay.io/fedora/fedora-coreos:stable"

// expected is the result of libostree for testdata/oci.
type expected struct {
	Manifest         string
	Config           string
	Layers, DiffIDs  []string
	BaseCommit       string   `json:"base_commit"`
	ChunkLayerCommit string   `json:"chunk_layer_commit"`
	MergeCommit      string   `json:"merge_commit"`
	Derived          []string `json:"derived_layer_commits"`
	MergeTimestamp   uint64   `json:"merge_timestamp"`
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func readExpected(t testing.TB) (e expected) {
	t.Helper()
	if err := json.Unmarshal(readFile(t, "expected.json"), &e); err != nil {
		t.Fatal(err)
	}
	return e
}

func blob(t testing.TB, digest string) []byte {
	return readFile(t, "oci/blobs/sha256/"+strings.TrimPrefix(digest, "sha256:"))
}

// readImage returns the image in testdata/oci: two layers of a commit and
// two derived ones.
func readImage(t testing.TB) *Image {
	t.Helper()
	e := readExpected(t)
	img := &Image{Digest: e.Manifest, Manifest: blob(t, e.Manifest), Config: blob(t, e.Config)}
	for i := range e.Layers {
		l := Layer{Digest: e.Layers[i], DiffID: e.DiffIDs[i]}
		readLayer(t, &l)
		img.Layers = append(img.Layers, l)
	}
	return img
}

// readBase returns the same image without the derived layers.
func readBase(t testing.TB) *Image {
	t.Helper()
	img := readImage(t)
	img.Layers = img.Layers[:2]
	completeVector(&img.Layers[0])
	var c map[string]any
	if err := json.Unmarshal(img.Config, &c); err != nil {
		t.Fatal(err)
	}
	c["rootfs"] = map[string]any{"type": "layers", "diff_ids": readExpected(t).DiffIDs[:2]}
	img.Config, _ = json.Marshal(c)
	return img
}

// readLayer inflates a layer and reads it.
func readLayer(t testing.TB, l *Layer) {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(blob(t, l.Digest)))
	if err != nil {
		t.Fatal(err)
	}
	var pack bytes.Buffer
	x, err := layer.Scan(z, &pack, layer.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	l.Index = fixed(x)
	l.use(pack.Bytes())
}

// fixed returns the Index of a Layer whose index is in memory.
func fixed(x *layer.Index) func() (*layer.Index, error) {
	return func() (*layer.Index, error) { return x, nil }
}

// indexOf returns the index of a layer that fixed made.
func indexOf(l *Layer) *layer.Index {
	x, _ := l.Index()
	return x
}

// A packPiece is content of a pack in memory.
type packPiece struct {
	*io.SectionReader
	layer string
	off   int64
}

func (p packPiece) Pack() (layer string, off int64) { return p.layer, p.off }

func (l *Layer) use(pack []byte) {
	name, r := l.Digest, bytes.NewReader(pack)
	l.Blob = func(off, size int64) rootfs.Blob { return packPiece{io.NewSectionReader(r, off, size), name, off} }
}

// completeVector adds the objects that the first layer of the vector lacks: the
// directories below the root.
func completeVector(l *Layer) {
	core, _ := ostreetest.Core()
	var pack []byte
	have := map[ostree.ObjectName]bool{}
	x := indexOf(l)
	for i := range x.Objects {
		o := &x.Objects[i]
		b, _ := rootfs.ReadAll(l.Blob(o.Off, o.Size), 1<<20)
		o.Off = int64(len(pack))
		pack = append(pack, b...)
		have[ostree.ObjectName{ID: o.ID, Type: o.Type}] = true
	}
	for name, b := range core.Metadata {
		if !have[name] {
			x.Objects = append(x.Objects, layer.Object{ID: name.ID, Type: name.Type,
				Content: layer.Content{Off: int64(len(pack)), Size: int64(len(b))}})
			pack = append(pack, b...)
		}
	}
	l.use(pack)
}

func TestImport(t *testing.T) {
	e := readExpected(t)
	img := readBase(t)
	got, err := Import(img, Options{Reference: testReference})
	if err != nil {
		t.Fatal(err)
	}
	if got.Base.String() != e.BaseCommit {
		t.Errorf("base commit %s", got.Base)
	}
	refs := fmt.Sprint(got.Repo.Refs)
	want := fmt.Sprint(map[string]string{
		"ostree/container/blob/" + strings.Replace(e.Layers[0], ":", "_3A_", 1):              e.BaseCommit,
		"ostree/container/blob/" + strings.Replace(e.Layers[1], ":", "_3A_", 1):              e.ChunkLayerCommit,
		"ostree/container/image/docker_3A__2F__2F_quay_2E_io/fedora/fedora-coreos_3A_stable": got.Deployed.String(),
	})
	if refs != want {
		t.Errorf("refs %s, want %s", refs, want)
	}
	merge, err := got.Repo.Commit(got.Deployed)
	if err != nil {
		t.Fatal(err)
	}
	if merge.Parent != got.Base || merge.Timestamp != e.MergeTimestamp || merge.Tree.String() != ostreetest.CoreTree {
		t.Errorf("merge commit %+v", merge)
	}
	core, id := ostreetest.Core()
	coreRoot, err := core.Tree(id)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := list(t, got.Root), list(t, coreRoot); got != want {
		t.Errorf("tree\n%s\nwant\n%s", got, want)
	}
	for _, commit := range got.Repo.Refs {
		if _, err := got.Repo.Tree(commit); err != nil {
			t.Error(err)
		}
	}
	if got.Labels["org.opencontainers.image.version"] != "1.2.3" {
		t.Errorf("labels %v", got.Labels)
	}
}

func list(t *testing.T, root *rootfs.Inode) string {
	var b strings.Builder
	for name, n := range root.Walk() {
		content, err := rootfs.ReadAll(n.Content, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if n.Size() == 0 {
			content = nil
		}
		fmt.Fprintf(&b, "%s %o %d:%d %q %q %s\n", name, n.Mode, n.UID, n.GID, n.Target, n.Xattrs, ostree.Sum(content))
	}
	return b.String()
}

// TestMergeCommit has the inputs of a merge commit that libostree wrote.
func TestMergeCommit(t *testing.T) {
	e := readExpected(t)
	img := readImage(t)
	var c config
	if err := json.Unmarshal(img.Config, &c); err != nil {
		t.Fatal(err)
	}
	got, err := mergeCommit(img, Options{Importer: "0.15.3"}, &c)
	if err != nil {
		t.Fatal(err)
	}
	got.Parent = parse(t, e.BaseCommit)
	got.Tree = parse(t, "91eb33d12cb7e20cbe94d412c95884a9e67177b0f8c26b839ed89b5f44a0c54e")
	got.Meta = parse(t, "446a0ef11b7cc167f3b603e585c7eeeeb675faa412d5ec73f62988eb0b6c5488")
	if b := got.Bytes(); !bytes.Equal(b, readFile(t, "merge-commit.bin")) || ostree.Sum(b).String() != e.MergeCommit {
		t.Errorf("%s:\n%q\nwant\n%q", ostree.Sum(b), b, readFile(t, "merge-commit.bin"))
	}
}

func parse(t *testing.T, s string) ostree.Checksum {
	t.Helper()
	c, err := ostree.ParseChecksum(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestLayoutErrors(t *testing.T) {
	e := readExpected(t)
	for name, test := range map[string]struct {
		change func(*Image)
		want   []string
	}{
		"label lost": {func(img *Image) {
			img.Config = bytes.Replace(img.Config, []byte("ostree.final-diffid"), []byte("other"), 1)
		}, []string{"layer 0 (" + e.Layers[0] + ")", e.BaseCommit, "no label ostree.final-diffid"}},
		"no layers": {func(img *Image) {
			img.Layers = nil
			img.Config = []byte(`{}`)
		}, []string{"no layers"}},
		"squashed": {func(img *Image) {
			img.Layers = img.Layers[:1]
			img.Config = bytes.Replace(img.Config, []byte(`,"`+e.DiffIDs[1]+`"]`), []byte("]"), 1)
		}, []string{"squashed", e.DiffIDs[1]}},
		"layer missing": {func(img *Image) { img.Layers = img.Layers[:1] }, []string{"1 layers", "2 diff_ids"}},
		"wrong diffid":  {func(img *Image) { img.Layers[1].DiffID = "sha256:x" }, []string{"layer 1", "sha256:x"}},
		"config":        {func(img *Image) { img.Config = []byte("{") }, []string{"config: "}},
		"manifest":      {func(img *Image) { img.Manifest = []byte("{") }, []string{"manifest: "}},
		"not UTF-8":     {func(img *Image) { img.Manifest = []byte("{\"a\":\"\xff\"}") }, []string{"manifest: ", "UTF-8"}},
	} {
		img := readBase(t)
		test.change(img)
		_, err := Import(img, Options{Reference: testReference})
		for _, want := range append(test.want, img.Digest) {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", name, err, want)
			}
		}
	}
	if _, err := Import(readBase(t), Options{}); err == nil || !strings.Contains(err.Error(), "empty name") {
		t.Errorf("no reference: %v", err)
	}
}

func TestObjectErrors(t *testing.T) {
	find := func(objects []layer.Object, typ ostree.ObjectType) int {
		return slices.IndexFunc(objects, func(o layer.Object) bool { return o.Type == typ })
	}
	for want, change := range map[string]func(commit, chunk *layer.Index){
		"layer 1 (sha256:09c47400a8280075ee3218310ea9bf987c59832fb97e01e6e31bdf72d97c21d4): ": func(a, b *layer.Index) {
			b.Objects = append(b.Objects, a.Objects[find(a.Objects, ostree.DirTreeObject)])
		},
		"a chunk has files only": func(a, b *layer.Index) {
			b.Objects = append(b.Objects, a.Objects[find(a.Objects, ostree.DirMetaObject)])
		},
		"twice in the layer":           func(_, b *layer.Index) { b.Objects = append(b.Objects, b.Objects[0]) },
		"first object is not a commit": func(a, _ *layer.Index) { a.Objects = a.Objects[1:] },
		"that is not the first object": func(a, _ *layer.Index) {
			a.Objects = append(a.Objects, layer.Object{Type: ostree.CommitObject})
		},
		"that is not before it": func(a, _ *layer.Index) {
			a.Objects = append(a.Objects, layer.Object{ID: a.Objects[0].ID, Type: ostree.CommitMetaObject})
		},
		"not an object of a commit": func(a, _ *layer.Index) {
			a.Objects = append(a.Objects, layer.Object{ID: a.Objects[0].ID, Type: ostree.FileXattrsObject})
		},
		"checksum is ": func(a, _ *layer.Index) { a.Objects[find(a.Objects, ostree.DirMetaObject)].Off++ },
		".dirtree: 10.0 MiB (10485761 bytes)": func(a, _ *layer.Index) {
			a.Objects[find(a.Objects, ostree.DirTreeObject)].Size = ostree.MaxMetadata + 1
		},
		"unexpected EOF":   func(a, _ *layer.Index) { a.Objects[0].Off = 1 << 40 },
		".file is missing": func(_, b *layer.Index) { b.Objects = b.Objects[1:] },
		".dirtree is missing": func(a, _ *layer.Index) {
			i := find(a.Objects, ostree.DirTreeObject)
			a.Objects = slices.Delete(a.Objects, i, i+1)
		},
		"mode 010644 is neither": func(_, b *layer.Index) { b.Objects[0].Mode = 0o010644 },
	} {
		img := readBase(t)
		change(indexOf(&img.Layers[0]), indexOf(&img.Layers[1]))
		if _, err := Import(img, Options{Reference: testReference}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestSameObjectInTwoLayers(t *testing.T) {
	img := readBase(t)
	first, second := indexOf(&img.Layers[0]), indexOf(&img.Layers[1])
	detached := layer.Object{ID: first.Objects[0].ID, Type: ostree.CommitMetaObject}
	first.Objects = slices.Insert(first.Objects, 1, detached)
	for _, o := range first.Objects {
		if o.Type == ostree.FileObject {
			second.Objects = append(second.Objects, o)
		}
	}
	got, err := Import(img, Options{Reference: testReference})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := got.Repo.Metadata[ostree.ObjectName{ID: got.Base, Type: ostree.CommitMetaObject}]; !ok {
		t.Error("metadata of the commit is lost")
	}
}

func TestCreated(t *testing.T) {
	for _, test := range []struct {
		annotation, config string
		want               uint64
	}{
		{"2024-05-06T07:08:09Z", "2020-01-01T00:00:00Z", 1714979289},
		{"", "2024-05-06T07:08:09.123456789Z", 1714979289},
		{"yesterday", "2024-05-06T09:08:09+02:00", 1714979289},
		{"0001-01-01T00:00:00Z", "", 0},
		{"", "", 0},
	} {
		if got := created(test.annotation, test.config); got != test.want {
			t.Errorf("%q, %q: %d, want %d", test.annotation, test.config, got, test.want)
		}
	}
}

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		testReference: "docker_3A__2F__2F_quay_2E_io/fedora/fedora-coreos_3A_stable",
		"sha256:abc":  "sha256_3A_abc",
		"a/b":         "a/b",
		"a//b":        "a/_2F_b",
		"/a":          "_2F_a",
		"a/":          "a_2F_",
		"/":           "_2F_",
		"a-/b":        "a-_2F_b",
		"a_b":         "a__b",
		"a_/b":        "a___2F_b",
		"-":           "-",
		"ü":           "_C3__BC_",
		"a.b@c":       "a_2E_b_40_c",
	} {
		if got, err := escape(in); got != want || err != nil {
			t.Errorf("%q: %q, want %q (%v)", in, got, want, err)
		}
	}
	for _, bad := range []string{"", "a\x00"} {
		if got, err := escape(bad); err == nil {
			t.Errorf("%q: %q", bad, got)
		}
	}
}

func TestReference(t *testing.T) {
	for in, want := range map[string]string{
		"ostree-image-signed:docker://quay.io/a/b:c":          "docker://quay.io/a/b:c",
		"ostree-unverified-registry:quay.io/a/b:c":            "docker://quay.io/a/b:c",
		"ostree-unverified-image:docker://quay.io/a/b:c":      "docker://quay.io/a/b:c",
		"ostree-unverified-image:registry:quay.io/a/b:c":      "docker://quay.io/a/b:c",
		"ostree-unverified-image:oci:/path":                   "oci:/path",
		"ostree-remote-image:fedora:docker://quay.io/a/b:c":   "docker://quay.io/a/b:c",
		"ostree-remote-registry:fedora:quay.io/a/b:c":         "docker://quay.io/a/b:c",
		"ostree-unverified-image:containers-storage:localx/y": "containers-storage:localx/y",
	} {
		if got, err := Reference(in); got != want || err != nil {
			t.Errorf("%q: %q, want %q (%v)", in, got, want, err)
		}
	}
	for _, bad := range []string{"", "docker://quay.io/a/b", "quay.io/a/b:c", "ostree-image-signed:", "ostree-image-signed:quay.io/a",
		"ostree-unverified-registry:", "ostree-remote-image::docker://x", "ostree-remote-image:fedora", "ostree-image-signed:docker://"} {
		if got, err := Reference(bad); err == nil {
			t.Errorf("%q: %q", bad, got)
		}
	}
}
