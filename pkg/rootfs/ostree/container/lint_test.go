package container

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestLint has files that surprise on a host, each beside one that does not.
func TestLint(t *testing.T) {
	base := []entry{
		file("etc/passwd", "root:x:0:0::/:\nme:x:1000:1000::/:\n"), file("usr/lib/group", "root:x:0:\nus:x:1000:\n"),
		file("var/lib/of-the-system", "x"), file("usr/lib/modules/6.0/initramfs.img", "x"), file("usr/lib/os-release", "x"),
	}
	for _, tc := range []struct {
		name  string
		layer []entry
		want  []string
	}{
		{"nothing", []entry{file("usr/a", "x").by(1000, 1000, 0o644), dir("var/lib/a"), file("etc/machine-id", "")}, nil},
		{"var", []entry{file("var/lib/a", "x"), file("var/lib/b", "x")}, []string{"var/lib/a: what is in /var"}},
		{"user", []entry{file("usr/a", "").by(5, 0, 0o644), file("usr/b", "").by(6, 0, 0o644)}, []string{"usr/a: belongs to user 5"}},
		{"group", []entry{file("usr/a", "").by(0, 5, 0o644)}, []string{"usr/a: belongs to group 5"}},
		{"new user", []entry{file("etc/passwd", "new:x:5:5::/:\n"), file("usr/a", "").by(5, 0, 0o644)}, nil},
		{"machine-id", []entry{file("etc/machine-id", "0123456789abcdef0123456789abcdef\n")}, []string{"usr/etc/machine-id: every machine"}},
		{"no machine-id", []entry{file("etc/machine-id", "uninitialized\n")}, nil},
		{"initramfs", []entry{file("usr/lib/ostree/prepare-root.conf", "x")}, []string{"usr/lib/ostree/prepare-root.conf: has no effect"}},
		{"dracut", []entry{file("usr/lib/dracut/modules.d/1/x", "x")}, []string{"usr/lib/dracut/modules.d/1/x: has no effect"}},
		{"new initramfs", []entry{file("usr/lib/dracut/modules.d/1/x", "x"), file("usr/lib/modules/7.0/initramfs.img", "x")}, nil},
		{"link of etc to itself", []entry{symlink("etc/a", "../usr/etc/a"), symlink("etc/b", "/usr/etc/b")},
			[]string{"usr/etc/a: a symbolic link to ../usr/etc/a, and the system has /etc in usr/etc: it will be a link to itself"}},
		{"link of etc to nothing", []entry{symlink("etc/d/a", "../../usr/etc/b")}, []string{"usr/etc/d/a: a symbolic link to ../../usr/etc/b, and the system has /etc in usr/etc: it will be a link to nothing"}},
		{"links of etc in a circle", []entry{symlink("etc/a", "/usr/etc/b"), symlink("etc/b", "/usr/etc/a")}, []string{"usr/etc/a: a symbolic link to /usr/etc/b"}},
		{"links of etc", []entry{symlink("etc/a", "/usr/etc/passwd"), symlink("etc/b", "passwd"), symlink("etc/c", "nowhere"), symlink("etc/d", "../run/x")}, nil},
		{"deleted", []entry{file("var/lib/.wh.of-the-system", "")}, nil},
	} {
		got := mustImport(t, makeImage(t, -1, makeLayer(t, base...), makeLayer(t, tc.layer...)), Options{}).Warnings
		got = slices.DeleteFunc(got, func(w Warning) bool { return strings.Contains(w.What, "a container runtime") })
		if !slices.EqualFunc(got, tc.want, func(w Warning, want string) bool { return strings.HasPrefix(w.String(), "layer 1: "+want) }) {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

// TestSetIDs: files that run as their owner are listed, by layer, and those of
// the operating system itself are not.
func TestSetIDs(t *testing.T) {
	base := makeLayer(t, file("usr/lib/modules/6.0/initramfs.img", "x"), file("usr/lib/os-release", "x"), file("usr/bin/su", "x").by(0, 0, 0o4755))
	many := []entry{hardlink("usr/bin/a", "usr/bin/00"), dir("usr/share/d").by(0, 0, 0o2755)}
	for i := range 12 {
		many = append(many, file(fmt.Sprintf("usr/bin/%02d", i), "x").by(0, 5, 0o2755))
	}
	got := mustImport(t, makeImage(t, -1, base, makeLayer(t, file("usr/bin/sudo", "x").by(0, 0, 0o4111), file("usr/bin/ls", "x")), makeLayer(t, many...)), Options{}).Notes
	if len(got) != 2 || got[0] != "layer 1: setuid or setgid files: usr/bin/sudo (4111 0:0)" ||
		!strings.HasPrefix(got[1], "layer 2: setuid or setgid files: usr/bin/00 (2755 0:5), usr/bin/01 ") || !strings.HasSuffix(got[1], " and 3 more") {
		t.Errorf("%q", got)
	}
}

// TestLintParts has an operating system that is spread over layers, which are
// no changes of it, and a layer that is one.
func TestLintParts(t *testing.T) {
	parts := [][]entry{
		{file("usr/lib/modules/6.0/initramfs.img", "x")},
		{dir("usr"), file("usr/lib/os-release", "x"), file("var/lib/a", "x")},
		{file("usr/lib/ostree/prepare-root.conf", "x"), file("usr/lib/rpmdb", "x")},
	}
	warned := func(entries ...[]entry) (layers []int) {
		for _, w := range mustImport(t, makeImage(t, -1, layersOf(t, entries)...), Options{}).Warnings {
			if !strings.Contains(w.What, "a container runtime") {
				layers = append(layers, w.Layer)
			}
		}
		return layers
	}
	if got := warned(parts...); len(got) != 0 {
		t.Errorf("warnings of layers %v", got)
	}
	change := []entry{file("usr/lib/rpmdb", "y"), file("var/lib/b", "x")}
	more := []entry{file("var/lib/c", "x")}
	if got := warned(append(parts, change, more)...); !slices.Equal(got, []int{3, 4}) {
		t.Errorf("warnings of layers %v", got)
	}
	gone := []entry{file("usr/lib/.wh.rpmdb", ""), file("var/lib/b", "x")}
	if got := warned(append(parts[:3:3], more, gone)...); !slices.Equal(got, []int{4}) {
		t.Errorf("warnings of layers %v", got)
	}
}
