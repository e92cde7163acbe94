package tinyos

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/selinux"
)

// native returns the layers of an ostree-native container, as ostree-ext encapsulates
// a commit: metadata and half of the files, a chunk with the other half, and the
// layer on top.
func native(arch string) [][]byte {
	root := commitTree(system(arch).bytes())
	policy, err := selinux.Load(root)
	if err != nil {
		panic(err) // of our own policy
	}
	e := encoder{layers: [2]*archive{newTar(), newTar()}, seen: map[string]bool{}}
	tree, meta := e.measure(policy.Label(root, "/"))
	commit := ostree.Commit{
		Metadata: []ostree.Property{ostree.StringProperty("version", Version)},
		Subject:  "TinyOS", Timestamp: uint64(Created.Unix()), Tree: tree, Meta: meta,
	}
	e.object(0, commit.Bytes(), ostree.CommitObject)
	for _, write := range e.rest {
		write()
	}
	return [][]byte{e.layers[0].bytes(), e.layers[1].bytes(), top(arch)}
}

// commitTree returns the tree of a layer, with /etc where a commit has it.
func commitTree(layer []byte) *rootfs.Inode {
	root := rootfs.Dir(0o755)
	for r := tar.NewReader(bytes.NewReader(layer)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return root
		}
		if err != nil {
			panic(err) // of our own archive
		}
		content, _ := io.ReadAll(r)
		name := commitName(h.Name)
		n := &rootfs.Inode{Mode: rootfs.ModeFile | uint32(h.Mode), UID: uint32(h.Uid), GID: uint32(h.Gid), Content: bytes.NewReader(content), Xattrs: map[string]string{}}
		for key, value := range h.PAXRecords {
			if attr, ok := strings.CutPrefix(key, "SCHILY.xattr."); ok {
				n.Xattrs[attr] = value
			}
		}
		switch h.Typeflag {
		case tar.TypeDir:
			n = rootfs.Dir(uint32(h.Mode))
			if old := root.Lookup(name); old != nil {
				continue
			}
		case tar.TypeSymlink:
			n = rootfs.Link(h.Linkname)
		case tar.TypeLink:
			n = root.Lookup(commitName(h.Linkname))
		}
		if err := root.Place(name, n); err != nil {
			panic(fmt.Sprintf("%s: %v", name, err))
		}
	}
}

func commitName(name string) string {
	name = path.Clean(name)
	if name == "etc" || strings.HasPrefix(name, "etc/") {
		return "usr/" + name
	}
	return name
}

// An encoder writes the objects of a commit to layers. Objects that follow the
// commit wait in rest until it has been written.
type encoder struct {
	layers [2]*archive
	seen   map[string]bool
	rest   []func()
}

const objects = "sysroot/ostree/repo/objects/"

// object writes a metadata object to the first layer, once.
func (e *encoder) object(layer int, b []byte, kind ostree.ObjectType) ostree.Checksum {
	id := ostree.Sum(b)
	if name := objects + ostree.ObjectPath(id, kind); !e.seen[name] {
		e.seen[name] = true
		e.layers[layer].file(name, 0o644, string(b))
	}
	return id
}

// measure returns the checksums of a directory. Its objects are written later.
func (e *encoder) measure(n *rootfs.Inode) (tree, meta ostree.Checksum) {
	var t ostree.Tree
	for _, name := range n.Names() {
		child := n.Children[name]
		if child.IsDir() {
			tree, meta := e.measure(child)
			t.Dirs = append(t.Dirs, ostree.TreeDir{Name: name, Tree: tree, Meta: meta})
			continue
		}
		t.Files = append(t.Files, ostree.TreeFile{Name: name, ID: e.file(child)})
	}
	m := ostree.Meta{UID: n.UID, GID: n.GID, Mode: n.Mode, Xattrs: ostree.XattrsOf(n.Xattrs)}
	e.rest = append(e.rest, func() {
		e.object(0, t.Bytes(), ostree.DirTreeObject)
		e.object(0, m.Bytes(), ostree.DirMetaObject)
	})
	return ostree.Sum(t.Bytes()), ostree.Sum(m.Bytes())
}

func (e *encoder) file(n *rootfs.Inode) ostree.Checksum {
	var content []byte
	if n.IsFile() {
		content, _ = rootfs.ReadAll(n.Content, 1<<30)
	}
	xattrs := ostree.XattrsOf(n.Xattrs)
	id := ostree.Sum(append(ostree.FileHeader(n.UID, n.GID, n.Mode, n.Target, xattrs), content...))
	e.rest = append(e.rest, func() {
		layer, name := e.layers[id[0]%2], objects+ostree.ObjectPath(id, ostree.FileObject)
		if e.seen[name] {
			return
		}
		e.seen[name] = true
		layer.file(objects+ostree.ObjectPath(id, ostree.FileXattrsLinkObject), 0o644, string(xattrs))
		if n.IsLink() {
			layer.add(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: n.Target, Mode: 0o777}, "")
			return
		}
		layer.add(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: int64(n.Mode & 0o7777), Uid: int(n.UID), Gid: int(n.GID)}, string(content))
	})
	return id
}
