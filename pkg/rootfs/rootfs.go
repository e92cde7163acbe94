// Package rootfs has the types of file trees: Inode, a node of a tree, and
// Blob, the content of a file.
//
// A tree is plain data. The layers of a container become one, an ostree
// deployment is one, and a file system writer lays one out on a disk. Its
// subpackages turn trees into trees; none of them needs root, because owners,
// modes, labels and devices are numbers and strings here.
//
// File content stays where it is: an inode refers to it as a [Blob].
package rootfs

import (
	"fmt"
	"io"
	"iter"
	"maps"
	"path"
	"reflect"
	"slices"
	"strings"
)

// A Blob is immutable content of known size, readable at any offset by many
// goroutines at once. *bytes.Reader, *strings.Reader, *io.SectionReader and
// *disk.Image are Blobs.
type Blob interface {
	io.ReaderAt
	Size() int64
}

// File type bits of [Inode.Mode], as in stat(2).
const (
	ModeType   = 0o170000
	ModeSocket = 0o140000
	ModeLink   = 0o120000
	ModeFile   = 0o100000
	ModeBlock  = 0o060000
	ModeDir    = 0o040000
	ModeChar   = 0o020000
	ModeFIFO   = 0o010000
)

// Time is a moment as file systems keep it. The zero value is the Unix epoch.
type Time struct {
	Sec  int64  // seconds since 1970-01-01 UTC
	Nsec uint32 // 0 to 999,999,999
}

// An Inode is a file, directory, symbolic link or special file. One *Inode
// under several names is a hard link. Trees are values: a function that receives
// a tree does not change it, so inodes, and the maps in them, may be shared between
// trees.
type Inode struct {
	Mode      uint32 // raw st_mode: type and all twelve permission bits
	UID, GID  uint32
	MTime     Time
	Rdev      uint64            // device number of character and block devices, as makedev(3) packs it
	Xattrs    map[string]string // full name ("security.selinux") to raw value; may be shared
	Target    string            // target of a symbolic link
	Content   Blob              // content of a regular file; nil is empty
	Children  map[string]*Inode // entries of a directory
	Immutable bool              // the inode flag that chattr(1) calls +i
}

// Type returns the file type bits of the mode.
func (n *Inode) Type() uint32 { return n.Mode & ModeType }

// IsDir reports whether n is a directory.
func (n *Inode) IsDir() bool { return n.Type() == ModeDir }

// IsFile reports whether n is a regular file.
func (n *Inode) IsFile() bool { return n.Type() == ModeFile }

// IsLink reports whether n is a symbolic link.
func (n *Inode) IsLink() bool { return n.Type() == ModeLink }

// Size returns st_size of a file or symbolic link, and 0 for other types: the size of
// a directory depends on its file system.
func (n *Inode) Size() int64 {
	switch {
	case n.IsFile() && n.Content != nil:
		return n.Content.Size()
	case n.IsLink():
		return int64(len(n.Target))
	}
	return 0
}

// An XattrsID tells maps of extended attributes apart without comparing them.
type XattrsID uintptr

// XattrsID returns the identity of n.Xattrs: inodes that share their map have the
// same one. All nil maps are the same. It is valid while the map is in use.
func (n *Inode) XattrsID() XattrsID { return XattrsID(reflect.ValueOf(n.Xattrs).Pointer()) }

// Device returns the numbers of a device, which makedev(3) packs into Rdev.
func (n *Inode) Device() (major, minor uint64) {
	return n.Rdev>>8&0xFFF | n.Rdev>>32&0xFFFFF000, n.Rdev&0xFF | n.Rdev>>12&0xFFFFFF00
}

// ValidName reports whether a directory entry may have a name: not empty, neither "."
// nor "..", without slashes and NUL bytes.
func ValidName(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsAny(name, "/\x00")
}

// Names returns the names in a directory in byte order.
func (n *Inode) Names() []string {
	names := slices.AppendSeq(make([]string, 0, len(n.Children)), maps.Keys(n.Children))
	slices.Sort(names)
	return names
}

// Lookup returns the inode at a slash-separated path below n, or nil. It
// follows no symbolic links. The empty path and "." are n itself.
func (n *Inode) Lookup(name string) *Inode {
	for part := range strings.SplitSeq(strings.Trim(path.Clean("/"+name), "/"), "/") {
		if part == "" {
			continue
		}
		if n = n.Children[part]; n == nil {
			return nil
		}
	}
	return n
}

// Walk yields every path below and including n, parents before children and
// siblings in byte order. The path of n itself is ".". A hard link is yielded
// under each of its names.
func (n *Inode) Walk() iter.Seq2[string, *Inode] {
	return func(yield func(string, *Inode) bool) { n.walk(".", yield) }
}

func (n *Inode) walk(name string, yield func(string, *Inode) bool) bool {
	if !yield(name, n) {
		return false
	}
	for _, child := range n.Names() {
		if !n.Children[child].walk(path.Join(name, child), yield) {
			return false
		}
	}
	return true
}

// Place puts child at a slash-separated path below n, which must be a tree
// that the caller is building. Missing parents become directories of mode
// 0755 that belong to root. It is an error to replace anything.
func (n *Inode) Place(name string, child *Inode) error {
	if !n.IsDir() {
		return fmt.Errorf("%s: its root is not a directory", name)
	}
	dir, base := path.Split(strings.Trim(path.Clean("/"+name), "/"))
	for part := range strings.SplitSeq(strings.Trim(dir, "/"), "/") {
		if part == "" {
			continue
		}
		next := n.Children[part]
		if next == nil {
			next = Dir(0o755)
			n.add(part, next)
		}
		if !next.IsDir() {
			return fmt.Errorf("%s: %s is not a directory", name, part)
		}
		n = next
	}
	if base == "" || n.Children[base] != nil {
		return fmt.Errorf("%s: exists", name)
	}
	n.add(base, child)
	return nil
}

func (n *Inode) add(name string, child *Inode) {
	if n.Children == nil {
		n.Children = map[string]*Inode{}
	}
	n.Children[name] = child
}

// Dir returns an empty directory of the given permissions that belongs to root.
func Dir(perm uint32) *Inode {
	return &Inode{Mode: ModeDir | perm, Children: map[string]*Inode{}}
}

// File returns a regular file of the given permissions that belongs to root.
func File(perm uint32, content Blob) *Inode {
	return &Inode{Mode: ModeFile | perm, Content: content}
}

// Text returns a regular file that holds s.
func Text(perm uint32, s string) *Inode { return File(perm, strings.NewReader(s)) }

// Link returns a symbolic link.
func Link(target string) *Inode { return &Inode{Mode: ModeLink | 0o777, Target: target} }

// ReadAll returns the content of a Blob of at most limit bytes.
func ReadAll(b Blob, limit int64) ([]byte, error) {
	if b == nil {
		return nil, nil
	}
	if b.Size() > limit {
		return nil, fmt.Errorf("%s, at most %s are read", Bytes(b.Size()), Bytes(limit))
	}
	buf := make([]byte, b.Size())
	if err := ReadFull(b, buf, 0); err != nil {
		return nil, err
	}
	return buf, nil
}

// ReadFull reads all of p or fails.
func ReadFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}
