package squashfs

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/diskfs/go-diskfs/backend/file"
	diskfs "github.com/diskfs/go-diskfs/filesystem/squashfs"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// source makes a directory of all kinds of files.
func source(t testing.TB) string {
	t.Helper()
	treetest.Root(t) // the files have several owners
	dir := t.TempDir()
	treetest.Run(t, "sh", "-ec", `cd "$1"
		mkdir -p a/b/c many empty; echo hello >a/file; ln a/file a/b/hard; : >nothing
		seq 60000 >large; truncate -s 3M holes; echo end >>holes; head -c 131072 /dev/urandom >block; head -c 131073 /dev/urandom >blocks
		for i in $(seq 2000); do echo $i >many/name-$i; done
		ln -s "$(printf '%0300d' 1)" link; mkfifo fifo; mknod device b 8 70000; mknod null c 1 3
		chmod 4755 a/file; chmod 1777 a; chown 12:3456789 a/b
		setfattr -n user.one -v 1 large; setfattr -n user.two -v 2 large; setfattr -n user.three -v "$(printf '%03000d' 1)" large
		setfattr -n trusted.t -v x a; setfattr -h -n trusted.link -v y link; setfattr -n user.three -v "$(printf '%03000d' 1)" blocks
		setcap cap_net_raw+ep block
		find . -exec touch -h -d 2001-02-03T04:05:06Z {} +`, "sh", dir)
	return dir
}

// image makes an image of a directory.
func image(t testing.TB, dir string, options ...string) (name string, b []byte) {
	t.Helper()
	name = filepath.Join(t.TempDir(), "image")
	treetest.Run(t, "mksquashfs", append([]string{dir, name, "-quiet", "-no-progress", "-processors", "1"}, options...)...)
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return name, b
}

// TestRead compares images of mksquashfs with the directory they were made of.
func TestRead(t *testing.T) {
	dir := source(t)
	for _, options := range []string{"-comp gzip", "-comp xz", "-comp zstd", "-comp gzip -noI -noD -noF -noX", "-comp zstd -no-fragments -b 4096", "-comp gzip -b 1M -always-use-fragments"} {
		_, b := image(t, dir, strings.Fields(options)...)
		root, err := Read(bytes.NewReader(b), int64(len(b)))
		if err == nil {
			err = treetest.Compare(dir, root)
		}
		if err != nil {
			t.Errorf("%s: %v", options, err)
		}
	}
}

// TestDiskfs compares the files with those that go-diskfs reads.
func TestDiskfs(t *testing.T) {
	name, b := image(t, source(t), "-comp", "zstd", "-no-xattrs")
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	theirs, err := diskfs.Read(file.New(f, true), int64(len(b)), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	root, err := Read(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for where, in := range root.Walk() {
		if !in.IsFile() || strings.HasPrefix(where, "many/") && !strings.HasSuffix(where, "0") {
			continue
		}
		seen++
		got, err := fs.ReadFile(theirs, where)
		want, err2 := rootfs.ReadAll(in.Content, 4<<20)
		if err != nil || err2 != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, want %d: %v, %v", where, len(got), len(want), err, err2)
		}
	}
	if seen < 200 {
		t.Errorf("only %d files were compared", seen)
	}
}

// TestHostile changes an image so that naive readers loop, or allocate as much
// as the image claims.
func TestHostile(t *testing.T) {
	dir := t.TempDir()
	treetest.Run(t, "sh", "-ec", `cd "$1"; mkdir -p a/b; seq 1000 >a/file; seq 100000 >large`, "sh", dir)
	_, good := image(t, dir, "-noI", "-noD", "-noF")
	super := func(at int, v uint64) func(b []byte) { return func(b []byte) { order.PutUint64(b[at:], v) } }
	for name, c := range map[string]struct {
		change func(b []byte)
		want   string
	}{
		"signature":        {func(b []byte) { b[0]++ }, "superblock: no signature"},
		"version":          {func(b []byte) { b[28] = 3 }, "version 3.0"},
		"block size":       {func(b []byte) { order.PutUint32(b[12:], 1<<30) }, "block size"},
		"lzo":              {func(b []byte) { b[20] = 3 }, "compression 3 lzo"},
		"used":             {super(40, 1<<40), "cut short"},
		"root":             {super(32, 1<<40), "squashfs: .: "},
		"no owners":        {func(b []byte) { order.PutUint16(b[26:], 0) }, "owners"},
		"owners outside":   {super(48, 1<<50), "table of owners"},
		"many fragments":   {func(b []byte) { order.PutUint32(b[16:], 1<<31) }, "table of fragments"},
		"inodes outside":   {super(64, 1<<62), "squashfs: .: "},
		"directory absent": {super(72, ^uint64(0)), "squashfs: .: "},
		"fragments absent": {super(80, ^uint64(0)), "table of fragments"},
		"root in itself": {func(b []byte) { // all entries refer to the root
			root := order.Uint64(b[32:])
			dirs := int(order.Uint64(b[72:])) + 2
			for at := dirs; at < int(order.Uint64(b[80:]))-2-24; at++ {
				if string(b[at+8:at+9]) == "a" && order.Uint16(b[at+6:]) == 0 {
					order.PutUint16(b[at:], uint16(root))
				}
			}
		}, "is a directory of another name"},
	} {
		b := bytes.Clone(good)
		c.change(b)
		if _, err := Read(bytes.NewReader(b), int64(len(b))); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// TestBombs: a block may not inflate to more than its limit, and xz may not claim
// a large dictionary.
func TestBombs(t *testing.T) {
	const limit = 8192
	for compression, tool := range map[uint16]string{1: "python3 -c 'import sys,zlib; sys.stdout.buffer.write(zlib.compress(bytes(int(sys.argv[1]))))'", 4: "python3 -c 'import sys; sys.stdout.buffer.write(bytes(int(sys.argv[1])))' $1 | xz --lzma2=dict=8KiB --check=crc32; true", 6: "python3 -c 'import sys; sys.stdout.buffer.write(bytes(int(sys.argv[1])))' $1 | zstd -q -c; true"} {
		inflate, err := newInflater(compression)
		if err != nil {
			t.Fatal(err)
		}
		pack := func(n string) []byte { return []byte(treetest.Run(t, "sh", "-c", tool+" "+n, "sh", n)) }
		if b, err := inflate(pack("8192"), limit); err != nil || len(b) != limit {
			t.Errorf("compression %d: %d bytes, %v", compression, len(b), err)
		}
		if b, err := inflate(pack("20000000"), limit); err == nil {
			t.Errorf("compression %d: %d bytes of a bomb", compression, len(b))
		}
	}
	large := treetest.Run(t, "sh", "-c", "echo x | xz --lzma2=dict=1GiB")
	if _, err := inflateXz([]byte(large), limit); err == nil || !strings.Contains(err.Error(), "dictionary") {
		t.Errorf("a large dictionary: %v", err)
	}
	if _, err := newInflater(5); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("lz4: %v", err)
	}
}

// FuzzRead must not panic, loop or allocate much.
func FuzzRead(f *testing.F) {
	dir := f.TempDir()
	treetest.Run(f, "sh", "-ec", `cd "$1"; mkdir dir; echo x >dir/file; ln -s x link; seq 1000 >large`, "sh", dir)
	for _, options := range []string{"-comp gzip -nopad", "-comp zstd -noI -nopad"} {
		_, b := image(f, dir, strings.Fields(options)...)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		root, err := Read(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		for _, in := range root.Walk() {
			if in.IsFile() && in.Size() < 1<<20 {
				rootfs.ReadAll(in.Content, 1<<20)
			}
		}
	})
}
