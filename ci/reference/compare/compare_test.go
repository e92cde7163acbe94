package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// plant creates a small tree in the place of a mounted file system. Then change changes
// it, if it is not nil.
func plant(t *testing.T, commit string, change func(top string) error) *disk {
	t.Helper()
	d := &disk{scratch: t.TempDir(), commit: commit}
	top := filepath.Join(d.scratch, "root")
	steps := []error{
		os.MkdirAll(filepath.Join(top, "deploy", commit+".0"), 0o755),
		os.WriteFile(filepath.Join(top, "file"), []byte("content"), 0o644),
		os.WriteFile(filepath.Join(top, "ref"), []byte(commit+"\n"), 0o644),
		os.WriteFile(filepath.Join(top, "entry"), []byte("options a b\n"), 0o644),
		os.Symlink("deploy/"+commit+".0", filepath.Join(top, "link")),
		os.Link(filepath.Join(top, "file"), filepath.Join(top, "hard")),
	}
	if change != nil {
		steps = append(steps, change(top))
	}
	if err := errors.Join(steps...); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestTrees(t *testing.T) {
	one, two := strings.Repeat("1", 64), strings.Repeat("2", 64)
	for _, c := range []struct {
		name   string
		change func(top string) error
		want   int
	}{
		{"another commit", nil, 0},
		{"order of arguments", func(top string) error { return os.WriteFile(top+"/entry", []byte("options b a\n"), 0o644) }, 0},
		{"an argument", func(top string) error { return os.WriteFile(top+"/entry", []byte("options b c\n"), 0o644) }, 1},
		{"mode", func(top string) error { return os.Chmod(top+"/ref", 0o600) }, 1},
		{"sticky", func(top string) error { return os.Chmod(top+"/deploy", 0o755|os.ModeSticky) }, 1},
		{"content under two names", func(top string) error { return os.WriteFile(top+"/file", []byte("CONTENT"), 0o644) }, 2},
		{"target", func(top string) error { return errors.Join(os.Remove(top+"/link"), os.Symlink("nowhere", top+"/link")) }, 1},
		{"a copy for a link", func(top string) error {
			return errors.Join(os.Remove(top+"/hard"), os.WriteFile(top+"/hard", []byte("content"), 0o644))
		}, 2},
		{"missing", func(top string) error { return os.Remove(top + "/ref") }, 1},
		{"more, and that without a label", func(top string) error { return os.Mkdir(top+"/more", 0o755) }, 2},
		{"xattr", func(top string) error { return unix.Setxattr(top+"/ref", "user.x", []byte("y"), 0) }, 1},
	} {
		theirs := plant(t, one, nil)
		ours := plant(t, two, c.change)
		found := comparison{reasons: map[string]int{}}
		if err := found.trees("root", ours, theirs); err != nil {
			t.Fatal(err)
		}
		if found.unexplained != c.want {
			t.Errorf("%s: %d differences, want %d", c.name, found.unexplained, c.want)
		}
	}
}
