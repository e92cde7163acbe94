package composefs

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree/internal/ostreetest"
)

func TestStructSizes(t *testing.T) {
	for _, s := range []struct {
		v    any
		size int
	}{{header{}, 32}, {superBlock{}, superSize}, {inodeCompact{}, 32}, {inodeExtended{}, 64},
		{xattrHeader{}, 12}, {xattrEntry{}, 4}, {dirent{}, direntSize}, {verityDescriptor{}, 256}} {
		if got := binary.Size(s.v); got != s.size {
			t.Errorf("%T: %d bytes, want %d", s.v, got, s.size)
		}
	}
}

// The two vectors were made by libostree 2026.4 from the core commit.
func TestVectors(t *testing.T) {
	repo, commit := ostreetest.Core()
	root, err := repo.Tree(commit)
	if err != nil {
		t.Fatal(err)
	}
	verity := map[ostree.Checksum][32]byte{}
	for id, n := range repo.Files {
		if n.Size() == 0 || n.IsLink() {
			continue
		}
		if verity[id], err = Digest(io.NewSectionReader(n.Content, 0, n.Size())); err != nil {
			t.Fatal(err)
		}
	}
	for _, v := range []struct {
		file, digest string
		verity       map[ostree.Checksum][32]byte
	}{
		{"vector-noverity.cfs", "270bbbb1728fb28ae884cef7e4dfdbf5d452bc02693d225d605d83211e430dcb", nil},
		{"vector-verity.cfs", "5de36c668f9946f62b5d9346e75b92e2ce7799b624d9a5cf9739d54dc4a87fc2", verity},
	} {
		got, err := Format(root, Options{IDs: repo.IDs(), Verity: v.verity})
		if err != nil {
			t.Fatal(err)
		}
		compare(t, v.file, got, readFile(t, v.file))
		if d, err := Digest(bytes.NewReader(got)); err != nil || fmt.Sprintf("%x", d) != v.digest {
			t.Errorf("%s: digest %x, want %s (%v)", v.file, d, v.digest, err)
		}
	}
}

// TestDeployment has the image of a deployment made by "ostree admin deploy":
// its tree is read back from it, and written again.
func TestDeployment(t *testing.T) {
	want := readFile(t, "deploy.cfs")
	root, ids, err := read(want)
	if err != nil {
		t.Fatal(err)
	}
	if n := root.Lookup("usr/bin/true"); n == nil || n.Xattrs["security.selinux"] != "system_u:object_r:bin_t:s0\x00" {
		t.Fatalf("usr/bin/true: %+v", n)
	}
	got, err := Format(root, Options{IDs: ids})
	if err != nil {
		t.Fatal(err)
	}
	compare(t, "deploy.cfs", got, want)
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func compare(t *testing.T, name string, got, want []byte) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			lo := i &^ 15
			t.Fatalf("%s: first difference at %#x:\n%x\n%x", name, i, got[lo:min(lo+64, len(got))], want[lo:min(lo+64, len(want))])
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%s: %d bytes, want %d", name, len(got), len(want))
	}
}

func TestDigest(t *testing.T) {
	f, err := os.Open("testdata/fsverity.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	n := 0
	for ; lines.Scan(); n++ {
		var size int64
		var want string
		if _, err := fmt.Sscan(lines.Text(), &size, &want); err != nil {
			t.Fatal(err)
		}
		got, err := Digest(io.LimitReader(letters{}, size))
		if err != nil || fmt.Sprintf("%x", got) != want {
			t.Errorf("%d: %x, want %s (%v)", size, got, want, err)
		}
	}
	if n != 10 {
		t.Errorf("%d lines", n)
	}
}

type letters struct{}

func (letters) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'A'
	}
	return len(p), nil
}

func TestXXH32(t *testing.T) {
	for s, want := range map[string]uint32{"": 0x02cc5d05, "a": 0x550d7456, "abc": 0x32d153ff,
		"Nobody inspects the spammish repetition": 0xe2293b2f} {
		if got := xxh32(s, 0); got != want {
			t.Errorf("%q: %#x, want %#x", s, got, want)
		}
	}
}

func TestRefused(t *testing.T) {
	file := rootfs.Text(0o644, "x")
	long := rootfs.Link(strings.Repeat("x", 4064))
	big := rootfs.File(0o644, io.NewSectionReader(nil, 0, maxSize+1))
	ids := map[*rootfs.Inode]ostree.Checksum{big: {}, file: {}}
	for name, n := range map[string]*rootfs.Inode{
		"object is not known":                  rootfs.Text(0o644, "x"),
		"does not fit":                         long,
		"limit is 8 TiB (8796093022208 bytes)": big,
		"not that of":                          {Mode: rootfs.ModeFIFO},
		"without target":                       rootfs.Link(""),
		"xattr \"user.":                        {Mode: rootfs.ModeFile, Xattrs: map[string]string{"user." + strings.Repeat("x", 256): ""}},
		"xattrs of 32768 bytes":                {Mode: rootfs.ModeFile, Xattrs: map[string]string{"user.x": strings.Repeat("x", 32743)}},
	} {
		root := rootfs.Dir(0o755)
		root.Children["bad"] = n
		if _, err := Format(root, Options{IDs: ids}); err == nil || !strings.Contains(err.Error(), "/bad: ") || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	root := rootfs.Dir(0o755)
	root.Children["file"] = file
	root.Children["long"] = rootfs.Link(long.Target[1:])
	if _, err := Format(root, Options{IDs: ids}); err != nil {
		t.Error(err)
	}
	if _, err := Format(root, Options{IDs: ids, Verity: map[ostree.Checksum][32]byte{}}); err == nil || !strings.Contains(err.Error(), "fs-verity") {
		t.Error(err)
	}
	if _, err := Format(file, Options{IDs: ids}); err == nil {
		t.Error("a file as root: no error")
	}
}

// TestReadBack has trees that cross every limit in the layout, and reads them
// with a reader that knows none of them.
func TestReadBack(t *testing.T) {
	root := rootfs.Dir(0o755)
	ids := map[*rootfs.Inode]ostree.Checksum{}
	for i := range 150 {
		n := rootfs.Text(0o644, strings.Repeat("x", i))
		n.Xattrs = map[string]string{"user.i": fmt.Sprint(i / 2), "trusted.overlay.x": "y"}
		n.UID = uint32(i * 1000)
		ids[n] = ostree.Sum([]byte(fmt.Sprint(i)))
		root.Children[fmt.Sprint("file ", i)] = n
		root.Children[fmt.Sprint("link ", i)] = rootfs.Link(strings.Repeat("t", 1+i*27))
		dir := rootfs.Dir(0o700)
		for j := range i {
			dir.Children[fmt.Sprint("-", j)] = n
		}
		root.Children[fmt.Sprint("dir ", i)] = dir
	}
	many := rootfs.Text(0o644, "")
	twin := rootfs.Text(0o644, "")
	many.Xattrs = map[string]string{"system.posix_acl_access": "acl"}
	for i := range 200 {
		many.Xattrs[fmt.Sprintf("user.many-%d", i)] = strings.Repeat("v", i)
	}
	twin.Xattrs = many.Xattrs
	root.Children["many"], root.Children["twin"] = many, twin
	img, err := Format(root, Options{IDs: ids})
	if err != nil {
		t.Fatal(err)
	}
	back, backIDs, err := read(img)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := describe(back, backIDs), describe(root, ids); got != want {
		t.Error("tree is not the same")
	}
	again, err := Format(back, Options{IDs: backIDs})
	if err != nil || !bytes.Equal(again, img) {
		t.Error("image is not the same", err)
	}
}

func describe(root *rootfs.Inode, ids map[*rootfs.Inode]ostree.Checksum) string {
	var b strings.Builder
	for name, n := range root.Walk() {
		id := ids[n]
		if n.Size() == 0 {
			id = ostree.Checksum{}
		}
		top, _, _ := strings.Cut(name, "/")
		if name != "." && n.IsDir() && len(n.Children) == 0 && isRootDir(top) {
			continue // made up
		}
		fmt.Fprintf(&b, "%s %o %d:%d %d %q %v %s\n", name, n.Mode, n.UID, n.GID, n.Size(), n.Target, n.Xattrs, id)
	}
	return b.String()
}

func isRootDir(name string) bool {
	for _, d := range rootDirs {
		if d == name {
			return true
		}
	}
	return false
}
