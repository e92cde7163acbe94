package rootfs

import (
	"bytes"
	"fmt"
	"iter"
	"maps"
	"path"
	"slices"
	"strings"
)

// A Difference is a path at which two trees differ. An inode that is missing in one
// tree is nil there, and the paths below it yield no differences.
type Difference struct {
	Path string
	A, B *Inode
	What []string // properties that differ: type, mode, owner, mtime, device, target, xattr NAME, size, content, flags, links
}

// Diff yields the differences of two trees in the order of their paths. It
// reads content only where sizes are the same. An error while reading ends it.
func Diff(a, b *Inode) iter.Seq2[Difference, error] {
	return DiffFunc(a, b, func(_ string, a, b *Inode) (bool, error) { return SameContent(a, b) })
}

// DiffFunc is Diff with a function that compares the content of two files of the
// same size. It receives their path.
func DiffFunc(a, b *Inode, same func(name string, a, b *Inode) (bool, error)) iter.Seq2[Difference, error] {
	return func(yield func(Difference, error) bool) {
		d := &differ{a: map[*Inode]string{}, b: map[*Inode]string{}, same: same}
		d.walk(".", a, b, yield)
	}
}

// A differ records the first name of each inode.
type differ struct {
	a, b map[*Inode]string
	same func(name string, a, b *Inode) (bool, error)
}

func (d *differ) walk(name string, a, b *Inode, yield func(Difference, error) bool) bool {
	if a == nil || b == nil {
		return yield(Difference{Path: name, A: a, B: b}, nil)
	}
	if a == b {
		return true
	}
	firstA, firstB := met(d.a, a, name), met(d.b, b, name)
	diff := Difference{Path: name, A: a, B: b, What: differences(a, b)}
	if firstA != firstB {
		diff.What = append(diff.What, "links")
	}
	// Further names of the same two files need no comparison.
	if (firstA == name || firstA != firstB) && a.IsFile() && b.IsFile() && a.Size() == b.Size() {
		same, err := d.same(name, a, b)
		if err != nil {
			yield(diff, fmt.Errorf("%s: %w", name, err))
			return false
		}
		if !same {
			diff.What = append(diff.What, "content")
		}
	}
	if diff.What != nil && !yield(diff, nil) {
		return false
	}
	names := maps.Collect(maps.All(a.Children))
	maps.Copy(names, b.Children)
	for _, child := range slices.Sorted(maps.Keys(names)) {
		if !d.walk(strings.TrimPrefix(path.Join(name, child), "./"), a.Children[child], b.Children[child], yield) {
			return false
		}
	}
	return true
}

func met(names map[*Inode]string, in *Inode, name string) string {
	if _, ok := names[in]; !ok {
		names[in] = name
	}
	return names[in]
}

// differences returns the properties of two inodes that differ, except content.
func differences(a, b *Inode) (what []string) {
	differ := func(yes bool, name string) {
		if yes {
			what = append(what, name)
		}
	}
	differ(a.Type() != b.Type(), "type")
	differ(a.Mode&^ModeType != b.Mode&^ModeType, "mode")
	differ(a.UID != b.UID || a.GID != b.GID, "owner")
	differ(a.MTime != b.MTime, "mtime")
	differ(a.Rdev != b.Rdev, "device")
	differ(a.Target != b.Target, "target")
	names := maps.Collect(maps.All(a.Xattrs))
	maps.Copy(names, b.Xattrs)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		va, inA := a.Xattrs[name]
		vb, inB := b.Xattrs[name]
		differ(va != vb || inA != inB, "xattr "+name)
	}
	differ(a.IsFile() && b.IsFile() && a.Size() != b.Size(), "size")
	differ(a.Immutable != b.Immutable, "flags")
	return what
}

// SameContent reports whether two files of the same size hold the same bytes.
func SameContent(a, b *Inode) (bool, error) {
	if a.Content == b.Content {
		return true, nil
	}
	var bufs [2][]byte
	for i := range bufs {
		bufs[i] = make([]byte, min(a.Size(), 256<<10))
	}
	for at := int64(0); at < a.Size(); at += int64(len(bufs[0])) {
		n := min(a.Size()-at, int64(len(bufs[0])))
		for i, in := range []*Inode{a, b} {
			if err := ReadFull(in.Content, bufs[i][:n], at); err != nil {
				return false, err
			}
		}
		if !bytes.Equal(bufs[0][:n], bufs[1][:n]) {
			return false, nil
		}
	}
	return true, nil
}
