package ostree

import (
	"fmt"
	"path"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// RepoConfig is the config file of the repository on a CoreOS disk: system
// root read-only, boot entries made without a boot loader's own tools, and
// paths in them that work both with /boot in the root file system and apart.
const RepoConfig = `[core]
repo_version=1
mode=bare

[sysroot]
readonly=true
bootloader=none
bls-append-except-default=grub_users=""
bootprefix=true
`

// An ObjectName is the full name of an object.
type ObjectName struct {
	ID   Checksum
	Type ObjectType
}

// String returns the name as it is in the objects directory.
func (n ObjectName) String() string { return ObjectPath(n.ID, n.Type) }

// A Repo is the content of a repository. The zero value is not usable, see
// [NewRepo].
type Repo struct {
	Metadata map[ObjectName][]byte      // every object that is not a file
	Files    map[Checksum]*rootfs.Inode // regular files and symbolic links
	Refs     map[string]Checksum        // name below refs/heads to commit
	xattrs   map[string]map[string]string
}

// NewRepo returns an empty repository.
func NewRepo() *Repo {
	return &Repo{
		Metadata: map[ObjectName][]byte{},
		Files:    map[Checksum]*rootfs.Inode{},
		Refs:     map[string]Checksum{},
		xattrs:   map[string]map[string]string{},
	}
}

// IDs returns the reverse of r.Files. It is a new map each time, because few callers
// want it and a large repository makes it large.
func (r *Repo) IDs() map[*rootfs.Inode]Checksum {
	ids := make(map[*rootfs.Inode]Checksum, len(r.Files))
	for id, n := range r.Files {
		ids[n] = id
	}
	return ids
}

// Grow makes room for a number of files.
func (r *Repo) Grow(files int) {
	if len(r.Files) == 0 {
		r.Files = make(map[Checksum]*rootfs.Inode, files)
	}
}

// AddMetadata stores a commit, dirtree or dirmeta and returns its name.
func (r *Repo) AddMetadata(t ObjectType, object []byte) Checksum {
	id := Sum(object)
	r.Metadata[ObjectName{id, t}] = object
	return id
}

// AddFile stores a file whose checksum the caller knows. The xattrs are as in
// objects; equal ones share a map. An object that is there already stays.
func (r *Repo) AddFile(id Checksum, uid, gid, mode uint32, target string, xattrs []byte, content rootfs.Blob) error {
	if r.Files[id] != nil {
		return nil
	}
	if t := mode &^ 0o7777; t != rootfs.ModeFile && t != rootfs.ModeLink {
		return fmt.Errorf("%s: mode %#o is neither that of a regular file nor of a symbolic link", id, mode)
	}
	m, err := r.xattrMap(xattrs)
	if err != nil {
		return fmt.Errorf("%s: %w", id, err)
	}
	n := &rootfs.Inode{Mode: mode, UID: uid, GID: gid, Xattrs: m, Target: target, Content: content}
	r.Files[id] = n
	return nil
}

// xattrMap returns extended attributes as inodes have them: nil for none.
// There are few different ones in a system, so equal ones are one map.
func (r *Repo) xattrMap(raw []byte) (map[string]string, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	if m := r.xattrs[string(raw)]; m != nil {
		return m, nil
	}
	xattrs, err := ParseXattrs(raw)
	if err != nil {
		return nil, err
	}
	m := make(map[string]string, len(xattrs))
	for _, x := range xattrs {
		m[x.Name] = x.Value
	}
	r.xattrs[string(raw)] = m
	return m, nil
}

// HasXattr reports whether a file of the repository has an extended attribute, or a
// directory that [Repo.Tree] has returned.
func (r *Repo) HasXattr(name string) bool {
	for _, xattrs := range r.xattrs {
		if _, ok := xattrs[name]; ok {
			return true
		}
	}
	return false
}

// Commit returns a commit of the repository.
func (r *Repo) Commit(id Checksum) (*Commit, error) {
	b := r.Metadata[ObjectName{id, CommitObject}]
	if b == nil {
		return nil, fmt.Errorf("%s is missing", ObjectName{id, CommitObject})
	}
	c, err := ParseCommit(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", id, err)
	}
	return c, nil
}

// Limits of the tree that a commit expands to. A tree may name the same subtree many
// times, so a few kilobytes of objects can stand for any number of files.
var (
	maxDepth = 256 // directories, as in ostree
	maxNodes = 4 << 20
)

// Tree returns the files of a commit, all of which must be there. Files are
// the inodes of r.Files, so every file that a commit has more than once is a
// hard link, and [Repo.IDs] tells its checksum. All times are zero.
func (r *Repo) Tree(commit Checksum) (*rootfs.Inode, error) {
	c, err := r.Commit(commit)
	if err != nil {
		return nil, err
	}
	x := expansion{repo: r, trees: map[Checksum]*Tree{}, metas: map[Checksum]*Meta{}}
	root, err := x.dir("/", c.Tree, c.Meta, 0)
	if err != nil {
		return nil, fmt.Errorf("commit %s: %w", commit, err)
	}
	return root, nil
}

// An expansion turns trees of a commit into inodes, each parsed once.
type expansion struct {
	repo  *Repo
	trees map[Checksum]*Tree
	metas map[Checksum]*Meta
	nodes int
}

func (x *expansion) dir(name string, tree, meta Checksum, depth int) (*rootfs.Inode, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("%s: deeper than %d directories", name, maxDepth)
	}
	m, err := load(x.repo, x.metas, ObjectName{meta, DirMetaObject}, ParseMeta)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	t, err := load(x.repo, x.trees, ObjectName{tree, DirTreeObject}, ParseTree)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if x.nodes += 1 + len(t.Files); x.nodes > maxNodes {
		return nil, fmt.Errorf("%s: more than %d files", name, maxNodes)
	}
	xattrs, err := x.repo.xattrMap(m.Xattrs)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	n := &rootfs.Inode{Mode: m.Mode, UID: m.UID, GID: m.GID, Xattrs: xattrs,
		Children: make(map[string]*rootfs.Inode, len(t.Files)+len(t.Dirs))}
	for _, f := range t.Files {
		file := x.repo.Files[f.ID]
		if file == nil {
			return nil, fmt.Errorf("%s: %s is missing", path.Join(name, f.Name), ObjectName{f.ID, FileObject})
		}
		n.Children[f.Name] = file
	}
	for _, d := range t.Dirs {
		if n.Children[d.Name], err = x.dir(path.Join(name, d.Name), d.Tree, d.Meta, depth+1); err != nil {
			return nil, err
		}
	}
	return n, nil
}

func load[T any](r *Repo, seen map[Checksum]*T, name ObjectName, parse func([]byte) (*T, error)) (*T, error) {
	if v := seen[name.ID]; v != nil {
		return v, nil
	}
	b := r.Metadata[name]
	if b == nil {
		return nil, fmt.Errorf("%s is missing", name)
	}
	v, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	seen[name.ID] = v
	return v, nil
}
