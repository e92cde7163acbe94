// Package layer reads the layers of container images.
//
// [Scan] reads an uncompressed tar once, front to back, and takes it apart
// into a pack, which holds the content of its files and nothing else, and an
// [Index], which holds everything but the content:
//
//	tar    | header | content | header | header | content | ... | 0 | 0 |
//	pack   | content, one behind the other, in the order of the tar; content
//	         of 64 KiB or more begins at a multiple of 4 KiB, with zeros
//	         before it, so that file systems can share the blocks
//	index  | names, owners, modes, xattrs, and where the content is in both
//
// A layer of an ostree-native container carries the objects of a repository
// below sysroot/ostree/repo/objects, in the form "bare-split-xattrs": the
// extended attributes of a file are an object of their own in front of it.
// These become [Object]s; the checksum of each is computed on the way and must
// be its name. The hard links that make such a layer look like a file system
// to others say nothing that the objects do not, and are dropped. A layer on
// top of a commit has no objects, only files that happen to have their names:
// see [ScanPlain].
//
// All else becomes an [Entry], as it stands: whiteouts are entries whose names
// begin with ".wh.", devices are entries; the package that merges the
// layers decides about them. A leading "/" or "./" of a name is
// dropped, as importers do.
//
// A layer is hostile. Names that lead out, sizes that are not there, xattrs
// without end and checksums that are wrong are errors that name the entry; no
// claim in a header makes Scan allocate. Sparse files are read expanded, up to a
// bound. Layers of format 0, which no tool makes any
// more, are refused.
package layer

import (
	"errors"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree"
)

// ErrChecksum is in the error for an object whose checksum is not its name.
var ErrChecksum = errors.New("checksum mismatch")

// ErrHoles is in the error for more holes than [Limits] allow.
var ErrHoles = errors.New("most of them holes")

// An Index is all of a layer except the content of its files. Objects and
// entries are in the order of the tar.
type Index struct {
	DiffID   [32]byte // SHA-256 of the tar
	TarSize  int64    // bytes of the tar
	PackSize int64    // bytes of the pack
	PackSum  uint32   // CRC-32C of the pack: against accidents, not attacks
	Plain    bool     // nothing was taken for an object; see [ScanPlain]
	Repo     bool     // the layer has names below sysroot/ostree/repo, or links to there
	Objects  []Object
	Entries  []Entry
}

// Suits reports whether the index is the one that [ScanPlain] returns, or [Scan]
// if plain is false. Of most layers both return the same.
func (x *Index) Suits(plain bool) bool { return x.Plain == plain || !x.Repo }

// An Object is an object of an ostree repository: a commit, dirtree, dirmeta
// or commitmeta, whose content is its bytes, or a file.
type Object struct {
	ID             ostree.Checksum
	Type           ostree.ObjectType
	UID, GID, Mode uint32 // of a file: raw st_mode
	Target         string // of a symbolic link
	Xattrs         []byte // of a file, as in objects: a(ayay); shared, not to be changed
	Content
}

// An Entry is a name in a layer that is no object.
type Entry struct {
	Name     string // clean and relative; the root is "."
	Mode     uint32 // raw st_mode; a hard link has no type
	UID, GID uint32
	MTime    rootfs.Time
	Rdev     uint64            // of a device
	Xattrs   map[string]string // shared, not to be changed
	Target   string            // of a symbolic link, as it is; of a hard link, clean and relative
	HardLink bool
	Absolute bool // the tar has a "/" in front of the target of a hard link, or of the name of another entry
	Content
}

// Content is where the content of a file is.
type Content struct {
	Off    int64 // in the pack
	TarOff int64 // in the tar; -1 for a sparse file, whose content is not in one piece there
	Size   int64
}

// FinalDiffID is the label of a container whose first layers are a commit. It
// is the diffID of the last one of these; only they hold objects.
const FinalDiffID = "ostree.final-diffid"

// Limits bound the content of a layer. The zero value of each means its default.
type Limits struct {
	Tar     int64 // bytes of the tar, and of the pack; default 64 GiB
	Holes   int64 // bytes of the holes in sparse files, which are nothing in the tar and zeros in the pack; default 64 GiB
	Entries int   // headers in the tar; default 1,048,576
	Meta    int64 // bytes of names, link targets and different xattrs, which are kept in memory; default 256 MiB
}

func (l Limits) withDefaults() Limits {
	if l.Tar == 0 {
		l.Tar = 64 << 30
	}
	if l.Holes == 0 {
		l.Holes = 64 << 30
	}
	if l.Entries == 0 {
		l.Entries = 1 << 20
	}
	if l.Meta == 0 {
		l.Meta = 256 << 20
	}
	return l
}
