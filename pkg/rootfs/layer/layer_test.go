package layer

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree"
)

// A builder writes layers.
type builder struct {
	buf bytes.Buffer
	tw  *tar.Writer
}

func newBuilder() *builder {
	b := &builder{}
	b.tw = tar.NewWriter(&b.buf)
	return b
}

func (b *builder) add(h tar.Header, data string) {
	h.Size = int64(len(data))
	if h.Mode == 0 && h.Typeflag != tar.TypeXGlobalHeader {
		h.Mode = 0o644
	}
	if err := b.tw.WriteHeader(&h); err != nil {
		panic(err)
	}
	if _, err := io.WriteString(b.tw, data); err != nil {
		panic(err)
	}
}

func (b *builder) file(name, data string) { b.add(tar.Header{Name: name}, data) }

func (b *builder) link(name, target string) {
	b.add(tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: target}, "")
}

func (b *builder) bytes() []byte {
	if err := b.tw.Close(); err != nil {
		panic(err)
	}
	return b.buf.Bytes()
}

func objectPath(id ostree.Checksum, t ostree.ObjectType) string {
	return "sysroot/ostree/repo/objects/" + ostree.ObjectPath(id, t)
}

// fileID is the name of a regular file that belongs to root.
func fileID(mode uint32, xattrs []byte, data string) ostree.Checksum {
	return ostree.Sum(append(ostree.FileHeader(0, 0, rootfs.ModeFile|mode, "", xattrs), data...))
}

// object adds a regular file as today's encapsulators do.
func (b *builder) object(mode uint32, xattrs []byte, data string, links ...string) ostree.Checksum {
	id := fileID(mode, xattrs, data)
	b.file(objectPath(id, ostree.FileXattrsLinkObject), string(xattrs))
	b.add(tar.Header{Name: objectPath(id, ostree.FileObject), Mode: int64(mode)}, data)
	for _, l := range links {
		b.link(l, objectPath(id, ostree.FileObject))
	}
	return id
}

var label = ostree.XattrsOf(map[string]string{"security.selinux": "system_u:object_r:usr_t:s0\x00"})

func scan(t *testing.T, tarball []byte) (*Index, []byte) {
	t.Helper()
	var pack bytes.Buffer
	x, err := Scan(bytes.NewReader(tarball), &pack, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if x.DiffID != sha256.Sum256(tarball) || x.TarSize != int64(len(tarball)) || x.PackSize != int64(pack.Len()) {
		t.Errorf("index says %x, %d, %d", x.DiffID, x.TarSize, x.PackSize)
	}
	if sum, err := PackSum(bytes.NewReader(pack.Bytes())); err != nil || sum != x.PackSum {
		t.Errorf("pack has checksum %08x, %v, index says %08x", sum, err, x.PackSum)
	}
	return x, pack.Bytes()
}

// checkContent compares a content in pack and tar with the wanted one.
func checkContent(t *testing.T, tarball, pack []byte, c Content, want string) {
	t.Helper()
	if got := pack[c.Off:][:c.Size]; string(got) != want {
		t.Errorf("pack at %d has %.40q, want %.40q", c.Off, got, want)
	}
	if got := tarball[c.TarOff:][:c.Size]; string(got) != want {
		t.Errorf("tar at %d has %.40q, want %.40q", c.TarOff, got, want)
	}
	if c.Size >= large && c.Off%block != 0 {
		t.Errorf("%d bytes at %d are not aligned", c.Size, c.Off)
	}
}

func TestOSTreeLayer(t *testing.T) {
	b := newBuilder()
	b.add(tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755}, "")
	b.add(tar.Header{Name: "sysroot/ostree/repo/objects/", Typeflag: tar.TypeDir, Mode: 0o755}, "")
	b.file("sysroot/ostree/repo/config", "[core]\n")
	commit := []byte("a commit, as far as this package cares")
	b.file(objectPath(ostree.Sum(commit), ostree.CommitObject), string(commit))
	b.file(objectPath(ostree.Sum(commit), ostree.CommitMetaObject), "detached")
	big := strings.Repeat("0123456789abcdef", 50_000)
	b.object(0o755, label, "small", "usr/bin/small", "./etc/small")
	b.object(0o644, label, big, "usr/lib/big")
	b.object(0o4755, nil, "", "usr/bin/empty")
	// Older encapsulators store equal xattrs once.
	b.file(objectPath(ostree.Sum(label), ostree.FileXattrsObject), string(label))
	id := ostree.Sum(ostree.FileHeader(3, 4, rootfs.ModeLink|0o777, "../big", label))
	b.link(objectPath(id, ostree.FileXattrsLinkObject), objectPath(ostree.Sum(label), ostree.FileXattrsObject))
	b.add(tar.Header{Name: objectPath(id, ostree.FileObject), Typeflag: tar.TypeSymlink, Linkname: "../big", Uid: 3, Gid: 4, Mode: 0o777}, "")
	b.file("usr/lib/empty", "")
	tarball := b.bytes()

	x, pack := scan(t, tarball)
	want := []Object{
		{ID: ostree.Sum(commit), Type: ostree.CommitObject},
		{ID: ostree.Sum(commit), Type: ostree.CommitMetaObject},
		{ID: fileID(0o755, label, "small"), Type: ostree.FileObject, Mode: 0o100755, Xattrs: label},
		{ID: fileID(0o644, label, big), Type: ostree.FileObject, Mode: 0o100644, Xattrs: label},
		{ID: fileID(0o4755, nil, ""), Type: ostree.FileObject, Mode: 0o104755},
		{ID: id, Type: ostree.FileObject, UID: 3, GID: 4, Mode: 0o120777, Target: "../big", Xattrs: label},
	}
	if diff := cmp.Diff(want, x.Objects, cmpopts.IgnoreFields(Object{}, "Content"), cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
	for i, content := range []string{string(commit), "detached", "small", big} {
		checkContent(t, tarball, pack, x.Objects[i].Content, content)
	}
	var names []string
	for _, e := range x.Entries {
		names = append(names, e.Name)
	}
	if diff := cmp.Diff([]string{".", "sysroot/ostree/repo/config", "usr/lib/empty"}, names); diff != "" {
		t.Error(diff)
	}
}

func TestPlainLayer(t *testing.T) {
	mtime := time.Unix(1700000000, 123456789)
	b := newBuilder()
	long := strings.Repeat("d/", 200) + strings.Repeat("n", 255)
	b.add(tar.Header{Name: "./usr/", Typeflag: tar.TypeDir, Mode: 0o2755, ModTime: mtime, Format: tar.FormatPAX}, "")
	b.add(tar.Header{Name: "usr/bin/ping", Mode: 0o4755, Uid: 7, Gid: 1 << 31, PAXRecords: map[string]string{
		"SCHILY.xattr.security.capability": "\x01\x00\x00\x02", "SCHILY.xattr.user.k": "v",
	}}, "ping")
	b.add(tar.Header{Name: "/abs//./name", ModTime: mtime, Format: tar.FormatGNU}, "x")
	b.link("usr/bin/pong", "/usr/bin/ping")
	b.add(tar.Header{Name: "lib", Typeflag: tar.TypeSymlink, Linkname: "/../usr/lib", Mode: 0o777}, "")
	b.add(tar.Header{Name: "dev/null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}, "")
	b.add(tar.Header{Name: "dev/sda", Typeflag: tar.TypeBlock, Devmajor: 8, Devminor: 300}, "")
	b.add(tar.Header{Name: "run/fifo", Typeflag: tar.TypeFifo, PAXRecords: map[string]string{"RHT.security.selinux": "x"}}, "")
	b.add(tar.Header{Name: long, Format: tar.FormatGNU}, "long")
	b.file("usr/lib/.wh.gone", "")
	b.file("sysroot/ostree/repo/objects/ab/.wh.cd.file", "")
	b.link("usr/lower", "sysroot/ostree/repo/objects/ab/"+strings.Repeat("c", 62)+".file")
	tarball := b.bytes()

	x, pack := scan(t, tarball)
	want := []Entry{
		{Name: "usr", Mode: 0o042755, MTime: rootfs.Time{Sec: 1700000000, Nsec: 123456789}},
		{Name: "usr/bin/ping", Mode: 0o104755, UID: 7, GID: 1 << 31, Xattrs: map[string]string{"security.capability": "\x01\x00\x00\x02", "user.k": "v"}},
		{Name: "abs/name", Mode: 0o100644, MTime: rootfs.Time{Sec: 1700000000}, Absolute: true},
		{Name: "usr/bin/pong", Mode: 0o644, Target: "usr/bin/ping", HardLink: true, Absolute: true},
		{Name: "lib", Mode: 0o120777, Target: "/../usr/lib"},
		{Name: "dev/null", Mode: 0o020644, Rdev: 0x103},
		{Name: "dev/sda", Mode: 0o060644, Rdev: 0x10082c},
		{Name: "run/fifo", Mode: 0o010644, Xattrs: map[string]string{"security.selinux": "x"}},
		{Name: long, Mode: 0o100644},
		{Name: "usr/lib/.wh.gone", Mode: 0o100644},
		{Name: "sysroot/ostree/repo/objects/ab/.wh.cd.file", Mode: 0o100644},
		{Name: "usr/lower", Mode: 0o644, Target: "sysroot/ostree/repo/objects/ab/" + strings.Repeat("c", 62) + ".file", HardLink: true},
	}
	if diff := cmp.Diff(want, x.Entries, cmpopts.IgnoreFields(Entry{}, "Content"), cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
	checkContent(t, tarball, pack, x.Entries[1].Content, "ping")
	checkContent(t, tarball, pack, x.Entries[8].Content, "long")
}

// TestSparse reads a file that GNU tar stored with a hole.
func TestSparse(t *testing.T) {
	var records string
	for _, r := range []string{"major=1", "minor=0", "name=very/sparse", "realsize=10"} {
		records += fmt.Sprintf("%d GNU.sparse.%s\n", len(r)+len("00 GNU.sparse.\n"), r)
	}
	pax := newBuilder()
	pax.file("x", records)
	raw := bytes.Clone(pax.bytes()[:1024])
	raw[156] = tar.TypeXHeader
	fixChecksum(raw[:512])
	file := newBuilder()
	sparseMap := "1\n5\n3\n"
	file.file("GNUSparseFile.0/s", sparseMap+strings.Repeat("\x00", 512-len(sparseMap))+"abc")
	raw = append(raw, file.bytes()...)

	x, pack := scan(t, raw)
	e := x.Entries[0]
	if e.Name != "very/sparse" || e.Size != 10 || e.TarOff != -1 || string(pack) != "\x00\x00\x00\x00\x00abc\x00\x00" {
		t.Errorf("got %+v, %q", e, pack)
	}
}

// TestSparsePack has a file with data between holes, in a pack that is a file.
func TestSparsePack(t *testing.T) {
	const size = 80 << 20
	h := make([]byte, 512)
	base256 := func(b []byte, v int64) {
		for i := len(b) - 1; i >= 0; i-- {
			b[i], v = byte(v), v>>8
		}
		b[0] |= 0x80
	}
	copy(h, "usr/s")
	copy(h[100:], "0000644\x000000000\x000000000\x0000000001000\x0000000000000\x00        S")
	copy(h[257:], "ustar  \x00")
	base256(h[386:398], size/2) // the only piece
	base256(h[398:410], 512)
	base256(h[483:495], size)
	fixChecksum(h)
	after := newBuilder()
	after.file("usr/t", "tail")
	tarball := append(append(h, bytes.Repeat([]byte("x"), 512)...), after.bytes()...)

	for _, tarball := range [][]byte{tarball, append(bytes.Clone(tarball[:1024]), make([]byte, 1024)...)} {
		f, err := os.Create(filepath.Join(t.TempDir(), "pack"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		x, err := Scan(bytes.NewReader(tarball), f, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		var all bytes.Buffer
		want, err := Scan(bytes.NewReader(tarball), &all, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		pack, err := os.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, x); diff != "" || !bytes.Equal(pack, all.Bytes()) || len(pack) < size || bytes.Count(pack, []byte("x")) != 512 {
			t.Errorf("pack of %d bytes, want %d; index\n%s", len(pack), all.Len(), diff)
		}
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Blocks*512 > 1<<20 {
			t.Errorf("takes %d KiB on the disk, %v", st.Blocks/2, err)
		}
		if _, err := Scan(bytes.NewReader(tarball), io.Discard, Limits{Holes: size - 513}); err == nil ||
			!strings.Contains(err.Error(), "usr/s: claims 80 MiB (83886080 bytes), most of them holes; limit of the holes in a layer is") {
			t.Errorf("%v", err)
		}
	}
}

// TestPlain reads a layer on top of a commit, where names of objects are names.
func TestPlain(t *testing.T) {
	b := newBuilder()
	b.add(tar.Header{Name: "sysroot/ostree/repo/objects/ab/", Typeflag: tar.TypeDir, Mode: 0o755}, "")
	id := b.object(0o644, label, "object", "usr/a")
	b.file("sysroot/ostree/repo/objects/ab/notes", "x")
	b.link("usr/b", "sysroot/ostree/repo/objects/ab/notes")
	tarball := b.bytes()
	if _, err := Scan(bytes.NewReader(tarball), io.Discard, Limits{}); err == nil || !strings.Contains(err.Error(), "objects/ab/notes") {
		t.Errorf("as objects: %v", err)
	}
	x, err := ScanPlain(bytes.NewReader(tarball), io.Discard, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range x.Entries {
		names = append(names, e.Name)
	}
	want := []string{"sysroot/ostree/repo/objects/ab", objectPath(id, ostree.FileXattrsLinkObject), objectPath(id, ostree.FileObject), "usr/a", "sysroot/ostree/repo/objects/ab/notes", "usr/b"}
	if diff := cmp.Diff(want, names); diff != "" || len(x.Objects) > 0 {
		t.Errorf("%d objects, entries\n%s", len(x.Objects), diff)
	}
	again, err := Parse(x.Bytes())
	if err != nil || !again.Plain || !again.Repo || again.Suits(false) || !again.Suits(true) {
		t.Errorf("%v %v, %v", again.Plain, again.Repo, err)
	}

	// A layer without a repository is read in one way.
	b = newBuilder()
	b.file("usr/a", "x")
	if x, _ := scan(t, b.bytes()); !x.Suits(true) || !x.Suits(false) {
		t.Error("does not suit both")
	}
}

func fixChecksum(h []byte) {
	copy(h[148:156], "        ")
	sum := 0
	for _, c := range h {
		sum += int(c)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
}

// raw returns one header block with a field set to bytes that no writer
// writes, and n bytes behind it.
func raw(off int, field string, n int) []byte {
	b := newBuilder()
	b.file("usr/x", "")
	h := bytes.Clone(b.bytes()[:512])
	copy(h[off:], field)
	fixChecksum(h)
	return append(h, make([]byte, n)...)
}

func TestHostile(t *testing.T) {
	some := strings.Repeat("ab", 32)
	object := "sysroot/ostree/repo/objects/ab/" + strings.Repeat("c", 62)
	one := func(h tar.Header, data string) func(*builder) { return func(b *builder) { b.add(h, data) } }
	for _, tc := range []struct {
		name  string
		build func(*builder)
		tar   []byte
		want  []string
	}{
		{name: "dotdot", build: one(tar.Header{Name: "usr/../../etc/passwd"}, "x"), want: []string{"usr/../../etc/passwd", "leads out"}},
		{name: "dotdot only", build: one(tar.Header{Name: ".."}, "x"), want: []string{"leads out"}},
		{name: "link to dotdot", build: func(b *builder) { b.link("usr/x", "../x") }, want: []string{"usr/x", "../x", "leads out"}},
		{name: "not UTF-8", build: one(tar.Header{Name: "usr/\xff", Format: tar.FormatGNU}, ""), want: []string{`usr/\xff`, "UTF-8"}},
		{name: "symlink not UTF-8", build: one(tar.Header{Name: "usr/x", Typeflag: tar.TypeSymlink, Linkname: "\xff", Format: tar.FormatGNU}, ""), want: []string{"usr/x", "UTF-8"}},
		{name: "long part", build: one(tar.Header{Name: strings.Repeat("n", 256), Format: tar.FormatPAX}, ""), want: []string{"nnn", "256 bytes"}},
		{name: "long path", build: one(tar.Header{Name: strings.Repeat("d/", 2100) + "x", Format: tar.FormatPAX}, ""), want: []string{"4201 bytes"}},
		{name: "long target", build: one(tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: strings.Repeat("x", 5000), Format: tar.FormatPAX}, ""), want: []string{"l: ", "5000 bytes"}},
		{name: "10 TiB", tar: raw(124, "\x80\x00\x00\x00\x00\x00\x0a\x00\x00\x00\x00\x00", 0), want: []string{"usr/x", "claims 10 TiB (10995116277760 bytes)"}},
		{name: "63 GiB", tar: raw(124, "770000000000", 0), want: []string{"usr/x", "claims 67645734912 bytes", "unexpected EOF"}},
		{name: "truncated content", tar: raw(124, "00000001000\x00", 100), want: []string{"usr/x", "claims 512 bytes, the layer ends after 100", "unexpected EOF"}},
		{name: "truncated header", tar: raw(0, "usr/y", 0)[:300], want: []string{"behind the beginning", "unexpected EOF"}},
		{name: "negative size", tar: raw(124, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xf0", 512), want: []string{"behind the beginning", "invalid tar header"}},
		{name: "uid none", tar: raw(108, "\x80\x00\x00\x00\xff\xff\xff\xff", 1024), want: []string{"usr/x", "uid 4294967295"}},
		{name: "gid negative", tar: raw(116, "\xff\xff\xff\xff\xff\xff\xff\xff", 1024), want: []string{"usr/x", "gid -1"}},
		{name: "garbage", tar: bytes.Repeat([]byte("garbage!"), 200), want: []string{"behind the beginning", "invalid tar header"}},
		{name: "socket", tar: raw(156, "s", 1024), want: []string{"usr/x", "type 's'"}},
		{name: "global PAX", build: one(tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"path": "x"}}, ""), want: []string{`"path"`}},
		{name: "xattr value", build: one(tar.Header{Name: "usr/x", PAXRecords: map[string]string{"SCHILY.xattr.user.k": strings.Repeat("v", 1<<16)}}, ""), want: []string{"usr/x", "user.k", "65536 bytes"}},
		{name: "xattr name", build: one(tar.Header{Name: "usr/x", PAXRecords: map[string]string{"SCHILY.xattr.user." + strings.Repeat("k", 255): "v"}}, ""), want: []string{"usr/x", "bad name"}},
		{name: "xattrs", tar: hugePAX(), want: []string{"behind the beginning", "field too long"}},
		{name: "format 0", build: one(tar.Header{Name: "./sysroot/ostree/repo/xattrs/" + some}, ""), want: []string{"format 0"}},
		{name: "bad checksum", build: func(b *builder) {
			b.file(object+".file-xattrs-link", "")
			b.file(object+".file", "content")
		}, want: []string{object + ".file: checksum mismatch: it is " + fileID(0o644, nil, "content").String()}},
		{name: "bad commit", build: one(tar.Header{Name: object + ".commit"}, "content"), want: []string{object + ".commit: checksum mismatch"}},
		{name: "bad xattrs checksum", build: one(tar.Header{Name: object + ".file-xattrs"}, ""), want: []string{object + ".file-xattrs: checksum mismatch"}},
		{name: "no xattrs", build: one(tar.Header{Name: object + ".file"}, ""), want: []string{object + ".file", "no xattrs of its own"}},
		{name: "xattrs of another", build: func(b *builder) {
			b.file("sysroot/ostree/repo/objects/ab/"+strings.Repeat("d", 62)+".file-xattrs-link", "")
			b.file(object+".file", "")
		}, want: []string{object + ".file", "no xattrs of its own"}},
		{name: "xattrs alone", build: one(tar.Header{Name: object + ".file-xattrs-link"}, ""), want: []string{strings.Repeat("c", 62), "the file is not"}},
		{name: "xattrs twice", build: func(b *builder) {
			b.file(object+".file-xattrs-link", "")
			b.file(object+".file-xattrs-link", "")
		}, want: []string{"twice"}},
		{name: "bad xattrs", build: one(tar.Header{Name: object + ".file-xattrs-link"}, "\xff\xff\xff"), want: []string{object, "xattrs"}},
		{name: "huge xattrs", build: one(tar.Header{Name: object + ".file-xattrs-link"}, strings.Repeat("x", 1<<20+1)), want: []string{object, "1048577 bytes"}},
		{name: "link to no xattrs", build: func(b *builder) {
			b.link(object+".file-xattrs-link", object+".file-xattrs")
		}, want: []string{object, "not in front of it"}},
		{name: "link to a file", build: func(b *builder) { b.link(object+".file-xattrs-link", "etc/passwd") }, want: []string{object, "no xattrs"}},
		{name: "huge metadata", build: one(tar.Header{Name: object + ".dirtree"}, strings.Repeat("x", 10<<20+1)), want: []string{object, "10485761 bytes"}},
		{name: "metadata link", build: func(b *builder) { b.link(object+".dirtree", "x") }, want: []string{object, "not a regular file"}},
		{name: "directory as file", build: func(b *builder) {
			b.file(object+".file-xattrs-link", "")
			b.add(tar.Header{Name: object + ".file", Typeflag: tar.TypeFifo}, "")
		}, want: []string{object, "neither"}},
		{name: "commitmeta alone", build: one(tar.Header{Name: object + ".commitmeta"}, ""), want: []string{object, "no commit"}},
		{name: "object twice", build: func(b *builder) {
			b.object(0o644, label, "same")
			b.file(objectPath(fileID(0o644, label, "same"), ostree.FileObject), "same")
		}, want: []string{"twice"}},
		{name: "not an object", build: one(tar.Header{Name: "sysroot/ostree/repo/objects/ab/cd.filez"}, ""), want: []string{"ab/cd.filez"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.build != nil {
				b := newBuilder()
				tc.build(b)
				tc.tar = b.bytes()
			}
			_, err := Scan(bytes.NewReader(tc.tar), io.Discard, Limits{})
			if err == nil {
				t.Fatal("no error")
			}
			for _, w := range tc.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q does not have %q", err, w)
				}
			}
			if strings.Contains(tc.want[len(tc.want)-1], ErrChecksum.Error()) != errors.Is(err, ErrChecksum) {
				t.Errorf("%v: is ErrChecksum: %v", err, errors.Is(err, ErrChecksum))
			}
		})
	}
}

// hugePAX is a PAX header with more xattrs than are read.
func hugePAX() []byte {
	b := raw(124, "00010000000\x00", 2<<20)
	b[156] = tar.TypeXHeader
	fixChecksum(b[:512])
	return b
}

func TestLimits(t *testing.T) {
	b := newBuilder()
	for i := range 100 {
		b.file(fmt.Sprintf("file%04d", i), strings.Repeat("x", 1000))
	}
	tarball := b.bytes()
	for want, l := range map[string]Limits{
		"file0050: more than 50 entries":                       {Entries: 50},
		"file0010: more than 80 bytes of names":                {Meta: 80},
		"header behind file0051: more than 80000 bytes":        {Tar: 80_000},
		"file0000: claims 1000 bytes, limit of a layer is 900": {Tar: 900},
		fmt.Sprintf("more than %d bytes", len(tarball)-100):    {Tar: int64(len(tarball)) - 100},
	} {
		_, err := Scan(iotest.OneByteReader(bytes.NewReader(tarball)), io.Discard, l)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", l, err, want)
		}
	}
}

func TestReadError(t *testing.T) {
	b := newBuilder()
	b.file("usr/x", strings.Repeat("x", 1<<20))
	tarball := b.bytes()
	boom := errors.New("boom")
	for _, n := range []int{0, 100, 512, 5000, len(tarball)} {
		r := io.MultiReader(bytes.NewReader(tarball[:n]), iotest.ErrReader(boom))
		if _, err := Scan(r, io.Discard, Limits{}); !errors.Is(err, boom) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	if _, err := Scan(bytes.NewReader(tarball), failing{boom}, Limits{}); !errors.Is(err, boom) {
		t.Errorf("failing pack: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// synthetic returns a layer like that of a real system: n objects of sizes as
// they are in one, and their links.
func synthetic(n, links int, size int64) []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	b := newBuilder()
	junk := make([]byte, 1<<20)
	for i := range junk {
		junk[i] = byte(rng.Uint32() & 0x3f)
	}
	for i := range n {
		// Most files are small, most bytes are in a few large ones.
		length := rng.Int64N(4000)
		if i%50 == 0 {
			length = min((size-int64(n)*2000)/int64(n/50+1), int64(len(junk))-1)
		}
		data := fmt.Sprint(i) + string(junk[:length])
		var names []string
		for l := range links {
			names = append(names, fmt.Sprintf("usr/lib/package-%d/some/directory/file-%d-%d", i%200, i, l))
		}
		b.object(0o644, label, data, names...)
	}
	return b.bytes()
}

func TestIndexBytes(t *testing.T) {
	b := newBuilder()
	b.object(0o644, label, "x", "usr/x")
	b.object(0o644, nil, "y", "usr/y")
	b.add(tar.Header{Name: "dev/sda", Typeflag: tar.TypeBlock, Devmajor: 8, ModTime: time.Unix(-5, 7), Format: tar.FormatPAX}, "")
	b.add(tar.Header{Name: "a", PAXRecords: map[string]string{"SCHILY.xattr.user.k": "v", "SCHILY.xattr.user.l": ""}}, "aa")
	b.add(tar.Header{Name: "b", PAXRecords: map[string]string{"SCHILY.xattr.user.k": "v", "SCHILY.xattr.user.l": ""}}, "aa")
	b.link("c", "b")
	x, _ := scan(t, b.bytes())
	enc := x.Bytes()
	got, err := Parse(enc)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(x, got, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
	if !bytes.Equal(got.Bytes(), enc) {
		t.Error("bytes differ the second time")
	}
	for i := range enc {
		bad := bytes.Clone(enc)
		bad[i] ^= 0x10
		if _, err := Parse(bad); err == nil {
			t.Errorf("flipped bit at %d is not noticed", i)
		}
		if _, err := Parse(enc[:i]); err == nil {
			t.Errorf("truncation to %d is not noticed", i)
		}
	}
}

// TestParseDamaged gives Parse bodies that are damaged under a checksum that
// is right: it may accept them, but not crash.
func TestParseDamaged(t *testing.T) {
	x, _ := scan(t, synthetic(20, 2, 100_000))
	enc := x.Bytes()
	body := enc[:len(enc)-sha256.Size]
	rng := rand.New(rand.NewPCG(3, 4))
	for range 20_000 {
		bad := bytes.Clone(body[:len(body)-rng.IntN(len(body)/2)*rng.IntN(2)])
		for range 1 + rng.IntN(4) {
			if i := len(Format) + rng.IntN(len(bad)-len(Format)); rng.IntN(3) == 0 {
				bad[i] = 0xff
			} else {
				bad[i] ^= 1 << rng.IntN(8)
			}
		}
		sum := sha256.Sum256(bad)
		_, _ = Parse(append(bad, sum[:]...))
	}
}

// TestDeterminism scans the same layer with readers that hand it out
// differently, on one processor and on more.
func TestDeterminism(t *testing.T) {
	tarball := synthetic(300, 2, 20<<20)
	x, pack := scan(t, tarball)
	for _, procs := range []int{1, 2} {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
		for _, r := range []io.Reader{bytes.NewReader(tarball), iotest.HalfReader(bytes.NewReader(tarball)), iotest.DataErrReader(bytes.NewReader(tarball))} {
			var again bytes.Buffer
			y, err := Scan(r, &again, Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(again.Bytes(), pack) || !bytes.Equal(x.Bytes(), y.Bytes()) {
				t.Errorf("%T, %d processors: differs", r, procs)
			}
		}
	}
}

// TestMemory scans a layer whose one file is larger than all that may be in
// memory.
func TestMemory(t *testing.T) {
	const size = 1 << 30
	var h bytes.Buffer
	if err := tar.NewWriter(&h).WriteHeader(&tar.Header{Name: "usr/large", Size: size, Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	x, err := Scan(io.MultiReader(&h, io.LimitReader(zeroReader{}, size+1024)), io.Discard, Limits{})
	runtime.ReadMemStats(&after)
	if err != nil || x.Entries[0].Size != size {
		t.Fatal(x, err)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 4<<20 {
		t.Errorf("%d bytes allocated", used)
	}
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// endless repeats a piece of a tar, with a number in it, as often as it is read.
type endless struct {
	piece func(n int) []byte
	n     int
	rest  []byte
}

func (e *endless) Read(p []byte) (int, error) {
	if len(e.rest) == 0 {
		e.rest, e.n = e.piece(e.n), e.n+1
	}
	n := copy(p, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

// TestBombs reads endless layers, up to the real limits.
func TestBombs(t *testing.T) {
	if testing.Short() {
		t.Skip("-short leaves out a million headers")
	}
	plain := oneEntry(t, tar.Header{Name: "usr/a"})
	if _, err := Scan(&endless{piece: func(int) []byte { return plain }}, io.Discard, Limits{}); err == nil || err.Error() != "usr/a: more than 1048576 entries" {
		t.Errorf("entries: %v", err)
	}
	// Every entry has other xattrs: a gigabyte of them, if it were let.
	value := strings.Repeat("x", 60_000)
	bomb := &endless{piece: func(n int) []byte {
		records := map[string]string{}
		for i := range 10 {
			records[fmt.Sprint(starXattr, "user.", i)] = fmt.Sprint(n, value)
		}
		return oneEntry(t, tar.Header{Name: "usr/b", PAXRecords: records})
	}}
	if _, err := Scan(bomb, io.Discard, Limits{}); err == nil || err.Error() != "usr/b: more than 268435456 bytes of names and xattrs" {
		t.Errorf("xattrs: %v", err)
	}
}

// oneEntry returns an entry of a tar, without the end of one.
func oneEntry(t *testing.T, h tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	h.Mode = 0o644
	if err := tar.NewWriter(&b).WriteHeader(&h); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func FuzzScan(f *testing.F) {
	b := newBuilder()
	b.object(0o644, label, "content", "usr/x")
	b.add(tar.Header{Name: "usr/y", PAXRecords: map[string]string{"SCHILY.xattr.user.k": "v"}}, "y")
	b.link("usr/z", "usr/y")
	f.Add(b.bytes())
	f.Fuzz(func(t *testing.T, tarball []byte) {
		var pack bytes.Buffer
		x, err := Scan(bytes.NewReader(tarball), &pack, Limits{Tar: 1 << 20})
		if err != nil {
			return
		}
		y, err := Parse(x.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(x, y, cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
	})
}

// BenchmarkParse loads an index of the size of a real one.
func BenchmarkParse(b *testing.B) {
	x, err := Scan(bytes.NewReader(synthetic(12_000, 0, 30<<20)), io.Discard, Limits{})
	if err != nil {
		b.Fatal(err)
	}
	for i := range 25_000 {
		x.Entries = append(x.Entries, Entry{Name: fmt.Sprintf("usr/lib/package-%d/some/directory/file-%d", i%200, i), Mode: 0o100644})
	}
	enc := x.Bytes()
	b.ReportMetric(float64(len(enc)), "index-bytes")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(enc); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkScan(b *testing.B) {
	tarball := synthetic(12_000, 2, 200<<20)
	pack, err := os.Create(b.TempDir() + "/pack")
	if err != nil {
		b.Fatal(err)
	}
	defer pack.Close()
	b.SetBytes(int64(len(tarball)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := pack.Seek(0, 0); err != nil {
			b.Fatal(err)
		}
		if _, err := Scan(bytes.NewReader(tarball), pack, Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}
