package diff

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"iter"
	"maps"
	"path"
	"slices"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/inspect"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree"
)

// A FileChange is a file or directory that differs, is new, or is gone. The
// files in a directory that only one side has are not listed.
type FileChange struct {
	Path string   `json:"path"` // without a leading slash; "." is the root
	What []string `json:"what"` // removed or added; or type, mode, owner, device, target, xattr NAME, size, content, flags
	A    *File    `json:"a"`    // null if it is missing
	B    *File    `json:"b"`
}

// A File is one side of a [FileChange].
type File struct {
	inspect.File
	Below  int    `json:"below,omitempty"`  // number of files in a directory that only one side has
	SHA256 string `json:"sha256,omitempty"` // of the content, if it differs
}

// Trees compares two trees of files.
func Trees(a, b *rootfs.Inode) (*Diff, error) {
	d := New("a", "b")
	if err := d.files(a, b, nil, nil); err != nil {
		return nil, err
	}
	d.judge()
	return d, nil
}

// A pair is two files of a path whose contents are to be compared.
type pair struct {
	path string
	a, b *rootfs.Inode
}

// A verdict is the result of comparing a pair.
type verdict struct {
	pair
	same       bool
	sumA, sumB string // SHA-256 if they differ
	err        error
}

// changes are the differences of two trees, by path.
type changes map[string]*FileChange

// at returns the change of a path. It adds one if there is none.
func (c changes) at(name string, a, b *rootfs.Inode) *FileChange {
	if c[name] == nil {
		c[name] = &FileChange{Path: name, A: newFile(name, a), B: newFile(name, b)}
	}
	return c[name]
}

// files compares two trees: first the metadata, and then on all cores the
// contents of files whose object ids are unknown or differ.
func (d *Diff) files(a, b *rootfs.Inode, idsA, idsB map[*rootfs.Inode]ostree.Checksum) error {
	found := changes{}
	pairs, err := found.metadata(a, b, idsA, idsB)
	if err != nil {
		return err
	}
	if err := found.contents(pairs); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		d.Files = append(d.Files, *found[name])
	}
	d.same(len(d.Files), "files", below(a))
	return nil
}

// metadata adds the changes of everything but content. It returns the files
// whose contents may differ.
func (c changes) metadata(a, b *rootfs.Inode, idsA, idsB map[*rootfs.Inode]ostree.Checksum) (pairs []pair, err error) {
	later := func(name string, a, b *rootfs.Inode) (bool, error) {
		idA, okA := idsA[a]
		idB, okB := idsB[b]
		if !okA || !okB || idA != idB {
			pairs = append(pairs, pair{name, a, b})
		}
		return true, nil
	}
	for diff, err := range rootfs.DiffFunc(a, b, later) {
		if err != nil {
			return nil, err
		}
		what := counted(diff)
		if what == nil {
			continue
		}
		change := c.at(diff.Path, diff.A, diff.B)
		switch change.What = what; {
		case change.A == nil:
			change.B.Below = below(diff.B)
		case change.B == nil:
			change.A.Below = below(diff.A)
		}
		if slices.Contains(what, "size") {
			pairs = append(pairs, pair{diff.Path, diff.A, diff.B})
		}
	}
	return pairs, nil
}

// contents adds the changes of contents.
func (c changes) contents(pairs []pair) error {
	for v, err := range disk.InOrder(values(pairs), func() func(pair) verdict { return pair.compare }) {
		if err = cmp.Or(err, v.err); err != nil {
			return fmt.Errorf("/%s: %w", v.path, err)
		}
		if !v.same {
			change := c.at(v.path, v.a, v.b)
			change.What = append(change.What, "content")
			change.A.SHA256, change.B.SHA256 = v.sumA, v.sumB
		}
	}
	return nil
}

// counted returns the properties that count as a difference of two inodes, nil
// for none.
func counted(d rootfs.Difference) (what []string) {
	switch {
	case d.A == nil:
		return []string{"added"}
	case d.B == nil:
		return []string{"removed"}
	}
	for _, w := range d.What {
		if w != "mtime" && w != "links" {
			what = append(what, w)
		}
	}
	return what
}

// values yields the elements of a slice without errors.
func values[T any](s []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, v := range s {
			if !yield(v, nil) {
				return
			}
		}
	}
}

// compare reads both files.
func (p pair) compare() (v verdict) {
	v.pair = p
	if p.a.Size() == p.b.Size() {
		if v.same, v.err = rootfs.SameContent(p.a, p.b); v.same || v.err != nil {
			return v
		}
	}
	if v.sumA, v.err = contentSum(p.a); v.err == nil {
		v.sumB, v.err = contentSum(p.b)
	}
	return v
}

// contentSum returns the SHA-256 of a file, in hexadecimal.
func contentSum(in *rootfs.Inode) (string, error) {
	h := sha256.New()
	if in.Content != nil {
		if _, err := io.Copy(h, io.NewSectionReader(in.Content, 0, in.Size())); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func newFile(name string, in *rootfs.Inode) *File {
	if in == nil {
		return nil
	}
	return &File{File: inspect.NewFile(path.Base(name), in)}
}

// below returns the number of names in a directory and the directories in it.
func below(in *rootfs.Inode) int {
	n := -1
	for range in.Walk() {
		n++
	}
	return n
}
