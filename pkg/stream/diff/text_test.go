package diff

import (
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// TestTextFiles prints every way in which files can differ.
func TestTextFiles(t *testing.T) {
	make := func(change func(root, file *rootfs.Inode)) *rootfs.Inode {
		root := rootfs.Dir(0o755)
		file := rootfs.Text(0o644, "hello")
		for name, in := range map[string]*rootfs.Inode{
			"dir/file": file, "dir/link": rootfs.Link("a"), "dir/hard": file, "dir/device": {Mode: rootfs.ModeChar | 0o600, Rdev: 0x103},
		} {
			if err := root.Place(name, in); err != nil {
				t.Fatal(err)
			}
		}
		change(root, file)
		return root
	}
	nothing := func(root, file *rootfs.Inode) {}
	for want, change := range map[string]func(root, file *rootfs.Inode){
		"": func(root, file *rootfs.Inode) {
			file.MTime.Sec = 5
			root.Children["dir"].Children["hard"] = rootfs.Text(0o644, "hello")
		},
		"  ~ /dir/file: mode -rw-r--r-- -> -rwsr-xr-x|  ~ /dir/hard: mode -rw-r--r-- -> -rwsr-xr-x": func(_, file *rootfs.Inode) { file.Mode |= 0o4111 },
		"  ~ /: owner 0:0 -> 0:7":              func(root, _ *rootfs.Inode) { root.GID = 7 },
		"  ~ /dir/link: target a -> b":         func(root, _ *rootfs.Inode) { root.Lookup("dir/link").Target = "b" },
		"  ~ /dir/link: target a -> \"b\\nc\"": func(root, _ *rootfs.Inode) { root.Lookup("dir/link").Target = "b\nc" },
		"  ~ /dir/device: device":              func(root, _ *rootfs.Inode) { root.Lookup("dir/device").Rdev++ },
		"  ~ /dir: xattr user.x, flags": func(root, _ *rootfs.Inode) {
			d := root.Children["dir"]
			d.Xattrs, d.Immutable = map[string]string{"user.x": "1"}, true
		},
		"  ~ /dir/link: xattr security.selinux none -> a:b:c": func(root, _ *rootfs.Inode) {
			root.Lookup("dir/link").Xattrs = map[string]string{"security.selinux": "a:b:c\x00"}
		},
		"  ~ /dir/link: type lrwxrwxrwx -> -rwxrwxrwx, target a -> none": func(root, _ *rootfs.Inode) {
			root.Children["dir"].Children["link"] = rootfs.Text(0o777, "")
		},
		"  ~ /dir/hard: size 5 -> 6 bytes": func(root, _ *rootfs.Inode) { root.Children["dir"].Children["hard"] = rootfs.Text(0o644, "hello!") },
		"  ~ /dir/hard: content":           func(root, _ *rootfs.Inode) { root.Children["dir"].Children["hard"] = rootfs.Text(0o644, "hallo") },
		"  - /dir/ and 4 more in it":       func(root, _ *rootfs.Inode) { delete(root.Children, "dir") },
		"  + /new, 1 B|  + /newlink -> x": func(root, _ *rootfs.Inode) {
			root.Children["new"], root.Children["newlink"] = rootfs.Text(0, "x"), rootfs.Link("x")
		},
		"  ~ /dir/file: size 5 -> 0 bytes|  ~ /dir/hard: size 5 -> 0 bytes": func(_, file *rootfs.Inode) { file.Content = nil },
	} {
		d, err := Trees(make(nothing), make(change))
		if err != nil {
			t.Fatal(err)
		}
		var out text
		for _, f := range d.Files {
			out.file(f)
		}
		if got := strings.ReplaceAll(strings.TrimRight(out.String(), "\n"), "\n", "|"); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}
