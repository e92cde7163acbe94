package deploy

import (
	"errors"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// Explain makes an error of laying out or writing a disk name the file by its path
// in the system, and by its layer. File systems know the file as an object of the
// repository, or as a copy on a boot partition.
func (d *Deployment) Explain(err error) error {
	var inode *rootfs.InodeError
	var content *rootfs.ContentError
	switch {
	case errors.As(err, &inode) && inode.Inode != nil:
		name, n := d.find(inode.Inode, inode.Inode.Content)
		if n == nil {
			name, n = d.deployed(inode.Path), inode.Inode
		}
		return explain(err, inode, name, n.Content, inode.Err)
	case errors.As(err, &content):
		if name, n := d.find(nil, content.Blob); n != nil {
			return explain(err, content, name, n.Content, content.Err)
		}
	}
	return err
}

// find returns an inode and its path: the given inode, or else the first one with
// the content. It searches the system first, then all of the root file system.
func (d *Deployment) find(inode *rootfs.Inode, content rootfs.Blob) (string, *rootfs.Inode) {
	same := []func(*rootfs.Inode) bool{
		func(n *rootfs.Inode) bool { return n == inode },
		func(n *rootfs.Inode) bool {
			return content != nil && content.Size() > 0 && n.Content != nil && rootfs.SameBlob(n.Content, content)
		},
	}
	for _, root := range []*rootfs.Inode{d.System, d.Root} {
		if root == nil { // nothing is deployed yet
			continue
		}
		for _, is := range same {
			for name, n := range root.Walk() {
				if is(n) {
					return d.deployed(name), n
				}
			}
		}
	}
	return "", nil
}

// deployed returns the path in the running system of a path in the system or on
// the root file system.
func (d *Deployment) deployed(name string) string {
	state := "ostree/deploy/" + d.options.Stateroot + "/"
	if rest, ok := strings.CutPrefix(name, state+"deploy/"+d.name()+"/"); ok {
		name = rest
	} else if rest, ok := strings.CutPrefix(name, state+"var/"); ok {
		name = "var/" + rest
	}
	return "/" + strings.TrimPrefix(name, "./")
}

// explain replaces the part of an error that names the file.
func explain(err, said error, name string, content rootfs.Blob, cause error) error {
	if from, ok := content.(interface{ Origin() string }); ok && from.Origin() != "" {
		name += " (" + from.Origin() + ")"
	}
	better := &rootfs.InodeError{Path: name, Err: cause}
	return &explained{strings.Replace(err.Error(), said.Error(), better.Error(), 1), err}
}

// An explained error is another error with a better text.
type explained struct {
	text string
	err  error
}

func (e *explained) Error() string { return e.text }
func (e *explained) Unwrap() error { return e.err }
