package iso9660

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/diskfs/go-diskfs/backend/file"
	diskfs "github.com/diskfs/go-diskfs/filesystem/iso9660"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// source makes a directory with names and files that are hard to record.
func source(t testing.TB) string {
	t.Helper()
	treetest.Root(t) // the files have several owners
	dir := t.TempDir()
	treetest.Run(t, "sh", "-ec", `cd "$1"
		mkdir -p a/x b/x d1/d2/d3/d4/d5/d6/d7/d8/d9/d10 many
		echo one >a/x/file; echo two >b/x/file; echo deep >d1/d2/d3/d4/d5/d6/d7/d8/d9/d10/file
		echo hidden >.treeinfo; : >empty; printf 'no extension' >README; head -c 100000 /dev/zero >zeros
		for i in $(seq 300); do echo $i >many/a-name-that-is-longer-than-the-thirty-one-characters-of-level-three-$i; done
		echo long >"$(printf '%0250d' 1)"
		ln -s ../a/x/./file b/link; ln -s /absolute/target b/absolute; ln -s "$(printf '%0200d/%0200d/%0200d' 1 2 3)" b/longlink
		echo suid >a/suid; chmod 4755 a/suid; chown 12:34 a/suid; chmod 1777 b
		mkfifo a/fifo; mknod a/device c 259 70000 || true
		find . -exec touch -h -d 2001-02-03T04:05:06Z {} +`, "sh", dir)
	return dir
}

// image has a program make an image of a directory.
func image(t testing.TB, dir string, program ...string) []byte {
	t.Helper()
	name := filepath.Join(t.TempDir(), "image.iso")
	treetest.Run(t, program[0], append(program[1:], "-quiet", "-V", "A LABEL", "-o", name, dir)...)
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mustRead(t testing.TB, b []byte) *rootfs.Inode {
	t.Helper()
	root, err := Read(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func text(t testing.TB, root *rootfs.Inode, name string) string {
	t.Helper()
	b, err := root.ReadFile(name, 1<<20)
	if err != nil {
		t.Error(err)
	}
	return string(b)
}

// TestRockRidge compares images with the directory they were made of. Only
// xorriso records long symbolic links: in genisoimage the size of their entry
// overflows.
func TestRockRidge(t *testing.T) {
	dir := source(t)
	for _, program := range [][]string{
		{"xorrisofs", "-R", "-J"}, {"xorrisofs", "-R", "-D"}, {"genisoimage", "-R", "-J", "-joliet-long"}, {"genisoimage", "-R", "-D"},
	} {
		if program[0] == "genisoimage" {
			treetest.Run(t, "sh", "-ec", `cd "$1"; rm -f b/longlink; touch -d 2001-02-03T04:05:06Z b`, "sh", dir)
		}
		root := mustRead(t, image(t, dir, program...))
		delete(root.Children, "rr_moved") // left empty by directories that genisoimage has relocated
		if err := treetest.Compare(dir, root); err != nil {
			t.Errorf("%q: %v", program, err)
		}
	}
}

// TestPlain reads images without Rock Ridge: by their Joliet names, or in lower
// case.
func TestPlain(t *testing.T) {
	dir := source(t)
	treetest.Run(t, "sh", "-ec", `cd "$1"; rm -r d1 a/fifo a/device b/*link b/absolute "$(printf '%0250d' 1)"`, "sh", dir)
	joliet := mustRead(t, image(t, dir, "genisoimage", "-J", "-joliet-long"))
	if got := joliet.Names(); !slices.Equal(got, []string{".treeinfo", "README", "a", "b", "empty", "many", "zeros"}) {
		t.Errorf("Joliet: %q", got)
	}
	if name := "many/a-name-that-is-longer-than-the-thirty-one-characters-of-level-three-300"; text(t, joliet, name) != "300\n" {
		t.Errorf("Joliet: %q", joliet.Children["many"].Names())
	}
	plain := mustRead(t, image(t, dir, "genisoimage", "-no-cache-inodes", "-allow-lowercase"))
	if got := plain.Names(); !slices.Equal(got, []string{"_treeinfo", "a", "b", "empty", "many", "readme", "zeros"}) && !slices.Contains(got, "readme") {
		t.Errorf("plain: %q", got)
	}
	for name, want := range map[string]string{"a/x/file": "one\n", "b/x/file": "two\n", "readme": "no extension"} {
		if got := text(t, plain, name); got != want {
			t.Errorf("plain: %s: %q", name, got)
		}
	}
}

// TestIdentify asks blkid for the label and the identifier.
func TestIdentify(t *testing.T) {
	b := image(t, source(t), "xorrisofs", "-R")
	label, id, ok := Identify(bytes.NewReader(b))
	name := filepath.Join(t.TempDir(), "iso")
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
	said := treetest.Run(t, "blkid", "-p", "-o", "export", name)
	for _, want := range []string{"UUID=" + id + "\n", "TYPE=iso9660\n"} {
		if !strings.Contains(said, want) {
			t.Errorf("no %q in %s", want, said)
		}
	}
	if label != "A LABEL" || !ok {
		t.Errorf("%q, %v", label, ok)
	}
}

// TestDiskfs compares the files with those that go-diskfs reads. It loses the
// dot of hidden files and the end of names that continue.
func TestDiskfs(t *testing.T) {
	b := image(t, source(t), "xorrisofs", "-R")
	name := filepath.Join(t.TempDir(), "iso")
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	theirs, err := diskfs.Read(file.New(f, true), int64(len(b)), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for where, in := range mustRead(t, b).Walk() {
		if !in.IsFile() || in.Size() == 0 || strings.Contains(where, ".") || len(where) == 250 {
			continue
		}
		seen++
		got, err := fs.ReadFile(theirs, where)
		want, err2 := rootfs.ReadAll(in.Content, 1<<20)
		if err != nil || err2 != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, want %d: %v, %v", where, len(got), len(want), err, err2)
		}
	}
	if seen < 300 {
		t.Errorf("only %d files were compared", seen)
	}
}

// records returns where the directory records of a name stand in an image.
func records(b []byte, name string) (at []int) {
	for i := range b {
		if bytes.HasPrefix(b[i:], []byte(name)) && i >= recordSize && int(b[i-1]) == len(name) {
			at = append(at, i-recordSize)
		}
	}
	return at
}

// TestParts joins the extents of a file of more than 4 GiB: here, two small
// ones that are marked as such.
func TestParts(t *testing.T) {
	dir := t.TempDir()
	for i, text := range []string{strings.Repeat("x", 2048), "rest"} {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("f", i)), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b := image(t, dir, "genisoimage")
	for _, at := range records(b, "F0.;1") {
		b[at+25] |= flagContinued
	}
	if got := text(t, mustRead(t, b), "f0"); got != strings.Repeat("x", 2048)+"rest" {
		t.Errorf("%d bytes", len(got))
	}
}

// TestHostile changes an image so that naive readers loop, or allocate as much as the
// image claims.
func TestHostile(t *testing.T) {
	dir := t.TempDir()
	treetest.Run(t, "sh", "-ec", `cd "$1"; mkdir dir; echo x >dir/file; ln -s "$(printf '%0100d/%0100d' 1 2)" link`, "sh", dir)
	good := image(t, dir, "genisoimage", "-R")
	mustRead(t, good)
	for name, c := range map[string]struct {
		change func(b []byte)
		want   string
	}{
		"directory in itself": {func(b []byte) {
			root := order.Uint32(b[16*sector+156+2:])
			for _, at := range records(b, "DIR") {
				order.PutUint32(b[at+2:], root)
			}
		}, "two parents"},
		"directory of 4 GiB": {func(b []byte) {
			for _, at := range records(b, "DIR") {
				order.PutUint32(b[at+10:], 0xffffffff)
			}
		}, "directory of more than"},
		"file outside": {func(b []byte) {
			for _, at := range records(b, "FILE.;1") {
				order.PutUint32(b[at+2:], 0xfffffff0)
			}
		}, "dir/file: extent of 2 bytes"},
		"continuation that continues itself": {func(b []byte) {
			ce := bytes.LastIndex(b, []byte("CE\x1c\x01"))
			area := b[int(order.Uint32(b[ce+4:]))*sector:]
			copy(area, b[ce:ce+28])
			order.PutUint32(area[12:], 0)
			order.PutUint32(area[20:], 28)
			order.PutUint32(b[ce+12:], 0)
			order.PutUint32(b[ce+20:], 28)
		}, "system use area of more than"},
		"no terminator":   {func(b []byte) { copy(b[17*sector:], b[16*sector:17*sector]) }, "volume descriptor"},
		"no block size":   {func(b []byte) { order.PutUint16(b[16*sector+128:], 0) }, "invalid block size"},
		"no root":         {func(b []byte) { order.PutUint32(b[16*sector+156+2:], 0xffffff) }, "root directory: "},
		"name of no size": {func(b []byte) { b[records(b, "DIR")[0]+32] = 0 }, "room for its name"},
		"short entry":     {func(b []byte) { b[records(b, "DIR")[0]] = 3 }, "entry of 3 bytes"},
	} {
		b := bytes.Clone(good)
		c.change(b)
		if _, err := Read(bytes.NewReader(b), int64(len(b))); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	for size := range len(good) / sector { // cut short
		if _, err := Read(bytes.NewReader(good[:size*sector]), int64(size*sector)); err == nil && size*sector < 20*sector {
			t.Errorf("%d sectors: no error", size)
		}
	}
}

// FuzzRead must not panic, loop or allocate much.
func FuzzRead(f *testing.F) {
	dir := f.TempDir()
	treetest.Run(f, "sh", "-ec", `cd "$1"; mkdir dir; echo x >dir/file; ln -s "$(printf '%0100d/%0100d' 1 2)" link`, "sh", dir)
	for _, option := range []string{"-R", "-J"} {
		f.Add(image(f, dir, "genisoimage", "-no-pad", option)[16*sector:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		b = append(make([]byte, 16*sector), b...)
		root, err := Read(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		for _, in := range root.Walk() {
			if in.IsFile() && in.Size() > 0 {
				if _, err := rootfs.ReadAll(in.Content, int64(len(b))); err != nil && in.Size() <= int64(len(b)) {
					t.Error(err)
				}
			}
		}
	})
}
