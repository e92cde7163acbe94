package container

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/selinux"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// A realImport does with the real ostree the steps that importers of containers have it
// do. It needs root, because files get owners and labels.
type realImport struct {
	t    *testing.T
	tool string
	dir  string
}

func newRealImport(t *testing.T) *realImport {
	r := &realImport{t, treetest.Newer(t, "ostree"), t.TempDir()}
	probe := filepath.Join(r.dir, "probe")
	if err := os.WriteFile(probe, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chown(probe, 1, 2), unix.Lsetxattr(probe, selinux.Xattr, []byte("x\x00"), 0)); err != nil {
		treetest.Missing(t, "OHP_TOOLS", "only root can have ostree check out files: "+err.Error())
	}
	r.ostree("init", "--mode=bare")
	r.ostree("config", "set", "core.fsync", "false")
	return r
}

func (r *realImport) path(elem ...string) string {
	return filepath.Join(append([]string{r.dir}, elem...)...)
}

func (r *realImport) ostree(verb string, args ...string) string {
	r.t.Helper()
	return strings.TrimSpace(run(r.t, append([]string{r.tool, "--repo=" + r.path("repo"), verb}, args...)...))
}

// commitOf returns a commit of the real repository.
func (r *realImport) commitOf(id string) *ostree.Commit {
	r.t.Helper()
	b, err := os.ReadFile(r.path("repo", "objects", id[:2], id[2:]+".commit"))
	if err != nil {
		r.t.Fatal(err)
	}
	c, err := ostree.ParseCommit(b)
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

// filtered returns a layer as importers hand it to ostree.
func filtered(entries []entry) (list []entry) {
	for _, e := range entries {
		name := strings.Trim(strings.TrimPrefix(e.Name, "./"), "/")
		if name == "" {
			name = "."
		}
		placed, ok := filter{others: true}.place(name)
		if !ok {
			continue
		}
		e.Name = "./" + placed
		if e.Typeflag == '1' {
			e.Linkname = etc(e.Linkname)
		}
		list = append(list, e)
	}
	return list
}

// compare imports derived layers, which entries has all of, on top of the base
// that was imported, and compares every commit.
func (r *realImport) compare(img *Image, got *Tree, entries [][]entry) {
	t := r.t
	t.Helper()
	root := r.path("root")
	if got.Base != (ostree.Checksum{}) {
		archive := r.path("archive")
		only := *got.Repo
		only.Refs = map[string]ostree.Checksum{"base": got.Base}
		writeArchive(t, &only, archive, true)
		r.ostree("pull-local", archive, got.Base.String())
		r.ostree("checkout", "--union", "--force-copy-zerosized", got.Base.String(), root)
	}
	first := len(img.Layers) - len(entries)
	for i, list := range entries {
		name := r.path(fmt.Sprint(i, ".tar"))
		if err := os.WriteFile(name, tarOf(t, filtered(list)), 0o644); err != nil {
			t.Fatal(err)
		}
		branch := fmt.Sprint("layer/", i)
		r.ostree("commit", "--no-bindings", "--tar-autocreate-parents", "--tree=tar="+name, "--branch="+branch, "--timestamp=@0")
		r.ostree("checkout", "--union", "--whiteouts", "--force-copy-zerosized", branch, root)
	}
	for _, name := range []string{"hostname", "resolv.conf"} {
		name = filepath.Join(root, "usr/etc", name)
		if info, err := os.Lstat(name); err == nil && info.Mode().IsRegular() && info.Size() == 0 {
			os.Remove(name)
		}
	}
	ours := func(id ostree.Checksum) *ostree.Commit {
		c, err := got.Repo.Commit(id)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	merged := ours(got.Deployed)
	policy := []string{"--selinux-policy=" + root}
	if p, err := selinux.Load(got.Root); err != nil {
		t.Fatal(err)
	} else if p == nil {
		policy = nil
	}
	id := r.ostree("commit", append(policy, "--no-bindings", "--tree=dir="+root, "--branch=merged", "--timestamp=@0")...)
	if c := r.commitOf(id); c.Tree != merged.Tree || c.Meta != merged.Meta {
		t.Errorf("the merged tree is not that of ostree: %s", r.difference(got.Repo, got.Deployed, id))
	}
	for i := range entries {
		dir := r.path(fmt.Sprint("layer", i))
		r.ostree("checkout", "--force-copy-zerosized", fmt.Sprint("layer/", i), dir)
		id := r.ostree("commit", append(policy, "--no-bindings", "--tree=dir="+dir, "--branch="+fmt.Sprint("relabelled/", i),
			"--add-metadata-string="+keyImporter+"="+Importer, fmt.Sprintf("--timestamp=@%d", merged.Timestamp))...)
		name, err := ref(blobRefs, img.Layers[first+i].Digest)
		if err != nil {
			t.Fatal(err)
		}
		if our := got.Repo.Refs[name]; our.String() != id {
			t.Errorf("commit of layer %d is not that of ostree: %s", first+i, r.difference(got.Repo, our, id))
		}
	}
}

// difference returns the lines in which two commits differ, ours with a minus.
func (r *realImport) difference(repo *ostree.Repo, ours ostree.Checksum, theirs string) string {
	archive := r.path("ours-" + ours.String())
	only := *repo
	only.Refs = map[string]ostree.Checksum{"ours": ours}
	writeArchive(r.t, &only, archive, false)
	list := func(repo, rev string) []string {
		return strings.Split(run(r.t, append([]string{r.tool}, "--repo="+repo, "ls", "-RCX", rev)...), "\n")
	}
	count := map[string]int{}
	a, b := list(archive, "ours"), list(r.path("repo"), theirs)
	for _, line := range b {
		count[line]++
	}
	var diff []string
	for _, line := range a {
		if count[line]--; count[line] < 0 {
			diff = append(diff, "-"+line)
		}
	}
	for _, line := range b {
		if count[line] > 0 {
			diff = append(diff, "+"+line)
		}
	}
	return "\n" + strings.Join(diff[:min(len(diff), 40)], "\n")
}

// policyEntries are those of a small policy, which ostree takes for one.
func policyEntries() []entry {
	return []entry{
		file("etc/selinux/config", "SELINUX=enforcing\nSELINUXTYPE=targeted\n"),
		file("etc/selinux/targeted/policy/policy.33", "is only hashed"),
		file("etc/selinux/targeted/contexts/files/file_contexts.subs_dist", "/usr/etc /etc\n"),
		file("etc/selinux/targeted/contexts/files/file_contexts", strings.Join([]string{
			"/.*	system_u:object_r:default_t:s0",
			"/	-d	system_u:object_r:root_t:s0",
			"/mnt(/.*)?	system_u:object_r:mnt_t:s0",
			"/etc(/.*)?	system_u:object_r:etc_t:s0",
			"/usr(/.*)?	system_u:object_r:usr_t:s0",
			"/usr/lib(/.*)?	system_u:object_r:lib_t:s0",
			"/usr/bin(/.*)?	system_u:object_r:bin_t:s0",
			"/usr/bin/.*	-l	system_u:object_r:link_t:s0",
			"/usr/lib/none(/.*)?	<<none>>",
			"/usr/lib/both/[ab]	--	system_u:object_r:ab_t:s0",
		}, "\n")+"\n"),
	}
}

// strangeLayers have entries that importing treats in a special way.
func strangeLayers() [][]entry {
	capability := "\x01\x00\x00\x02\x00\x20" + strings.Repeat("\x00", 14)
	return [][]entry{
		append(policyEntries(),
			dir("."), dir("proc"), dir("run").by(0, 0, 0o700), dir("usr/bin"), file("usr/bin/su", "su").by(0, 0, 0o4755), file("usr/bin/ping", "ping").xattr("security.capability", capability),
			file("usr/bin/bsdtar", "x").pax("LIBARCHIVE.xattr.user.a%20b", "dmFsdWU"), file("usr/bin/both", "x").pax("LIBARCHIVE.xattr.user.a", "dmFsdWU=").xattr("user.b", "c"),
			symlink("usr/bin/sh", "bash"), symlink("usr/lib64", "lib"), file("usr/lib/a", "1"), file("usr/lib/empty", ""), file("usr/lib/empty2", ""),
			file("opt/x/y", "opt").by(7, 8, 0), file("etc/hostname", ""), file("etc/resolv.conf", "x"), file("run/secret", "s"),
			file("usr/lib/none/a", "1"), file("usr/lib/both/a", "1"), hardlink("usr/lib/both/b", "usr/lib/both/c"), file("usr/lib/both/c", "2"),
			dir("usr/share/d").by(3, 4, 0o2770).xattr("user.dir", "v"), file("usr/share/d/e/f", "3"), file("etc/a", "1"), hardlink("etc/b", "etc/a"),
			file("var/lib/v/w", "4").by(9, 9, 0o600), dir("var/lib/v").by(9, 9, 0o700),
		),
		{
			dir("usr").by(5, 6, 0o711), file("usr/lib64/b", "1"), file("usr/lib/.wh.a", ""), file("usr/share/.wh..wh..opq", ""), file("usr/share/g", "5"), file("etc/.wh.b", ""),
			file("usr/lib/both", "now a file"), dir("usr/lib/empty"), file("usr/lib/empty/h", "6"), file("usr/bin/.-", "1"), file("usr/bin/.wh..-", ""),
			hardlink("usr/bin/z2", "usr/bin/z1"), hardlink("usr/bin/z3", "usr/bin/z2"), file("usr/bin/z1", "7").by(0, 0, 0o755), file("usr/x/long/"+strings.Repeat("n", 200)+"/"+strings.Repeat("m", 120), "8").by(11, 12, 0),
			file("usr/lib/label", "9").xattr("security.selinux", "system_u:object_r:container_file_t:s0\x00"), file("usr/lib/ü ö\t", "10"),
		},
		{file("usr/.wh.x", ""), file("boot/loader", "1"), file("etc/a", "2"), file("usr/bin/.wh.none", ""), symlink("usr/share", "lib")},
	}
}

// upstream leaves out entries that ostree cannot import or imports at random: a hard link to
// a hard link, and labels of the builder's host, which it has twice.
func upstream(layers [][]entry) [][]entry {
	for i, list := range layers {
		var keep []entry
		for _, e := range list {
			if e.Linkname != "usr/bin/z2" && e.PAXRecords["SCHILY.xattr.security.selinux"] == "" {
				keep = append(keep, e)
			}
		}
		layers[i] = keep
	}
	return layers
}

func layersOf(t testing.TB, entries [][]entry) (layers []Layer) {
	for _, list := range entries {
		layers = append(layers, makeLayer(t, list...))
	}
	return layers
}

// TestRealPlain compares the import of a plain image with that of ostree.
func TestRealPlain(t *testing.T) {
	r := newRealImport(t)
	entries := upstream(strangeLayers())
	img := makeImage(t, -1, layersOf(t, entries)...)
	r.compare(img, mustImport(t, img, Options{}), entries)
}

// TestRealDerived does the same with layers on top of a commit: without a
// policy, and with one that is in a layer.
func TestRealDerived(t *testing.T) {
	for name, entries := range map[string][][]entry{
		"unlabelled": {{file("usr/lib/big", "small"), file("usr/bin/.wh.hello", ""), dir("usr/etc/sub").by(1, 1, 0o777), file("usr/link/x", "1")}, {file("usr/lib/link/x", "2")}},
		"labelled":   upstream(strangeLayers()),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRealImport(t)
			img := derivedImage(t, layersOf(t, entries)...)
			r.compare(img, mustImport(t, img, Options{}), entries)
		})
	}
}

// TestRealFixture puts layers on top of the containers that ci/fixture made.
func TestRealFixture(t *testing.T) {
	for _, size := range []string{"tiny", "full"} {
		t.Run(size, func(t *testing.T) {
			if size == "full" && os.Getenv("OHP_FIXTURE") != "required" { // takes a minute
				t.Skip("set OHP_FIXTURE=required to compare the full fixture")
			}
			entries := [][]entry{
				{file("etc/motd", "derived\n"), file("usr/bin/derived", "#!/bin/sh\n").by(0, 0, 0o755), file("opt/x/y", "1").by(7, 8, 0), file("run/x", "1")},
				{file("etc/.wh.motd", ""), file("usr/share/derived/.wh..wh..opq", ""), file("usr/share/derived/a", "2"), hardlink("usr/share/derived/b", "usr/share/derived/a")},
			}
			base := readLayout(t, fixtureLayout(t, size))
			img := makeImage(t, len(base.Layers)-1, append(base.Layers, layersOf(t, entries)...)...)
			got, err := Import(img, Options{Reference: testReference})
			if err != nil {
				t.Fatal(err)
			}
			newRealImport(t).compare(img, got, entries)
			if len(got.Repo.Files) < 5000 {
				repo := t.TempDir()
				writeArchive(t, got.Repo, repo, true)
				run(t, treetest.Newer(t, "ostree"), "--repo="+repo, "fsck")
			}
		})
	}
}

// TestFsckDerived has ostree check a repository of every kind of commit.
func TestFsckDerived(t *testing.T) {
	tool := treetest.Newer(t, "ostree")
	for _, img := range []*Image{makeImage(t, -1, layersOf(t, strangeLayers())...), derivedImage(t, layersOf(t, strangeLayers())...)} {
		got := mustImport(t, img, Options{})
		dir := t.TempDir()
		writeArchive(t, got.Repo, dir, true)
		run(t, tool, "--repo="+dir, "fsck")
		for name, commit := range got.Repo.Refs {
			if rev := run(t, tool, "--repo="+dir, "rev-parse", name); rev != commit.String()+"\n" {
				t.Errorf("%s: %s", name, rev)
			}
		}
	}
}

// TestFixtureLabels asks libselinux about every path of the fixture, with the
// policy that is in there.
func TestFixtureLabels(t *testing.T) {
	treetest.Tool(t, "matchpathcon")
	for _, size := range []string{"tiny", "full"} {
		t.Run(size, func(t *testing.T) {
			got, err := Import(readLayout(t, fixtureLayout(t, size)), Options{Reference: testReference})
			if err != nil {
				t.Fatal(err)
			}
			policy, err := selinux.Load(got.Root)
			if err != nil || policy == nil {
				t.Fatalf("policy %v: %v", policy, err)
			}
			contexts := policyOf(t, got.Root)
			kinds := map[uint32]string{rootfs.ModeFile: "file", rootfs.ModeDir: "dir", rootfs.ModeLink: "lnk_file"}
			paths := map[uint32][]string{}
			for name, n := range got.Root.Walk() {
				paths[n.Type()] = append(paths[n.Type()], path.Join("/", name))
			}
			count := 0
			for kind, names := range paths {
				for some := range slices.Chunk(names, 4000) {
					out := treetest.Run(t, "matchpathcon", append([]string{"-n", "-m", kinds[kind], "-f", contexts, "--"}, some...)...)
					lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
					if len(lines) != len(some) {
						t.Fatalf("%d lines for %d paths", len(lines), len(some))
					}
					for i, want := range lines {
						context, ok := policy.Lookup(some[i], kind)
						if !ok {
							context = "<<none>>"
						}
						if context != want {
							t.Errorf("%s: %s, want %s", some[i], context, want)
						}
					}
					count += len(some)
				}
			}
			t.Logf("%d paths", count)
		})
	}
}

// policyOf writes the policy of a system to files and returns the first one.
func policyOf(t *testing.T, root *rootfs.Inode) string {
	t.Helper()
	to := t.TempDir()
	for name, n := range root.Lookup("usr/etc/selinux").Walk() {
		if !strings.Contains(name, "/contexts/files/file_contexts") || !n.IsFile() || path.Ext(name) == ".bin" { // which is of another libselinux
			continue
		}
		b, err := rootfs.ReadAll(n.Content, 1<<24)
		if err == nil {
			err = os.WriteFile(filepath.Join(to, path.Base(name)), b, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(to, "file_contexts")
}
