package rootfs

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

// tree has a directory, a file with two names, and links of all kinds.
//
//	etc/  passwd, mtab -> ../proc/self/mounts, abs -> /usr/lib/os-release,
//	      up -> ../../../etc, loop -> loop2, loop2 -> loop, dangling -> nowhere
//	usr/  lib/ os-release, same   lib64 -> lib
func tree() *Inode {
	release := Text(0o644, "NAME=Test\n")
	return dir(map[string]*Inode{
		"etc": dir(map[string]*Inode{
			"passwd":   Text(0o644, "root:x:0:0\n"),
			"mtab":     Link("../proc/self/mounts"),
			"abs":      Link("/usr/lib/os-release"),
			"up":       Link("../../../etc"),
			"loop":     Link("loop2"),
			"loop2":    Link("loop"),
			"dangling": Link("nowhere"),
			"slash":    Link("/"),
		}),
		"usr": dir(map[string]*Inode{
			"lib":   dir(map[string]*Inode{"os-release": release, "same": release}),
			"lib64": Link("lib"),
		}),
	})
}

func dir(children map[string]*Inode) *Inode {
	d := Dir(0o755)
	d.Children = children
	return d
}

func TestTypes(t *testing.T) {
	for name, c := range map[string]struct {
		n                 *Inode
		typ               uint32
		isDir, file, link bool
		size              int64
	}{
		"dir":        {Dir(0o1777), ModeDir, true, false, false, 0},
		"file":       {Text(0o4755, "12345"), ModeFile, false, true, false, 5},
		"empty file": {File(0o644, nil), ModeFile, false, true, false, 0},
		"link":       {Link("a/b"), ModeLink, false, false, true, 3},
		"device":     {&Inode{Mode: ModeChar | 0o600, Content: strings.NewReader("x")}, ModeChar, false, false, false, 0},
		"block":      {&Inode{Mode: ModeBlock | 0o600}, ModeBlock, false, false, false, 0},
		"socket":     {&Inode{Mode: ModeSocket | 0o600}, ModeSocket, false, false, false, 0},
		"fifo":       {&Inode{Mode: ModeFIFO | 0o600, Target: "x"}, ModeFIFO, false, false, false, 0},
	} {
		if c.n.Type() != c.typ || c.n.IsDir() != c.isDir || c.n.IsFile() != c.file || c.n.IsLink() != c.link || c.n.Size() != c.size {
			t.Errorf("%s: type %o, dir %v, file %v, link %v, size %d", name, c.n.Type(), c.n.IsDir(), c.n.IsFile(), c.n.IsLink(), c.n.Size())
		}
	}
	for _, n := range []*Inode{Dir(0o1777), Text(0o4755, ""), Link("x")} {
		if want := map[uint32]uint32{ModeDir: 0o1777, ModeFile: 0o4755, ModeLink: 0o777}[n.Type()]; n.Mode&^ModeType != want {
			t.Errorf("permissions %o, want %o", n.Mode&^ModeType, want)
		}
	}
}

func TestLookup(t *testing.T) {
	root := tree()
	etc, lib := root.Children["etc"], root.Children["usr"].Children["lib"]
	for name, want := range map[string]*Inode{
		"":                       root,
		".":                      root,
		"/":                      root,
		"..":                     root,
		"etc":                    etc,
		"/etc/":                  etc,
		"etc/.":                  etc,
		"usr//lib":               lib,
		"usr/../etc":             etc,
		"../../etc":              etc,
		"usr/lib/os-release":     lib.Children["os-release"],
		"usr/lib/same":           lib.Children["os-release"],
		"usr/lib64":              root.Children["usr"].Children["lib64"],
		"usr/lib64/os-release":   nil,
		"usr/lib/os-release/sub": nil,
		"nothing":                nil,
		"nothing/below":          nil,
		"ETC":                    nil,
	} {
		if got := root.Lookup(name); got != want {
			t.Errorf("%q: %+v, want %+v", name, got, want)
		}
	}
}

func TestResolve(t *testing.T) {
	root := tree()
	etc, lib := root.Children["etc"], root.Children["usr"].Children["lib"]
	for name, want := range map[string]*Inode{
		"":                              root,
		"/":                             root,
		"..":                            root,
		"etc/..":                        root,
		"etc/passwd":                    etc.Children["passwd"],
		"usr/lib64":                     lib,
		"usr/lib64/":                    lib,
		"usr/lib64/same":                lib.Children["same"],
		"usr/lib64/..":                  root.Children["usr"], // of the target of the link
		"etc/abs":                       lib.Children["os-release"],
		"etc/up":                        etc, // links do not leave the root
		"etc/up/up/up/passwd":           etc.Children["passwd"],
		"etc/slash/etc/slash/usr/lib64": lib,
		"../../usr/lib64/../../etc/abs": lib.Children["os-release"],
		"etc/mtab":                      nil,
		"etc/loop":                      nil,
		"etc/dangling":                  nil,
		"etc/dangling/..":               nil,
		"etc/passwd/sub":                nil,
		"etc/passwd/..":                 nil, // a file has no parent entry
		"nothing":                       nil,
	} {
		if got := root.Resolve(name); got != want {
			t.Errorf("%q: %+v, want %+v", name, got, want)
		}
	}
}

// TestResolveLinks follows as many links as Linux does, and not one more.
func TestResolveLinks(t *testing.T) {
	root := Dir(0o755)
	root.Children["0"] = Text(0o644, "end")
	last := "0"
	for i := range 50 {
		next := last + "+"
		root.Children[next] = Link(last)
		last = next
		if got, want := root.Resolve(next) != nil, i+1 <= maxLinks; got != want {
			t.Errorf("%d links: resolved %v, want %v", i+1, got, want)
		}
	}
}

func TestWalk(t *testing.T) {
	root := tree()
	root.Children["a-b"] = Dir(0o755)
	root.Children["a"] = dir(map[string]*Inode{"z": Text(0o644, ""), "Z": Text(0o644, "")})
	var got []string
	for name, n := range root.Walk() {
		if root.Lookup(name) != n {
			t.Errorf("%s is another inode", name)
		}
		got = append(got, name)
	}
	want := strings.Fields(`. a a/Z a/z a-b etc etc/abs etc/dangling etc/loop etc/loop2 etc/mtab etc/passwd etc/slash etc/up
		usr usr/lib usr/lib/os-release usr/lib/same usr/lib64`)
	if !slices.Equal(got, want) {
		t.Errorf("walked %q\nwant %q", got, want)
	}
	for stop := range want {
		count := 0
		for range root.Walk() {
			if count++; count > stop {
				break
			}
		}
		if count != stop+1 {
			t.Errorf("walked %d, stopped after %d", count, stop+1)
		}
	}
}

func TestPlace(t *testing.T) {
	child := Text(0o600, "new")
	for name, want := range map[string]string{
		"new":              "",
		"/etc/new":         "",
		"a/b/../c/new":     "",
		"usr/lib/new/":     "",
		"etc/passwd":       "exists",
		"etc":              "exists",
		"":                 "exists",
		"/":                "exists",
		"..":               "exists",
		"etc/passwd/new":   "passwd is not a directory",
		"usr/lib64/new":    "lib64 is not a directory",
		"etc/passwd/a/new": "passwd is not a directory",
	} {
		root := tree()
		err := root.Place(name, child)
		switch {
		case want == "" && (err != nil || root.Lookup(name) != child):
			t.Errorf("%q: %v", name, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%q: got %v, want %q", name, err, want)
		}
	}
	root := Dir(0o700)
	if err := root.Place("a/b/c", child); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "a/b"} {
		if n := root.Lookup(name); n == nil || n.Mode != ModeDir|0o755 || n.UID != 0 || n.GID != 0 {
			t.Errorf("%s became %+v", name, n)
		}
	}
	if err := child.Place("x", child); err == nil || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("in a file: %v", err)
	}
	bare := &Inode{Mode: ModeDir | 0o755} // an empty directory may have no map
	if err := bare.Place("a/b", child); err != nil || bare.Lookup("a/b") != child {
		t.Errorf("in a directory without a map: %v", err)
	}
}

type broken struct {
	*bytes.Reader
	err error
}

func (b broken) ReadAt(p []byte, off int64) (int, error) {
	n, _ := b.Reader.ReadAt(p[:len(p)/2], off)
	return n, b.err
}

func TestReadAll(t *testing.T) {
	if b, err := ReadAll(nil, 0); len(b) != 0 || err != nil {
		t.Errorf("nothing: %q, %v", b, err)
	}
	if b, err := ReadAll(strings.NewReader("12345"), 5); string(b) != "12345" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	if b, err := ReadAll(strings.NewReader(""), 0); len(b) != 0 || err != nil {
		t.Errorf("empty: %q, %v", b, err)
	}
	if _, err := ReadAll(strings.NewReader("12345"), 4); err == nil || err.Error() != "5 bytes, at most 4 bytes are read" {
		t.Errorf("too long: %v", err)
	}
	lost := errors.New("lost")
	for in, want := range map[error]error{lost: lost, io.EOF: io.ErrUnexpectedEOF, nil: io.ErrUnexpectedEOF} {
		if _, err := ReadAll(broken{bytes.NewReader(make([]byte, 9)), in}, 9); err != want {
			t.Errorf("got %v, want %v", err, want)
		}
	}
}
