// Package ostree is the object model of OSTree: the names and the serialized
// forms of files, directories and commits.
//
// An object is named by the SHA-256 of its bytes. A commit names a directory
// tree and its metadata, a tree names its files, subdirectories and their
// metadata, and so one checksum stands for a whole file system:
//
//	commit  (a{sv}aya(say)sstayay)  metadata, parent, -, subject, body, time, root tree, root meta
//	dirtree (a(say)a(sayay))        files: name, file; directories: name, tree, meta
//	dirmeta (uuua(ayay))            uid, gid, mode, xattrs
//	file    BE32 length | 0000 | (uuuusa(ayay)) | content
//	                                uid, gid, mode, 0, symlink target, xattrs
//
// All is GVariant, little-endian in its framing, with the numbers themselves
// big-endian. Objects from outside are hostile: every one that is parsed here
// is in the one form that it could have been written in, or refused.
//
// Left out are everything a client needs (pulling, deltas, signatures,
// detached metadata) and every repository mode but "bare".
// See https://ostreedev.github.io/ostree/repo/ and ostree-core.h.
package ostree

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree/gvariant"
)

// A Checksum names an object. The zero value names none.
type Checksum [sha256.Size]byte

// String returns the checksum in 64 lower-case hexadecimal digits.
func (c Checksum) String() string { return hex.EncodeToString(c[:]) }

// ParseChecksum is the reverse of String. Upper-case digits are refused: an
// object has one name.
func ParseChecksum(s string) (Checksum, error) {
	var c Checksum
	if len(s) != 2*len(c) || strings.ToLower(s) != s {
		return c, fmt.Errorf("%q is not a checksum of 64 lower-case hexadecimal digits", s)
	}
	if _, err := hex.Decode(c[:], []byte(s)); err != nil {
		return Checksum{}, fmt.Errorf("%q is not a checksum of 64 lower-case hexadecimal digits", s)
	}
	return c, nil
}

// Sum returns the name of a metadata object (commit, dirtree or dirmeta).
func Sum(object []byte) Checksum { return sha256.Sum256(object) }

// An ObjectType is the kind of an object; with the checksum it makes a name.
type ObjectType uint8

// The types of objects. The last two exist only inside container layers,
// where a file is stored without its extended attributes.
const (
	CommitObject ObjectType = iota + 1
	DirTreeObject
	DirMetaObject
	FileObject
	CommitMetaObject     // detached metadata of a commit, named by the commit
	FileXattrsObject     // extended attributes, by their own checksum
	FileXattrsLinkObject // extended attributes, by the checksum of the file
)

var suffixes = map[ObjectType]string{
	CommitObject:         "commit",
	DirTreeObject:        "dirtree",
	DirMetaObject:        "dirmeta",
	FileObject:           "file",
	CommitMetaObject:     "commitmeta",
	FileXattrsObject:     "file-xattrs",
	FileXattrsLinkObject: "file-xattrs-link",
}

// Suffix returns the file name extension of the type, without the dot.
func (t ObjectType) Suffix() string { return suffixes[t] }

// String returns the suffix, which is also how people call the type.
func (t ObjectType) String() string { return suffixes[t] }

// ObjectPath returns where an object is below the objects directory of a
// repository: "ab/cdef….file".
func ObjectPath(c Checksum, t ObjectType) string {
	name := c.String()
	return name[:2] + "/" + name[2:] + "." + t.Suffix()
}

// ParseObjectPath is the reverse of ObjectPath.
func ParseObjectPath(p string) (Checksum, ObjectType, error) {
	dir, rest, _ := strings.Cut(p, "/")
	name, suffix, _ := strings.Cut(rest, ".")
	c, err := ParseChecksum(dir + name)
	if err != nil || len(dir) != 2 {
		return Checksum{}, 0, fmt.Errorf("%q is not the path of an object", p)
	}
	for t, s := range suffixes {
		if s == suffix {
			return c, t, nil
		}
	}
	return Checksum{}, 0, fmt.Errorf("%q is not the path of an object: unknown type %q", p, suffix)
}

// An Xattr is one extended attribute. The name has no NUL.
type Xattr struct{ Name, Value string }

// Limits of extended attributes: of Linux for one attribute, and of importers of
// containers for all attributes of an object.
const (
	maxXattrName  = 255
	maxXattrValue = 1<<16 - 1
	maxXattrs     = 1 << 20
)

var xattrKinds = []gvariant.Kind{gvariant.Bytes, gvariant.Bytes}

// ParseXattrs reads extended attributes as they are in objects, type a(ayay).
// The order is as found: libostree has not always sorted them.
func ParseXattrs(raw []byte) ([]Xattr, error) {
	if len(raw) > maxXattrs {
		return nil, fmt.Errorf("xattrs: %d bytes, limit is %d", len(raw), maxXattrs)
	}
	elems, err := gvariant.SplitArray(1, raw)
	if err != nil {
		return nil, fmt.Errorf("xattrs: %w", err)
	}
	var xattrs []Xattr
	seen := map[string]bool{}
	for _, e := range elems {
		x, err := parseXattr(e)
		if err != nil {
			return nil, fmt.Errorf("xattrs: %w", err)
		}
		if seen[x.Name] {
			return nil, fmt.Errorf("xattrs: %q twice", x.Name)
		}
		seen[x.Name] = true
		xattrs = append(xattrs, x)
	}
	return xattrs, nil
}

func parseXattr(b []byte) (Xattr, error) {
	m, err := gvariant.SplitTuple(xattrKinds, b)
	if err != nil {
		return Xattr{}, err
	}
	name, err := gvariant.CString(m[0])
	switch {
	case err != nil:
		return Xattr{}, err
	case name == "" || len(name) > maxXattrName:
		return Xattr{}, fmt.Errorf("name of %d bytes, limits are 1 and %d", len(name), maxXattrName)
	case len(m[1]) > maxXattrValue:
		return Xattr{}, fmt.Errorf("%q: value of %d bytes, limit is %d", name, len(m[1]), maxXattrValue)
	}
	return Xattr{name, string(m[1])}, nil
}

// FormatXattrs returns extended attributes as they are in objects, in the
// order given, which for new objects must be by name.
func FormatXattrs(sorted []Xattr) []byte {
	elems := make([][]byte, len(sorted))
	for i, x := range sorted {
		elems[i] = gvariant.Tuple(xattrKinds, gvariant.String(x.Name), []byte(x.Value))
	}
	return gvariant.Array(1, elems...)
}

// XattrsOf returns the extended attributes of an inode as they are in objects.
func XattrsOf(m map[string]string) []byte {
	xattrs := make([]Xattr, 0, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		xattrs = append(xattrs, Xattr{name, m[name]})
	}
	return FormatXattrs(xattrs)
}

var fileKinds = []gvariant.Kind{gvariant.U32, gvariant.U32, gvariant.U32, gvariant.U32, gvariant.Bytes, gvariant.Bytes}

// FileHeader returns the header of a file object: the checksum of the object is
// that of header and content. The mode is a raw
// st_mode, the target is that of a symbolic link, and xattrs are as in objects.
func FileHeader(uid, gid, mode uint32, target string, xattrs []byte) []byte {
	v := gvariant.Tuple(fileKinds, be32(uid), be32(gid), be32(mode), be32(0), gvariant.String(target), xattrs)
	b := make([]byte, 8, 8+len(v))
	binary.BigEndian.PutUint32(b, uint32(len(v)))
	return append(b, v...)
}

func be32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }
