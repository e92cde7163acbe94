package container

import (
	"path"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// A merge lays derived layers on top of each other. It has its tree to itself
// and changes the directories in it.
//
// Layers are merged as ostree checks them out, because the next upgrade of the
// system does the same, or else as container runtimes do:
//
//	                             ostree              runtime
//	directory is there           stays as it is      gets mode, owner and xattrs of the layer
//	directory over a link        replaces it         is written through it, if the layer
//	                                                 has only files in it
//	missing parents              belong to the       belong to root
//	                             owner of the entry
//	whiteouts in a directory     are in line with    are first, and never remove
//	                             other files         files of their layer
//	hard link to a lower layer   is an error         is a copy
type merge struct {
	root    *rootfs.Inode // nil before the first layer
	oci     bool
	number  int // of the layer at hand
	layer   *layerTree
	warns   *warnings
	changed bool // a layer has replaced or removed a file of another one
}

func (m *merge) warn(path, format string, args ...any) {
	m.warns.add(m.number, path, format, args...)
}

// apply puts a layer on top of the tree.
func (m *merge) apply(number int, l *layerTree) {
	m.number, m.layer = number, l
	switch {
	case m.root == nil || isOpaque(l.root):
		m.root = m.create(".", l.root)
	default:
		m.keep(".", l.root, m.root)
	}
	m.dir(".", l.root, m.root)
}

// isOpaque reports whether a directory of a layer hides all below it.
func isOpaque(dir *rootfs.Inode) bool {
	n := dir.Children[opaque]
	return n != nil && !n.IsDir()
}

// dir merges the entries of a layer's directory into one of the tree.
func (m *merge) dir(name string, from, to *rootfs.Inode) {
	names := from.Names()
	if m.oci {
		m.whiteouts(name, names, from, to)
	}
	for _, base := range names {
		if n := from.Children[base]; !n.IsDir() {
			m.file(name, base, from, to)
		}
	}
	for _, base := range names {
		if n := from.Children[base]; n.IsDir() {
			m.subdir(path.Join(name, base), n, to)
		}
	}
}

// whiteoutTarget returns the name that a file in a layer removes, "" for none. Names
// that begin like a whiteout twice were left by tools of the past: container runtimes
// ignore them, ostree removes a directory or link of such a tool.
func (m *merge) whiteoutTarget(base string, n *rootfs.Inode) (name string, ok bool) {
	name, ok = strings.CutPrefix(base, whiteout)
	if !ok || n.IsLink() || n.IsDir() {
		return "", false
	}
	if base == opaque || m.oci && strings.HasPrefix(name, whiteout) {
		return "", true
	}
	return name, true
}

// whiteouts applies those of a directory, as runtimes do.
func (m *merge) whiteouts(name string, names []string, from, to *rootfs.Inode) {
	for _, base := range names {
		if gone, ok := m.whiteoutTarget(base, from.Children[base]); ok {
			m.remove(to, gone)
		}
	}
}

// file puts a file of a layer in place, or removes the target of a whiteout.
func (m *merge) file(dir, base string, from, to *rootfs.Inode) {
	n := from.Children[base]
	gone, ok := m.whiteoutTarget(base, n)
	if !ok {
		m.remove(to, base)
		to.Children[base] = n
		return
	}
	if m.oci {
		return
	}
	if own := from.Children[gone]; own != nil && !own.IsDir() && gone < base {
		m.warn(path.Join(dir, gone), "in the same layer as a whiteout of it, and before that: ostree removes it again, a container runtime removes what is in lower layers only")
	}
	m.remove(to, gone)
	if dir == "." && gone == "etc" {
		m.warn(gone, "a whiteout of /etc itself: a container has lost all that is in there, the system keeps it")
	}
}

// remove removes an entry, if it exists.
func (m *merge) remove(from *rootfs.Inode, base string) {
	if from.Children[base] != nil {
		delete(from.Children, base)
		m.changed = true
	}
}

// subdir puts a directory of a layer in place.
func (m *merge) subdir(name string, from, to *rootfs.Inode) {
	base := path.Base(name)
	have := to.Children[base]
	_, said := m.layer.said[from]
	if strings.HasPrefix(base, whiteout) {
		m.warn(name, "a directory called like a whiteout: ostree keeps it, a container runtime may take it for one")
	}
	if have != nil && have.IsLink() {
		if through := m.through(name, said, have); through != nil {
			m.dir(name, from, through)
			return
		}
	}
	switch {
	case have == nil || !have.IsDir() || isOpaque(from):
		have = m.create(name, from)
		to.Children[base] = have
	default:
		m.keep(name, from, have)
	}
	m.dir(name, from, have)
}

// through returns the directory behind a symbolic link where a layer has a
// directory, if the link is to stay.
func (m *merge) through(name string, said bool, link *rootfs.Inode) *rootfs.Inode {
	if said {
		m.warn(name, "a directory replaces the symbolic link to %s, for ostree and container runtimes alike", quote(link.Target))
		return nil
	}
	behind := m.root.Resolve(name)
	if behind == nil || !behind.IsDir() {
		behind = nil
	}
	switch {
	case !m.oci:
		m.warn(name, "a symbolic link to %s that the layer has files in: ostree replaces it by a directory, a container runtime may write to where it leads", quote(link.Target))
		return nil
	case behind != nil:
		m.warn(name, "a symbolic link to %s that the layer has files in: they are where it leads; ostree replaces it by a directory, and so will the system at its next upgrade", quote(link.Target))
	}
	return behind
}

// create makes a directory that only the layer has.
func (m *merge) create(name string, from *rootfs.Inode) *rootfs.Inode {
	ours, runtime := ownerOf(from), m.runtime(from)
	if !ours.same(runtime) {
		m.warn(name, "for ostree %v, because of a file below; for a container runtime %v", ours, runtime)
	}
	n := &rootfs.Inode{Children: map[string]*rootfs.Inode{}}
	if m.oci {
		ours = runtime
	}
	ours.give(n)
	return n
}

// runtime returns the owner of a directory in a container runtime.
func (m *merge) runtime(dir *rootfs.Inode) owner {
	if said, ok := m.layer.said[dir]; ok {
		return said
	}
	return owner{mode: rootfs.ModeDir | 0o755}
}

// keep leaves a directory that is there as it is, or not.
func (m *merge) keep(name string, from, have *rootfs.Inode) {
	said, ok := m.layer.said[from]
	if !ok || said.same(ownerOf(have)) {
		return
	}
	if m.oci {
		m.warn(name, "changed from %v to %v; ostree leaves directories as lower layers have them, and so will the system at its next upgrade", ownerOf(have), said)
		said.give(have)
		return
	}
	m.warn(name, "ostree leaves it as lower layers have it, %v; a container runtime makes it %v", ownerOf(have), said)
}

// cleanUp removes empty files that builders of containers leave where they
// mounted their own.
func (m *merge) cleanUp() {
	etc := m.root.Lookup("usr/etc")
	if etc == nil {
		return
	}
	for _, name := range []string{"hostname", "resolv.conf"} {
		if n := etc.Children[name]; n != nil && n.IsFile() && n.Size() == 0 {
			delete(etc.Children, name)
		}
	}
}
