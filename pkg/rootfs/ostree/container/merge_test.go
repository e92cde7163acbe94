package container

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/usage"
)

// TestMerge has the warnings of merges, both ways. The first layer is on top
// of nothing.
func TestMerge(t *testing.T) {
	for _, test := range []struct {
		name        string
		layers      [][]entry
		ostree, oci string   // contents; oci is empty if it is the same
		warnings    []string // of ostree
	}{
		{"nothing", [][]entry{{}}, "", "", nil},
		{"names", [][]entry{{dir("."), file("./usr/a", "1"), file("/usr/b", "2"), file("usr//c", "3")}},
			"usr/ usr/a=1 usr/b=2 usr/c=3", "", nil},
		{"etc", [][]entry{{file("etc/a", "1"), hardlink("etc/b", "etc/a"), symlink("usr/c", "/etc/a"), file("etcetera", "2")}},
			"etcetera=2 usr/ usr/c->/etc/a usr/etc/ usr/etc/a=1 usr/etc/b=1", "", nil},
		{"runtime directories", [][]entry{{dir("run"), dir("tmp").by(0, 0, 0o1777), dir("proc/1"), file("run/a", "1"), file("sys/b", ""), file("dev/.wh.x", ""),
			{Header: dir("dev/null").Header}, file("tmp.d", "2"), file("running", "3")}},
			"run/ running=3 tmp/ tmp.d=2", "", []string{"layer 0: run: run/a is not imported, nor is anything else in there; a container has it"}},
		{"replace", [][]entry{{file("usr/a", "1"), file("usr/b/c", "2"), symlink("usr/d", "a")}, {file("usr/a", "3"), file("usr/b", "4"), file("usr/d", "5")}},
			"usr/ usr/a=3 usr/b=4 usr/d=5", "", nil},
		{"empty over directory", [][]entry{{file("usr/a/b", "1")}, {file("usr/a", "")}}, "usr/ usr/a=", "", nil},
		{"whiteouts", [][]entry{{file("usr/a", "1"), file("usr/b/c", "2"), file("usr/d", "3")}, {file("usr/.wh.a", ""), file("usr/.wh.b", "x"), file("usr/.wh.none", "")}},
			"usr/ usr/d=3", "", nil},
		{"whiteout in etc", [][]entry{{file("etc/a", "1"), file("etc/b", "2")}, {file("etc/.wh.a", "")}}, "usr/ usr/etc/ usr/etc/b=2", "", nil},
		{"whiteout of etc", [][]entry{{file("etc/a", "1")}, {file(".wh.etc", "")}}, "usr/ usr/etc/ usr/etc/a=1", "",
			[]string{"layer 1: etc: a whiteout of /etc itself: a container has lost all that is in there, the system keeps it"}},
		{"whiteout and directory", [][]entry{{file("usr/a/b", "1")}, {file("usr/.wh.a", ""), dir("usr/a").by(1, 2, 0o700), file("usr/a/c", "2")}},
			"usr/ usr/a/ usr/a/c=2", "", nil},
		{"whiteout and file", [][]entry{{file("usr/a", "1")}, {file("usr/a", "2"), file("usr/.wh.a", "")}}, "usr/ usr/a=2", "", nil},
		{"whiteout behind file", [][]entry{{file("usr/-a", "1"), file("usr/.a", "1")}, {file("usr/.wh.-a", ""), file("usr/-a", "2"), file("usr/.wh..a", ""), file("usr/.a", "3")}},
			"usr/", "usr/ usr/-a=2 usr/.a=3", []string{
				"layer 1: usr/-a: in the same layer as a whiteout of it, and before that: ostree removes it again, a container runtime removes what is in lower layers only",
				"layer 1: usr/.a: in the same layer as a whiteout of it, and before that: ostree removes it again, a container runtime removes what is in lower layers only"}},
		{"whiteout of whiteout", [][]entry{{symlink("usr/.wh.x", "y"), file("usr/a", "1")}, {file("usr/.wh..wh.x", ""), file("usr/.wh..wh.plnk", "")}},
			"usr/ usr/a=1", "usr/ usr/.wh.x->y usr/a=1", nil},
		{"whiteout by name of a link", [][]entry{{file("usr/a", "1")}, {symlink("usr/.wh.a", "b")}}, "usr/ usr/.wh.a->b usr/a=1", "", nil},
		{"whiteout by name of a directory", [][]entry{{file("usr/a", "1")}, {dir("usr/.wh.a")}}, "usr/ usr/.wh.a/ usr/a=1", "",
			[]string{"layer 1: usr/.wh.a: a directory called like a whiteout: ostree keeps it, a container runtime may take it for one"}},
		{"whiteout in the first layer", [][]entry{{file("usr/.wh.a", ""), file("usr/.wh..wh..opq", ""), file("usr/b", "1")}}, "usr/ usr/b=1", "", nil},
		{"hard link to a whiteout", [][]entry{{file("usr/a", "1"), file("usr/b", "2")}, {file("usr/.wh.a", ""), hardlink("usr/.wh.b", "usr/.wh.a")}}, "usr/", "", nil},
		{"opaque", [][]entry{{file("usr/a/b", "1"), file("usr/c", "2")}, {file("usr/a/.wh..wh..opq", ""), file("usr/a/d/e", "3")}},
			"usr/ usr/a/ usr/a/d/ usr/a/d/e=3 usr/c=2", "", nil},
		{"opaque and link", [][]entry{{file("usr/a/b", "1"), symlink("usr/l", "a")}, {dir("usr/l"), file("usr/l/.wh..wh..opq", ""), file("usr/l/c", "2")}},
			"usr/ usr/a/ usr/a/b=1 usr/l/ usr/l/c=2", "", []string{"layer 1: usr/l: a directory replaces the symbolic link to a, for ostree and container runtimes alike"}},
		{"opaque root", [][]entry{{file("usr/a", "1")}, {file(".wh..wh..opq", ""), file("usr/b", "2")}}, "usr/ usr/b=2", "", nil},
		{"hard links", [][]entry{{hardlink("usr/a", "usr/b"), hardlink("usr/b", "usr/c"), file("usr/c", "1"), hardlink("usr/d", "usr/s"), symlink("usr/s", "t")}},
			"usr/ usr/a=1 usr/b=1 usr/c=1 usr/d->t usr/s->t", "",
			[]string{"layer 0: usr/a: a hard link to a name that is a hard link itself: ostree refuses some of these, and so may the system at its next upgrade"}},
		{"hard link and whiteout of its target", [][]entry{{file("usr/a", "1")}, {file("usr/a", "2"), hardlink("usr/b", "usr/a")}, {file("usr/.wh.a", "")}}, "usr/ usr/b=2", "", nil},
		{"hard link and file", [][]entry{{file("usr/a", "1"), hardlink("usr/b", "usr/a"), file("usr/b", "2")}}, "usr/ usr/a=1 usr/b=1", "usr/ usr/a=1 usr/b=2",
			[]string{"layer 0: usr/b: twice in the layer: ostree makes it a hard link to usr/a; a container runtime takes the file, which comes last"}},
		{"hard link to itself", [][]entry{{file("usr/a", "1"), hardlink("usr/a", "usr/a"), hardlink("usr/b", "usr/a")}}, "usr/ usr/a=1 usr/b=1", "", nil},
		{"twice", [][]entry{{file("usr/a", "1"), file("usr/a", "2")}}, "usr/ usr/a=2", "", []string{"layer 0: usr/a: twice in the layer; the last one counts"}},
		{"files through a link", [][]entry{{file("usr/lib/a", "1"), symlink("usr/lib64", "lib")}, {file("usr/lib64/b", "2")}},
			"usr/ usr/lib/ usr/lib/a=1 usr/lib64/ usr/lib64/b=2", "usr/ usr/lib/ usr/lib/a=1 usr/lib/b=2 usr/lib64->lib",
			[]string{"layer 1: usr/lib64: a symbolic link to lib that the layer has files in: ostree replaces it by a directory, a container runtime may write to where it leads"}},
		{"files through a link to nothing", [][]entry{{symlink("usr/lib64", "lib")}, {file("usr/lib64/b", "2")}}, "usr/ usr/lib64/ usr/lib64/b=2", "",
			[]string{"layer 1: usr/lib64: a symbolic link to lib that the layer has files in: ostree replaces it by a directory, a container runtime may write to where it leads"}},
		{"files through a link out", [][]entry{{file("etc/x", "1"), symlink("usr/out", "../../../../usr/etc")}, {file("usr/out/x", "2")}},
			"usr/ usr/etc/ usr/etc/x=1 usr/out/ usr/out/x=2", "usr/ usr/etc/ usr/etc/x=2 usr/out->../../../../usr/etc",
			[]string{"layer 1: usr/out: a symbolic link to ../../../../usr/etc that the layer has files in: ostree replaces it by a directory, a container runtime may write to where it leads"}},
		{"usr/etc", [][]entry{{file("usr/etc/a", "1"), file("usr/etc/b", "2"), file("etc/a", "3")}}, "usr/ usr/etc/ usr/etc/a=3 usr/etc/b=2", "",
			[]string{"layer 0: usr/etc/a: a container does not have it in /etc, the system will", "layer 0: usr/etc/a: usr/etc/a is a file, and etc/a is a file; the system has /etc in usr/etc, so that both are one name; the last one counts"}},
		{"whiteout in usr/etc", [][]entry{{file("etc/a", "1")}, {file("usr/etc/.wh.a", "")}}, "usr/ usr/etc/", "",
			[]string{"layer 1: usr/etc/.wh.a: a whiteout: a container keeps the file of that name in /etc, the system will not have it"}},
		{"left by builders", [][]entry{{file("etc/hostname", ""), file("etc/resolv.conf", "x"), file("usr/hostname", "")}}, "usr/ usr/etc/ usr/etc/resolv.conf=x usr/hostname=", "", nil},
		{"strange names", [][]entry{{file("usr/a\nb", "1"), file("usr/ü", "2"), file("usr/...", "3"), file("usr/ ", "4")}}, "usr/ usr/ =4 usr/...=3 usr/a\nb=1 usr/ü=2", "", nil},
		{"a tar in a tar", [][]entry{{file("usr/a.tar", string(tarOf(t, []entry{file("../../escape", "x")})[:512]))}},
			"usr/ usr/a.tar=" + string(tarOf(t, []entry{file("../../escape", "x")})[:512]), "", nil},
	} {
		if test.oci == "" {
			test.oci = test.ostree
		}
		var layers []Layer
		for _, entries := range test.layers {
			layers = append(layers, makeLayer(t, entries...))
		}
		for mode, want := range map[string]string{MergeOSTree: test.ostree, MergeOCI: test.oci} {
			got := mustImport(t, makeImage(t, -1, layers...), Options{Merge: mode})
			if list := contents(t, got.Root); list != want {
				t.Errorf("%s, %s: %s\nwant %s", test.name, mode, list, want)
			}
			if got := texts(got.Warnings); mode == MergeOSTree && !slices.Equal(got, test.warnings) {
				t.Errorf("%s: warnings\n%s\nwant\n%s", test.name, strings.Join(got, "\n"), strings.Join(test.warnings, "\n"))
			}
		}
	}
}

// TestDirectories has whose directories are.
func TestDirectories(t *testing.T) {
	layers := []Layer{
		makeLayer(t, dir(".").by(1, 1, 0o700), dir("usr").by(2, 2, 0o2750).xattr("user.a", "b"), file("usr/x/y", "").by(3, 4, 0)),
		makeLayer(t, dir("usr").by(5, 5, 0o711), dir("usr/x").by(6, 6, 0o700), file("usr/new/y", "").by(7, 8, 0), dir("usr/z").xattr("user.empty", "")),
	}
	for mode, want := range map[string]string{
		// The root and usr become those of usr/x/y, because of which usr/x was made.
		MergeOSTree: ".=40755:3:4 usr=40755:3:4 usr/new=40755:7:8 usr/x=40755:3:4 usr/z=40755:0:0",
		MergeOCI:    ".=40700:1:1 usr=40711:5:5 usr/new=40755:0:0 usr/x=40700:6:6 usr/z=40755:0:0",
	} {
		got := mustImport(t, makeImage(t, -1, layers...), Options{Merge: mode})
		var list []string
		for name, n := range got.Root.Walk() {
			if n.IsDir() {
				list = append(list, fmt.Sprintf("%s=%o:%d:%d", name, n.Mode, n.UID, n.GID))
			}
		}
		if got := strings.Join(list, " "); got != want {
			t.Errorf("%s: %s, want %s", mode, got, want)
		}
		if n := got.Root.Lookup("usr/z"); len(n.Xattrs) > 0 {
			t.Errorf("an xattr without value is still there: %q", n.Xattrs)
		}
	}
}

// TestOverBase merges into directories of a commit, which must not change.
func TestOverBase(t *testing.T) {
	img := derivedImage(t, makeLayer(t, file("usr/bin/.wh.hello", ""), file("usr/lib/big", "small"), file("var/x", "1"), hardlink("usr/lib/dup", "usr/lib/big")))
	got := mustImport(t, img, Options{})
	if n := got.Root.Lookup("usr/lib/dup"); n == nil || n.Content.Size() != 5 || got.Root.Lookup("usr/bin/hello") != nil {
		t.Error("layer is not merged")
	}
	base, err := got.Repo.Tree(got.Base)
	if err != nil {
		t.Fatal(err)
	}
	if base.Lookup("usr/bin/hello") == nil || base.Lookup("usr/lib/big").Size() != 100000 {
		t.Error("base has changed")
	}
	if !slices.Equal(got.Root.Lookup("usr/etc").Names(), []string{"foo.conf", "sub"}) {
		t.Error("usr/etc has changed")
	}
}

// TestOutsideOfUsr has a base that says that nothing may be there.
func TestOutsideOfUsr(t *testing.T) {
	l := makeLayer(t, file("opt/a", "1"), file("usr/b", "2"), file("var/c", "3"), file("boot/d", "4"), file("e", "5"), dir("srv"))
	img := derivedImage(t, l)
	got, err := Import(img, Options{Reference: testReference, Merge: MergeOSTree})
	if err != nil {
		t.Fatal(err)
	}
	if got.Root.Lookup("opt") != nil || got.Root.Lookup("e") != nil || got.Root.Lookup("usr/b") == nil || got.Root.Lookup("var/c") == nil {
		t.Errorf("tree is %s", contents(t, got.Root))
	}
	if len(got.Warnings) != 4 {
		t.Errorf("warnings %v", got.Warnings)
	}
	for text, want := range map[string]bool{
		"": false, "[composefs]\nenabled=true\n": true, "[composefs]\nenabled = signed\n": true, "[composefs]\nenabled=no\n": false,
		"[root]\ntransient=true": true, "[root]\nenabled=true\n": false, "enabled=true\n[composefs]\n": false, "[composefs]\nenabled=maybe\n# enabled=no\n": true,
	} {
		root := rootfs.Dir(0o755)
		if err := root.Place("usr/lib/ostree/prepare-root.conf", rootfs.Text(0o644, text)); err != nil {
			t.Fatal(err)
		}
		if got, err := writableRoot(root); got != want || err != nil {
			t.Errorf("%q: %v (%v)", text, got, err)
		}
	}
}

// A model merges layers as slowly and plainly as can be: a map from paths to
// the entry that exists.
type model map[string]string

func (m model) remove(name string) {
	for p := range m {
		if p == name || strings.HasPrefix(p, name+"/") {
			delete(m, p)
		}
	}
}

// mkdir makes a directory and its missing parents.
func (m model) mkdir(name string) {
	if name == "." {
		return
	}
	m.mkdir(path.Dir(name))
	if m[name] != "dir" {
		m.remove(name)
		m[name] = "dir"
	}
}

// apply applies a layer without conflicts in it: removals from the top down,
// then files from the top down, each with its parents.
func (m model) apply(l model) {
	var names []string
	for name := range l {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		base := path.Base(name)
		if base == opaque {
			m.remove(path.Dir(name))
		} else if gone, ok := strings.CutPrefix(base, whiteout); ok {
			m.remove(path.Join(path.Dir(name), gone))
		}
	}
	for _, name := range names {
		m.mkdir(path.Dir(name))
		if strings.HasPrefix(path.Base(name), whiteout) {
			continue
		}
		if l[name] == "dir" {
			m.mkdir(name)
			continue
		}
		m.remove(name)
		m[name] = l[name]
	}
}

// randomLayer returns a layer of few names, so that they meet. Those of files
// sort behind whiteouts, where the two ways to merge are one.
func randomLayer(r *rand.Rand, number int) (l model, entries []entry) {
	l = model{}
	names := []string{"a", "b", "c"}
	for i := range 1 + r.IntN(6) {
		name := "usr"
		for range 1 + r.IntN(3) {
			name += "/" + names[r.IntN(3)]
		}
		what := fmt.Sprintf("%d.%d", number, i)
		e := file(name, what)
		switch r.IntN(6) {
		case 0:
			e, what = dir(name), "dir"
		case 1:
			name = path.Join(path.Dir(name), whiteout+path.Base(name))
			e = file(name, "")
		case 2:
			name = path.Join(name, opaque)
			e = file(name, "")
		}
		if conflicts(l, name, what) {
			continue
		}
		l[name] = what
		entries = append(entries, e)
	}
	return l, entries
}

// conflicts reports whether something cannot be in a layer with the rest.
func conflicts(l model, name, what string) bool {
	for other, is := range l {
		if other == name || is != "dir" && strings.HasPrefix(name, other+"/") || what != "dir" && strings.HasPrefix(other, name+"/") {
			return true
		}
	}
	return false
}

func TestMergeModel(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 500 {
		m := model{}
		var layers []Layer
		var all [][]entry
		for number := range 1 + r.IntN(4) {
			l, entries := randomLayer(r, number)
			m.apply(l)
			layers, all = append(layers, makeLayer(t, entries...)), append(all, entries)
		}
		var want []string
		for name, what := range m {
			if what == "dir" {
				want = append(want, name+"/")
			} else {
				want = append(want, name+"="+what)
			}
		}
		for _, mode := range []string{MergeOSTree, MergeOCI} {
			got, err := Import(makeImage(t, -1, layers...), Options{Reference: testReference, Merge: mode})
			if err != nil {
				t.Fatalf("round %d, %s: %v", round, mode, err)
			}
			list := strings.Fields(contents(t, got.Root))
			slices.Sort(list)
			slices.Sort(want)
			if !slices.Equal(list, want) {
				t.Fatalf("round %d, %s: %q\nwant %q\nlayers %+v", round, mode, list, want, all)
			}
		}
	}
}

// TestManyLayers has as many layers as a container may have, each of which
// replaces a file, adds one and removes that of the layer before.
func TestManyLayers(t *testing.T) {
	var layers []Layer
	for i := range 127 {
		layers = append(layers, makeLayer(t, file("usr/a", fmt.Sprint(i)), file(fmt.Sprintf("usr/b%d", i), "x"), file(fmt.Sprintf("usr/.wh.b%d", i-1), "")))
	}
	got := mustImport(t, makeImage(t, -1, layers...), Options{})
	if list := contents(t, got.Root); list != "usr/ usr/a=126 usr/b126=x" || len(got.Repo.Refs) != 128 {
		t.Errorf("%s, %d refs", list, len(got.Repo.Refs))
	}
}

// TestLinkBelow has a hard link to a lower layer, which runtimes make a copy
// of the file.
func TestLinkBelow(t *testing.T) {
	img := derivedImage(t, makeLayer(t, hardlink("usr/bin/copy", "usr/bin/ping"), hardlink("etc/copy", "etc/foo.conf"), hardlink("usr/bin/again", "usr/bin/copy")))
	got := mustImport(t, img, Options{Merge: MergeOCI})
	for copied, from := range map[string]string{"usr/bin/copy": "usr/bin/ping", "usr/bin/again": "usr/bin/ping", "usr/etc/copy": "usr/etc/foo.conf"} {
		if n := got.Root.Lookup(from); n == nil || got.Root.Lookup(copied) != n {
			t.Errorf("%s is not %s", copied, from)
		}
	}
	if got := texts(got.Warnings); len(got) != 3 || !strings.Contains(got[1], "layer 2: usr/bin/ping: in a lower layer") {
		t.Errorf("warnings\n%s", strings.Join(got, "\n"))
	}
	var avoidable usage.Avoidable
	if _, err := Import(img, Options{Reference: testReference, Merge: MergeOSTree}); !errors.As(err, &avoidable) || avoidable.Field != "Merge" {
		t.Errorf("merged as ostree does: %v", err)
	}
}
