package ostree_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree/gvariant"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree/internal/ostreetest"
)

func id(t testing.TB, s string) ostree.Checksum {
	t.Helper()
	c, err := ostree.ParseChecksum(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestCore writes every object of the vector anew, and has its names from
// "ostree ls -RCX".
func TestCore(t *testing.T) {
	r, commit := ostreetest.Core()
	if commit.String() != ostreetest.CoreCommit {
		t.Errorf("commit %s", commit)
	}
	for file, name := range map[string]ostree.ObjectName{
		"commit":                   {ID: commit, Type: ostree.CommitObject},
		"dirtree-root":             {ID: id(t, ostreetest.CoreTree), Type: ostree.DirTreeObject},
		"dirtree-usr":              {ID: id(t, "523883d6507e900967dad16b0e16ff41ea653a14cdde7e70b5f4564fcf53c73d"), Type: ostree.DirTreeObject},
		"dirtree-usr-bin":          {ID: id(t, "e1c794516dc912c83072ea2ab7573c86722320ae37275baf52d9d3e92a17ea14"), Type: ostree.DirTreeObject},
		"dirtree-usr-etc":          {ID: id(t, "a5d938bba1f3cc5dff8aee12723e637ff5de29abe48166e966b7c702885ca9e4"), Type: ostree.DirTreeObject},
		"dirtree-empty":            {ID: id(t, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"), Type: ostree.DirTreeObject},
		"dirmeta-0755":             {ID: id(t, "446a0ef11b7cc167f3b603e585c7eeeeb675faa412d5ec73f62988eb0b6c5488"), Type: ostree.DirMetaObject},
		"dirmeta-3-4-0750-userdir": {ID: id(t, "ef1283cae1383104ddd3157243dd02403dab41e292a904f328c19a2b9f259fb2"), Type: ostree.DirMetaObject},
	} {
		got := r.Metadata[name]
		want, err := os.ReadFile("testdata/core/" + file + ".bin")
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: %q, want %q", file, got, want)
		}
	}
	ls, err := os.ReadFile("testdata/core/ls-RCX.txt")
	if err != nil {
		t.Fatal(err)
	}
	if got := listing(t, r, commit); got != stripXattrs(string(ls)) {
		t.Errorf("tree:\n%s\nwant\n%s", got, stripXattrs(string(ls)))
	}
}

// TestCommitWithDigest reads a commit that states the digest of its composefs image.
func TestCommitWithDigest(t *testing.T) {
	b, err := os.ReadFile("testdata/core/commit-with-digest.bin")
	if err != nil {
		t.Fatal(err)
	}
	c, err := ostree.ParseCommit(b)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Bytes(); !bytes.Equal(got, b) || ostree.Sum(got).String() != "f7062bcab19122541476fc682fd2ded7838232c088fac65fa159135eb896606b" {
		t.Errorf("%q, want %q", got, b)
	}
	if digest := id(t, "5de36c668f9946f62b5d9346e75b92e2ce7799b624d9a5cf9739d54dc4a87fc2"); !bytes.Contains(b, digest[:]) || c.Tree.String() != ostreetest.CoreTree {
		t.Errorf("%+v", c)
	}
}

// TestBare has files as they lie in a repository on a host.
func TestBare(t *testing.T) {
	r, _ := ostreetest.Core()
	text, err := os.ReadFile("testdata/core/bare.txt")
	if err != nil {
		t.Fatal(err)
	}
	var n *rootfs.Inode
	files, attrs := 0, 0
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if f := strings.Fields(line); strings.HasPrefix(line, "repo-bare/") {
			file, _, err := ostree.ParseObjectPath(strings.TrimPrefix(f[0], "repo-bare/objects/"))
			if n = r.Files[file]; err != nil || n == nil {
				t.Fatalf("%s: %v", f[0], err)
			}
			size := n.Size()
			if n.IsLink() {
				size = int64(len(n.Target))
			}
			if got, want := fmt.Sprintf("%o %d:%d size=%d", n.Mode&0o7777, n.UID, n.GID, size), fmt.Sprint(f[2], " ", f[3], " ", f[5]); got != want {
				t.Errorf("%s: %s, want %s", file, got, want)
			}
			files++
		} else if name, value, ok := strings.Cut(line, "=0x"); ok {
			// getfattr leaves out the NUL of a label.
			if got := fmt.Sprintf("%x", strings.TrimSuffix(n.Xattrs[name], "\x00")); got != strings.TrimSuffix(value, "00") {
				t.Errorf("%s: %s, want %s", name, got, value)
			}
			attrs++
		}
	}
	if files != 3 || attrs != 4 {
		t.Errorf("%d files and %d xattrs", files, attrs)
	}
}

// listing is the output of "ostree ls -RC".
func listing(t *testing.T, r *ostree.Repo, commit ostree.Checksum) string {
	root, err := r.Tree(commit)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	ids := r.IDs()
	for name, n := range root.Walk() {
		name = "/" + strings.TrimPrefix(name, ".")
		switch {
		case n.IsDir():
			tree, meta := ostreetest.Write(ostree.NewRepo(), n)
			fmt.Fprintf(&b, "d%05o %d %d %6d %s %s %s\n", n.Mode&0o7777, n.UID, n.GID, 0, tree, meta, name)
		case n.IsLink():
			fmt.Fprintf(&b, "l%05o %d %d %6d %s %s -> %s\n", n.Mode&0o7777, n.UID, n.GID, 0, ids[n], name, n.Target)
		default:
			fmt.Fprintf(&b, "-%05o %d %d %6d %s %s\n", n.Mode&0o7777, n.UID, n.GID, n.Size(), ids[n], name)
		}
	}
	return b.String()
}

func stripXattrs(ls string) string {
	var b strings.Builder
	for line := range strings.Lines(ls) {
		before, rest, _ := strings.Cut(line, "{ ")
		_, after, _ := strings.Cut(rest, " } ")
		b.WriteString(before + after)
	}
	return b.String()
}

func TestTreeHardLinksAndXattrs(t *testing.T) {
	r, commit := ostreetest.Core()
	root, err := r.Tree(commit)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := root.Lookup("usr/bin/hello"), root.Lookup("usr/lib/dup"); a != b || a == nil {
		t.Error("usr/lib/dup is not a hard link of usr/bin/hello")
	}
	if got := root.Lookup("usr/etc/foo.conf").Xattrs["trusted.z"]; got != "\x00\xff" {
		t.Errorf("trusted.z is %q", got)
	}
	if got := root.Lookup("usr/etc/sub").Xattrs["user.dir"]; got != "d" {
		t.Errorf("user.dir is %q", got)
	}
}

func TestEveryMissingObjectIsNamed(t *testing.T) {
	whole, commit := ostreetest.Core()
	for name := range whole.Metadata {
		r, _ := ostreetest.Core()
		delete(r.Metadata, name)
		if _, err := r.Tree(commit); err == nil || !strings.Contains(err.Error(), name.String()+" is missing") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for file := range whole.Files {
		r, _ := ostreetest.Core()
		delete(r.Files, file)
		want := ostree.ObjectPath(file, ostree.FileObject) + " is missing"
		if _, err := r.Tree(commit); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "/usr/") {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// commitOf stores a commit of a tree whose root directory is plain.
func commitOf(r *ostree.Repo, tree ostree.Checksum) ostree.Checksum {
	m := ostree.Meta{Mode: rootfs.ModeDir | 0o755}
	c := ostree.Commit{Tree: tree, Meta: r.AddMetadata(ostree.DirMetaObject, m.Bytes())}
	return r.AddMetadata(ostree.CommitObject, c.Bytes())
}

func TestDeepTree(t *testing.T) {
	for depth, ok := range map[int]bool{256: true, 257: false, 100_000: false} {
		r := ostree.NewRepo()
		m := ostree.Meta{Mode: rootfs.ModeDir | 0o755}
		meta := r.AddMetadata(ostree.DirMetaObject, m.Bytes())
		tree := r.AddMetadata(ostree.DirTreeObject, (&ostree.Tree{}).Bytes())
		for range depth {
			tree = r.AddMetadata(ostree.DirTreeObject, (&ostree.Tree{Dirs: []ostree.TreeDir{{Name: "d", Tree: tree, Meta: meta}}}).Bytes())
		}
		if _, err := r.Tree(commitOf(r, tree)); (err == nil) != ok || err != nil && !strings.Contains(err.Error(), "deeper") {
			t.Errorf("depth %d: %v", depth, err)
		}
	}
}

// TestBomb has a tree that names itself twice at every level: 60 objects for
// 2⁶⁰ directories.
func TestBomb(t *testing.T) {
	defer ostree.SetMaxNodes(10_000)()
	r := ostree.NewRepo()
	m := ostree.Meta{Mode: rootfs.ModeDir | 0o755}
	meta := r.AddMetadata(ostree.DirMetaObject, m.Bytes())
	tree := r.AddMetadata(ostree.DirTreeObject, (&ostree.Tree{}).Bytes())
	for range 60 {
		tree = r.AddMetadata(ostree.DirTreeObject, (&ostree.Tree{Dirs: []ostree.TreeDir{
			{Name: "a", Tree: tree, Meta: meta}, {Name: "b", Tree: tree, Meta: meta}}}).Bytes())
	}
	if _, err := r.Tree(commitOf(r, tree)); err == nil || !strings.Contains(err.Error(), "more than 10000 files") {
		t.Error(err)
	}
}

func TestBadTrees(t *testing.T) {
	sum := ostree.Sum(nil)
	files := func(names ...string) (t ostree.Tree) {
		for _, n := range names {
			t.Files = append(t.Files, ostree.TreeFile{Name: n, ID: sum})
		}
		return t
	}
	dirs := func(names ...string) (t ostree.Tree) {
		for _, n := range names {
			t.Dirs = append(t.Dirs, ostree.TreeDir{Name: n, Tree: sum, Meta: sum})
		}
		return t
	}
	for _, names := range [][]string{{"b", "a"}, {"a", "a"}, {""}, {"."}, {".."}, {"a/b"}, {"/"}, {"\xff"}, {strings.Repeat("n", 256)}} {
		for kind, tree := range map[string]ostree.Tree{"files": files(names...), "dirs": dirs(names...)} {
			if _, err := ostree.ParseTree(tree.Bytes()); err == nil {
				t.Errorf("%s %q: no error", kind, names)
			}
		}
	}
	both := files("a", "b")
	both.Dirs = dirs("b").Dirs
	if _, err := ostree.ParseTree(both.Bytes()); err == nil {
		t.Error("file and directory of one name: no error")
	}
	good := files("a", strings.Repeat("n", 255))
	good.Dirs = dirs("0", "b").Dirs
	if _, err := ostree.ParseTree(good.Bytes()); err != nil {
		t.Error(err)
	}
	short := gvariant.Tuple([]gvariant.Kind{gvariant.Bytes, gvariant.Bytes},
		gvariant.Array(1, gvariant.Tuple([]gvariant.Kind{gvariant.Bytes, gvariant.Bytes}, []byte("a\x00"), sum[:31])), nil)
	if _, err := ostree.ParseTree(short); err == nil {
		t.Error("checksum of 31 bytes: no error")
	}
}

func TestBadMetas(t *testing.T) {
	for _, m := range []ostree.Meta{
		{Mode: 0o100755}, {Mode: 0o755}, {Mode: 0o240755}, {Mode: 0o040755, Xattrs: []byte{0}},
		{Mode: 0o040755, Xattrs: ostree.FormatXattrs([]ostree.Xattr{{Name: "a"}, {Name: "a"}})},
	} {
		if _, err := ostree.ParseMeta(m.Bytes()); err == nil {
			t.Errorf("%+v: no error", m)
		}
	}
	for _, b := range [][]byte{nil, make([]byte, 11), append(make([]byte, 12), 0)} {
		if _, err := ostree.ParseMeta(b); err == nil {
			t.Errorf("%q: no error", b)
		}
	}
}

func TestBadCommits(t *testing.T) {
	r, commit := ostreetest.Core()
	good := r.Metadata[ostree.ObjectName{ID: commit, Type: ostree.CommitObject}]
	refused := 0
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x81
		c, err := ostree.ParseCommit(bad)
		if err != nil {
			refused++
		} else if !bytes.Equal(c.Bytes(), bad) {
			t.Errorf("byte %d: read as something else", i)
		}
		if _, err := ostree.ParseCommit(good[:i]); err == nil {
			t.Errorf("first %d bytes: no error", i)
		}
	}
	if refused == 0 {
		t.Error("no commit was refused")
	}
	zero := ostree.Commit{Parent: ostree.Checksum{}}
	if c, err := ostree.ParseCommit(zero.Bytes()); err != nil || c.Parent != (ostree.Checksum{}) {
		t.Errorf("no parent: %v %v", c, err)
	}
}

func FuzzMetadata(f *testing.F) {
	r, _ := ostreetest.Core()
	for _, b := range r.Metadata {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := ostree.ParseCommit(b); err == nil && !bytes.Equal(c.Bytes(), b) {
			t.Error("commit")
		}
		if d, err := ostree.ParseTree(b); err == nil && !bytes.Equal(d.Bytes(), b) {
			t.Error("dirtree")
		}
		if m, err := ostree.ParseMeta(b); err == nil && !bytes.Equal(m.Bytes(), b) {
			t.Error("dirmeta")
		}
	})
}
