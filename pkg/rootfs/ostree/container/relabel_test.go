package container

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/layer"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/selinux"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// reads counts reads of content by the content.
type reads struct {
	mutex sync.Mutex
	count map[string]int
}

type countedBlob struct {
	rootfs.Blob
	reads *reads
}

func (b countedBlob) ReadAt(p []byte, off int64) (int, error) {
	n, err := b.Blob.ReadAt(p, off)
	b.reads.mutex.Lock()
	defer b.reads.mutex.Unlock()
	b.reads.count[string(p[:n])]++
	return n, err
}

// counting returns a layer whose reads are counted.
func (r *reads) counting(l Layer) Layer {
	blob := l.Blob
	l.Blob = func(off, size int64) rootfs.Blob { return countedBlob{blob(off, size), r} }
	return l
}

// encapsulate returns the layer that has a commit and all of its objects.
func encapsulate(t testing.TB, r *ostree.Repo, commit ostree.Checksum) Layer {
	t.Helper()
	var pack []byte
	var list []layer.Object
	add := func(o layer.Object, b []byte) {
		o.Content = layer.Content{Off: int64(len(pack)), Size: int64(len(b))}
		pack = append(pack, b...)
		list = append(list, o)
	}
	add(layer.Object{ID: commit, Type: ostree.CommitObject}, r.Metadata[ostree.ObjectName{ID: commit, Type: ostree.CommitObject}])
	for name, b := range r.Metadata {
		if name.Type != ostree.CommitObject {
			add(layer.Object{ID: name.ID, Type: name.Type}, b)
		}
	}
	for id, n := range r.Files {
		b, err := rootfs.ReadAll(n.Content, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		add(layer.Object{ID: id, Type: ostree.FileObject, UID: n.UID, GID: n.GID, Mode: n.Mode, Target: n.Target, Xattrs: ostree.XattrsOf(n.Xattrs)}, b)
	}
	l := Layer{Digest: "sha256:" + commit.String(), DiffID: "sha256:" + commit.String(), Index: fixed(&layer.Index{Objects: list})}
	l.use(pack)
	return l
}

func labelOf(root *rootfs.Inode, name string) string {
	n := root.Lookup(name)
	if n == nil {
		return "missing"
	}
	context := strings.TrimSuffix(n.Xattrs[selinux.Xattr], "\x00")
	return strings.TrimSuffix(strings.TrimPrefix(context, "system_u:object_r:"), ":s0")
}

// treeOf returns the tree of a layer's own commit.
func treeOf(t *testing.T, imported *Tree, l Layer) *rootfs.Inode {
	t.Helper()
	name, err := ref(blobRefs, l.Digest)
	if err != nil {
		t.Fatal(err)
	}
	root, err := imported.Repo.Tree(imported.Repo.Refs[name])
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// TestLabelOfType has a name that is a file in one layer and a symbolic link in the
// next: the commit of each layer has the label of its own type.
func TestLabelOfType(t *testing.T) {
	lower := makeLayer(t, append(policyEntries(), file("usr/bin/b", "b"), file("usr/bin/x", "x"))...)
	upper := makeLayer(t, symlink("usr/bin/x", "b"))
	got := mustImport(t, makeImage(t, -1, lower, upper), Options{})
	for want, l := range map[string]Layer{"bin_t": lower, "link_t": upper} {
		if label := labelOf(treeOf(t, got, l), "usr/bin/x"); label != want {
			t.Errorf("usr/bin/x is %s in its layer, want %s", label, want)
		}
	}
	if label := labelOf(got.Root, "usr/bin/x"); label != "link_t" {
		t.Errorf("merged: usr/bin/x is %s, want link_t", label)
	}
}

// TestRelabel follows labels through a base, a layer that changes nothing of
// them, and one that changes the policy.
func TestRelabel(t *testing.T) {
	plain := mustImport(t, makeImage(t, -1, makeLayer(t, append(policyEntries(), dir("proc"), file("usr/lib/a", "content of a"),
		file("usr/lib/none/n", "content of n"), file("usr/bin/b", "content of b"), symlink("usr/bin/l", "b"), file("etc/conf", "content of conf"))...)), Options{})
	for name, want := range map[string]string{
		".": "root_t", "proc": "mnt_t", "usr": "usr_t", "usr/lib/a": "lib_t", "usr/lib/none": "", "usr/lib/none/n": "",
		"usr/bin/b": "bin_t", "usr/bin/l": "link_t", "usr/etc": "etc_t", "usr/etc/conf": "etc_t",
	} {
		if got := labelOf(plain.Root, name); got != want {
			t.Errorf("plain: %s is %s, want %s", name, got, want)
		}
	}

	r := &reads{count: map[string]int{}}
	base := r.counting(encapsulate(t, plain.Repo, plain.Deployed))
	add := makeLayer(t, file("usr/lib/new", "content of new").xattr(selinux.Xattr, "container_t\x00"), hardlink("usr/bin/same", "usr/lib/new"))
	got, err := Import(makeImage(t, 0, base, r.counting(add)), Options{Reference: testReference, everywhere: true})
	if err != nil {
		t.Fatal(err)
	}
	// A file with the right label is not read, and a new one is read once for each label.
	if r.count["content of a"] > 0 || r.count["content of b"] > 0 || r.count["content of new"] != 2 {
		t.Errorf("read %v", r.count)
	}
	if a, b := labelOf(got.Root, "usr/lib/new"), labelOf(got.Root, "usr/bin/same"); a != "lib_t" || b != "bin_t" {
		t.Errorf("labels of the new file are %s and %s", a, b)
	}
	for id := range plain.Repo.Files {
		if got.Repo.Files[id] == nil {
			t.Errorf("%s is not there any more", id)
		}
	}

	// A layer may bring another policy: lib_t becomes new_t, and none stays
	// what it is.
	contexts := strings.ReplaceAll(policyEntries()[3].body, "lib_t", "new_t")
	clear(r.count)
	policy := makeLayer(t, file("etc/selinux/targeted/contexts/files/file_contexts", contexts), file("usr/lib/none/x", "content of x"))
	got, err = Import(makeImage(t, 0, base, r.counting(add), r.counting(policy)), Options{Reference: testReference, everywhere: true})
	if err != nil {
		t.Fatal(err)
	}
	if r.count["content of a"] != 1 || r.count["content of b"] != 0 || r.count["content of x"] != 1 {
		t.Errorf("read %v", r.count)
	}
	for name, want := range map[string]string{"usr/lib": "new_t", "usr/lib/a": "new_t", "usr/lib/new": "new_t", "usr/bin/b": "bin_t", "usr/lib/none/n": "", "usr/lib/none/x": ""} {
		if got := labelOf(got.Root, name); got != want {
			t.Errorf("new policy: %s is %s, want %s", name, got, want)
		}
	}
	// The commit of the first layer shares its files with the merge.
	if treeOf(t, got, add).Lookup("usr/lib/new") != got.Root.Lookup("usr/lib/new") {
		t.Error("a layer has a file of its own")
	}
}

// TestNone has layers after which the policy has no label for some files, or is
// gone. Files keep the label that the policy of the base gives them.
func TestNone(t *testing.T) {
	plain := mustImport(t, makeImage(t, -1, makeLayer(t, append(policyEntries(), file("usr/bin/b", "b"))...)), Options{})
	base := encapsulate(t, plain.Repo, plain.Deployed)
	contexts := strings.ReplaceAll(policyEntries()[3].body, "/usr/bin(/.*)?	system_u:object_r:bin_t:s0", "/usr/bin(/.*)?	<<none>>")
	for what, policy := range map[string]entry{
		"none": file("etc/selinux/targeted/contexts/files/file_contexts", contexts),
		"gone": file("etc/.wh.selinux", ""),
	} {
		add := makeLayer(t, policy, file("usr/bin/new", "n"), file("usr/lib/none/x", "x"), dir("usr/bin/d"))
		got := mustImport(t, makeImage(t, 0, base, add), Options{})
		name, err := ref(blobRefs, add.Digest)
		if err != nil {
			t.Fatal(err)
		}
		layer, err := got.Repo.Tree(got.Repo.Refs[name])
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{"usr/bin/b": "bin_t", "usr/bin/new": "bin_t", "usr/bin/d": "bin_t", "usr/lib/none/x": ""} {
			if got := labelOf(got.Root, name); got != want {
				t.Errorf("%s: %s is %s, want %s", what, name, got, want)
			}
			if name == "usr/bin/b" {
				continue
			}
			if got := labelOf(layer, name); got != want {
				t.Errorf("%s: in the layer: %s is %s, want %s", what, name, got, want)
			}
		}
	}
}

// TestWithoutPolicy keeps the labels of a base.
func TestWithoutPolicy(t *testing.T) {
	got := mustImport(t, derivedImage(t, makeLayer(t, file("usr/a", "x"))), Options{})
	if a, b := labelOf(got.Root, "usr/lib/link-xattr"), labelOf(got.Root, "usr/a"); a != "lib_t" || b != "" {
		t.Errorf("labels %q and %q", a, b)
	}
}

// TestSameImport imports twice, by one goroutine and by many.
func TestSameImport(t *testing.T) {
	img := derivedImage(t, layersOf(t, strangeLayers())...)
	many := mustImport(t, img, Options{})
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	one := mustImport(t, img, Options{})
	if many.Deployed != one.Deployed || !maps.Equal(many.Repo.Refs, one.Repo.Refs) || !slices.Equal(many.Warnings, one.Warnings) {
		t.Errorf("%s %v\n%s %v", many.Deployed, many.Repo.Refs, one.Deployed, one.Repo.Refs)
	}
	ids := func(r *ostree.Repo) []string {
		var list []string
		for id := range r.Files {
			list = append(list, id.String())
		}
		slices.Sort(list)
		return list
	}
	if !slices.Equal(ids(many.Repo), ids(one.Repo)) || len(many.Repo.Metadata) != len(one.Repo.Metadata) {
		t.Error("not the same objects")
	}
}

// BenchmarkDerived merges a layer of one file with a base of 30,000 and
// relabels all, with the policy of a distribution if there is one.
func BenchmarkDerived(b *testing.B) {
	entries := append(policyEntries()[:3:3], file("etc/selinux/targeted/contexts/files/file_contexts", distribution(b)))
	for i := range 30000 {
		e := file(fmt.Sprintf("usr/%s/package-%d/part%d/file-%d.so", []string{"lib", "share", "bin", "libexec"}[i%4], i/100, i/10%10, i), fmt.Sprint(i))
		entries = append(entries, e)
	}
	plain, err := Import(makeImage(b, -1, makeLayer(b, entries...)), Options{Reference: testReference})
	if err != nil {
		b.Fatal(err)
	}
	img := makeImage(b, 0, encapsulate(b, plain.Repo, plain.Deployed), makeLayer(b, file("usr/bin/new", "1")))
	plainImage := makeImage(b, -1, makeLayer(b, entries...))
	for name, img := range map[string]*Image{"layer": img, "plain": plainImage} {
		b.Run(name, func(b *testing.B) {
			before := cpuTime(b)
			for b.Loop() {
				if _, err := Import(img, Options{Reference: testReference}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric((cpuTime(b)-before).Seconds()/float64(b.N), "cpu-s/op")
		})
	}
}

// cpuTime returns the CPU time of this process on all cores.
func cpuTime(b *testing.B) time.Duration {
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// distribution returns the file contexts of Fedora.
func distribution(b *testing.B) string {
	packed, err := os.ReadFile(filepath.Join(treetest.Vectors(b, "selinux"), "policy/fedora/file_contexts.gz"))
	if err != nil {
		b.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		b.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		b.Fatal(err)
	}
	return string(text)
}
