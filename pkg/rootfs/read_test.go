package rootfs

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
)

func TestReadFile(t *testing.T) {
	root := Dir(0o755)
	for name, in := range map[string]*Inode{
		"etc/conf":       Text(0o644, "conf"),
		"etc/empty":      File(0o644, nil),
		"etc/fifo":       {Mode: ModeFIFO | 0o644},
		"etc/to-conf":    Link("../etc/./conf"),
		"etc/absolute":   Link("/etc/conf"),
		"etc/outside":    Link("../../../../etc/conf"), // the root is its own parent
		"etc/dangling":   Link("nothing/at/all"),
		"etc/second":     Link("dangling"),
		"etc/loop":       Link("loop"),
		"etc/through":    Link("conf/below"),
		"lib":            Link("usr/lib"),
		"usr/lib/conf":   Text(0o644, "lib"),
		"usr/lib/up":     Link("../../lib/nothing"),
		"gone":           Link("/var/gone"),
		"etc/large":      Text(0o644, strings.Repeat("x", 9)),
		"etc/to-lib":     Link("/lib"),
		"etc/sub/etc":    Link(".."),
		"etc/sub/nobody": Link("../to-lib/none"),
	} {
		if err := root.Place(name, in); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"etc/conf": "conf", "/etc//conf": "conf", "etc/to-conf": "conf", "etc/absolute": "conf", "etc/outside": "conf",
		"lib/conf": "lib", "etc/to-lib/conf": "lib", "etc/sub/etc/conf": "conf", "etc/empty": "",
	} {
		text, err := root.ReadFile(name, 8)
		if err != nil || text == nil || string(text) != want {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
	for _, name := range []string{"none", "etc/none", "none/none", "lib/none", "etc/to-lib/none/none", "etc/sub/etc/none"} {
		if _, err := root.ReadFile(name, 8); !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), name+": ") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := root.FindDir(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, want := range map[string]string{
		"etc":             "not a regular file",
		"etc/fifo":        "not a regular file",
		"etc/conf/x":      "etc/conf is not a directory",
		"etc/dangling":    "a link to nothing/at/all, which does not exist",
		"etc/dangling/x":  "etc/dangling is a link to nothing/at/all, which does not exist",
		"etc/second":      "a link to dangling, which does not exist",
		"gone/x/y":        "gone is a link to /var/gone, which does not exist",
		"etc/through":     "etc/conf is not a directory",
		"etc/loop":        "too many links",
		"usr/lib/up":      "a link to ../../lib/nothing, which does not exist",
		"etc/sub/nobody":  "a link to ../to-lib/none, which does not exist",
		"etc/large":       "9 bytes, at most 8 bytes are read",
		"etc/fifo/..":     "etc/fifo is not a directory",
		"etc/to-conf/../": "etc/conf is not a directory",
	} {
		_, err := root.ReadFile(name, 8)
		if err == nil || errors.Is(err, fs.ErrNotExist) || err.Error() != name+": "+want {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
	for name, want := range map[string]string{"etc/conf": "not a directory", "gone": "a link to /var/gone, which does not exist"} {
		if _, err := root.FindDir(name); err == nil || err.Error() != name+": "+want {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
	if in, err := root.FindDir("lib"); err != nil || in.Children["conf"] == nil {
		t.Error(err)
	}
}
