package ostree

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree/gvariant"
)

// MaxMetadata is the size of the largest metadata object that is read, as in
// importers of containers.
const MaxMetadata = 10 << 20

// A Commit is a named state of a tree.
type Commit struct {
	Metadata  []Property // in the order written
	Parent    Checksum   // zero if there is none
	Subject   string
	Body      string
	Timestamp uint64 // seconds since the epoch
	Tree      Checksum
	Meta      Checksum // of the root directory
}

// A Property is an entry of a commit's metadata. The value is serialised, in
// the byte order of the machine that wrote it.
type Property struct {
	Key   string
	Type  string // GVariant type string
	Value []byte
}

// StringProperty returns a property of type s.
func StringProperty(key, value string) Property {
	return Property{key, "s", gvariant.String(value)}
}

var (
	commitKinds = []gvariant.Kind{gvariant.Dict, gvariant.Bytes, gvariant.Bytes, gvariant.Bytes,
		gvariant.Bytes, gvariant.U64, gvariant.Bytes, gvariant.Bytes}
	propertyKinds = []gvariant.Kind{gvariant.Bytes, gvariant.Variant}
)

// Bytes returns the commit object.
func (c *Commit) Bytes() []byte {
	props := make([][]byte, len(c.Metadata))
	for i, p := range c.Metadata {
		variant := slices.Concat(p.Value, []byte{0}, []byte(p.Type))
		props[i] = gvariant.Tuple(propertyKinds, gvariant.String(p.Key), variant)
	}
	var parent []byte
	if c.Parent != (Checksum{}) {
		parent = c.Parent[:]
	}
	return gvariant.Tuple(commitKinds, gvariant.Array(8, props...), parent, nil,
		gvariant.String(c.Subject), gvariant.String(c.Body),
		binary.BigEndian.AppendUint64(nil, c.Timestamp), c.Tree[:], c.Meta[:])
}

// ParseCommit reads a commit object.
func ParseCommit(b []byte) (*Commit, error) {
	c, err := parseCommit(b)
	if err == nil && !bytes.Equal(c.Bytes(), b) {
		err = gvariant.ErrForm
	}
	if err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	return c, nil
}

func parseCommit(b []byte) (*Commit, error) {
	if len(b) > MaxMetadata {
		return nil, fmt.Errorf("%d bytes, limit is %d", len(b), MaxMetadata)
	}
	m, err := gvariant.SplitTuple(commitKinds, b)
	if err != nil {
		return nil, err
	}
	c := &Commit{Timestamp: binary.BigEndian.Uint64(m[5])}
	if len(m[1]) > 0 {
		c.Parent, err = checksumOf(m[1])
	}
	if len(m[2]) > 0 {
		err = errors.Join(err, errors.New("has related commits"))
	}
	var errs [5]error
	c.Metadata, errs[0] = parseProperties(m[0])
	c.Subject, errs[1] = gvariant.Text(m[3])
	c.Body, errs[2] = gvariant.Text(m[4])
	c.Tree, errs[3] = checksumOf(m[6])
	c.Meta, errs[4] = checksumOf(m[7])
	return c, errors.Join(err, errors.Join(errs[:]...))
}

func parseProperties(b []byte) ([]Property, error) {
	elems, err := gvariant.SplitArray(8, b)
	if err != nil {
		return nil, err
	}
	var props []Property
	for _, e := range elems {
		m, err := gvariant.SplitTuple(propertyKinds, e)
		if err != nil {
			return nil, err
		}
		key, err := gvariant.Text(m[0])
		if err != nil {
			return nil, err
		}
		end := bytes.LastIndexByte(m[1], 0)
		if end < 0 {
			return nil, fmt.Errorf("%q: %w", key, gvariant.ErrForm)
		}
		props = append(props, Property{key, string(m[1][end+1:]), m[1][:end:end]})
	}
	return props, nil
}

// A Tree lists a directory, without its own owner and mode. Both lists are in
// byte order of their names.
type Tree struct {
	Files []TreeFile
	Dirs  []TreeDir
}

// A TreeFile is an entry of a Tree: a regular file or symbolic link.
type TreeFile struct {
	Name string
	ID   Checksum
}

// A TreeDir is an entry of a Tree: a directory.
type TreeDir struct {
	Name       string
	Tree, Meta Checksum
}

var (
	treeKinds     = []gvariant.Kind{gvariant.Bytes, gvariant.Bytes}
	treeFileKinds = []gvariant.Kind{gvariant.Bytes, gvariant.Bytes}
	treeDirKinds  = []gvariant.Kind{gvariant.Bytes, gvariant.Bytes, gvariant.Bytes}
)

// Bytes returns the dirtree object.
func (t *Tree) Bytes() []byte {
	files, dirs := gvariant.ArrayWriter{Align: 1}, gvariant.ArrayWriter{Align: 1}
	size := 0
	for _, f := range t.Files {
		size += len(f.Name) + len(f.ID) + 2
	}
	files.Grow(len(t.Files), size)
	var room [maxName + 1]byte
	for _, f := range t.Files {
		files.Tuple(treeFileKinds, append(append(room[:0], f.Name...), 0), f.ID[:])
	}
	for _, d := range t.Dirs {
		dirs.Tuple(treeDirKinds, append(append(room[:0], d.Name...), 0), d.Tree[:], d.Meta[:])
	}
	return gvariant.Tuple(treeKinds, files.Bytes(), dirs.Bytes())
}

// ParseTree reads a dirtree object. Names are checked: they are sorted, unique
// and can be file names.
func ParseTree(b []byte) (*Tree, error) {
	t, err := parseTree(b)
	if err == nil {
		err = t.check()
	}
	if err != nil {
		return nil, fmt.Errorf("dirtree: %w", err)
	}
	return t, nil
}

func parseTree(b []byte) (*Tree, error) {
	if len(b) > MaxMetadata {
		return nil, fmt.Errorf("%d bytes, limit is %d", len(b), MaxMetadata)
	}
	m, err := gvariant.SplitTuple(treeKinds, b)
	if err != nil {
		return nil, err
	}
	files, err := gvariant.SplitArray(1, m[0])
	if err != nil {
		return nil, err
	}
	dirs, err := gvariant.SplitArray(1, m[1])
	if err != nil {
		return nil, err
	}
	t := &Tree{make([]TreeFile, len(files)), make([]TreeDir, len(dirs))}
	for i, e := range files {
		if t.Files[i], err = parseTreeFile(e); err != nil {
			return nil, err
		}
	}
	for i, e := range dirs {
		if t.Dirs[i], err = parseTreeDir(e); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func parseTreeFile(b []byte) (f TreeFile, err error) {
	m, err := gvariant.SplitTuple(treeFileKinds, b)
	if err != nil {
		return f, err
	}
	if f.Name, err = gvariant.CString(m[0]); err != nil {
		return f, err
	}
	f.ID, err = checksumOf(m[1])
	return f, err
}

func parseTreeDir(b []byte) (d TreeDir, err error) {
	m, err := gvariant.SplitTuple(treeDirKinds, b)
	if err != nil {
		return d, err
	}
	if d.Name, err = gvariant.CString(m[0]); err != nil {
		return d, err
	}
	if d.Tree, err = checksumOf(m[1]); err != nil {
		return d, err
	}
	d.Meta, err = checksumOf(m[2])
	return d, err
}

func (t *Tree) check() error {
	names := make(map[string]bool, len(t.Files))
	last := ""
	for _, f := range t.Files {
		if err := checkNext(last, f.Name); err != nil {
			return err
		}
		names[f.Name] = true
		last = f.Name
	}
	last = ""
	for _, d := range t.Dirs {
		if err := checkNext(last, d.Name); err != nil {
			return err
		}
		if names[d.Name] {
			return fmt.Errorf("%q is a file and a directory", d.Name)
		}
		last = d.Name
	}
	return nil
}

// maxName is NAME_MAX of Linux.
const maxName = 255

// checkNext checks a name that follows another in a list. The first one has
// the empty name before it.
func checkNext(last, name string) error {
	switch {
	case name == "" || name == "." || name == ".." || strings.ContainsRune(name, '/'):
		return fmt.Errorf("%q is not a file name", name)
	case !utf8.ValidString(name):
		return fmt.Errorf("name %q is not UTF-8", name)
	case len(name) > maxName:
		return fmt.Errorf("name %q has %d bytes, limit is %d", name, len(name), maxName)
	case name <= last:
		return fmt.Errorf("name %q after %q", name, last)
	}
	return nil
}

// Meta is the owner, mode and extended attributes of a directory.
type Meta struct {
	UID, GID, Mode uint32 // Mode is a raw st_mode
	Xattrs         []byte // as in objects, see ParseXattrs
}

var metaKinds = []gvariant.Kind{gvariant.U32, gvariant.U32, gvariant.U32, gvariant.Bytes}

// Bytes returns the dirmeta object.
func (m *Meta) Bytes() []byte {
	return gvariant.Tuple(metaKinds, be32(m.UID), be32(m.GID), be32(m.Mode), m.Xattrs)
}

// ParseMeta reads a dirmeta object.
func ParseMeta(b []byte) (*Meta, error) {
	if len(b) > MaxMetadata {
		return nil, fmt.Errorf("dirmeta: %d bytes, limit is %d", len(b), MaxMetadata)
	}
	v, err := gvariant.SplitTuple(metaKinds, b)
	if err != nil {
		return nil, fmt.Errorf("dirmeta: %w", err)
	}
	m := &Meta{binary.BigEndian.Uint32(v[0]), binary.BigEndian.Uint32(v[1]), binary.BigEndian.Uint32(v[2]), v[3]}
	if m.Mode&^0o7777 != rootfs.ModeDir {
		return nil, fmt.Errorf("dirmeta: mode %#o is not that of a directory", m.Mode)
	}
	if _, err := ParseXattrs(m.Xattrs); err != nil {
		return nil, fmt.Errorf("dirmeta: %w", err)
	}
	return m, nil
}

func checksumOf(b []byte) (Checksum, error) {
	if len(b) != len(Checksum{}) {
		return Checksum{}, fmt.Errorf("checksum of %d bytes", len(b))
	}
	return Checksum(b), nil
}
