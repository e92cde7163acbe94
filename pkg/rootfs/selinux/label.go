package selinux

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// Xattr is the extended attribute that holds a context and a NUL.
const Xattr = "security.selinux"

// Label returns a copy of a tree that is to stand at an absolute path, every
// inode of it with the context of its path. An inode without a context in the
// policy keeps its own; one without any gets its directory's, as the kernel does
// when a file is made. An inode under several names, which stays one,
// gets the context of the first.
func (p *Policy) Label(tree *rootfs.Inode, at string) *rootfs.Inode {
	if p == nil {
		return tree
	}
	l := labeller{policy: p, copies: map[*rootfs.Inode]*rootfs.Inode{}, xattrs: map[string]map[string]string{}}
	at = path.Clean("/" + at)
	return l.label(tree, at, p.nearest(at))
}

// nearest returns the context of the deepest directory above a path that has one.
func (p *Policy) nearest(name string) string {
	for name != "/" {
		name = path.Dir(name)
		if context, ok := p.Lookup(name, rootfs.ModeDir); ok {
			return context
		}
	}
	return ""
}

type labeller struct {
	policy *Policy
	copies map[*rootfs.Inode]*rootfs.Inode
	xattrs map[string]map[string]string // each set of attributes, once
}

func (l *labeller) label(n *rootfs.Inode, name, parent string) *rootfs.Inode {
	if done := l.copies[n]; done != nil {
		return done
	}
	context, ok := l.policy.Lookup(name, n.Mode)
	if !ok {
		context = strings.TrimSuffix(n.Xattrs[Xattr], "\x00")
	}
	if context == "" {
		context = parent
	}
	labelled := *n
	labelled.Xattrs = l.set(n.Xattrs, context)
	if n.IsDir() {
		labelled.Children = make(map[string]*rootfs.Inode, len(n.Children))
		for _, child := range n.Names() {
			labelled.Children[child] = l.label(n.Children[child], path.Join(name, child), context)
		}
	}
	l.copies[n] = &labelled
	return &labelled
}

// set returns attributes with the context among them.
func (l *labeller) set(xattrs map[string]string, context string) map[string]string {
	if context == "" {
		return xattrs
	}
	key := context
	for _, name := range slices.Sorted(maps.Keys(xattrs)) {
		if name != Xattr {
			key += fmt.Sprintf("\x00%s\x00%d\x00%s", name, len(xattrs[name]), xattrs[name])
		}
	}
	if l.xattrs[key] == nil {
		with := maps.Clone(xattrs)
		if with == nil {
			with = map[string]string{}
		}
		with[Xattr] = context + "\x00"
		l.xattrs[key] = with
	}
	return l.xattrs[key]
}
