package inspect

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// A Tree is the tree that a system sees when it is booted. A directory that
// stands for a file system which cannot be read is empty.
type Tree struct {
	Root   *rootfs.Inode
	unread map[*rootfs.Inode]error // by the empty directory
}

// Booted returns the tree that the system on a disk sees when it is booted: its
// deployment is the root, and the other file systems stand where it mounts them.
// Without a deployment the root is the root file system, and without a root
// file system it is the volume of the whole disk.
func (d *Disk) Booted() (*Tree, error) {
	t := &Tree{unread: map[*rootfs.Inode]error{}}
	trees := map[string]*rootfs.Inode{}
	for _, p := range d.Partitions() {
		label := p.role()
		if label == "" {
			continue
		}
		tree, err := d.Tree(p)
		if err != nil {
			tree = rootfs.Dir(0o755)
			t.unread[tree] = err
		}
		trees[label] = tree
	}
	root := trees[labelRoot]
	if root == nil {
		if d.Volume == nil {
			return nil, disk.Unsupported("no file system with the label root")
		}
		var err error
		if root, err = readTree(d.Content, *d.Volume); err != nil {
			return nil, damage(err)
		}
	}
	boot := t.mount(trees[labelBoot], "efi", trees[labelESP])
	all := Deployments(root)
	if len(all) == 0 {
		t.Root = t.mount(root, "boot", boot)
		return t, nil
	}
	system := Mount(all[0].Root, "sysroot", root)
	system = Mount(system, "var", all[0].Var)
	t.Root = Mount(system, "boot", boot)
	return t, nil
}

// Labels of the file systems that make a system.
const (
	labelRoot = "root"
	labelBoot = "boot"
	labelESP  = "EFI-SYSTEM"
)

// role returns the label of a file system of the system, and "" for any other.
// The name of the partition stands in for the label of a damaged file system.
func (p Partition) role() string {
	for _, name := range []string{p.Label, p.Name} {
		if name == labelRoot || name == labelBoot || name == labelESP {
			return name
		}
	}
	return ""
}

// mount is [Mount] that keeps the error of a directory.
func (t *Tree) mount(dir *rootfs.Inode, name string, tree *rootfs.Inode) *rootfs.Inode {
	with := Mount(dir, name, tree)
	if err := t.unread[dir]; err != nil {
		t.unread[with] = err
	}
	return with
}

// Mount returns dir with another tree in place of one of its entries. It
// returns dir itself if dir or tree is nil.
func Mount(dir *rootfs.Inode, name string, tree *rootfs.Inode) *rootfs.Inode {
	if dir == nil || tree == nil {
		return dir
	}
	with := *dir
	if with.Children = maps.Clone(dir.Children); with.Children == nil {
		with.Children = map[string]*rootfs.Inode{}
	}
	with.Children[name] = tree
	return &with
}

// Err returns the errors of the file systems that could not be read, each once,
// as one error in one line. It is nil if the tree is complete.
func (t *Tree) Err() error {
	var texts []string
	isDamaged := false
	for _, err := range t.unread {
		texts = append(texts, err.Error())
		isDamaged = isDamaged || errors.Is(err, ErrDamaged)
	}
	if texts == nil {
		return nil
	}
	slices.Sort(texts)
	err := errors.New(strings.Join(slices.Compact(texts), "; "))
	if isDamaged {
		return damaged{err}
	}
	return err
}

// Find returns the inode at a path, through symbolic links. The error of a
// missing file names the file systems that could not be read, too: the file may
// be on one of them.
func (t *Tree) Find(name string) (*rootfs.Inode, error) {
	if in := t.Root.Resolve(name); in != nil {
		return in, t.unread[in]
	}
	err := fmt.Errorf("%s: no such file or directory", name)
	if unread := t.Err(); unread != nil {
		return nil, fmt.Errorf("%w; %w", err, unread)
	}
	return nil, err
}

// A Deployment is an ostree deployment in a root file system.
type Deployment struct {
	Stateroot string `json:"stateroot"`
	Commit    string `json:"ostree_commit"`
	Origin    string `json:"origin"` // reference of the container that updates come from, or ""

	Root *rootfs.Inode `json:"-"` // the tree of the operating system
	Var  *rootfs.Inode `json:"-"` // /var of its stateroot; nil if there is none

	dir  *rootfs.Inode // of the stateroot's deployments
	name string        // in dir
}

// Deployments returns the deployments in a root file system, ordered by
// stateroot and name. It does not read their origins.
func Deployments(root *rootfs.Inode) []Deployment {
	all := []Deployment{}
	stateroots := root.Lookup("ostree/deploy")
	if stateroots == nil {
		return all
	}
	for _, stateroot := range stateroots.Names() {
		dir := stateroots.Lookup(path.Join(stateroot, "deploy"))
		if dir == nil {
			continue
		}
		for _, name := range dir.Names() {
			if !dir.Children[name].IsDir() {
				continue
			}
			commit, _, _ := strings.Cut(name, ".")
			all = append(all, Deployment{
				Stateroot: stateroot, Commit: commit, Root: dir.Children[name], Var: stateroots.Lookup(path.Join(stateroot, "var")),
				dir: dir, name: name,
			})
		}
	}
	return all
}

// readLimit bounds the files of an image that are read as text.
const readLimit = 1 << 20

// origin reads the origin file of a deployment.
func (d Deployment) origin() (string, error) {
	text, err := d.dir.ReadFile(d.name+".origin", readLimit)
	if err != nil {
		return "", err
	}
	_, origin, _ := strings.Cut(string(text), "container-image-reference=")
	origin, _, _ = strings.Cut(origin, "\n")
	return origin, nil
}
