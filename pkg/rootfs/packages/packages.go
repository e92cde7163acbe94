// Package packages lists the installed packages of a tree, from the databases of
// package managers:
//
//	dpkg  status, a text file of paragraphs
//	rpm   rpmdb.sqlite, whose table Packages has the header of every package
//
// The databases are read in place, without executing anything. Of a package, only
// name, version and architecture are read. The older forms of the rpm database,
// Berkeley DB and ndb, are rejected.
package packages

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// A Package is an installed package.
type Package struct {
	Kind    string // rpm or dpkg
	Name    string
	Version string // as printed by the package manager: [EPOCH:]VERSION-RELEASE
	Arch    string
}

// Directories of databases. rpm-ostree has the database in /usr/share. dpkg knows
// only /var; authors of images move the database from there to /usr/lib.
var (
	rpmDirs  = []string{"usr/share/rpm", "usr/lib/sysimage/rpm", "var/lib/rpm"}
	dpkgDirs = []string{"var/lib/dpkg", "usr/lib/sysimage/dpkg"}
)

// Read returns the installed packages of a tree, sorted by kind, name, architecture
// and version. A tree without databases has no packages.
func Read(root *rootfs.Inode) ([]Package, error) {
	var all []Package
	for _, db := range []struct {
		dirs []string
		file string
		read func(dir *rootfs.Inode) ([]Package, error)
	}{
		{rpmDirs, rpmFile, readRPM},
		{dpkgDirs, dpkgFile, readDpkg},
	} {
		for _, dir := range db.dirs {
			in := root.Resolve(dir)
			if in == nil || !in.IsDir() {
				continue
			}
			if _, err := root.FindFile(path.Join(dir, db.file)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			found, err := db.read(in)
			if errors.Is(err, errNone) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", path.Join(dir, db.file), err)
			}
			all = append(all, found...)
			break
		}
	}
	slices.SortFunc(all, func(a, b Package) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Arch, b.Arch), cmp.Compare(a.Version, b.Version))
	})
	return all, nil
}

// errNone means that a folder has no database.
var errNone = errors.New("no database")

// A Change is a package whose versions differ between two trees. Some packages, such
// as kernels, may be installed in several versions.
type Change struct {
	Kind string   `json:"kind"` // rpm or dpkg
	Name string   `json:"name"`
	Arch string   `json:"arch"`
	A    []string `json:"a"` // versions in the first tree, empty without the package
	B    []string `json:"b"` // versions in the second tree
}

// Diff returns the changes from a to b, sorted by kind, name and architecture.
func Diff(a, b []Package) []Change {
	type key struct{ kind, name, arch string }
	both := map[key]*Change{}
	change := func(p Package) *Change {
		k := key{p.Kind, p.Name, p.Arch}
		if both[k] == nil {
			both[k] = &Change{Kind: p.Kind, Name: p.Name, Arch: p.Arch, A: []string{}, B: []string{}}
		}
		return both[k]
	}
	for _, p := range a {
		c := change(p)
		c.A = append(c.A, p.Version)
	}
	for _, p := range b {
		c := change(p)
		c.B = append(c.B, p.Version)
	}
	changes := []Change{}
	for _, k := range slices.SortedFunc(maps.Keys(both), func(a, b key) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.name, b.name), cmp.Compare(a.arch, b.arch))
	}) {
		if c := both[k]; !slices.Equal(c.A, c.B) {
			changes = append(changes, *c)
		}
	}
	return changes
}
