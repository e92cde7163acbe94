package selinux

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// tree returns an operating system tree with a policy of the given files.
func tree(t testing.TB, files map[string]string) *rootfs.Inode {
	t.Helper()
	root := rootfs.Dir(0o755)
	place(t, root, "etc/selinux/config", "# comment\nSELINUX=enforcing\nSELINUXTYPE=targeted\n")
	for name, text := range files {
		place(t, root, "etc/selinux/targeted/contexts/files/"+name, text)
	}
	return root
}

func place(t testing.TB, root *rootfs.Inode, name, text string) {
	t.Helper()
	if err := root.Place(name, rootfs.Text(0o644, text)); err != nil {
		t.Fatal(err)
	}
}

func mustLoad(t testing.TB, root *rootfs.Inode) *Policy {
	t.Helper()
	p, err := Load(root)
	if err != nil {
		t.Fatal(err)
	}
	if p == nil {
		t.Fatal("no policy")
	}
	return p
}

// modes are the file types by the names that libselinux has for them.
var modes = map[string]uint32{
	"file": rootfs.ModeFile, "dir": rootfs.ModeDir, "lnk_file": rootfs.ModeLink, "chr_file": rootfs.ModeChar,
	"blk_file": rootfs.ModeBlock, "pipe": rootfs.ModeFIFO, "sock_file": rootfs.ModeSocket,
}

const contexts = `
# order of the lines matters, and literals beat expressions
/.*                    system_u:object_r:default_t:s0
/                  -d  system_u:object_r:root_t:s0
/usr/.*                system_u:object_r:usr_t:s0
/usr/bin/x         --  system_u:object_r:exact_t:s0
/usr/bin(/.*)?         system_u:object_r:bin_t:s0
/usr/bin/[^/]*\.so -l  system_u:object_r:so_link_t:s0
/usr/bin/a\.b\+        system_u:object_r:escaped_t:s0
/usr/bin/d             system_u:object_r:first_t:s0
/usr/bin/d             system_u:object_r:second_t:s0
/tmp/.*                <<none>>
/tmp                   <<none>>
/one/two/three/*four   system_u:object_r:stem_t:s0
/quant/ab?c            system_u:object_r:quant_t:s0
/byte/.                system_u:object_r:byte_t:s0
/byte/..               system_u:object_r:two_t:s0
`

// allFiles are those of a policy that has everything.
var allFiles = map[string]string{
	"file_contexts":           contexts,
	"file_contexts.homedirs":  "/home/[^/]+ -d system_u:object_r:home_dir_t:s0\n/usr/bin/home system_u:object_r:homedirs_t:s0\n",
	"file_contexts.local":     "/usr/bin/home system_u:object_r:local_t:s0\n/usr/share/.* system_u:object_r:local_t:s0\n",
	"file_contexts.subs_dist": "/dist /usr\n/dist/bin /tmp\n/up /\n/twice /sub",
	"file_contexts.subs":      "/sub /dist\n",
}

// lookups are its answers about paths.
var lookups = []struct {
	name string
	kind uint32
	want string // type; "" is no label
}{
	{"/", rootfs.ModeDir, "root_t"},
	{"/", rootfs.ModeFile, "default_t"},
	{"/other", rootfs.ModeFile, "default_t"},
	{"/usr/bin", rootfs.ModeDir, "bin_t"},
	{"/usr//bin///", rootfs.ModeDir, "bin_t"},
	{"/usr/bin/x", rootfs.ModeFile, "exact_t"},
	{"/usr/bin/x", rootfs.ModeDir, "bin_t"},
	{"/usr/bin/x", 0, "exact_t"},
	{"/usr/bin/libx.so", rootfs.ModeLink, "so_link_t"},
	{"/usr/bin/libx.so", rootfs.ModeFile, "bin_t"},
	{"/usr/bin/a.b+", rootfs.ModeFile, "escaped_t"},
	{"/usr/bin/axb+", rootfs.ModeFile, "bin_t"},
	{"/usr/bin/d", rootfs.ModeFile, "second_t"},
	{"/usr/bin/home", rootfs.ModeFile, "local_t"},
	{"/usr/share/x", rootfs.ModeFile, "local_t"},
	{"/usr/binary", rootfs.ModeFile, "usr_t"},
	{"/home/core", rootfs.ModeDir, "home_dir_t"},
	{"/home/core/x", rootfs.ModeFile, "default_t"},
	{"/tmp", rootfs.ModeDir, ""},
	{"/tmp/x", rootfs.ModeFile, ""},
	{"/dist/share/x", rootfs.ModeFile, "local_t"},
	{"/dist/bin/x", rootfs.ModeFile, ""},
	{"/distant", rootfs.ModeFile, "default_t"},
	{"/sub/bin/x", rootfs.ModeFile, ""},
	{"/twice/bin/x", rootfs.ModeFile, "default_t"},
	{"/up/usr/bin/x", rootfs.ModeFile, "exact_t"},
	{"/up", rootfs.ModeDir, "root_t"},
	{"/one/two/three/four", rootfs.ModeFile, "stem_t"},
	{"/one/two/threefour", rootfs.ModeFile, "default_t"}, // the expression matches, its stem does not
	{"/quant/ac", rootfs.ModeFile, "quant_t"},
	{"/quant/abc", rootfs.ModeFile, "quant_t"},
	{"/byte/x", rootfs.ModeFile, "byte_t"},
	{"/byte/ü", rootfs.ModeFile, "two_t"},
	{"/byte/\xff", rootfs.ModeFile, "byte_t"},
	{"/byte/x\n", rootfs.ModeFile, "two_t"},
	{"/quant/abc\n", rootfs.ModeFile, "quant_t"}, // PCRE's $
	{"/dir\nname", rootfs.ModeFile, "default_t"},
}

func TestLookup(t *testing.T) {
	p := mustLoad(t, tree(t, allFiles))
	for _, c := range lookups {
		want := c.want
		if want != "" {
			want = "system_u:object_r:" + want + ":s0"
		}
		if got, ok := p.Lookup(c.name, c.kind); got != want || ok != (want != "") {
			t.Errorf("%q %o: %q, want %q", c.name, c.kind, got, want)
		}
	}
}

func TestLoadWithoutPolicy(t *testing.T) {
	disabled := tree(t, map[string]string{"file_contexts": contexts})
	disabled.Lookup("etc/selinux/config").Content = strings.NewReader("SELINUX=disabled\nSELINUXTYPE=targeted\n")
	for name, root := range map[string]*rootfs.Inode{"none": rootfs.Dir(0o755), "disabled": disabled} {
		p, err := Load(root)
		if p != nil || err != nil {
			t.Errorf("%s: %v, %v", name, p, err)
		}
		if _, ok := p.Lookup("/", rootfs.ModeDir); ok {
			t.Errorf("%s: a nil policy has a context", name)
		}
		if p.Label(root, "/") != root {
			t.Errorf("%s: a nil policy labels", name)
		}
	}
}

func TestLoadFromUsrEtc(t *testing.T) {
	root := rootfs.Dir(0o755)
	root.Children["usr"] = tree(t, map[string]string{"file_contexts": contexts})
	mustLoad(t, root)
}

func TestLoadErrors(t *testing.T) {
	const name = "selinux: etc/selinux/targeted/contexts/files/file_contexts"
	for text, want := range map[string]string{
		"\n/x system_u:object_r:a_t:s0\n/(?=x) system_u:object_r:a_t:s0\n": name + ":3: error parsing regexp",
		"/x -q system_u:object_r:a_t:s0":                                   name + `:1: file type "-q" is unknown`,
		"/x":                                                               name + ":1: 1 fields",
		"/x nonsense":                                                      name + `:1: "nonsense" is not a context`,
		"/ü a:b:c":                                                         name + ":1: not ASCII",
		`/\d+ a:b:c`:                                                       name + `:1: escape \d is not supported`,
		`/(a)\1 a:b:c`:                                                     name + `:1: escape \1 is not supported`,
		"/a.*+ a:b:c":                                                      name + ":1: error parsing regexp",
		"/a.|/b. a:b:c":                                                    name + ":1: alternatives outside",
	} {
		_, err := Load(tree(t, map[string]string{"file_contexts": text}))
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	if _, err := Load(tree(t, nil)); err == nil {
		t.Error("a policy without file_contexts loads")
	}
}

func TestLabel(t *testing.T) {
	p := mustLoad(t, tree(t, map[string]string{"file_contexts": contexts}))
	shared := rootfs.Text(0o755, "x")
	root := rootfs.Dir(0o755)
	for name, n := range map[string]*rootfs.Inode{"bin/x": shared, "lib/y": shared, "bin/plain": rootfs.Text(0o644, "")} {
		if err := root.Place(name, n); err != nil {
			t.Fatal(err)
		}
	}
	root.Children["lib"].Xattrs = map[string]string{"user.a": "b"}
	got := p.Label(root, "/usr")
	if shared.Xattrs != nil {
		t.Error("the tree that was given has changed")
	}
	if got.Lookup("bin/x") != got.Lookup("lib/y") {
		t.Error("the hard link is gone")
	}
	for name, want := range map[string]string{".": "default_t", "bin": "bin_t", "bin/x": "exact_t", "bin/plain": "bin_t", "lib": "usr_t"} {
		if label := got.Lookup(name).Xattrs[Xattr]; label != "system_u:object_r:"+want+":s0\x00" {
			t.Errorf("%s: %q, want %s", name, label, want)
		}
	}
	if got.Lookup("lib").Xattrs["user.a"] != "b" {
		t.Error("another attribute is gone")
	}
	// Nothing stays without a label where the policy says there is none.
	tmp := p.Label(root, "/tmp")
	for name, n := range tmp.Walk() {
		if label := n.Xattrs[Xattr]; label != "system_u:object_r:root_t:s0\x00" {
			t.Errorf("/tmp/%s: %q", name, label)
		}
	}
}

// policyFiles returns the files of a real policy, by their plain names.
func policyFiles(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		name, packed := strings.CutSuffix(e.Name(), ".gz")
		if packed {
			r, err := gzip.NewReader(bytes.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			if text, err = io.ReadAll(r); err != nil {
				t.Fatal(err)
			}
		}
		files[name] = string(text)
	}
	return files
}

// rows yields the fields of a file of vectors.
func rows(t testing.TB, name string, do func(fields []string)) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	for scanner := bufio.NewScanner(f); scanner.Scan(); {
		if line := scanner.Text(); !strings.HasPrefix(line, "#") {
			do(strings.Split(line, "\t"))
			n++
		}
	}
	if n == 0 {
		t.Fatalf("%s: no rows", name)
	}
}

// check compares one look-up with libselinux's.
func check(t *testing.T, p *Policy, kind, name, want string) {
	t.Helper()
	mode, ok := modes[kind]
	if !ok {
		t.Fatalf("unknown kind %q", kind)
	}
	got, ok := p.Lookup(name, mode)
	if !ok {
		got = "<<none>>"
	}
	if got != want {
		t.Errorf("%s %q: %s, want %s", kind, name, got, want)
	}
}

func TestVectors(t *testing.T) {
	dir := treetest.Vectors(t, "selinux")
	for _, name := range []string{"debian", "fedora", "rhcos"} {
		t.Run(name, func(t *testing.T) {
			p := mustLoad(t, tree(t, policyFiles(t, filepath.Join(dir, "policy", name))))
			rows(t, filepath.Join(dir, name+".tsv"), func(f []string) { check(t, p, f[0], f[1], f[2]) })
		})
	}
	t.Run("curated", func(t *testing.T) {
		var policies []*Policy
		for _, name := range []string{"fedora", "fedora-rpmostree", "rhcos", "debian"} {
			files := policyFiles(t, filepath.Join(dir, "policy", name))
			if files["file_contexts"] == "" {
				files["file_contexts"] = policyFiles(t, filepath.Join(dir, "policy/fedora"))["file_contexts"]
			}
			policies = append(policies, mustLoad(t, tree(t, files)))
		}
		rows(t, filepath.Join(dir, "curated.tsv"), func(f []string) {
			for i, p := range policies {
				check(t, p, f[0], f[1], f[2+i])
			}
		})
	})
}

// BenchmarkLookup looks 30,000 paths up, the number of files of a system,
// with a policy that no expression of is compiled yet.
func BenchmarkLookup(b *testing.B) {
	files := policyFiles(b, filepath.Join(treetest.Vectors(b, "selinux"), "policy/fedora"))
	var paths []string
	rows(b, filepath.Join(treetest.Vectors(b, "selinux"), "fedora.tsv"), func(f []string) {
		for i := range 12 {
			paths = append(paths, fmt.Sprintf("%s%d", f[1], i))
		}
	})
	for b.Loop() {
		start := time.Now()
		p := mustLoad(b, tree(b, files))
		b.ReportMetric(float64(time.Since(start).Milliseconds()), "ms/load")
		for _, name := range paths[:30000] {
			p.Lookup(name, rootfs.ModeFile)
		}
	}
}
