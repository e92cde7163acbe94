package container

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/layer"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

func special(name string, kind byte, major, minor int64) entry {
	return entry{tar.Header{Name: name, Mode: 0o644, Typeflag: kind, Devmajor: major, Devminor: minor}, ""}
}

// block returns a raw tar header that no writer would write, with a good
// checksum.
func block(name string, kind byte, change func(b []byte)) []byte {
	b := make([]byte, 512)
	copy(b, name)
	copy(b[100:], "0000644\x000000000\x000000000\x0000000000000\x0014524700000\x00        ")
	b[156] = kind
	copy(b[257:], "ustar\x0000")
	if change != nil {
		change(b)
	}
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	return b
}

// holes returns the header of a sparse file that has nothing else.
func holes(name string, size int64) []byte {
	return block(name, 'S', func(b []byte) {
		copy(b[257:], "ustar  \x00")
		base256(b[386:398], size) // where the only piece is, of no size
		base256(b[483:495], size)
	})
}

// pax returns a PAX header with one record, and the header of a file.
func pax(key, value string, file []byte) []byte {
	record := fmt.Sprintf(" %s=%s\n", key, value)
	n := len(record) + 1
	for len(fmt.Sprint(n))+len(record) != n {
		n++
	}
	record = fmt.Sprint(n) + record
	h := block("pax", 'x', func(b []byte) { copy(b[124:], fmt.Sprintf("%011o\x00", len(record))) })
	return bytes.Join([][]byte{h, []byte(record), make([]byte, -len(record)&511), file}, nil)
}

func raw(blocks ...[]byte) []byte { return append(bytes.Join(blocks, nil), make([]byte, 1024)...) }

func size(text string) func([]byte) { return func(b []byte) { copy(b[124:136], text) } }

// base256 writes a number as GNU tar does those that do not fit.
func base256(b []byte, v int64) {
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = byte(v)
		v >>= 8
	}
	b[0] |= 0x80
}

// Hostile layers. Each is refused with an error that has the number of the
// layer and all of want, or is harmless: makes is the result then.
var hostile = []struct {
	name    string
	entries []entry
	raw     []byte // instead of entries
	want    []string
	makes   string // contents of the tree, for a layer that is taken
}{
	{name: "name leads up", entries: []entry{file("../a", "x")}, want: []string{"../a", "leads out"}},
	{name: "name leads up inside", entries: []entry{file("usr/../../a", "x")}, want: []string{"usr/../../a", "leads out"}},
	{name: "name leads up and back", entries: []entry{file("usr/b/../a", "x")}, want: []string{"usr/b/../a", "leads out"}},
	{name: "name ends with dots", entries: []entry{file("usr/..", "x")}, want: []string{"usr/..", "leads out"}},
	{name: "name is dots", entries: []entry{dir("..")}, want: []string{"../", "leads out"}},
	{name: "absolute name leads up", entries: []entry{file("/../a", "x")}, want: []string{"/../a", "leads out"}},
	{name: "absolute name", entries: []entry{file("/usr/a", "x")}, makes: "usr/ usr/a=x usr/below=y"},
	{name: "slashes in front", entries: []entry{file("///usr/a", "x")}, makes: "usr/ usr/a=x usr/below=y"},
	{name: "a root that is a file", entries: []entry{file(".", "x")}, want: []string{".", "root is not a directory"}},
	{name: "a root that is a link", entries: []entry{symlink("./", "/etc")}, want: []string{"root is not a directory"}},
	{name: "PAX name leads up", raw: raw(pax("path", "../../etc/passwd", block("usr/a", '0', nil))), want: []string{"../../etc/passwd", "leads out"}},
	{name: "PAX name passes the filter", raw: raw(pax("path", "run/a", block("usr/a", '0', nil))), makes: "usr/ usr/below=y"},
	{name: "PAX link leads up", raw: raw(pax("linkpath", "../a", block("usr/a", '1', func(b []byte) { copy(b[157:], "usr/b") }))), want: []string{"usr/a", "../a"}},
	{name: "PAX record without end", raw: raw(block("pax", 'x', func(b []byte) { copy(b[124:], "00000000010\x00") }), append([]byte("99 path=x"), make([]byte, 503)...)), want: []string{"header behind"}},
	{name: "PAX size is negative", raw: raw(pax("size", "-1", block("usr/a", '0', nil))), want: []string{"header behind"}},
	{name: "PAX size is huge", raw: raw(pax("size", "9223372036854775807", block("usr/a", '0', nil))), want: []string{"usr/a", "limit"}},
	{name: "PAX for all", raw: raw(append(pax("path", "usr/evil", nil)[:156], append([]byte{'g'}, pax("path", "usr/evil", nil)[157:]...)...), block("usr/a", '0', nil)), want: []string{"header"}},
	{name: "name is not UTF-8", raw: raw(block("usr/\xff\xfe", '0', nil)), want: []string{`usr/\xff\xfe`, "UTF-8"}},
	{name: "name has a NUL", raw: raw(pax("path", "usr/a\x00b", block("usr/a", '0', nil))), want: []string{"header"}},
	{name: "part of name too long", entries: []entry{file("usr/"+strings.Repeat("n", 256), "x")}, want: []string{"nnn", "256 bytes"}},
	{name: "name too long", entries: []entry{file(strings.Repeat("n/", 2048)+"a", "x")}, want: []string{"n/n", "4097 bytes"}},
	{name: "too deep", entries: []entry{file(strings.Repeat("d/", 257)+"a", "x")}, want: []string{"d/d", "deeper than 256"}},
	{name: "too deep a directory", entries: []entry{dir(strings.Repeat("d/", 256) + "a")}, want: []string{"d/d", "deeper than 256"}},
	{name: "as deep as can be", entries: []entry{file(strings.Repeat("d/", 256)+"a", "x")}, makes: deepest() + " usr/ usr/below=y"},
	{name: "file through a link", entries: []entry{symlink("usr/l", "/etc"), file("usr/l/passwd", "x")}, want: []string{"usr/l/passwd", "usr/l is not a directory", "no link is followed"}},
	{name: "file far through a link", entries: []entry{symlink("usr/l", ".."), file("usr/l/b/c/passwd", "x")}, want: []string{"usr/l/b/c/passwd", "usr/l is not a directory"}},
	{name: "file through a file", entries: []entry{file("usr/f", "x"), file("usr/f/g", "y")}, want: []string{"usr/f/g", "usr/f is not a directory"}},
	{name: "link through a link", entries: []entry{symlink("usr/l", "/"), hardlink("usr/l/x", "usr/l")}, want: []string{"usr/l/x", "usr/l is not a directory"}},
	{name: "whiteout through a link", entries: []entry{symlink("usr/l", "/etc"), file("usr/l/.wh.passwd", "")}, want: []string{"usr/l/.wh.passwd", "usr/l is not a directory"}},
	{name: "symbolic link out", entries: []entry{symlink("usr/l", "../../../../etc/passwd")}, makes: "usr/ usr/below=y usr/l->../../../../etc/passwd"},
	{name: "symbolic link to nothing", raw: raw(block("usr/l", '2', nil)), want: []string{"usr/l", "0 bytes"}},
	{name: "symbolic link too long", entries: []entry{symlink("usr/l", strings.Repeat("x", 4096))}, want: []string{"usr/l", "4096 bytes"}},
	{name: "symbolic link not UTF-8", raw: raw(block("usr/l", '2', func(b []byte) { copy(b[157:], "\xff") })), want: []string{"usr/l", "UTF-8"}},
	{name: "directory over file", entries: []entry{file("usr/a", "x"), dir("usr/a")}, want: []string{"usr/a", "is a directory here"}},
	{name: "directory over link", entries: []entry{symlink("usr/a", "/etc"), dir("usr/a")}, want: []string{"usr/a", "is a directory here"}},
	{name: "link of etc and directory", entries: []entry{symlink("etc/a", "../usr/etc/a"), dir("usr/etc/a")}, want: []string{"etc/a is a symbolic link to ../usr/etc/a, and usr/etc/a is a directory"}},
	{name: "directory and link of etc", entries: []entry{dir("usr/etc/a"), symlink("etc/a", "../usr/etc/a")}, want: []string{"usr/etc/a is a directory, and etc/a is a symbolic link to ../usr/etc/a"}},
	{name: "file in a directory of etc that is a link", entries: []entry{symlink("etc/a", "../usr/etc/a"), file("usr/etc/a/b", "")}, want: []string{"usr/etc/a/b", "no link is followed: etc/a is a symbolic link to ../usr/etc/a"}},
	{name: "hard link of etc and directory", entries: []entry{file("usr/b", ""), dir("usr/etc/a"), hardlink("etc/a", "usr/b")}, want: []string{"usr/etc/a is a directory, and etc/a is a hard link to usr/b"}},
	{name: "file over directory", entries: []entry{dir("usr/a"), file("usr/a", "x")}, want: []string{"usr/a", "is a file here"}},
	{name: "file over parent", entries: []entry{file("usr/a/b", "x"), file("usr/a", "x")}, want: []string{"usr/a", "is a file here"}},
	{name: "link over directory", entries: []entry{dir("usr/a"), symlink("usr/a", "/etc")}, want: []string{"usr/a", "is a file here"}},
	{name: "hard link over directory", entries: []entry{file("usr/b", "x"), dir("usr/a"), hardlink("usr/a", "usr/b")}, want: []string{"usr/a", "is a hard link here"}},
	{name: "directory over hard link", entries: []entry{file("usr/b", "x"), hardlink("usr/a", "usr/b"), dir("usr/a")}, want: []string{"usr/a", "is a directory here"}},
	{name: "hard link to nothing", entries: []entry{hardlink("usr/a", "usr/b")}, want: []string{"usr/a", "usr/b", "no such file"}},
	{name: "hard link out", entries: []entry{hardlink("usr/a", "../../etc/passwd")}, want: []string{"usr/a", "../../etc/passwd", "leads out"}},
	{name: "hard link to the machine's file", entries: []entry{hardlink("usr/a", "/etc/passwd")}, want: []string{"usr/a", "usr/etc/passwd", "no such file"}},
	{name: "hard link to a directory", entries: []entry{dir("usr/b"), hardlink("usr/a", "usr/b")}, want: []string{"usr/a", "usr/b", "a directory"}},
	{name: "hard link to the root", entries: []entry{hardlink("usr/a", ".")}, want: []string{"usr/a", "a directory"}},
	{name: "hard link to itself", entries: []entry{hardlink("usr/a", "usr/a")}, want: []string{"usr/a", "circle"}},
	{name: "hard links in a circle", entries: []entry{hardlink("usr/a", "usr/b"), hardlink("usr/b", "usr/c"), hardlink("usr/c", "usr/a")}, want: []string{"usr/a", "circle"}},
	{name: "hard link below a file", entries: []entry{file("usr/b", "x"), hardlink("usr/a", "usr/b/c")}, want: []string{"usr/a", "usr/b/c", "no such file"}},
	{name: "hard link to what is dropped", entries: []entry{file("run/x", "x"), hardlink("usr/a", "run/x")}, want: []string{"usr/a", "run/x", "no such file"}},
	{name: "hard link to a lower layer", entries: []entry{hardlink("usr/a", "usr/below")}, want: []string{"usr/a", "usr/below", "lower layer"}},
	{name: "hard link with content", raw: raw(block("usr/b", '0', nil), block("usr/a", '1', func(b []byte) { copy(b[157:], "usr/b"); size("00000000000\x00")(b) })), makes: "usr/ usr/a= usr/b= usr/below=y"},
	{name: "root that is a hard link", entries: []entry{file("usr/a", "x"), hardlink(".", "usr/a")}, want: []string{"root is not a directory"}},
	{name: "character device", entries: []entry{special("usr/null", tar.TypeChar, 1, 3)}, want: []string{"usr/null", "character device, 1:3"}},
	{name: "block device", entries: []entry{special("usr/sda", tar.TypeBlock, 8, 0)}, want: []string{"usr/sda", "block device, 8:0"}},
	{name: "fifo", entries: []entry{special("usr/fifo", tar.TypeFifo, 0, 0)}, want: []string{"usr/fifo", "a fifo"}},
	{name: "whiteout of overlayfs", entries: []entry{special("usr/gone", tar.TypeChar, 0, 0)}, want: []string{"usr/gone", "overlayfs"}},
	{name: "devices in /dev", entries: []entry{special("dev/sda", tar.TypeBlock, 8, 0), dir("dev")}, makes: "dev/ usr/ usr/below=y"},
	{name: "xattr of overlayfs", entries: []entry{dir("usr").xattr("trusted.overlay.opaque", "y")}, want: []string{"usr", "trusted.overlay.opaque"}},
	{name: "redirect of overlayfs", entries: []entry{file("usr/a", "x").xattr("trusted.overlay.redirect", "/etc")}, want: []string{"usr/a", "trusted.overlay.redirect"}},
	{name: "label of a builder", entries: []entry{file("usr/a", "x").xattr("security.selinux", "evil")}, makes: "usr/ usr/a=x usr/below=y"},
	{name: "xattr without name", raw: raw(pax("SCHILY.xattr.", "x", block("usr/a", '0', nil))), want: []string{"usr/a", "bad name"}},
	{name: "xattr of libarchive without name", entries: []entry{file("usr/a", "x").pax("LIBARCHIVE.xattr.", "eA")}, want: []string{"usr/a", "bad name"}},
	{name: "xattr of libarchive with a NUL", entries: []entry{file("usr/a", "x").pax("LIBARCHIVE.xattr.user.%00", "eA")}, want: []string{"usr/a", "bad name"}},
	{name: "xattr of libarchive half a code", entries: []entry{file("usr/a", "x").pax("LIBARCHIVE.xattr.user.%4", "eA")}, want: []string{"usr/a", "bad name"}},
	{name: "xattr of libarchive not base64", entries: []entry{file("usr/a", "x").pax("LIBARCHIVE.xattr.user.a", "*")}, want: []string{"usr/a", "user.a", "not base64"}},
	{name: "overlayfs by libarchive", entries: []entry{file("usr/a", "x").pax("LIBARCHIVE.xattr.trusted%2eoverlay.redirect", "L2V0Yw")}, want: []string{"usr/a", "trusted.overlay.redirect"}},
	{name: "xattr with a long name", entries: []entry{file("usr/a", "x").xattr("user."+strings.Repeat("n", 256), "v")}, want: []string{"usr/a", "bad name"}},
	{name: "xattr too large", entries: []entry{file("usr/a", "x").xattr("user.a", strings.Repeat("x", 1<<16))}, want: []string{"usr/a", "user.a", "65536 bytes"}},
	{name: "whiteout of nothing", entries: []entry{file("usr/.wh.", "")}, want: []string{"usr/.wh.", "whiteout"}},
	{name: "whiteout of its directory", entries: []entry{file("usr/.wh..", "")}, want: []string{"usr/.wh..", "whiteout"}},
	{name: "whiteout of the directory above", entries: []entry{file("usr/.wh...", "")}, want: []string{"usr/.wh...", "whiteout"}},
	{name: "whiteout of the root", entries: []entry{file(".wh..", "")}, want: []string{".wh..", "whiteout"}},
	{name: "whiteout with a slash", entries: []entry{file("usr/.wh.a/b", "x")}, makes: "usr/ usr/.wh.a/ usr/.wh.a/b=x usr/below=y"},
	{name: "whiteout of a link", entries: []entry{file("usr/.wh.below", ""), symlink("usr/below2", "below")}, makes: "usr/ usr/below2->below"},
	{name: "volume header", raw: raw(block("usr/a", 'V', nil)), want: []string{"usr/a", "'V'"}},
	{name: "unknown type", raw: raw(block("usr/a", 'Z', nil)), want: []string{"usr/a", "'Z'"}},
	{name: "size is negative", raw: raw(block("usr/a", '0', func(b []byte) { base256(b[124:136], -1); b[124] = 0xff })), want: []string{"header behind"}},
	{name: "size is huge", raw: raw(block("usr/a", '0', func(b []byte) { base256(b[124:136], 1<<62) })), want: []string{"usr/a", "limit"}},
	{name: "size is more than there is", raw: block("usr/a", '0', size("00000010000\x00")), want: []string{"usr/a", "the layer ends after 0"}},
	{name: "size is no number", raw: raw(block("usr/a", '0', size("zzzzzzzzzzz\x00"))), want: []string{"header behind"}},
	{name: "uid out of range", raw: raw(block("usr/a", '0', func(b []byte) { base256(b[108:116], 1<<32-1) })), want: []string{"usr/a", "uid 4294967295"}},
	{name: "gid is negative", raw: raw(block("usr/a", '0', func(b []byte) { base256(b[116:124], -5); b[116] = 0xff })), want: []string{"usr/a", "gid -5"}},
	{name: "sparse file larger than a layer", raw: raw(holes("usr/a", 1<<40)), want: []string{"usr/a", "claims 1 TiB (1099511627776 bytes), limit of a layer is 64 GiB (68719476736 bytes)"}},
	{name: "sparse bomb", raw: raw(holes("usr/a", 63<<30)), want: []string{"usr/a", "claims 63 GiB (67645734912 bytes), most of them holes; limit of the holes in a layer is 1 MiB (1048576 bytes)"}},
	{name: "many sparse bombs", raw: raw(holes("usr/a", 1<<20), holes("usr/b", 1)), want: []string{"usr/b", "claims 1 bytes, most of them holes; limit"}},
	{name: "sparse file", raw: raw(holes("usr/a", 4)), makes: "usr/ usr/a=\x00\x00\x00\x00 usr/below=y"},
	{name: "sparse pieces out of order", raw: raw(block("usr/a", 'S', func(b []byte) {
		copy(b[257:], "ustar  \x00")
		size("00000000002\x00")(b)
		for i, v := range []int64{8, 1, 2, 1} {
			base256(b[386+12*i:398+12*i], v)
		}
		base256(b[483:495], 9)
	}), make([]byte, 512)), want: []string{"header behind"}},
	{name: "checksum of a header", raw: raw(bytes.Replace(block("usr/a", '0', nil), []byte("usr/a"), []byte("usr/b"), 1)), want: []string{"header behind"}},
	{name: "not a tar", raw: []byte(strings.Repeat("no tar\n", 1000)), want: []string{"header behind the beginning"}},
	{name: "cut off", raw: block("usr/a", '0', nil)[:300], want: []string{"header behind the beginning"}},
	{name: "object of the repository", raw: raw(block("sysroot/ostree/repo/objects/00/"+strings.Repeat("0", 62)+".file", '0', func(b []byte) { copy(b[136:], "00000000000") })), makes: "sysroot/ sysroot/ostree/ sysroot/ostree/repo/ sysroot/ostree/repo/objects/ sysroot/ostree/repo/objects/00/ sysroot/ostree/repo/objects/00/" + strings.Repeat("0", 62) + ".file= usr/ usr/below=y"},
	{name: "commit of the repository", entries: []entry{file("sysroot/ostree/repo/objects/"+ostree.ObjectPath(emptyCommit(), ostree.CommitObject), commitBytes())}, makes: "usr/ usr/below=y"},
	{name: "a tar in a tar", entries: []entry{file("usr/a.tar", "../../etc/passwd"+strings.Repeat("\x00", 496))}, makes: "usr/ usr/a.tar=../../etc/passwd" + strings.Repeat("\x00", 496) + " usr/below=y"},
}

func deepest() string {
	list := []string{}
	name := ""
	for range 256 {
		name += "d/"
		list = append(list, name)
	}
	return strings.Join(append(list, name+"a=x"), " ")
}

func commitBytes() string { return string((&ostree.Commit{}).Bytes()) }

func emptyCommit() ostree.Checksum { return ostree.Sum([]byte(commitBytes())) }

// TestHostile puts each on top of a layer that is good.
func TestHostile(t *testing.T) {
	t.Chdir(t.TempDir())
	if len(hostile) < 60 {
		t.Errorf("only %d cases", len(hostile))
	}
	for _, test := range hostile {
		b := test.raw
		if b == nil {
			b = tarOf(t, test.entries)
		}
		for _, mode := range []string{MergeOSTree, MergeOCI} {
			got, err := importOver(t, b, mode)
			if test.want == nil && err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
			for _, want := range append(test.want, "layer 1 (") {
				if mode == MergeOCI && test.name == "hard link to a lower layer" {
					continue
				}
				if test.want != nil && (err == nil || !strings.Contains(err.Error(), want)) {
					t.Errorf("%s, %s: %v, want %q", test.name, mode, err, want)
				}
			}
			if err == nil && test.want == nil {
				if list := contents(t, got.Root); list != test.makes {
					t.Errorf("%s, %s: %q, want %q", test.name, mode, list, test.makes)
				}
			}
		}
	}
	if names, _ := filepath.Glob("*"); len(names) > 0 {
		t.Errorf("files were written: %q", names)
	}
}

// TestHostileTouchesNothing has strace record all file operations.
func TestHostileTouchesNothing(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	work := t.TempDir()
	cmd := exec.Command(self, "-test.run=^TestHostile$", "-test.v")
	cmd.Env = append(os.Environ(), "TMPDIR="+work)
	trace := treetest.Trace(t, cmd)
	if out, err := trace.Cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestHostile ") {
		t.Fatalf("%v: %s", err, out)
	}
	trace.OnlyIn(t, work)
}

// importOver imports a layer on top of a good one, with errors as the command has them.
func importOver(t *testing.T, b []byte, mode string) (*Tree, error) {
	l, err := scan(b)
	if err != nil {
		return nil, fmt.Errorf("layer 1 (sha256:): %w", err)
	}
	img := makeImage(t, -1, makeLayer(t, file("usr/below", "y")), l)
	return Import(img, Options{Reference: testReference, Merge: mode})
}

// FuzzDerived imports a layer of any bytes on top of a good one. A layer that is taken
// must be whole: a commit of which every object is there and has its name.
func FuzzDerived(f *testing.F) {
	for _, test := range hostile {
		if test.raw != nil {
			f.Add(test.raw)
		} else {
			f.Add(tarOf(f, test.entries))
		}
	}
	for _, entries := range strangeLayers() {
		f.Add(tarOf(f, entries))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := layerOf(b, layer.Limits{Tar: 1 << 20, Entries: 1000})
		if err != nil {
			return
		}
		for _, mode := range []string{MergeOSTree, MergeOCI} {
			img := makeImage(t, -1, makeLayer(t, file("usr/below", "y")), l)
			got, err := Import(img, Options{Reference: testReference, Merge: mode})
			if err == nil {
				checkRefs(t, got)
			}
		}
	})
}

// TestWarningsEnd has a layer that is nothing but things to warn of.
func TestWarningsEnd(t *testing.T) {
	var entries []entry
	for i := range maxWarnings + 7 {
		name := fmt.Sprintf("usr/%04d", i)
		entries = append(entries, file(name, ""), file(name, ""))
	}
	got := mustImport(t, makeImage(t, -1, makeLayer(t, file("usr/a", "")), makeLayer(t, entries...)), Options{})
	if n := len(got.Warnings); n != maxWarnings+1 || got.Warnings[0].String() != "layer 1: .: has 7 more things to warn of" {
		t.Errorf("%d warnings, the first is %s", n, got.Warnings[0])
	}
}

// TestLimits has layers that are small, and large in memory.
func TestLimits(t *testing.T) {
	defer func(n int) { maxNodes = n }(maxNodes)
	maxNodes = 1000
	var bomb []entry
	for i := range 20 {
		bomb = append(bomb, file(fmt.Sprintf("%d/%sa", i, strings.Repeat("d/", 100)), ""))
	}
	_, err := importOver(t, tarOf(t, bomb), MergeOSTree)
	if err == nil || !strings.Contains(err.Error(), "more than 1000") || !strings.Contains(err.Error(), "layer 1 (") {
		t.Errorf("names that make many directories: %v", err)
	}

	var many bytes.Buffer
	for i := range 2000 {
		many.Write(block(fmt.Sprintf("usr/%d", i), '0', nil))
	}
	if _, err := layer.Scan(&many, io.Discard, layer.Limits{Entries: 1500}); err == nil || !strings.Contains(err.Error(), "usr/1500: more than 1500 entries") {
		t.Errorf("many entries: %v", err)
	}
	var xattrs []entry
	for i := range 30 {
		xattrs = append(xattrs, file(fmt.Sprintf("usr/%d", i), "").xattr("user.x", fmt.Sprint(i, strings.Repeat("x", 60000))))
	}
	if _, err := layer.Scan(bytes.NewReader(tarOf(t, xattrs)), io.Discard, layer.Limits{Meta: 1 << 20}); err == nil || !strings.Contains(err.Error(), "usr/17: more than") {
		t.Errorf("xattrs without end: %v", err)
	}
	if _, err := layer.Scan(bytes.NewReader(tarOf(t, []entry{file("usr/a", strings.Repeat("x", 5000))})), io.Discard, layer.Limits{Tar: 4000}); err == nil || !strings.Contains(err.Error(), "more than 4000 bytes") {
		t.Errorf("large file: %v", err)
	}
}

// TestDamagedPack has a cache that lost the content of a file.
func TestDamagedPack(t *testing.T) {
	l := makeLayer(t, file("usr/a", "x"), file("usr/b", "yyyy"), file("usr/c", "zzzzz"))
	blob := l.Blob
	l.Blob = func(off, size int64) rootfs.Blob {
		if size > 4 {
			return io.NewSectionReader(strings.NewReader("short"), 4, size)
		}
		return blob(off, size)
	}
	_, err := Import(makeImage(t, -1, l), Options{Reference: testReference})
	if !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "/usr/c") {
		t.Errorf("%v", err)
	}
}
