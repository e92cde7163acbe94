package container

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/layer"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/selinux"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/usage"
)

// A layerTree is a derived layer as ostree commits it: a tree of its own, in
// which whiteouts are files, with parents for all that is in it. Files have no
// SELinux label: those of a builder's host mean nothing here.
type layerTree struct {
	root *rootfs.Inode
	said map[*rootfs.Inode]owner // owners of directories by their own entries in the layer

	changes bool // an operating system, and is not a part of it
}

// An owner is the metadata of a directory.
type owner struct {
	mode, uid, gid uint32
	xattrs         map[string]string
}

func ownerOf(n *rootfs.Inode) owner { return owner{n.Mode, n.UID, n.GID, n.Xattrs} }

// give makes a directory the owner's.
func (o owner) give(n *rootfs.Inode) { n.Mode, n.UID, n.GID, n.Xattrs = o.mode, o.uid, o.gid, o.xattrs }

// same compares owners, labels aside.
func (o owner) same(p owner) bool {
	return o.mode == p.mode && o.uid == p.uid && o.gid == p.gid && maps.Equal(unlabelled(o.xattrs), unlabelled(p.xattrs))
}

// String returns mode and owner as ls does, and xattrs if there are any.
func (o owner) String() string {
	s := fmt.Sprintf("%04o %d:%d", o.mode&0o7777, o.uid, o.gid)
	if x := slices.Sorted(maps.Keys(unlabelled(o.xattrs))); len(x) > 0 {
		s += fmt.Sprintf(" with %q", x)
	}
	return s
}

// unlabelled returns xattrs as they count: without a label, and without those
// that are empty, which do not survive on the way into a repository.
func unlabelled(xattrs map[string]string) map[string]string {
	drop := func(name, value string) bool { return name == selinux.Xattr || value == "" }
	for name, value := range xattrs {
		if drop(name, value) {
			xattrs = maps.Clone(xattrs)
			maps.DeleteFunc(xattrs, drop)
			break
		}
	}
	if len(xattrs) == 0 {
		return nil
	}
	return xattrs
}

// Limits of an image. The second one is there because an entry stands for
// all of its parents: a short list of long names makes a very large tree.
var (
	maxDepth = 256     // directories, as in ostree
	maxNodes = 2 << 20 // in all derived layers
)

// A builder makes the tree of a layer.
type builder struct {
	layerTree
	number int
	index  *layer.Index
	blob   func(off, size int64) rootfs.Blob
	filter filter
	oci    bool
	lower  *rootfs.Inode     // the tree below the layer, nil for none
	links  map[string]*link  // hard links, which may come before their targets
	lost   map[string]string // by directory, the first file that is not imported
	nodes  *int
	warns  *warnings
	usrEtc bool // has been warned of

	objects map[string]*changedObject // by name
	aliases map[string]string         // by the name of an object that is a hard link: its target
	inEtc   map[string]*layer.Entry   // entries of usr/etc by placed name
	found   []*finding
}

// A finding is a fault that many entries of a layer may have. One warning names the
// first of them.
type finding struct {
	path, what string
	more       int
}

// find takes note of an entry.
func (b *builder) find(path, what string) {
	for _, f := range b.found {
		if f.what == what {
			f.more++
			return
		}
	}
	b.found = append(b.found, &finding{path: path, what: what})
}

// warnFound warns of the findings.
func (b *builder) warnFound() {
	for _, f := range b.found {
		if f.more > 0 {
			f.what += fmt.Sprintf(" (and %d more)", f.more)
		}
		b.warn(f.path, "%s", f.what)
	}
}

// A link is a hard link that has not been made yet.
type link struct {
	dir          *rootfs.Inode
	name, target string
	file         *rootfs.Inode // the target, once it is known
}

// build makes the tree of a derived layer.
func (b *builder) build() (*layerTree, error) {
	if objects := b.index.Objects; len(objects) > 0 {
		return nil, fmt.Errorf("%s: an object of the commit in a layer on top of it", ostree.ObjectPath(objects[0].ID, objects[0].Type))
	}
	b.root, b.said = rootfs.Dir(0o755), map[*rootfs.Inode]owner{}
	b.links, b.lost, b.inEtc = map[string]*link{}, map[string]string{}, map[string]*layer.Entry{}
	b.findObjects()
	for i := range b.index.Entries {
		e := &b.index.Entries[i]
		if err := b.add(e); err != nil {
			return nil, fmt.Errorf("%s: %w", quote(e.Name), err)
		}
	}
	maps.DeleteFunc(b.links, func(name string, l *link) bool { // a file that is a link to itself remains
		return l.target == name && b.root.Lookup(name) != nil
	})
	for _, name := range slices.Sorted(maps.Keys(b.links)) {
		if err := b.connect(name); err != nil {
			return nil, fmt.Errorf("%s: %w", quote(name), err)
		}
	}
	b.warnFound()
	for _, top := range slices.Sorted(maps.Keys(b.lost)) {
		b.warn(top, "%s is not imported, nor is anything else in there; a container has it", quote(b.lost[top]))
	}
	tree := b.layerTree // without the rest of the builder, which keeps the index
	return &tree, nil
}

func (b *builder) warn(path, format string, args ...any) {
	b.warns.add(b.number, path, format, args...)
}

// add adds an entry.
func (b *builder) add(e *layer.Entry) error {
	said := e
	if e = b.throughObject(e); e == nil {
		return nil
	}
	if strings.HasPrefix(e.Name, "usr/etc/") && e.Mode&rootfs.ModeType != rootfs.ModeDir && !b.usrEtc {
		what := "a container does not have it in /etc, the system will"
		if strings.HasPrefix(path.Base(e.Name), whiteout) {
			what = "a whiteout: a container keeps the file of that name in /etc, the system will not have it"
		}
		b.warn(e.Name, "%s", what)
		b.usrEtc = true
	}
	name, ok := b.filter.place(e.Name)
	if !ok {
		if e.Size > 0 && b.lost[name] == "" {
			b.lost[name] = e.Name
		}
		return nil
	}
	depth := strings.Count(name, "/") // directories that it is in
	if e.Mode&rootfs.ModeType == rootfs.ModeDir {
		depth++
	}
	if depth > maxDepth {
		return fmt.Errorf("deeper than %d directories", maxDepth)
	}
	if err := b.count(); err != nil {
		return err
	}
	if err := checkWhiteout(path.Base(name)); err != nil {
		return err
	}
	if e == said {
		b.checkRecords(name, e)
	}
	if name == "." {
		return b.addRoot(e)
	}
	return b.put(name, e)
}

// put puts an entry where the system has it.
func (b *builder) put(name string, e *layer.Entry) error {
	if strings.HasPrefix(name, "usr/etc/") {
		defer func() { b.inEtc[name] = e }()
	}
	if e.HardLink {
		return b.addLink(name, e)
	}
	n, err := b.inode(e)
	if err != nil {
		return err
	}
	dir, err := b.parent(name, e)
	if err != nil {
		return err
	}
	if n.IsDir() {
		return b.addDir(dir, name, n, e)
	}
	return b.addFile(dir, name, n, e)
}

// asOne explains that two entries become one, because the system has the files
// of /etc in usr/etc. It returns "" for entries of the same name.
func (b *builder) asOne(name string, e *layer.Entry) string {
	other := b.inEtc[name]
	if other == nil || other.Name == e.Name {
		return ""
	}
	return fmt.Sprintf("%s is %s, and %s is %s; the system has /etc in usr/etc, so that both are one name",
		quote(other.Name), kind(other), quote(e.Name), kind(e))
}

// kind describes an entry.
func kind(e *layer.Entry) string {
	switch {
	case e.HardLink:
		return "a hard link to " + quote(e.Target)
	case e.Mode&rootfs.ModeType == rootfs.ModeLink:
		return "a symbolic link to " + quote(e.Target)
	case e.Mode&rootfs.ModeType == rootfs.ModeDir:
		return "a directory"
	}
	return "a file"
}

func (b *builder) count() error {
	if *b.nodes++; *b.nodes > maxNodes {
		return fmt.Errorf("more than %d files and directories in the derived layers", maxNodes)
	}
	return nil
}

// Names of whiteouts: ".wh.NAME" removes NAME, and opaque removes all that is
// in its directory.
const (
	whiteout = ".wh."
	opaque   = whiteout + whiteout + ".opq"
)

// checkWhiteout refuses names that would remove the directory they are in, or
// the one above, where a tool is not careful.
func checkWhiteout(name string) error {
	switch rest, ok := strings.CutPrefix(name, whiteout); {
	case !ok:
	case rest == "", rest == ".", rest == "..":
		return errors.New("a whiteout of nothing that can be in a directory")
	}
	return nil
}

// checkRecords warns of an entry of the tar that importers cannot copy. They make a
// new entry of a changed object, see [changedObject].
func (b *builder) checkRecords(name string, e *layer.Entry) {
	if name == "." && e.Absolute {
		b.find(name, `an entry of the name "/": many importers refuse the layer (paths in archives must have at least one component), and so may the system at its next upgrade`)
	}
	for _, value := range e.Xattrs {
		if strings.Contains(value, "\n") {
			b.find(name, "an extended attribute with a newline in its value: the importer of the system refuses the layer at its next upgrade")
			return
		}
	}
}

func (b *builder) addRoot(e *layer.Entry) error {
	if e.HardLink || e.Mode&rootfs.ModeType != rootfs.ModeDir {
		return errors.New("the root is not a directory")
	}
	n, err := b.inode(e)
	if err != nil {
		return err
	}
	ownerOf(n).give(b.root)
	b.said[b.root] = ownerOf(n)
	return nil
}

// addDir adds a directory, or has the one that is there be as this entry says.
func (b *builder) addDir(dir *rootfs.Inode, name string, n *rootfs.Inode, e *layer.Entry) error {
	base := path.Base(name)
	have := dir.Children[base]
	switch {
	case have == nil:
		have = n
		dir.Children[base] = n
	case !have.IsDir():
		if both := b.asOne(name, e); both != "" {
			return errors.New(both)
		}
		return errors.New("is a directory here, and a file further up in the layer")
	}
	ownerOf(n).give(have)
	b.said[have] = ownerOf(n)
	return nil
}

func (b *builder) addFile(dir *rootfs.Inode, name string, n *rootfs.Inode, e *layer.Entry) error {
	base := path.Base(name)
	have := dir.Children[base]
	if have != nil && have.IsDir() {
		if both := b.asOne(name, e); both != "" {
			return errors.New(both)
		}
		return errors.New("is a file here, and a directory further up in the layer")
	}
	if l := b.links[name]; l != nil && b.oci {
		delete(b.links, name)
	} else if l != nil {
		b.warn(name, "twice in the layer: ostree makes it a hard link to %s; a container runtime takes the file, which comes last", quote(l.target))
	} else if both := b.asOne(name, e); have != nil && both != "" {
		b.warn(name, "%s; the last one counts", both)
	} else if have != nil {
		b.warn(name, "twice in the layer; the last one counts")
	}
	dir.Children[base] = n
	return nil
}

func (b *builder) addLink(name string, e *layer.Entry) error {
	dir, err := b.parent(name, e)
	if err != nil {
		return err
	}
	if have := dir.Children[path.Base(name)]; have != nil && have.IsDir() {
		if both := b.asOne(name, e); both != "" {
			return errors.New(both)
		}
		return errors.New("is a hard link here, and a directory further up in the layer")
	}
	b.links[name] = &link{dir: dir, name: path.Base(name), target: etc(e.Target)}
	return nil
}

// inode returns the inode of an entry. Its type must be one that a commit can
// have.
func (b *builder) inode(e *layer.Entry) (*rootfs.Inode, error) {
	n := &rootfs.Inode{Mode: e.Mode, UID: e.UID, GID: e.GID, Target: strings.Clone(e.Target), Xattrs: unlabelled(e.Xattrs)} // without the index
	switch _, labelled := e.Xattrs[selinux.Xattr]; {
	case labelled && n.IsDir():
		b.find(etc(e.Name), "a directory with a label of SELinux: ostree refuses the layer, and so will the system at its next upgrade")
	case labelled:
		b.find(etc(e.Name), "a file with a label of SELinux: the label is dropped here; at its next upgrade the system will store the file as a damaged object, which ostree fsck reports")
	}
	switch n.Type() {
	case rootfs.ModeDir:
		n.Children = map[string]*rootfs.Inode{}
	case rootfs.ModeFile:
		if e.Size > 0 {
			n.Content = b.blob(e.Off, e.Size)
		}
	case rootfs.ModeLink:
		if n.Mode != linkMode {
			b.find(etc(e.Name), "a symbolic link with another mode than 0777, which no file system keeps: at its next upgrade the system will store the link as a damaged object, which ostree fsck reports")
		}
		n.Mode = linkMode
	case rootfs.ModeChar:
		if e.Rdev == 0 {
			return nil, errors.New("a whiteout in the form of overlayfs, which is not that of a layer")
		}
		return nil, device("character device", e.Rdev)
	case rootfs.ModeBlock:
		return nil, device("block device", e.Rdev)
	case rootfs.ModeFIFO:
		return nil, errors.New("a fifo; a commit has regular files, symbolic links and directories only")
	default:
		return nil, fmt.Errorf("file of mode %#o; a commit has regular files, symbolic links and directories only", e.Mode)
	}
	for name, value := range e.Xattrs {
		if value == "" && name != selinux.Xattr && !n.IsDir() {
			b.find(etc(e.Name), "an extended attribute without a value is dropped here: at its next upgrade the system will store the file as a damaged object, which ostree fsck reports")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(n.Xattrs)) {
		if err := b.checkXattr(e.Name, name, n.Xattrs[name]); err != nil {
			return nil, fmt.Errorf("xattr %s: %w", quote(name), err)
		}
	}
	return n, nil
}

// linkMode is the mode of a symbolic link in every file system.
const linkMode = rootfs.ModeLink | 0o777

func device(kind string, rdev uint64) error {
	return fmt.Errorf("a %s, %d:%d; a commit has regular files, symbolic links and directories only", kind, unix.Major(rdev), unix.Minor(rdev))
}

// Forms of security.capability, which struct vfs_ns_cap_data has.
const (
	capabilityV2 = 20 // bytes
	capabilityV3 = 24 // the last four are the user ID of the root of the name space
)

// checkXattr refuses xattrs that would mean something to the overlay that a
// system is run from, and warns of capabilities that would mean nothing.
func (b *builder) checkXattr(path, name, value string) error {
	switch {
	case strings.HasPrefix(name, "trusted.overlay."):
		return errors.New("of an overlayfs, which is not part of a layer")
	case name == "security.capability" && len(value) != capabilityV2 && len(value) != capabilityV3:
		b.warn(path, "file capabilities of %d bytes, which Linux does not read", len(value))
	case name == "security.capability" && len(value) == capabilityV3 && value[capabilityV2:] != "\x00\x00\x00\x00":
		b.warn(path, "file capabilities that hold in the name space of its builder only")
	}
	return nil
}

// parent returns the directory that an entry is in. One that the layer does
// not have is made, and belongs to the owner of the entry.
func (b *builder) parent(name string, e *layer.Entry) (*rootfs.Inode, error) {
	dir := b.root
	parts := strings.Split(name, "/")
	parts = parts[:len(parts)-1]
	for i, part := range parts {
		next := dir.Children[part]
		if next == nil {
			return b.autocreate(parts, e)
		}
		if !next.IsDir() {
			return nil, b.notDir(path.Join(parts[:i+1]...))
		}
		dir = next
	}
	return dir, nil
}

// notDir is the error for a parent that is something else.
func (b *builder) notDir(name string) error {
	if e := b.inEtc[name]; e != nil {
		return fmt.Errorf("%s is not a directory in this layer, and no link is followed: %s is %s", quote(name), quote(e.Name), kind(e))
	}
	return fmt.Errorf("%s is not a directory in this layer, and no link is followed", quote(name))
}

// autocreate makes directories that are missing. With ostree all on the way
// to there, which may have entries, become the owner's as well.
func (b *builder) autocreate(parts []string, e *layer.Entry) (*rootfs.Inode, error) {
	made := owner{mode: rootfs.ModeDir | 0o755, uid: e.UID, gid: e.GID}
	if b.oci {
		made.uid, made.gid = 0, 0
	} else {
		made.give(b.root)
	}
	dir := b.root
	for i, part := range parts {
		next := dir.Children[part]
		switch {
		case next == nil:
			if err := b.count(); err != nil {
				return nil, err
			}
			next = &rootfs.Inode{Children: map[string]*rootfs.Inode{}}
			made.give(next)
			dir.Children[part] = next
		case !next.IsDir():
			return nil, b.notDir(path.Join(parts[:i+1]...))
		case !b.oci:
			made.give(next)
		}
		dir = next
	}
	return dir, nil
}

// connect makes a hard link, and those between it and its target.
func (b *builder) connect(name string) error {
	l := b.links[name]
	var chain []*link
	seen := map[*link]bool{}
	for next := l; next != nil && next.file == nil; next = b.links[next.target] {
		if seen[next] {
			return fmt.Errorf("hard link to %s: goes round in a circle", quote(l.target))
		}
		seen[next] = true
		chain = append(chain, next)
	}
	if len(chain) == 0 {
		return nil
	}
	if b.links[l.target] != nil {
		b.find(name, "a hard link to a name that is a hard link itself: ostree refuses some of these, and so may the system at its next upgrade")
	}
	last := chain[len(chain)-1]
	file, err := b.linked(last.target)
	if err != nil {
		return fmt.Errorf("hard link to %s: %w", quote(last.target), err)
	}
	for _, l := range chain {
		if have := l.dir.Children[l.name]; have != nil && have.IsDir() {
			return errors.New("is a directory here, and a hard link further up in the layer")
		}
		l.file = file
		l.dir.Children[l.name] = file
	}
	return nil
}

// linked returns the file that a hard link is to.
func (b *builder) linked(target string) (*rootfs.Inode, error) {
	n := b.root.Lookup(target)
	below := false
	if n == nil && b.lower != nil {
		n, below = b.lower.Lookup(target), true
	}
	switch {
	case n == nil:
		return nil, errors.New("there is no such file in the layer")
	case n.IsDir():
		return nil, errors.New("which is a directory")
	case below && !b.oci:
		return nil, usage.Avoidable{Field: "Merge", Err: errors.New("which is in a lower layer only: a container has a copy of the file, ostree refuses the layer, and so will the system at its next upgrade")}
	case below:
		b.warn(target, "in a lower layer, and linked to by this one: it is a copy of the file here; ostree refuses the layer, and so will the system at its next upgrade")
	}
	return n, nil
}
