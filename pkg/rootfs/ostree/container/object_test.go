package container

import (
	"archive/tar"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/selinux"
)

// Names in a repository.
var (
	repoName  = "sysroot/ostree/repo"
	object1   = repoName + "/objects/cd/" + strings.Repeat("f", 62) + ".file"
	object2   = repoName + "/objects/cd/" + strings.Repeat("e", 62) + ".file"
	objectDir = "sysroot/ sysroot/ostree/ sysroot/ostree/repo/ sysroot/ostree/repo/objects/ sysroot/ostree/repo/objects/cd/ "
)

// at gives an entry a time in seconds.
func (e entry) at(sec int64) entry {
	e.ModTime = time.Unix(sec, 0)
	return e
}

const (
	changedText  = "a tool changed it through its name in the ostree repository; it is imported with the change"
	earlyText    = "a hard link to an object of the repository whose content is not in front of it in the layer: the system will drop the link at its next upgrade"
	absoluteText = "a hard link to an object of the repository by an absolute name: the importer of the system refuses the layer at its next upgrade"
	droppedText  = "a hard link to an object of the repository that is not in the layer: it is not imported; a container has the file"
)

// TestChangedObjects has the layers of builders that keep the hard links
// between the files of the base and the objects of its repository.
func TestChangedObjects(t *testing.T) {
	for _, test := range []struct {
		name     string
		layer    []entry
		want     string
		warnings []string
	}{
		{"object and link", []entry{file(object1, "new"), hardlink("usr/a", object1)}, "usr/ usr/a=new", []string{"usr/a: " + changedText}},
		{"more links", []entry{file(object1, "new"), hardlink("usr/b", object1), hardlink("usr/a", object1), hardlink("usr/c/d", object1)},
			"usr/ usr/a=new usr/b=new usr/c/ usr/c/d=new", []string{"usr/b: " + changedText}},
		{"many objects", []entry{file(object1, "1"), file(object2, "2"), hardlink("usr/a", object2), hardlink("usr/b", object1)},
			"usr/ usr/a=2 usr/b=1", []string{"usr/a: " + changedText + " (and 1 more)"}},
		{"link in front of the object", []entry{hardlink("usr/b", object1), hardlink("usr/a", object1), file(object1, "new")}, "usr/ usr/a=new usr/b=new",
			[]string{"usr/b: " + earlyText + " (and 1 more)", "usr/b: " + changedText}},
		{"object twice", []entry{file(object1, "1"), hardlink("usr/a", object1), file(object1, "2"), hardlink("usr/b", object1)}, "usr/ usr/a=1 usr/b=2",
			[]string{"usr/a: " + changedText + " (and 1 more)"}},
		{"names with a dot", []entry{file("./"+object1, "new"), hardlink("/usr/a", "./"+object1)}, "usr/ usr/a=new", []string{"usr/a: " + changedText}},
		{"in etc", []entry{file(object1, "new").xattr("user.k", "v\n"), hardlink("etc/a", object1), hardlink("etc/b", object1)}, "usr/ usr/etc/ usr/etc/a=new usr/etc/b=new",
			[]string{
				"usr/etc/a: " + changedText,
				"usr/etc/a: changed through the ostree repository: the system does not move such a file from /etc to /usr/etc, and its next upgrade will fail",
				"usr/etc/a: changed through the ostree repository: the system will drop its extended attributes at its next upgrade",
			}},
		{"link without a time", []entry{file(object1, "new"), hardlink("usr/a", object1).at(0)}, "usr/ usr/a=new",
			[]string{"usr/a: a hard link without a time to an object of the repository: the importer of the system refuses the layer at its next upgrade", "usr/a: " + changedText}},
		{"link in run", []entry{file(object1, "new"), hardlink("run/a", object1), hardlink("usr/a", object1)}, "usr/ usr/a=new", []string{"usr/a: " + changedText}},
		{"no object", []entry{hardlink("usr/b", object1), hardlink("usr/a", object1)}, "", []string{"usr/b: " + droppedText + " (and 1 more)"}},
		{"no link", []entry{file(object1, "new")}, "", nil},
		{"absolute targets", []entry{file(object1, "new"), hardlink("run/a", "/"+object1), hardlink("usr/a", "/"+object1), hardlink("etc/b", "/"+object2)}, "usr/ usr/a=new",
			[]string{"usr/a: " + absoluteText + " (and 1 more)", "usr/a: " + changedText, "usr/etc/b: " + droppedText}},
		{"link between objects", []entry{file(object1, "new"), hardlink(object2, object1), hardlink("usr/a", object1)}, "usr/ usr/a=new", []string{
			object2 + ": a hard link between objects of the repository whose content a tool changed: the importer of the system refuses the layer at its next upgrade",
			"usr/a: " + changedText}},
		{"file for the repository", []entry{file(repoName, "x"), hardlink("usr/a", repoName)}, "usr/ usr/a=x", []string{"usr/a: " + changedText}},
		{"lock and config", []entry{file(repoName+"/.lock", ""), file(repoName+"/config", "x"), file("usr/a", "")}, "usr/ usr/a=", nil},
		{"file first", []entry{file("etc/a", "new"), hardlink(object1, "etc/a")}, "usr/ usr/etc/ usr/etc/a=new", nil},
		{"file first, link to the object", []entry{file("etc/a", "new"), hardlink(object1, "etc/a"), hardlink("usr/a", object1)}, "usr/ usr/a=new usr/etc/ usr/etc/a=new", []string{"usr/a: " + earlyText}},
		{"directories", []entry{dir("sysroot"), dir("sysroot/ostree"), dir(repoName), dir(repoName + "/objects"), dir(repoName + "/objects/cd")}, strings.TrimSpace(objectDir), nil},
		{"objects without a time", []entry{file(object1, "new").at(0), hardlink("usr/a", object1).at(0)}, objectDir + object1 + "=new usr/ usr/a=new", nil},
		{"no object at all", []entry{file(repoName+"/objects/cd/notes", "x").at(0), symlink(repoName+"/objects/cd/s", "notes")},
			objectDir + repoName + "/objects/cd/notes=x " + repoName + "/objects/cd/s->notes", nil},
		{"xattrs of an object", []entry{file(object1+"-xattrs", "x").at(0), hardlink(object1+"-xattrs-link", object1+"-xattrs").at(0)},
			objectDir + object1 + "-xattrs=x " + object1 + "-xattrs-link=x", nil},
		{"metadata of the base", []entry{file(repoName+"/objects/"+ostree.ObjectPath(emptyCommit(), ostree.CommitObject), commitBytes()), file("usr/a", "")}, "usr/ usr/a=", nil},
	} {
		for _, mode := range []string{MergeOSTree, MergeOCI} {
			got := mustImport(t, makeImage(t, -1, makeLayer(t), makeLayer(t, test.layer...)), Options{Merge: mode})
			if list := contents(t, got.Root); list != test.want {
				t.Errorf("%s, %s: %s\nwant %s", test.name, mode, list, test.want)
			}
			var warnings []string
			for _, w := range got.Warnings {
				if w.Layer == 1 && !strings.Contains(w.What, "because of a file below") {
					warnings = append(warnings, strings.TrimPrefix(w.String(), "layer 1: "))
				}
			}
			if !slices.Equal(warnings, test.warnings) {
				t.Errorf("%s, %s: warnings\n%s\nwant\n%s", test.name, mode, strings.Join(warnings, "\n"), strings.Join(test.warnings, "\n"))
			}
		}
	}
}

// TestChangedObjectInode: the file has mode, owner and xattrs of the object.
func TestChangedObjectInode(t *testing.T) {
	got := mustImport(t, makeImage(t, -1, makeLayer(t, file(object1, "new").by(3, 4, 0o640).xattr("user.k", "v"), hardlink("usr/a", object1).by(5, 6, 0o777), hardlink("usr/b", object1))), Options{})
	n := got.Root.Lookup("usr/a")
	if n.Mode&0o7777 != 0o640 || n.UID != 3 || n.GID != 4 || n.Xattrs["user.k"] != "v" || got.Root.Lookup("usr/b") != n {
		t.Errorf("%+v", n)
	}
}

// TestObjectOutsideOfUsr has a base that keeps layers out of /sysroot.
func TestObjectOutsideOfUsr(t *testing.T) {
	got, err := Import(derivedImage(t, makeLayer(t, dir(repoName), file(object1, "new").at(0), hardlink("usr/a", object1).at(0))), Options{Reference: testReference})
	if err != nil {
		t.Fatal(err)
	}
	if n := got.Root.Lookup("usr/a"); n == nil || n.Size() != 3 || got.Root.Lookup(repoName) != nil {
		t.Errorf("tree is %s", contents(t, got.Root))
	}
}

// TestLabelLost imports a container whose commit is no longer named.
func TestLabelLost(t *testing.T) {
	commit := repoName + "/objects/" + ostree.ObjectPath(emptyCommit(), ostree.CommitObject)
	img := makeImage(t, -1, makeLayer(t, file(commit, commitBytes()).at(0), file(object1, "x").at(0), hardlink("usr/a", object1).at(0)))
	got := mustImport(t, img, Options{})
	if n := got.Root.Lookup("usr/a"); n == nil || n.Size() != 1 {
		t.Errorf("tree is %s", contents(t, got.Root))
	}
	if list := texts(got.Warnings); len(list) != 1 || !strings.Contains(list[0], commit) || !strings.Contains(list[0], "no label ostree.final-diffid") {
		t.Errorf("warnings %q", list)
	}
}

// TestRefusedLater has entries that are imported here, and refused by a host at its next
// upgrade.
func TestRefusedLater(t *testing.T) {
	for _, test := range []struct {
		name, want string
		layer      []entry
	}{
		{"chain", "layer 0: usr/a: a hard link to a name that is a hard link itself", []entry{file("usr/c", ""), hardlink("usr/b", "usr/c"), hardlink("usr/a", "usr/b")}},
		{"chain in order", "layer 0: usr/c: a hard link to a name that is a hard link itself", []entry{file("usr/a", ""), hardlink("usr/b", "usr/a"), hardlink("usr/c", "usr/b")}},
		{"no chain", "", []entry{file("usr/c", ""), hardlink("usr/b", "usr/c"), hardlink("usr/a", "usr/c")}},
		{"newline", "layer 0: usr/etc/a: an extended attribute with a newline in its value: the importer of the system refuses the layer at its next upgrade (and 1 more)",
			[]entry{file("etc/a", "").xattr("user.a", "1\n2"), file("etc/b", "").xattr("user.a", "\n")}},
		{"newline of a hard link", "layer 0: usr/b: an extended attribute with a newline", []entry{file("usr/a", ""), hardlink("usr/b", "usr/a").xattr("user.a", "1\n2")}},
		{"root of kaniko", `layer 0: .: an entry of the name "/": many importers refuse the layer`, []entry{dir("/")}},
		{"other names of the root", "", []entry{dir("."), dir("./."), dir("/usr")}},
		{"empty attributes", "layer 0: usr/etc/b: an extended attribute without a value is dropped here: at its next upgrade the system will store the file as a damaged object, which ostree fsck reports",
			[]entry{dir("etc").xattr("user.a", ""), file("etc/b", "").xattr("user.a", ""), hardlink("etc/c", "etc/b").xattr("user.a", "")}},
		{"label of a directory", "layer 0: usr/etc: a directory with a label of SELinux", []entry{dir("etc").xattr(selinux.Xattr, "x")}},
		{"empty label", "layer 0: usr/etc: a directory with a label of SELinux", []entry{dir("etc").xattr(selinux.Xattr, "")}},
		{"labels of files", "layer 0: usr/etc/a: a file with a label of SELinux: the label is dropped here; at its next upgrade the system will store the file as a damaged object, which ostree fsck reports (and 1 more)",
			[]entry{file("etc/a", "").xattr(selinux.Xattr, "x"), symlink("etc/b", "a").xattr(selinux.Xattr, "x")}},
		{"label of a hard link", "", []entry{file("etc/a", ""), hardlink("etc/b", "etc/a").xattr(selinux.Xattr, "x")}},
		{"modes of links", "layer 0: usr/a: a symbolic link with another mode than 0777, which no file system keeps: at its next upgrade the system will store the link as a damaged object, which ostree fsck reports (and 1 more)",
			[]entry{symlink("usr/a", "b").by(0, 0, 0o644), symlink("usr/b", "b").by(0, 0, 0o755), symlink("usr/c", "b").by(0, 0, 0o777)}},
		{"dropped", "", []entry{dir("run"), {tar.Header{Name: "run/a/", Mode: 0o755, Typeflag: tar.TypeDir, PAXRecords: map[string]string{"SCHILY.xattr." + selinux.Xattr: "x"}}, ""}}},
	} {
		got := strings.Join(texts(mustImport(t, makeImage(t, -1, makeLayer(t, test.layer...)), Options{Merge: MergeOCI}).Warnings), "\n")
		if !strings.HasPrefix(got, test.want) || test.want == "" && got != "" {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
	for history, short := range map[string]bool{`[{},{"empty_layer":true}]`: false, `[{},{},{}]`: false, `[{}]`: true, `null`: true, `{}`: true} {
		img := makeImage(t, -1, makeLayer(t, file("usr/a", "")), makeLayer(t, file("usr/b", "")))
		img.Config = []byte(strings.Replace(string(img.Config), `[{},{}]`, history, 1))
		got := mustImport(t, img, Options{}).Warnings
		if short != (len(got) == 1) || short && !strings.Contains(got[0].String(), "entries for 2 layers: the system will refuse its updates (truncated history)") {
			t.Errorf("history %s: %q", history, got)
		}
	}
}

// TestNoLabelOfRoot has a policy that ostree does not load.
func TestNoLabelOfRoot(t *testing.T) {
	for name, want := range map[string]string{"/": "the SELinux policy has no label for /: the system will refuse its updates (failed to look up context of /)", "/a": ""} {
		local := file("etc/selinux/targeted/contexts/files/file_contexts.local", name+" <<none>>\n")
		got := strings.Join(texts(mustImport(t, makeImage(t, -1, makeLayer(t, append(policyEntries(), local)...)), Options{}).Warnings), "\n")
		if got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// TestACL names the first file with an access control list.
func TestACL(t *testing.T) {
	got := mustImport(t, makeImage(t, -1, makeLayer(t, file("usr/a", ""), file("usr/b", "").xattr("system.posix_acl_access", "\x02\x00"), dir("usr/c").xattr("system.posix_acl_default", "\x02\x00"))), Options{})
	if got.ACL != "usr/b" {
		t.Errorf("%q", got.ACL)
	}
	if got := mustImport(t, makeImage(t, -1, makeLayer(t, file("usr/a", ""))), Options{}); got.ACL != "" {
		t.Errorf("%q", got.ACL)
	}
}
