package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/inspect"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/raw"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/packages"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/build"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/diff"
)

// diffed runs diff, and returns its result and exit code.
func diffed(t *testing.T, env []string, args ...string) (*diff.Diff, int) {
	t.Helper()
	p := finish(t, start(t, env, append([]string{"diff", "--format", "json", "--exit-code"}, args...)...))
	d := &diff.Diff{}
	if err := json.Unmarshal([]byte(p.stdout), d); err != nil {
		t.Fatalf("diff %q: %v: %s%s", args, err, p.stdout, p.stderr)
	}
	if want := map[bool]int{true: 0, false: exitVerify}[d.Equal]; p.code != want {
		t.Errorf("diff %q: exit code %d, equal %v", args, p.code, d.Equal)
	}
	return d, p.code
}

// names returns the names of properties that differ.
func names(all []diff.Change) (names []string) {
	for _, c := range all {
		names = append(names, c.Name)
	}
	return names
}

// paths returns the files that differ, and how.
func paths(all []diff.FileChange) (paths []string) {
	for _, c := range all {
		paths = append(paths, c.Path+": "+strings.Join(c.What, ", "))
	}
	return paths
}

func copyFile(t *testing.T, from, to string) string {
	t.Helper()
	treetest.Run(t, "cp", "--sparse=always", from, to)
	return to
}

// TestDiffFormats: an image that QEMU has converted differs in its format only,
// and all commands can look into it.
func TestDiffFormats(t *testing.T) {
	if testing.Short() {
		t.Skip("builds much")
	}
	dir := t.TempDir()
	r := built(t, nil, fixture(t, "tiny-base"), "--out", dir, "--cache", filepath.Join(dir, "cache"))
	image := r.Images[0].Path
	if d, code := diffed(t, nil, image, copyFile(t, image, filepath.Join(dir, "copy"))); !d.Equal || code != 0 {
		t.Errorf("a copy: %+v", d)
	}
	p := program(t, nil, "diff", image, image)
	if !strings.HasPrefix(p.stdout, "no differences: 4 partitions, kernel arguments, Ignition, ") || strings.Count(p.stdout, "\n") != 1 {
		t.Errorf("with itself: %s", p.stdout)
	}
	for format, args := range map[string][]string{
		"raw": {"raw"}, "vmdk": {"vmdk", "-o", "subformat=streamOptimized"}, "vhdx": {"vhdx"},
		"vhd": {"vpc", "-o", "force_size=on"}, "vhd fixed": {"vpc", "-o", "force_size=on,subformat=fixed"},
	} {
		other := filepath.Join(dir, "other")
		treetest.Run(t, "qemu-img", slices.Concat([]string{"convert", "-O"}, args, []string{image, other})...)
		d, _ := diffed(t, nil, image, other)
		want := []diff.Change{{Name: "format", A: "qcow2", B: strings.Fields(format)[0]}}
		if !slices.Equal(d.About, want) || len(d.Partitions)+len(d.Kargs)+len(d.Packages)+len(d.Files)+len(d.Ignition)+len(d.NotCompared) > 0 {
			t.Errorf("%s: %+v", format, d)
		}
		for _, s := range d.Sizes {
			if s.Name != diff.SizeFile && s.Name != diff.SizeAllocated {
				t.Errorf("%s: %+v", format, s)
			}
		}
		if p := program(t, nil, "cat", other, "/etc/os-release"); !strings.Contains(p.stdout, "ID=") {
			t.Errorf("%s: cat: %s", format, p.stdout)
		}
	}
}

// TestDiffOptions finds the effects of options of build, each in its place.
func TestDiffOptions(t *testing.T) {
	dir := t.TempDir()
	build := func(out string, args ...string) string {
		return built(t, nil, append([]string{fixture(t, "tiny-base"), "--out", filepath.Join(dir, out), "--cache", filepath.Join(dir, "cache")}, args...)...).Images[0].Path
	}
	a := build("a", "--karg", "one", "--karg", "two")
	b := build("b", "--karg", "two", "--karg", "three=3", "--karg", "two", "--ignition", writeConfig(t), "--size", "3GiB")
	d, _ := diffed(t, nil, a, b)
	if len(d.Kargs) != 1 || !slices.Equal(d.Kargs[0].Removed, []string{"one"}) || !slices.Equal(d.Kargs[0].Added, []string{"three=3", "two"}) || len(d.Kargs[0].Other) > 0 {
		t.Errorf("kernel arguments: %+v", d.Kargs)
	}
	if len(d.Ignition) != 1 || d.Ignition[0].A != "not embedded" || !strings.HasPrefix(d.Ignition[0].B, fmt.Sprint(len(config), " bytes, SHA-256 ")) {
		t.Errorf("Ignition: %+v", d.Ignition)
	}
	if got := paths(d.Files); len(got) != 2 || got[0] != "boot/ignition: added" || !strings.HasPrefix(got[1], "boot/loader.1/entries/ostree-1.conf: size, content") {
		t.Errorf("files: %q", got)
	}
	for _, p := range d.Partitions { // each disk has its own GUIDs
		grown := int64(0)
		if p.Number == 4 {
			grown = 1 << 30
		}
		if p.A.GUID == p.B.GUID || p.A.Size+grown != p.B.Size || p.A.UUID != p.B.UUID || p.Content {
			t.Errorf("partition %d: %+v, %+v", p.Number, p.A, p.B)
		}
	}
	p := program(t, nil, "diff", a, b) // without --exit-code it is no failure
	for _, want := range []string{"\nkernel arguments (1)\n", "\n    - one\n    + three=3\n", "\n  + /boot/ignition/ and 1 more in it\n", "\n  ~ virtual: 2 GiB -> 3 GiB (+1073741824 bytes)\n"} {
		if !strings.Contains(p.stdout, want) {
			t.Errorf("no %q in\n%s", want, p.stdout)
		}
	}
}

// TestDiffContainers: the differences of two containers are found by checksums.
// Those of images of the same two are found by reading them, and are the same.
func TestDiffContainers(t *testing.T) {
	dir := t.TempDir()
	base, derived := fixture(t, "tiny-base"), fixture(t, "tiny-derived")
	cache := []string{"--cache", filepath.Join(dir, "cache")}
	image := func(ref, out string) string {
		return built(t, nil, slices.Concat([]string{ref, "--out", filepath.Join(dir, out)}, cache)...).Images[0].Path
	}
	imageA, imageB := image(base, "a"), image(derived, "b")
	d, _ := diffed(t, nil, slices.Concat([]string{base, derived}, cache)...)
	got := paths(d.Files)
	for _, want := range []string{"usr/bin/derived-suid: added", "usr/share/nasty/sizes/1: removed", "usr/lib/ohp-fixture/manifest: size, content"} {
		if !slices.Contains(got, want) {
			t.Errorf("no %q in %q", want, got)
		}
	}
	if !slices.Contains(names(d.About), "commit") || !slices.Contains(names(d.About), "digest") || len(d.NotCompared) > 0 {
		t.Errorf("%+v", d)
	}
	inVar := func(s string) bool { return strings.HasPrefix(s, "var/") } // an image has more of it than a container
	onDisk := func(s string) bool {
		return inVar(s) || strings.HasPrefix(s, "boot") || strings.HasPrefix(s, "sysroot")
	}
	for name, args := range map[string][]string{"images": {imageA, imageB}, "an image and a container": {imageA, derived}, "a container and an image": {base, imageB}} {
		other, _ := diffed(t, nil, append(args, cache...)...)
		if text := cmp.Diff(slices.DeleteFunc(slices.Clone(got), inVar), slices.DeleteFunc(paths(other.Files), onDisk)); text != "" {
			t.Errorf("%s: %s", name, text)
		}
	}
	for image, ref := range map[string]string{imageA: base, imageB: derived} {
		if d, _ := diffed(t, nil, append([]string{image, ref}, cache...)...); !d.Equal {
			t.Errorf("%s and its container: %+v", image, d)
		}
	}
	one, two := program(t, []string{"GOMAXPROCS=1"}, "diff", "--format", "json", imageA, imageB), program(t, []string{"GOMAXPROCS=3"}, "diff", "--format", "json", imageA, imageB)
	if one.stdout != two.stdout {
		t.Error("one core and three tell differently")
	}
}

// TestDiffDamage changes one byte of a disk, in places where it is hard to see.
func TestDiffDamage(t *testing.T) {
	plan := diskOf(t, fixture(t, "tiny-base"), "metal")
	dir := t.TempDir()
	good := filepath.Join(dir, "good")
	f, err := os.Create(good)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := raw.WriteFile(f, plan.Image, nil); err != nil {
		t.Fatal(err)
	}
	found, err := inspect.ReportFile(good)
	if err != nil {
		t.Fatal(err)
	}
	// A byte in the middle of the largest file.
	system := inspect.Deployments(plan.Root)[0].Root
	var path string
	var file *rootfs.Inode
	for name, in := range system.Walk() {
		if in.IsFile() && (file == nil || in.Size() > file.Size()) {
			path, file = name, in
		}
	}
	inFile := int64(0)
	for _, e := range plan.Extents() {
		if e.Blob.Size() != file.Size() {
			continue
		}
		if same, err := rootfs.SameContent(file, rootfs.File(0, e.Blob)); err == nil && same {
			inFile = e.Off + e.Blob.Size()/2
		}
	}
	if inFile == 0 {
		t.Fatalf("%s is not in one piece", path)
	}
	for what, at := range map[string]int64{"boot code": 400, "partition": found.Partitions[0].Start + 100, "file": inFile, "superblock": found.Partitions[3].Start + 7} {
		bad := copyFile(t, good, filepath.Join(dir, "bad"))
		w, err := os.OpenFile(bad, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		var b [1]byte
		w.ReadAt(b[:], at)
		b[0] ^= 1
		w.WriteAt(b[:], at)
		w.Close()
		d, _ := diffed(t, nil, good, bad)
		switch {
		case d.Equal:
			t.Errorf("%s: nothing is found", what)
		case what == "boot code" && !slices.Equal(names(d.About), []string{"boot code"}):
			t.Errorf("%s: %+v", what, d)
		case what == "superblock" && (len(d.NotCompared) != 2 || !strings.Contains(d.NotCompared[1], bad+": files: ") || len(d.Partitions)+len(d.Files) > 0):
			t.Errorf("%s: %+v", what, d)
		case what == "partition" && (len(d.Partitions) != 1 || !d.Partitions[0].Content || d.Partitions[0].Number != 1):
			t.Errorf("%s: %+v", what, d)
		case what == "file" && (!slices.Equal(paths(d.Files), []string{path + ": content"}) || d.Files[0].A.SHA256 == d.Files[0].B.SHA256 || len(d.Files[0].B.SHA256) != 64):
			t.Errorf("%s: %+v", what, d)
		}
	}
}

// TestDiffBuilds compares folders with meta.json, and one platform inside.
func TestDiffBuilds(t *testing.T) {
	dir := t.TempDir()
	buildWith := func(name string, karg string) (string, *stream.Meta) {
		out := filepath.Join(dir, name)
		r := built(t, nil, fixture(t, "tiny-base"), "--karg", karg, "--out", out, "--cache", filepath.Join(dir, "cache"))
		m := &stream.Meta{BuildID: "1", Name: "os", OSTreeCommit: r.Commit, BaseArch: "x86_64", Images: map[string]stream.Artifact{}}
		for _, i := range r.Images {
			m.Images[i.Platform] = stream.Artifact{Path: filepath.Base(i.Path), SHA256: i.SHA256, Size: i.Size}
		}
		m.Images["metal"] = stream.Artifact{Path: "metal.raw", SHA256: strings.Repeat(name, 64)}
		return out, m
	}
	a, ma := buildWith("a", "one")
	b, mb := buildWith("b", "two")
	for _, dir := range []string{a, b} {
		if err := os.WriteFile(filepath.Join(dir, "metal.raw"), []byte("\xfd7zXZ\x00 and no more"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	meta := func(dir string, m *stream.Meta) {
		if err := os.WriteFile(filepath.Join(dir, build.MetaFile), stream.Marshal(m), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	platforms := func(d *diff.Diff) (all []string) {
		for _, c := range d.Images {
			all = append(all, fmt.Sprintf("%s %v %v", c.Platform, c.A != nil, c.B != nil))
		}
		return all
	}
	meta(a, ma)
	meta(b, mb)
	d, _ := diffed(t, nil, a, b)
	if got, want := platforms(d), []string{"metal true true", "qemu true true"}; !slices.Equal(got, want) || d.Platform != "qemu" || len(d.Kargs) != 1 || len(d.Files) != 1 || len(d.About) > 0 {
		t.Errorf("%q, %+v", got, d)
	}
	if d, _ := diffed(t, nil, a, a); !d.Equal {
		t.Errorf("a build and itself: %+v", d)
	}
	mb.BuildID = "2"
	image := mb.Images["metal"]
	image.Path = "metal.raw.xz"
	mb.Images = map[string]stream.Artifact{"metal": image, "new": image}
	meta(b, mb)
	d, _ = diffed(t, nil, a, b)
	if got, want := platforms(d), []string{"metal true true", "new false true", "qemu true false"}; !slices.Equal(got, want) || d.Platform != "metal" || !slices.Equal(d.About, []diff.Change{{Name: "build", A: "1", B: "2"}}) ||
		!slices.Equal(d.NotCompared, []string{filepath.Join(a, "metal.raw") + ": compressed with xz"}) || len(d.Kargs)+len(d.Files) > 0 {
		t.Errorf("%q, %+v", got, d)
	}
	p := program(t, nil, "diff", a, b)
	for _, want := range []string{"\nabout (1)\n  ~ build: 1 -> 2\n", "\nimages (3)\n  ~ metal: path metal.raw -> metal.raw.xz, SHA-256 ", "compression none -> xz\n  + new: ", "\n  - qemu: ", "\nnot compared (1)\n"} {
		if !strings.Contains(p.stdout, want) {
			t.Errorf("no %q in\n%s", want, p.stdout)
		}
	}
	if want := "hint: decompress it first: xz --decompress --keep " + filepath.Join(a, "metal.raw") + ", or ohp-assemble decompress FOLDER for a build\n"; !strings.HasSuffix(p.stderr, want) {
		t.Errorf("no %q in %s", want, p.stderr)
	}
}

// TestDiffArchives finds a disk in an archive, and reports one that is compressed
// there.
func TestDiffArchives(t *testing.T) {
	if testing.Short() {
		t.Skip("builds much")
	}
	dir := t.TempDir()
	build := func(out, karg, platforms string) (string, []build.ImageReport) {
		out = filepath.Join(dir, out)
		return out, built(t, nil, fixture(t, "tiny-base"), "--platform", platforms, "--karg", karg, "--out", out, "--cache", filepath.Join(dir, "cache")).Images
	}
	a, images := build("a", "one", "qemu,gcp,vmware,kubevirt")
	for _, i := range images[2:] {
		d, _ := diffed(t, nil, images[0].Path, i.Path)
		if len(d.About) == 0 || d.About[0] != (diff.Change{Name: "format", A: "qcow2", B: i.Format}) || len(d.NotCompared)+len(d.Packages) > 0 {
			t.Errorf("%s: %+v", i.Format, d)
		}
		for _, f := range d.Files { // the platform's settings
			if !strings.HasPrefix(f.Path, "boot/") {
				t.Errorf("%s: %+v", i.Format, f)
			}
		}
		if p := program(t, nil, "cat", i.Path, "/etc/os-release"); !strings.Contains(p.stdout, "ID=") {
			t.Errorf("%s: cat: %s", i.Format, p.stdout)
		}
	}
	if p := finish(t, start(t, nil, "diff", images[0].Path, images[1].Path)); p.code != exitFailed || !strings.Contains(p.stderr, images[1].Path+": tar.gz: the disk in it is compressed\n") || !strings.Contains(p.stderr, "hint: extract it first: tar --sparse -xzf ") {
		t.Errorf("tar.gz: exit code %d: %s", p.code, p.stderr)
	}
	b, _ := build("b", "two", "gcp")
	d, _ := diffed(t, nil, a, b) // no image that both have can be read
	if d.Platform != "gcp" || len(d.NotCompared) != 1 || !strings.Contains(d.NotCompared[0], ": tar.gz: ") || len(d.Images) != 4 {
		t.Errorf("builds that share tar.gz: %+v", d)
	}
	build("b", "two", "vmware")
	if d, _ := diffed(t, nil, a, b); d.Platform != "vmware" || len(d.NotCompared) > 0 || len(d.Kargs) != 1 {
		t.Errorf("builds that share an OVA: %+v", d)
	}
}

// TestArches: each architecture of a build is compared with itself, and all are
// compressed.
func TestArches(t *testing.T) {
	dir := t.TempDir()
	copyBuild := func(from, to, arch string) {
		t.Helper()
		if err := os.CopyFS(filepath.Join(dir, to), os.DirFS(filepath.Join(dir, from))); err != nil {
			t.Fatal(err)
		}
		m := opened(t, filepath.Join(dir, to))
		m.BaseArch = arch
		if err := os.WriteFile(filepath.Join(dir, to, build.MetaFile), stream.Marshal(m.Meta), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, karg := range []string{"one", "two"} {
		built(t, nil, fixture(t, "tiny-base"), "--karg", karg, "--out", filepath.Join(dir, karg), "--cache", filepath.Join(dir, "cache"))
	}
	copyBuild("one", "a/x86_64", "x86_64")
	copyBuild("one", "a/aarch64", "aarch64")
	copyBuild("two", "b/x86_64", "x86_64")
	copyBuild("one", "b/aarch64", "aarch64")
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	d, _ := diffed(t, nil, a, b)
	if d.Equal || len(d.Arches) != 2 || d.Arches[0].Arch != "aarch64" || !d.Arches[0].Equal || d.Arches[1].Arch != "x86_64" || d.Arches[1].A != filepath.Join(a, "x86_64") || len(d.Arches[1].Kargs) != 1 {
		t.Errorf("%+v", d)
	}
	p := program(t, nil, "diff", a, b)
	for _, want := range []string{"\naarch64: no differences: 1 images\n", "\n- x86_64: " + a + "/x86_64\n+ x86_64: " + b + "/x86_64\n"} {
		if !strings.Contains(p.stdout, want) {
			t.Errorf("no %q in\n%s", want, p.stdout)
		}
	}
	if d, _ := diffed(t, nil, a, a); !d.Equal || len(d.Arches) != 2 {
		t.Errorf("with itself: %+v", d)
	}
	if d, _ := diffed(t, nil, a, filepath.Join(dir, "two")); d.Equal || len(d.Arches) != 1 || !slices.Equal(d.About, []diff.Change{{Name: "architectures", A: "aarch64 x86_64", B: "x86_64"}}) {
		t.Errorf("with one of them: %+v", d)
	}
	copyBuild("one", "b/again", "x86_64")
	if p := finish(t, start(t, nil, "diff", a, b)); p.code != exitFailed || !strings.Contains(p.stderr, b+"/again and "+b+"/x86_64 are both builds of x86_64") {
		t.Errorf("one twice: exit code %d: %s", p.code, p.stderr)
	}
	images := func(suffix string) (n int) {
		all, err := filepath.Glob(filepath.Join(a, "*", "*.qcow2"+suffix))
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	if p := program(t, nil, "compress", a, "--compress", "zstd"); images(".zst") != 2 || images("") != 0 || strings.Count(p.stdout, ".zst") != 2 {
		t.Errorf("%d are compressed: %s", images(".zst"), p.stdout)
	}
	if program(t, nil, "decompress", a); images("") != 2 || images(".zst") != 0 {
		t.Errorf("%d are decompressed", images(""))
	}
}

// TestDiffPackages has dpkg read the database of a system beside us.
func TestDiffPackages(t *testing.T) {
	plan := diskOf(t, fixture(t, "full-base"), "metal")
	system := inspect.Deployments(plan.Root)[0].Root
	got, err := packages.Read(system)
	if err != nil {
		t.Fatal(err)
	}
	text, err := system.ReadFile("usr/lib/sysimage/dpkg/status", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "status"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	var said []string
	for _, p := range got {
		said = append(said, p.Name+" "+p.Version+" "+p.Arch+"\n")
	}
	out := treetest.Run(t, "dpkg-query", "--admindir", dir, "-W", "-f", "${Package} ${Version} ${Architecture}\n")
	if text := cmp.Diff(slices.Sorted(strings.Lines(out)), slices.Sorted(slices.Values(said))); text != "" || len(got) < 100 {
		t.Errorf("%d packages: %s", len(got), text)
	}
}
