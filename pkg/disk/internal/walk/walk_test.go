package walk

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// A table is a file system: the entries of directories. A number without entries
// is a file.
type table map[uint64][]Entry

func (t table) Inode(ino uint64) (*rootfs.Inode, []Entry, error) {
	if entries, ok := t[ino]; ok {
		return rootfs.Dir(0o755), entries, nil
	}
	if ino > 100 {
		return nil, nil, errors.New("no such inode")
	}
	in := rootfs.Text(0o644, "")
	in.Xattrs = map[string]string{"user.x": "1234"}
	return in, nil, nil
}

// TestTree reads a tree with a hard link.
func TestTree(t *testing.T) {
	root, err := Tree(table{1: {{"a", 2}, {"d", 3}}, 3: {{"b", 2}, {"c", 4}}}, 1, Default)
	if err != nil {
		t.Fatal(err)
	}
	a, b, c := root.Lookup("a"), root.Lookup("d/b"), root.Lookup("d/c")
	if a == nil || a != b || c == nil || c == a {
		t.Errorf("a is %p, d/b is %p, d/c is %p", a, b, c)
	}
}

// TestBounds has trees that are damaged, endless or too large.
func TestBounds(t *testing.T) {
	deep := table{}
	for i := range uint64(50) {
		deep[i] = []Entry{{"dir", i + 1}}
	}
	wide := table{0: nil}
	for i := range uint64(50) {
		wide[0] = append(wide[0], Entry{fmt.Sprint(i), i + 1})
	}
	small := Limits{Names: 40, Path: 100, Bytes: 1000}
	for _, c := range []struct {
		fs   table
		l    Limits
		want string
	}{
		{table{}, small, "the root is not a directory"},
		{table{0: {{"a", 0}}}, small, `.: directory: entry "a" is a directory of another name`},
		{table{0: {{"a", 1}}, 1: {{"b", 2}}, 2: {{"c", 1}}}, small, `a/b: directory: entry "c" is a directory of another name`},
		{table{0: {{"a", 1}, {"b", 1}}, 1: nil}, small, `.: directory: entry "b" is a directory of another name`},
		{table{0: {{"a", 1}, {"a", 2}}}, small, `.: directory: two entries "a"`},
		{table{0: {{"..", 1}}}, small, `.: directory: invalid entry ".."`},
		{table{0: {{"d", 1}}, 1: {{"x", 101}}}, small, "d/x: no such inode"},
		{deep, small, "a path of more than 100 bytes"},
		{wide, small, "more than 40 names"},
		{wide, Limits{Names: 50, Path: 100, Bytes: 500}, "names, links and attributes of more than 500 bytes"},
	} {
		if _, err := Tree(c.fs, 0, c.l); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
}

// TestClaims claims blocks around the edge of a word, in any order.
func TestClaims(t *testing.T) {
	var c Claims
	for _, n := range []uint64{64, 63, 0, 1 << 50} {
		if !c.Claim(n) {
			t.Errorf("block %d cannot be claimed", n)
		}
	}
	for _, n := range []uint64{0, 63, 64, 1 << 50} {
		if c.Claim(n) {
			t.Errorf("block %d was claimed twice", n)
		}
	}
}
