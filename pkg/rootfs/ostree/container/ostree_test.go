package container

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/layer"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree/composefs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree/gvariant"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree/internal/ostreetest"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// TestOSTree has ostree judge an import.
func TestOSTree(t *testing.T) {
	tool, err := exec.LookPath("ostree")
	if err != nil {
		treetest.Missing(t, "OHP_TOOLS", "ostree is not installed")
	}
	got, err := Import(readBase(t), Options{Reference: testReference})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	writeArchive(t, got.Repo, dir, true)
	run(t, tool, "--repo="+dir, "fsck")
	if ls := run(t, tool, "--repo="+dir, "ls", "-RCX", got.Base.String()); ls != string(readFile(t, "core-ls-RCX.txt")) {
		t.Errorf("base commit:\n%s", ls)
	}
	for name, commit := range got.Repo.Refs {
		if rev := run(t, tool, "--repo="+dir, "rev-parse", name); rev != commit.String()+"\n" {
			t.Errorf("%s: %s", name, rev)
		}
	}
}

// TestMergeListing has ostree list the merge of the vector.
func TestMergeListing(t *testing.T) {
	img := readImage(t)
	completeVector(&img.Layers[0])
	got := mustImport(t, img, Options{})
	dir := t.TempDir()
	writeArchive(t, got.Repo, dir, true)
	if ls := treetest.Run(t, "ostree", "--repo="+dir, "ls", "-RCX", got.Deployed.String()); ls != string(readFile(t, "merge-ls.txt")) {
		t.Errorf("merge commit:\n%s", ls)
	}
}

// TestArchive compares the input of the real ostree with files
// that it wrote.
func TestArchive(t *testing.T) {
	core, _ := ostreetest.Core()
	for name, id := range map[string]string{
		"empty":    "cc700d46f407c6c5ab2d5dde474366a928b7398277e61162e7f8ec06f469f07e",
		"foo.conf": "35b69acec0d7f029e094f189b53f98517a4ef617d10eb316c9bbdaf0428e793c",
		"link":     "d07e979fdd7331ee17a2f6a653ea0c315ccd1450893f19a2b644432576eca620",
	} {
		want, err := os.ReadFile("../testdata/core/archive-" + name + ".filez")
		if err != nil {
			t.Fatal(err)
		}
		if a, b := unarchived(t, archived(t, core.Files[parse(t, id)], true)), unarchived(t, want); a != b {
			t.Errorf("%s: %q, want %q", name, a, b)
		}
	}
}

// unarchived inflates a file object of an archive.
func unarchived(t *testing.T, b []byte) string {
	header := 8 + binary.BigEndian.Uint32(b)
	if int(header) == len(b) {
		return string(b)
	}
	content, err := io.ReadAll(flate.NewReader(bytes.NewReader(b[header:])))
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:header]) + string(content)
}

// TestFixture imports the containers that ci/fixture has made, has ostree
// judge them, and compares their composefs images with those of ostree.
func TestFixture(t *testing.T) {
	for _, size := range []string{"tiny", "full"} {
		t.Run(size, func(t *testing.T) {
			dir := fixtureLayout(t, size)
			ostree := treetest.Newer(t, "ostree")
			got, err := Import(readLayout(t, dir), Options{Reference: testReference})
			if err != nil {
				t.Fatal(err)
			}
			small := len(got.Repo.Files) < 5000
			repo := t.TempDir()
			writeArchive(t, got.Repo, repo, small)
			if small {
				run(t, ostree, "--repo="+repo, "fsck")
			}
			n := compareComposefs(t, ostree, got.Repo, repo, got.Deployed)
			t.Logf("%d metadata objects, %d files, composefs image of %d bytes", len(got.Repo.Metadata), len(got.Repo.Files), n)
		})
	}
}

// TestComposefs compares the composefs image of a tree that no one would
// make with that of ostree. Files have a size and no content.
func TestComposefs(t *testing.T) {
	ostree := treetest.Newer(t, "ostree")
	repo, commit := strangeTree()
	dir := t.TempDir()
	writeArchive(t, repo, dir, false)
	compareComposefs(t, ostree, repo, dir, commit)
}

// strangeTree is at the limits of the format.
func strangeTree() (*ostree.Repo, ostree.Checksum) {
	r := ostree.NewRepo()
	ids := map[string]ostree.Checksum{}
	file := func(size int64, n rootfs.Inode) *rootfs.Inode {
		n.Content = io.NewSectionReader(nil, 0, size)
		n.Mode |= rootfs.ModeFile
		return &n
	}
	var write func(n *rootfs.Inode) (tree, meta ostree.Checksum)
	write = func(n *rootfs.Inode) (tree, meta ostree.Checksum) {
		var list ostree.Tree
		for _, name := range n.Names() {
			c := n.Children[name]
			if c.IsDir() {
				tree, meta := write(c)
				list.Dirs = append(list.Dirs, ostree.TreeDir{Name: name, Tree: tree, Meta: meta})
				continue
			}
			// The name of an object is not checked, so one without content will do.
			key := fmt.Sprintln(c.UID, c.GID, c.Mode, c.Target, c.Xattrs, c.Size())
			id, ok := ids[key]
			if !ok {
				id = ostree.Sum([]byte(key))
				ids[key] = id
			}
			if err := r.AddFile(id, c.UID, c.GID, c.Mode, c.Target, ostree.XattrsOf(c.Xattrs), c.Content); err != nil {
				panic(err)
			}
			list.Files = append(list.Files, ostree.TreeFile{Name: name, ID: id})
		}
		m := ostree.Meta{UID: n.UID, GID: n.GID, Mode: n.Mode, Xattrs: ostree.XattrsOf(n.Xattrs)}
		return r.AddMetadata(ostree.DirTreeObject, list.Bytes()), r.AddMetadata(ostree.DirMetaObject, m.Bytes())
	}
	many := map[string]string{}
	for i := range 200 {
		many[fmt.Sprintf("user.%d", i)] = strings.Repeat("v", i%100)
	}
	root := &rootfs.Inode{Mode: 0o040750, UID: 70000, GID: 5, Xattrs: map[string]string{
		"security.selinux": "root\x00", "user.other": "x", "trusted.overlay.opaque": "y"}, Children: map[string]*rootfs.Inode{
		"00": rootfs.Dir(0o700), // like a directory of objects
		"ab": file(5, rootfs.Inode{Mode: 0o644}),
		"sizes": {Mode: 0o041777, Children: map[string]*rootfs.Inode{
			"!": file(1, rootfs.Inode{}), "-": file(4096, rootfs.Inode{}), ".-": file(4097, rootfs.Inode{}),
			"...": file(1<<32-1, rootfs.Inode{}), "a": file(1<<32, rootfs.Inode{}), "b": file(1<<43, rootfs.Inode{}),
			"c": file(1<<43-1, rootfs.Inode{UID: 65535, GID: 65536}),
		}},
		"xattrs": {Mode: 0o040755, Children: map[string]*rootfs.Inode{
			"1": file(0, rootfs.Inode{Xattrs: many}), "2": file(9, rootfs.Inode{Xattrs: many}),
			"acl":   file(1, rootfs.Inode{Xattrs: map[string]string{"system.posix_acl_access": "a", "user.": "", "odd": "b", "lustre.x": "c"}}),
			"dacl":  {Mode: 0o040755, Xattrs: map[string]string{"system.posix_acl_default": "a", "odd": "b"}},
			"long":  file(2, rootfs.Inode{Xattrs: map[string]string{"user.l": strings.Repeat("x", 32767-12-2*7-6-24), "trusted.overlay.redirect": ""}}),
			"long2": file(3, rootfs.Inode{Xattrs: map[string]string{"user.l": strings.Repeat("y", 4000), "user.m": strings.Repeat("x", 30)}}),
		}},
	}}
	links := rootfs.Dir(0o755)
	for i := range 400 {
		links.Children[fmt.Sprintf("%d", i)] = rootfs.Link(strings.Repeat("x", 1+i*10))
	}
	links.Children["longest"] = rootfs.Link(strings.Repeat("x", 4063))
	root.Children["links"] = links
	for i := range 120 { // directories of every size around a block and its half
		d := rootfs.Dir(0o755)
		for j := range i * 2 {
			d.Children[fmt.Sprintf("%0*d", 1+i%37+2, j)] = file(int64(j), rootfs.Inode{})
		}
		root.Children[fmt.Sprintf("dir%d", i)] = d
	}
	c := ostree.Commit{}
	c.Tree, c.Meta = write(root)
	return r, r.AddMetadata(ostree.CommitObject, c.Bytes())
}

// compareComposefs returns the size of the composefs image of a commit, which
// must be the one that ostree makes of the same repository in dir.
func compareComposefs(t *testing.T, tool string, repo *ostree.Repo, dir string, commit ostree.Checksum) int {
	t.Helper()
	root, err := repo.Tree(commit)
	if err != nil {
		t.Fatal(err)
	}
	got, err := composefs.Format(root, composefs.Options{IDs: repo.IDs()})
	if err != nil {
		t.Fatal(err)
	}
	blob := filepath.Join(t.TempDir(), "cfs")
	run(t, tool, "--repo="+dir, "checkout", "--composefs-noverity", commit.String(), blob)
	want, err := os.ReadFile(blob)
	if err != nil {
		t.Fatal(err)
	}
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Fatalf("composefs image differs from ostree's at %#x", i)
		}
	}
	if len(got) != len(want) {
		t.Fatalf("composefs image of %d bytes, ostree's has %d", len(got), len(want))
	}
	return len(got)
}

// newest returns the newest of the files that match a pattern.
func newest(pattern string) (name string) {
	var last time.Time
	names, _ := filepath.Glob(pattern)
	for _, n := range names {
		if info, err := os.Stat(n); err == nil && info.ModTime().After(last) {
			name, last = n, info.ModTime()
		}
	}
	return name
}

// fixtureLayout returns the OCI layout of a container of the fixture, in several layers.
func fixtureLayout(t *testing.T, size string) string {
	t.Helper()
	if testing.Short() && size == "full" {
		t.Skip("-short leaves the full fixture out")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := newest(filepath.Join(cache, "ohp-assemble-fixture", size+"-*", "chunked"))
	if dir == "" {
		treetest.Missing(t, "OHP_FIXTURE", "the "+size+" fixture has not been built, see ci/fixture")
	}
	return dir
}

func run(t *testing.T, command ...string) string {
	t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", command, err, &stderr)
	}
	return string(out)
}

// readLayout reads the one image of an OCI layout.
func readLayout(t *testing.T, dir string) *Image {
	t.Helper()
	type descriptor struct{ Digest string }
	var index struct{ Manifests []descriptor }
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	read := func(name string, v any) []byte {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil {
			err = json.Unmarshal(b, v)
		}
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	blobPath := func(d descriptor) string { return "blobs/sha256/" + strings.TrimPrefix(d.Digest, "sha256:") }
	read("index.json", &index)
	img := &Image{Digest: index.Manifests[0].Digest}
	img.Manifest = read(blobPath(index.Manifests[0]), &manifest)
	var c config
	img.Config = read(blobPath(manifest.Config), &c)
	for i, d := range manifest.Layers {
		l := Layer{Digest: d.Digest, DiffID: c.RootFS.DiffIDs[i]}
		scanFile(t, filepath.Join(dir, blobPath(d)), &l)
		img.Layers = append(img.Layers, l)
	}
	return img
}

func scanFile(t *testing.T, name string, l *Layer) {
	t.Helper()
	in, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	z, err := gzip.NewReader(in)
	if err != nil {
		t.Fatal(err)
	}
	pack, err := os.Create(filepath.Join(t.TempDir(), "pack"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pack.Close() })
	x, err := layer.Scan(z, pack, layer.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	l.Index = fixed(x)
	l.Blob = func(off, size int64) rootfs.Blob { return io.NewSectionReader(pack, off, size) }
}

// writeArchive writes a repository of mode "archive", which needs no root.
// Without content, files are as large as they say but empty.
func writeArchive(t *testing.T, r *ostree.Repo, dir string, content bool) {
	t.Helper()
	write := func(name string, b []byte) {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{"tmp/cache", "refs/heads", "refs/remotes", "refs/mirrors", "state", "extensions"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write("config", []byte("[core]\nrepo_version=1\nmode=archive-z2\n"))
	for name, b := range r.Metadata {
		write("objects/"+name.String(), b)
	}
	for id, n := range r.Files {
		write("objects/"+ostree.ObjectPath(id, ostree.FileObject)+"z", archived(t, n, content))
	}
	for name, commit := range r.Refs {
		write("refs/heads/"+name, []byte(commit.String()+"\n"))
	}
}

// archived returns a file object of an archive: a header and a deflate stream of
// the content, which is not compressed.
func archived(t *testing.T, n *rootfs.Inode, content bool) []byte {
	kinds := []gvariant.Kind{gvariant.U64, gvariant.U32, gvariant.U32, gvariant.U32, gvariant.U32, gvariant.Bytes, gvariant.Bytes}
	be32 := func(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }
	size := n.Size()
	if n.IsLink() {
		size = 0
	}
	v := gvariant.Tuple(kinds, binary.BigEndian.AppendUint64(nil, uint64(size)), be32(n.UID), be32(n.GID),
		be32(n.Mode), be32(0), gvariant.String(n.Target), ostree.XattrsOf(n.Xattrs))
	var b bytes.Buffer
	b.Write(be32(uint32(len(v))))
	b.Write(make([]byte, 4))
	b.Write(v)
	if n.IsLink() || !content {
		return b.Bytes()
	}
	z, err := flate.NewWriter(&b, flate.NoCompression)
	if err != nil {
		t.Fatal(err)
	}
	data, err := rootfs.ReadAll(n.Content, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	z.Write(data)
	z.Close()
	return b.Bytes()
}
