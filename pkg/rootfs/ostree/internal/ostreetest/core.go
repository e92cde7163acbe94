// Package ostreetest has a small ostree commit for tests. It was made by ostree
// 2022.7 and 2026.4, which agree on every checksum of it.
package ostreetest

import (
	"crypto/sha256"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree"
)

// CoreCommit is the checksum of the commit, CoreTree of its root.
const (
	CoreCommit = "ee5cf607bd0a7d1b27e5f59cfa90b8840dcd39b8ff7497ce78a42b39277fd9df"
	CoreTree   = "dadf1938301ec970d6c9ffdb7dfdb6a2d68becdedec985c8722d1ba97b857aba"
)

func label(kind string) map[string]string {
	return map[string]string{"security.selinux": "system_u:object_r:" + kind + ":s0\x00"}
}

// CoreTreeInodes returns the files that went into the commit.
func CoreTreeInodes() *rootfs.Inode {
	dir := func(children map[string]*rootfs.Inode) *rootfs.Inode {
		return &rootfs.Inode{Mode: 0o040755, Children: children}
	}
	ping := rootfs.Text(0o755, "cap\n")
	ping.Xattrs = map[string]string{"security.capability": "\x01\x00\x00\x02\x00\x20" + strings.Repeat("\x00", 14)}
	conf := rootfs.Text(0o600, "conf=1\n")
	conf.UID, conf.GID = 1, 2
	conf.Xattrs = label("etc_t")
	conf.Xattrs["user.b"], conf.Xattrs["user.a"], conf.Xattrs["trusted.z"] = "b", "aa", "\x00\xff"
	linkXattr := rootfs.Link("/nonexistent")
	linkXattr.Xattrs = label("lib_t")
	sub := &rootfs.Inode{Mode: 0o040750, UID: 3, GID: 4, Xattrs: map[string]string{"user.dir": "d"}}
	sticky := &rootfs.Inode{Mode: 0o041777}
	return dir(map[string]*rootfs.Inode{
		"usr": dir(map[string]*rootfs.Inode{
			"bin": dir(map[string]*rootfs.Inode{
				"hello":      rootfs.Text(0o755, "hello world\n"),
				"hello-suid": rootfs.Text(0o4755, "hello world\n"),
				"ping":       ping,
			}),
			"etc": dir(map[string]*rootfs.Inode{"foo.conf": conf, "sub": sub}),
			"lib": dir(map[string]*rootfs.Inode{
				"big":        rootfs.Text(0o644, strings.Repeat("A", 100000)),
				"dup":        rootfs.Text(0o755, "hello world\n"),
				"empty":      rootfs.Text(0o644, ""),
				"link":       rootfs.Link("../bin/hello"),
				"link-xattr": linkXattr,
				"utf8-ü.txt": rootfs.Text(0o644, "x"),
			}),
			"share": dir(map[string]*rootfs.Inode{"sticky": sticky}),
		}),
		"var": dir(nil),
	})
}

// Write stores the files of a small tree in a repository, and returns the
// checksums of the root directory.
func Write(r *ostree.Repo, n *rootfs.Inode) (tree, meta ostree.Checksum) {
	var t ostree.Tree
	for _, name := range n.Names() {
		child := n.Children[name]
		if child.IsDir() {
			tree, meta := Write(r, child)
			t.Dirs = append(t.Dirs, ostree.TreeDir{Name: name, Tree: tree, Meta: meta})
			continue
		}
		t.Files = append(t.Files, ostree.TreeFile{Name: name, ID: writeFile(r, child)})
	}
	m := ostree.Meta{UID: n.UID, GID: n.GID, Mode: n.Mode, Xattrs: ostree.XattrsOf(n.Xattrs)}
	return r.AddMetadata(ostree.DirTreeObject, t.Bytes()), r.AddMetadata(ostree.DirMetaObject, m.Bytes())
}

func writeFile(r *ostree.Repo, n *rootfs.Inode) ostree.Checksum {
	content, err := rootfs.ReadAll(n.Content, 1<<30)
	if err != nil {
		panic(err) // the content is in memory
	}
	xattrs := ostree.XattrsOf(n.Xattrs)
	header := ostree.FileHeader(n.UID, n.GID, n.Mode, n.Target, xattrs)
	id := ostree.Checksum(sha256.Sum256(append(header, content...)))
	if err := r.AddFile(id, n.UID, n.GID, n.Mode, n.Target, xattrs, n.Content); err != nil {
		panic(err)
	}
	return id
}

// Core returns a repository that holds the commit.
func Core() (*ostree.Repo, ostree.Checksum) {
	r := ostree.NewRepo()
	tree, meta := Write(r, CoreTreeInodes())
	c := ostree.Commit{
		Metadata: []ostree.Property{
			ostree.StringProperty("version", "1.2.3"),
			{Key: "ostree.bootable", Type: "b", Value: []byte{1}},
			{Key: "k.u32", Type: "u", Value: []byte{5, 0, 0, 0}},
			{Key: "k.as", Type: "as", Value: []byte("a\x00bc\x00\x02\x05")},
			{Key: "k.t", Type: "t", Value: []byte{1, 0, 0, 0, 0, 0, 0, 0}},
			{Key: "ostree.ref-binding", Type: "as", Value: []byte("test/vector\x00\x0c")},
		},
		Subject:   "subject line",
		Body:      "body\ntext",
		Timestamp: 1704164645,
		Tree:      tree,
		Meta:      meta,
	}
	return r, r.AddMetadata(ostree.CommitObject, c.Bytes())
}
