package ostree

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
)

func mustParse(t testing.TB, s string) Checksum {
	t.Helper()
	c, err := ParseChecksum(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// coreFiles are the file objects of testdata/core: their input, and the
// checksum that ostree 2022.7 and 2026.4 gave it.
var coreFiles = []struct {
	id             string
	uid, gid, mode uint32
	target         string
	xattrs         map[string]string
	content        string
}{
	{"dced09e3696f790da9833b6cf3a364a50fb20f32c3000acc738a90dea4162580", 0, 0, 0o100755, "", nil, "hello world\n"},
	{"2263e390a3c03e882d88aab9e19e88665894c1e67db8938bbffdd5324a769caf", 0, 0, 0o104755, "", nil, "hello world\n"},
	{"f30d31a5dbd528e0cf6527dcc0484c5c7f46cfe7ee65e341805fa75ee0ff72c1", 0, 0, 0o100755, "", map[string]string{
		"security.capability": "\x01\x00\x00\x02\x00\x20" + strings.Repeat("\x00", 14)}, "cap\n"},
	{"35b69acec0d7f029e094f189b53f98517a4ef617d10eb316c9bbdaf0428e793c", 1, 2, 0o100600, "", map[string]string{
		"user.b": "b", "user.a": "aa", "trusted.z": "\x00\xff", "security.selinux": "system_u:object_r:etc_t:s0\x00"}, "conf=1\n"},
	{"84ac3ef1f0045bdf404878a60d36ac575cdfa9c7bab4c9d6ec2b3ca9406506d7", 0, 0, 0o100644, "", nil, strings.Repeat("A", 100000)},
	{"cc700d46f407c6c5ab2d5dde474366a928b7398277e61162e7f8ec06f469f07e", 0, 0, 0o100644, "", nil, ""},
	{"d07e979fdd7331ee17a2f6a653ea0c315ccd1450893f19a2b644432576eca620", 0, 0, 0o120777, "../bin/hello", nil, ""},
	{"a617cb799dab00fccded5423604a5cc0352ed8908239af8937b5e179dbc48ced", 0, 0, 0o120777, "/nonexistent", map[string]string{
		"security.selinux": "system_u:object_r:lib_t:s0\x00"}, ""},
	{"086bca4ef86474d13398a73f6f5aa713c534312db4af53530a1da02d61b09bcd", 0, 0, 0o100644, "", nil, "x"},
}

func TestFileChecksums(t *testing.T) {
	for _, f := range coreFiles {
		h := FileHeader(f.uid, f.gid, f.mode, f.target, XattrsOf(f.xattrs))
		if got := hex.EncodeToString(sha(string(h) + f.content)); got != f.id {
			t.Errorf("%o %q: %s, want %s", f.mode, f.target, got, f.id)
		}
	}
}

func sha(s string) []byte {
	sum := sha256.Sum256([]byte(s))
	return sum[:]
}

func TestFileHeader(t *testing.T) {
	got := fmt.Sprintf("%x", FileHeader(0, 0, 0o100755, "", nil))
	if want := "0000001200000000" + "0000000000000000000081ed000000000011"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestObjectPath(t *testing.T) {
	c := mustParse(t, coreFiles[0].id)
	for _, typ := range []ObjectType{CommitObject, DirTreeObject, DirMetaObject, FileObject, CommitMetaObject, FileXattrsObject, FileXattrsLinkObject} {
		p := ObjectPath(c, typ)
		if p != "dc/"+coreFiles[0].id[2:]+"."+typ.Suffix() {
			t.Errorf("%s: %s", typ, p)
		}
		back, backType, err := ParseObjectPath(p)
		if err != nil || back != c || backType != typ {
			t.Errorf("%s: %v %v %v", p, back, backType, err)
		}
	}
	hex := coreFiles[0].id
	for _, bad := range []string{"", "/", "dc", hex + ".file", "d/c" + hex[2:] + ".file", "dc/" + hex[2:],
		"dc/" + hex[2:] + ".", "dc/" + hex[2:] + ".filez", "dc/" + hex[3:] + ".file", "DC/" + hex[2:] + ".file",
		"dc/" + hex[2:] + "0.file", "dc/" + hex[2:] + ".file.xattrs", "xx/" + hex[2:] + ".file", "dc//" + hex[2:] + ".file"} {
		if c, typ, err := ParseObjectPath(bad); err == nil {
			t.Errorf("%q: %v %v", bad, c, typ)
		}
	}
}

func TestParseXattrs(t *testing.T) {
	unsorted := []Xattr{{"user.b", "1"}, {"user.a", strings.Repeat("x", 300)}, {"user.c", ""}}
	got, err := ParseXattrs(FormatXattrs(unsorted))
	if err != nil || fmt.Sprint(got) != fmt.Sprint(unsorted) {
		t.Errorf("%v %v", got, err)
	}
	if x, err := ParseXattrs(nil); err != nil || len(x) != 0 {
		t.Errorf("empty: %v %v", x, err)
	}
	for name, raw := range map[string][]byte{
		"offset past the end":  []byte("user.dir\x00d\x09\x0c"),
		"offset short":         []byte("user.dir\x00d\x09\x0a"),
		"name past element":    []byte("user.dir\x00d\x0b\x0b"),
		"name without NUL":     []byte("user.dir\x00d\x08\x0b"),
		"name with inner NUL":  []byte("user\x00dir\x00d\x09\x0c\x00"),
		"empty name":           FormatXattrs([]Xattr{{"", "d"}}),
		"long name":            FormatXattrs([]Xattr{{strings.Repeat("n", 256), "d"}}),
		"long value":           FormatXattrs([]Xattr{{"user.a", strings.Repeat("n", 1<<16)}}),
		"duplicate":            FormatXattrs([]Xattr{{"user.a", "1"}, {"user.a", "2"}}),
		"empty element":        {0},
		"ends out of order":    []byte("a\x00b\x02c\x00d\x02\x08\x04"),
		"gap between elements": []byte("a\x00b\x02zc\x00d\x02\x04\x09"),
		"too large":            make([]byte, maxXattrs+1),
	} {
		if x, err := ParseXattrs(raw); err == nil {
			t.Errorf("%s: %q", name, x)
		}
	}
}

func FuzzParseXattrs(f *testing.F) {
	f.Add([]byte("user.dir\x00d\x09\x0b"))
	f.Add(FormatXattrs([]Xattr{{"user.b", "1"}, {"user.a", strings.Repeat("x", 300)}}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		x, err := ParseXattrs(raw)
		if err == nil && string(FormatXattrs(x)) != string(raw) {
			t.Errorf("%q read as %q, written as %q", raw, x, FormatXattrs(x))
		}
	})
}
