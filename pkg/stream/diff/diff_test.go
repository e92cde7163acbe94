package diff

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/inspect"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/inspect/inspecttest"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/bls"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/build"
)

// names returns the names of properties that differ.
func names(all []Change) (names []string) {
	for _, c := range all {
		names = append(names, c.Name)
	}
	return names
}

// paths returns the files that differ, with the properties.
func paths(all []FileChange) (paths []string) {
	for _, c := range all {
		paths = append(paths, c.Path+": "+strings.Join(c.What, ", "))
	}
	return paths
}

// TestKargs compares all lines of boot entries.
func TestKargs(t *testing.T) {
	entry := func(text string) inspect.BootEntry {
		e, err := bls.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return inspect.NewBootEntry("x", e)
	}
	const common = "title T\r\noptions a b\noptions a\nlinux /vmlinuz\ninitrd /one\ninitrd /two\n"
	a := entry(common + "version 1\nx-options-source-tuned nohz\nextra /1\nlinux /other\n")
	for text, want := range map[string][]string{
		"version 1\nextra /1\nlinux /other\nx-options-source-tuned nohz\n":          nil,
		"version 1\nextra /1\nlinux /other\n":                                       {"x-options-source-tuned"},
		"version 1\nextra /1\nextra /2\nlinux /other\nx-options-source-tuned off\n": {"extra", "x-options-source-tuned"},
		"version 2\nextra /1\nlinux /third\nx-options-source-tuned nohz\nuki /u\n":  {"linux", "uki", "version"},
	} {
		d := New("a", "b")
		d.kargs([]inspect.BootEntry{a}, []inspect.BootEntry{entry(common + text)})
		var got []string
		for _, c := range d.Kargs {
			got = append(got, names(c.Other)...)
		}
		if !slices.Equal(got, want) || (len(d.Same) == 1) != (want == nil) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	order := New("a", "b")
	order.kargs([]inspect.BootEntry{{File: "x", Options: "a b a"}}, []inspect.BootEntry{{File: "x", Options: "b a a", Title: "new"}})
	if len(order.Kargs) != 1 || !slices.Equal(names(order.Kargs[0].Other), []string{"title", "order"}) {
		t.Errorf("order: %+v", order.Kargs)
	}
	words := New("a", "b")
	words.kargs([]inspect.BootEntry{{File: "x", Options: "one two"}}, []inspect.BootEntry{{File: "x", Options: "two three=3 two"}})
	if c := words.Kargs[0]; !slices.Equal(c.Removed, []string{"one"}) || !slices.Equal(c.Added, []string{"three=3", "two"}) || len(c.Other) > 0 {
		t.Errorf("words: %+v", c)
	}
}

// TestTrees finds every kind of difference, and not those that do not count.
func TestTrees(t *testing.T) {
	tree := func(change func(root, file *rootfs.Inode)) *rootfs.Inode {
		root := rootfs.Dir(0o755)
		file := rootfs.Text(0o644, "hello")
		for name, in := range map[string]*rootfs.Inode{"dir/file": file, "dir/link": rootfs.Link("a"), "dir/hard": file, "dir/empty": rootfs.File(0o644, nil)} {
			if err := root.Place(name, in); err != nil {
				t.Fatal(err)
			}
		}
		change(root, file)
		return root
	}
	for want, change := range map[string]func(root, file *rootfs.Inode){
		"": func(root, file *rootfs.Inode) {
			file.MTime.Sec = 5
			root.Children["dir"].Children["hard"] = rootfs.Text(0o644, "hello")
		},
		"dir/file: mode|dir/hard: mode": func(_, file *rootfs.Inode) { file.Mode |= 0o4111 },
		"dir/hard: size, content":       func(root, _ *rootfs.Inode) { root.Children["dir"].Children["hard"] = rootfs.Text(0o644, "hello!") },
		"dir/hard: content":             func(root, _ *rootfs.Inode) { root.Children["dir"].Children["hard"] = rootfs.Text(0o644, "hallo") },
		"dir/empty: size, content":      func(root, _ *rootfs.Inode) { root.Children["dir"].Children["empty"] = rootfs.Text(0o644, "x") },
		"dir: removed":                  func(root, _ *rootfs.Inode) { delete(root.Children, "dir") },
		"new: added":                    func(root, _ *rootfs.Inode) { root.Children["new"] = rootfs.Text(0, "x") },
	} {
		d, err := Trees(tree(func(_, _ *rootfs.Inode) {}), tree(change))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(paths(d.Files), "|"); got != want || d.Equal != (want == "") {
			t.Errorf("got  %q\nwant %q", got, want)
		}
		for _, f := range d.Files {
			if slices.Contains(f.What, "content") && (len(f.A.SHA256) != 64 || len(f.B.SHA256) != 64 || f.A.SHA256 == f.B.SHA256) {
				t.Errorf("%s: %+v, %+v", f.Path, f.A, f.B)
			}
		}
	}
	d, err := Trees(tree(func(root, _ *rootfs.Inode) { delete(root.Children, "dir") }), tree(func(_, _ *rootfs.Inode) {}))
	if err != nil || len(d.Files) != 1 || d.Files[0].B.Below != 4 {
		t.Errorf("%v, %+v", err, d)
	}
}

// open opens the bytes of a disk.
func open(t *testing.T, b []byte) *inspect.Disk {
	t.Helper()
	d, err := inspect.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestDisks changes bytes of a disk in places that only one comparison looks at.
func TestDisks(t *testing.T) {
	name, at := inspecttest.SmallDisk(t, rootfs.Dir(0o755))
	good, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	file := bytes.Index(good[at["root"]:], []byte("ID=small\n"))
	for what, c := range map[string]struct {
		at    int64
		check func(d *Diff) bool
	}{
		"nothing":   {-1, func(d *Diff) bool { return d.Equal && len(d.Same) == 4 }},
		"boot code": {400, func(d *Diff) bool { return slices.Equal(names(d.About), []string{"boot code"}) }},
		"file": {at["root"] + int64(file), func(d *Diff) bool {
			return slices.Equal(paths(d.Files), []string{"etc/os-release: content"}) && len(d.NotCompared) == 0
		}},
		"superblock": {at["root"] + 1024 + 4, func(d *Diff) bool {
			return len(d.NotCompared) == 2 && strings.HasPrefix(d.NotCompared[1], "b: files: ") && len(d.Partitions)+len(d.Files) == 0
		}},
		"EFI system partition": {at["EFI-SYSTEM"] + 39, func(d *Diff) bool {
			return len(d.Partitions) == 1 && d.Partitions[0].A.UUID != d.Partitions[0].B.UUID && len(d.Files) == 0
		}},
	} {
		bad := bytes.Clone(good)
		if c.at >= 0 {
			bad[c.at] ^= 1
		}
		d, err := Disks(open(t, good), open(t, bad))
		if err != nil || !c.check(d) || d.Equal != (c.at < 0) {
			t.Errorf("%s: %v, %+v", what, err, d)
		}
	}
}

// TestOpaque: of a partition whose file system is not read, the bytes are compared.
func TestOpaque(t *testing.T) {
	name, at := inspecttest.SmallDisk(t, rootfs.Dir(0o755))
	inspecttest.Overwrite(t, name, at["root"], make([]byte, 4096))
	inspecttest.Overwrite(t, name, at["root"]+1024, []byte("\xe2\xe1\xf5\xe0")) // erofs
	a, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b := bytes.Clone(a)
	b[at["root"]+5<<20]++
	d, err := Disks(open(t, a), open(t, b))
	if err != nil || d.Equal || len(d.Partitions) != 1 || !d.Partitions[0].Content {
		t.Errorf("%v, %+v", err, d)
	}
}

// TestAllocated: the space on a disk is no difference by itself.
func TestAllocated(t *testing.T) {
	name, _ := inspecttest.SmallDisk(t, rootfs.Dir(0o755))
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	side := func(file, allocated int64) Side {
		return Side{Name: "x", Disk: open(t, b), File: file, Allocated: allocated}
	}
	if d, err := Compare(side(10, 5), side(10, 6)); err != nil || !d.Equal || len(d.Sizes) > 0 {
		t.Errorf("allocated: %v, %+v", err, d)
	}
	if d, err := Compare(side(10, 5), side(11, 6)); err != nil || d.Equal || len(d.Sizes) != 2 {
		t.Errorf("file and allocated: %v, %+v", err, d)
	}
}

// folder writes the documents of a build and reads them.
func folder(t *testing.T, arch string, images map[string]stream.Artifact) build.Build {
	t.Helper()
	dir := t.TempDir()
	m := &stream.Meta{
		BuildID: "1", Name: "os", OSTreeCommit: strings.Repeat("c", 64), OSTreeVersion: "1", OSTreeTimestamp: "2026-01-01T00:00:00Z", BaseArch: arch, Images: images,
	}
	if err := os.WriteFile(filepath.Join(dir, build.MetaFile), stream.Marshal(m), 0o644); err != nil {
		t.Fatal(err)
	}
	all, err := build.Open(os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	all[0].Dir = dir
	return all[0]
}

func artifact(name, digit string) stream.Artifact {
	return stream.Artifact{Path: name, SHA256: strings.Repeat(digit, 64), Size: 1}
}

// TestBuilds compares records, and chooses the images to be compared inside.
func TestBuilds(t *testing.T) {
	a := folder(t, "x86_64", map[string]stream.Artifact{
		"metal": artifact("m.raw", "1"), "qemu": artifact("q.qcow2", "1"), "vmware": artifact("v.ova", "1"), "gcp": artifact("g.tar.gz", "1"),
	})
	for what, c := range map[string]struct {
		images   map[string]stream.Artifact
		changed  string // platforms
		platform string
		pair     string // file of b
	}{
		"the same":              {a.Images, "", "qemu", ""},
		"qemu before others":    {map[string]stream.Artifact{"metal": artifact("m.raw", "2"), "qemu": artifact("q.qcow2", "2"), "vmware": artifact("v.ova", "1"), "gcp": artifact("g.tar.gz", "1")}, "metal qemu", "qemu", "q.qcow2"},
		"not a compressed one":  {map[string]stream.Artifact{"metal": artifact("m.raw", "2"), "qemu": artifact("q.qcow2.xz", "2")}, "gcp metal qemu vmware", "metal", "m.raw"},
		"compressed ones only":  {map[string]stream.Artifact{"gcp": artifact("g.tar.gz", "2")}, "gcp metal qemu vmware", "gcp", "g.tar.gz"},
		"nothing in common":     {map[string]stream.Artifact{"aws": artifact("a.vmdk", "2")}, "aws gcp metal qemu vmware", "", ""},
		"another name, no more": {map[string]stream.Artifact{"qemu": artifact("r.qcow2", "1")}, "gcp metal qemu vmware", "qemu", ""},
	} {
		b := folder(t, "x86_64", c.images)
		d, err := Builds("a", "b", []build.Build{a}, []build.Build{b})
		if err != nil {
			t.Fatal(err)
		}
		var changed []string
		for _, i := range d.Images {
			changed = append(changed, i.Platform)
		}
		pair := ""
		for _, p := range d.Pairs() {
			pair = strings.TrimPrefix(p.B, b.Dir+"/")
		}
		if got := strings.Join(changed, " "); got != c.changed || d.Platform != c.platform || pair != c.pair || d.Equal != (c.changed == "") {
			t.Errorf("%s: %q, %q, %q", what, got, d.Platform, pair)
		}
	}
}

// TestArches compares each architecture with itself.
func TestArches(t *testing.T) {
	x1, x2 := folder(t, "x86_64", map[string]stream.Artifact{"qemu": artifact("q.qcow2", "1")}), folder(t, "x86_64", map[string]stream.Artifact{"qemu": artifact("q.qcow2", "2")})
	arm := folder(t, "aarch64", map[string]stream.Artifact{"qemu": artifact("q.qcow2", "3")})
	d, err := Builds("a", "b", []build.Build{x1, arm}, []build.Build{arm, x2})
	if err != nil || d.Equal || len(d.About) > 0 || len(d.Arches) != 2 || d.Arches[0].Arch != "aarch64" || !d.Arches[0].Equal || len(d.Arches[1].Images) != 1 {
		t.Errorf("%v, %+v", err, d)
	}
	if pairs := d.Pairs(); len(pairs) != 1 || pairs[0].Diff != d.Arches[1] || pairs[0].A != x1.Dir+"/q.qcow2" {
		t.Errorf("%+v", pairs)
	}
	d, err = Builds("a", "b", []build.Build{x1, arm}, []build.Build{x1})
	if err != nil || d.Equal || len(d.Arches) != 1 || !slices.Equal(d.About, []Change{{"architectures", "aarch64 x86_64", "x86_64"}}) {
		t.Errorf("%v, %+v", err, d)
	}
	if _, err := Builds("a", "b", []build.Build{x1, x2}, []build.Build{x1}); err == nil || !strings.Contains(err.Error(), x1.Dir+" and "+x2.Dir+" are both builds of x86_64") {
		t.Errorf("one architecture twice: %v", err)
	}
}
