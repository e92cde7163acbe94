package container

import (
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/layer"
)

// Containers have every file of their base twice: where the system has it, and
// as an object of the repository, which is a hard link to the same inode. A
// builder that keeps these links (buildah and podman with vfs or
// fuse-overlayfs, kaniko) writes a changed file into its layer under both
// names, in the order of the names:
//
//	sysroot/ostree/repo/objects/cd/ff84….file   the content
//	usr/lib/some.conf                           a hard link to it
//
//	etc/passwd                                  the content
//	sysroot/ostree/repo/objects/05/0d57….file   a hard link to it
//
// In the first form the importer of a host takes a file of the repository that
// has a time for such a change: it keeps the content aside, and the first hard
// link to it becomes the file. A file without a time stays in the repository.

// A changedObject is a file in the repository whose content is kept aside.
type changedObject struct {
	entry *layer.Entry
	seen  bool   // the layer has it in front of the entry at hand
	file  string // the hard link that became the file; empty before the first
}

// keptAside reports whether an entry is the content of a changedObject. A file in
// place of the repository is one, too.
func (b *builder) keptAside(e *layer.Entry) bool {
	if !strings.HasPrefix(e.Name+"/", layer.RepoDir) || e.HardLink || e.Mode&rootfs.ModeType != rootfs.ModeFile {
		return false
	}
	_, placed := b.filter.place(e.Name)
	return e.MTime.Sec > 0 || !placed
}

// findObjects finds all changed objects, so that links may come before them.
func (b *builder) findObjects() {
	b.objects, b.aliases = map[string]*changedObject{}, map[string]string{}
	for i := range b.index.Entries {
		if e := &b.index.Entries[i]; b.objects[e.Name] == nil && b.keptAside(e) {
			b.objects[e.Name] = &changedObject{entry: e}
		}
	}
}

// throughObject replaces an entry with the name of an object. It returns the same
// entry, the file that a hard link becomes, a link to that file, or nil for an entry
// that is not imported.
func (b *builder) throughObject(e *layer.Entry) *layer.Entry {
	inRepo := strings.HasPrefix(e.Name, layer.RepoDir)
	switch {
	case b.keptAside(e):
		if b.objects[e.Name].entry != e { // the name is there twice
			b.objects[e.Name] = &changedObject{entry: e}
		}
		b.objects[e.Name].seen = true
		return nil
	case !e.HardLink:
		return e
	}
	target := e.Target
	if alias, ok := b.aliases[target]; ok {
		target = alias
	}
	object := b.objects[target]
	if inRepo {
		if object == nil && strings.HasPrefix(target, layer.RepoDir) {
			return e
		}
		if object != nil {
			b.find(e.Name, "a hard link between objects of the repository whose content a tool changed: the importer of the system refuses the layer at its next upgrade")
		}
		b.aliases[e.Name] = target
		return nil
	}
	return b.linkToObject(e, target, object)
}

// linkTo returns a hard link with a target: the entry itself if it has that one.
func linkTo(e *layer.Entry, target string) *layer.Entry {
	if e.Target == target {
		return e
	}
	link := *e
	link.Target = target
	return &link
}

// linkToObject is throughObject for a hard link outside of the repository. Its target
// is not that of the entry if that was an alias.
func (b *builder) linkToObject(e *layer.Entry, target string, object *changedObject) *layer.Entry {
	placed, ok := b.filter.place(e.Name)
	if ok && e.Absolute && strings.HasPrefix(e.Target, layer.RepoDir) {
		b.find(placed, "a hard link to an object of the repository by an absolute name: the importer of the system refuses the layer at its next upgrade")
	}
	if ok && e.MTime.Sec > 0 && (target != e.Target || object != nil && !object.seen) {
		b.find(placed, "a hard link to an object of the repository whose content is not in front of it in the layer: the system will drop the link at its next upgrade")
	}
	switch {
	case !ok:
		return e
	case object == nil && !strings.HasPrefix(target, layer.RepoDir):
		return linkTo(e, target)
	case object == nil && e.MTime.Sec > 0:
		b.find(placed, "a hard link to an object of the repository that is not in the layer: it is not imported; a container has the file")
		return nil
	case object == nil:
		return e
	}
	if e.MTime.Sec <= 0 {
		b.find(placed, "a hard link without a time to an object of the repository: the importer of the system refuses the layer at its next upgrade")
	}
	if object.file != "" {
		return linkTo(e, object.file)
	}
	object.file = e.Name
	file := *object.entry
	file.Name = e.Name
	b.find(placed, "a tool changed it through its name in the ostree repository; it is imported with the change")
	if placed != e.Name {
		b.find(placed, "changed through the ostree repository: the system does not move such a file from /etc to /usr/etc, and its next upgrade will fail")
	}
	if len(unlabelled(file.Xattrs)) > 0 {
		b.find(placed, "changed through the ostree repository: the system will drop its extended attributes at its next upgrade")
	}
	return &file
}
