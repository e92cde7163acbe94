package deploy

import (
	"bytes"
	"encoding/hex"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree"
)

// objects returns the tree of ostree/repo/objects: a directory for each first byte
// of a checksum, with names as in [ostree.ObjectPath].
func (d *Deployment) objects(repo *ostree.Repo) *rootfs.Inode {
	var groups [256][]ostree.ObjectName
	for id := range repo.Files {
		groups[id[0]] = append(groups[id[0]], ostree.ObjectName{ID: id, Type: ostree.FileObject})
	}
	for name := range repo.Metadata {
		groups[name.ID[0]] = append(groups[name.ID[0]], name)
	}
	root := d.dir(0o755, d.labels.repo, nil)
	for first, group := range groups {
		if len(group) > 0 {
			root.Children[hex.EncodeToString([]byte{byte(first)})] = d.objectDir(repo, group)
		}
	}
	return root
}

// IDs returns the object ids of the files of d.System, from the names in
// ostree/repo/objects. It is a new map each time.
func (d *Deployment) IDs() map[*rootfs.Inode]ostree.Checksum {
	ids := map[*rootfs.Inode]ostree.Checksum{}
	for first, dir := range d.Root.Lookup("ostree/repo/objects").Children {
		for rest, n := range dir.Children {
			if id, t, err := ostree.ParseObjectPath(first + "/" + rest); err == nil && t == ostree.FileObject {
				ids[n] = id
			}
		}
	}
	return ids
}

// objectDir returns the directory of some objects. Their names share one string:
// there are as many names as files, and the allocator would round up each.
func (d *Deployment) objectDir(repo *ostree.Repo, group []ostree.ObjectName) *rootfs.Inode {
	all := make([]byte, 0, len(group)*longestName)
	ends := make([]int, len(group))
	for i, name := range group {
		all = hex.AppendEncode(all, name.ID[1:])
		all = append(append(all, '.'), name.Type.Suffix()...)
		ends[i] = len(all)
	}
	names, start := string(all), 0
	children := make(entries, len(group))
	for i, name := range group {
		children[names[start:ends[i]]] = d.object(repo, name)
		start = ends[i]
	}
	return d.dir(0o755, d.labels.repo, children)
}

// longestName is the length of the longest name in a directory of objects.
const longestName = 2*(len(ostree.Checksum{})-1) + len(".commitmeta")

// object returns the file of an object.
func (d *Deployment) object(repo *ostree.Repo, name ostree.ObjectName) *rootfs.Inode {
	if name.Type == ostree.FileObject {
		return repo.Files[name.ID]
	}
	n := d.text("", d.labels.repo)
	n.Content = bytes.NewReader(repo.Metadata[name])
	return n
}
