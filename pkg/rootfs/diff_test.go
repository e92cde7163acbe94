package rootfs

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// diff prints the differences of two trees of files.
func diff(t *testing.T, a, b map[string]*Inode) (all []string) {
	t.Helper()
	for d, err := range Diff(&Inode{Mode: ModeDir, Children: a}, &Inode{Mode: ModeDir, Children: b}) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprintf("%s %v %v %s", d.Path, d.A != nil, d.B != nil, strings.Join(d.What, ",")))
	}
	return all
}

func TestDiff(t *testing.T) {
	type tree = map[string]*Inode
	text := func(s string) *Inode { return Text(0o644, s) }
	one, two := text("one"), text("one")
	for _, c := range []struct {
		a, b tree
		want []string
	}{
		{tree{"x": one}, tree{"x": two}, nil},
		{tree{"x": one}, tree{"y": two}, []string{"x true false ", "y false true "}},
		{tree{"x": one, "y": one}, tree{"x": two, "y": two}, nil},
		{tree{"x": one, "y": one}, tree{"x": two, "y": text("one")}, []string{"y true true links"}},
		// A second name of a file that was compared, and of another that was not.
		{tree{"x": one, "y": one}, tree{"x": two, "y": text("two")}, []string{"y true true links,content"}},
		{tree{"x": one, "y": text("two")}, tree{"x": two, "y": two}, []string{"y true true links,content"}},
	} {
		if got := diff(t, c.a, c.b); !slices.Equal(got, c.want) {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

// TestDiffFunc asks once for each two files, and only where sizes are the same.
func TestDiffFunc(t *testing.T) {
	a, b := Dir(0o755), Dir(0o755)
	file, same := Text(0o644, "one"), Text(0o644, "two")
	a.Children["x"], a.Children["y"], a.Children["z"] = file, file, Text(0o644, "1")
	b.Children["x"], b.Children["y"], b.Children["z"] = same, same, Text(0o644, "22")
	var asked []string
	for d, err := range DiffFunc(a, b, func(name string, a, b *Inode) (bool, error) {
		asked = append(asked, name)
		return true, nil
	}) {
		if err != nil || d.Path != "z" {
			t.Errorf("%+v: %v", d, err)
		}
	}
	if !slices.Equal(asked, []string{"x"}) {
		t.Errorf("asked for %q", asked)
	}
}
