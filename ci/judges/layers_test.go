package judges

import (
	"archive/tar"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree"
)

// contexts is the name of the labels in the policy of the tiny fixture.
const contexts = "etc/selinux/default/contexts/files/file_contexts"

// A verdict is the result of importing a container.
type verdict string

const (
	equal   verdict = "both import it, to the same tree"
	differs verdict = "both import it, to different trees"
	refused verdict = "both refuse it"
	host1   verdict = "only the host imports it"
	ours1   verdict = "only ohp-assemble imports it"
)

// judgeLayers imports a container with both programs and returns the verdicts.
func (h *host) judgeLayers() (verdict, string) {
	commit, err := h.pull()
	tree, our := h.ours()
	switch {
	case err != nil && our != nil:
		return refused, fmt.Sprintf("%v\n%v", err, our)
	case err != nil:
		return ours1, err.Error()
	case our != nil:
		return host1, our.Error()
	}
	merged, err := tree.Repo.Commit(tree.Deployed)
	if err != nil {
		return host1, err.Error()
	}
	if theirs := h.commit(commit); merged.Tree != theirs.Tree || merged.Meta != theirs.Meta {
		return differs, strings.Join(h.differences(tree.Repo, "/", merged.Tree, merged.Meta, theirs.Tree, theirs.Meta), "\n")
	}
	return equal, ""
}

// differences lists the entries that differ between our directory and the host's.
func (h *host) differences(repo *ostree.Repo, name string, our, ourMeta, their, theirMeta ostree.Checksum) (list []string) {
	h.t.Helper()
	if ourMeta != theirMeta {
		list = append(list, name+": owner, mode or attributes differ")
	}
	if our == their {
		return list
	}
	parse := func(b []byte) (map[string]ostree.Checksum, map[string]ostree.TreeDir) {
		tree, err := ostree.ParseTree(b)
		if err != nil {
			h.t.Fatal(err)
		}
		files, dirs := map[string]ostree.Checksum{}, map[string]ostree.TreeDir{}
		for _, f := range tree.Files {
			files[name+f.Name] = f.ID
		}
		for _, d := range tree.Dirs {
			dirs[name+d.Name+"/"] = d
		}
		return files, dirs
	}
	files, dirs := parse(repo.Metadata[ostree.ObjectName{ID: our, Type: ostree.DirTreeObject}])
	theirFiles, theirDirs := parse(h.object(their, ostree.DirTreeObject))
	for name, id := range files {
		if their, ok := theirFiles[name]; !ok {
			list = append(list, name+": only here")
		} else if their != id {
			list = append(list, fmt.Sprintf("%s: is %s, the host's %s", name, id, their))
		}
	}
	for name, d := range dirs {
		if their, ok := theirDirs[name]; !ok {
			list = append(list, name+": only here")
		} else {
			list = append(list, h.differences(repo, name, d.Tree, d.Meta, their.Tree, their.Meta)...)
		}
	}
	for name := range theirFiles {
		if _, ok := files[name]; !ok {
			list = append(list, name+": only on the host")
		}
	}
	for name := range theirDirs {
		if _, ok := dirs[name]; !ok {
			list = append(list, name+": only on the host")
		}
	}
	slices.Sort(list)
	return list
}

// TestImport imports containers of the usual kinds: with one layer, with several, and
// with layers on top. The trees must be equal, including content, owners, labels and
// attributes. ostree-ext 0.15.3 rejects containers without ostree data.
func TestImport(t *testing.T) {
	for _, name := range []string{"tiny-base", "tiny-derived-10", "full-base", "full-chunked", "full-derived-10"} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			h.place(fixture(t, name))
			if v, why := h.judgeLayers(); v != equal {
				t.Errorf("%s: %s", v, why)
			}
		})
	}
}

// tree returns entries and their parent folders, as in layers made by builders.
func tree(entries ...entry) (all []entry) {
	have := map[string]bool{}
	for _, e := range entries {
		for i, r := range strings.TrimSuffix(e.Name, "/") {
			if r == '/' && !have[e.Name[:i]] {
				all = append(all, dir(e.Name[:i]))
				have[e.Name[:i]] = true
			}
		}
		if e.Typeflag == tar.TypeDir {
			have[strings.TrimSuffix(e.Name, "/")] = true
		}
		all = append(all, e)
	}
	return all
}

// TestLayers imports the tiny fixture with a layer on top. The host has ostree-ext
// 0.15.3, as in 2024, with libostree of 2026. Comments describe the behaviour of later
// hosts if it differs. Inputs without conflicts share a layer; failures have the names
// of the files.
func TestLayers(t *testing.T) {
	h, names := newLayersHost(t)
	inside, object, passwd, link := names.inside, names.object, names.passwd, names.link
	kaniko := func(root ...entry) []entry { // it has hard links to absolute names
		return slices.Concat(root, tree(file("etc/passwd", "new").changed(), hardlink(passwd, "/etc/passwd").changed(), file(object, "new").changed(), hardlink(inside, "/"+object).changed()))
	}
	x := func(name string) entry { return file(name, "x") }
	special := func(name string, typ byte, major int64) entry {
		return entry{tar.Header{Typeflag: typ, Name: name, Devmajor: major, Devminor: 3}, ""}
	}
	metadata := func(of func(entry) entry) (all []entry) {
		for _, kind := range []string{"commit", "commitmeta", "dirtree", "dirmeta", "file-xattrs", "file-xattrs-link"} {
			all = append(all, of(x("sysroot/ostree/repo/objects/aa/"+strings.Repeat("b", 62)+"."+kind)))
		}
		return tree(all...)
	}
	acl := "\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x02\x00\x06\x00\xe8\x03\x00\x00\x04\x00\x04\x00\xff\xff\xff\xff\x10\x00\x06\x00\xff\xff\xff\xff\x20\x00\x04\x00\xff\xff\xff\xff"
	capability := "\x01\x00\x00\x02\x00\x20" + strings.Repeat("\x00", 14)
	long := strings.Repeat("abcdefghi/", 30) + "x"

	for name, c := range map[string]struct {
		want  verdict
		layer []entry
	}{
		"nothing": {equal, nil},

		// Owners and modes.
		"owners and modes": {equal, tree(dir("usr/share/d").mode(0o1777).owner(5, 6), dir("usr/share/e").mode(0o2775), dir("usr/share/f").mode(0), dir("usr/g").mode(0o40700),
			dir("var/d").mode(0o1777).owner(1000, 1000), dir("etc/d").mode(0o4711), dir("usr/twice").mode(0o700), dir("usr/twice").mode(0o750).owner(1, 2),
			x("usr/bin/x").mode(0o4755), x("usr/a").mode(0), x("usr/b").mode(0o7777), x("usr/c").mode(0o1644), x("usr/d").owner(1<<31, 4000000000), x("usr/e").mode(0o100755))},
		"no parents": {equal, []entry{x("usr/share/new/x").owner(3, 4), x("top/x").owner(5, 6), x("etc/new/x").owner(7, 8)}},
		"some parents": {equal, []entry{x("usr/share/behind/a/x").owner(3, 4), dir("usr/share/behind").mode(0o700),
			dir("usr/share/front").mode(0o700).owner(1, 1), x("usr/share/front/a/b/x").owner(3, 4), x("usr/share/front/a/c/x").owner(5, 6)}},
		"folders of the base": {equal, []entry{dir(".").mode(0o700), dir("usr").mode(0o700), dir("usr/share").owner(1, 1), dir("etc").mode(0o700).owner(1, 2), x("usr/share/x"), x("etc/x"),
			dir("run").mode(0o700).owner(1, 2), dir("tmp").mode(0o755), dir("proc").mode(0o555), dir("sys").mode(0o555), dir("dev").mode(0o711), dir("var").mode(0o700), dir("boot").mode(0o700), dir("sysroot").mode(0o700)}},
		// The host's object has the mode in its checksum, but not on the disk: ostree fsck reports it as corrupt.
		"mode of a symbolic link": {differs, tree(symlink("usr/l", "share").mode(0o600))},

		// Places.
		"places": {equal, tree(x("usr/share/x"), x("opt/x/y"), x("nix/x"), x("top"), symlink("l", "usr"), x("boot/x"), x("sysroot/x"), x("sysroot/ostree/deploy/x"),
			x("var/lib/x"), symlink("var/run", "../run"), dir("var/log/x").owner(1, 2), x("var/tmp/x"),
			x("run/x"), x("tmp/x"), x("proc/x"), x("sys/x/y"), x("dev/x"), dir("run/d"), symlink("run/l", "x"), special("dev/null", tar.TypeChar, 1))},
		"links of the base":        {equal, tree(x("srv/x"), x("home/x"), x("root/x"), x("mnt/x"), x("media/x"), x("lib/x"), x("ostree/y"))},
		"link, no parents":         {equal, []entry{x("lib/x")}},
		"no links followed":        {equal, tree(x("bin/x"), x("sbin/x"), file("lib/.wh.bootc", ""), symlink("boot", "sysroot/boot"))},
		"other top folders":        {equal, tree(x("ETC/x"), x("Usr/x"), x(" etc/x"), x("etc.d/x"), x("usr/run/x"), x("usr/tmp/x"), x("var/run/x"), x("etc/run/x"), dir("lost+found").mode(0o700))},
		"link for usr":             {equal, []entry{symlink("usr", "sysroot")}},
		"file for var":             {equal, []entry{x("var")}},
		"devices in run":           {equal, tree(special("dev/x", tar.TypeBlock, 8), special("run/f", tar.TypeFifo, 0), special("run/x", tar.TypeChar, 0))},
		"device in var":            {refused, tree(special("var/x", tar.TypeBlock, 8))},
		"file for run, then below": {refused, tree(x("run"), x("run/x"))},
		"file for run":             {equal, tree(x("run"), symlink("tmp", "var/tmp"))},
		"etc twice": {equal, tree(x("etc/x"), x("usr/etc/y"), x("etcetera/x"), x("usr/etcetera/x"), file("etc/a", "1"), file("usr/etc/a", "2"), file("usr/etc/b", "1"), file("etc/b", "2"),
			dir("etc/d").mode(0o700), dir("usr/etc/d").mode(0o711), x("etc/hostname"), symlink("etc/resolv.conf", "../run/x"))},
		// Later hosts remove the leftovers of build tools there, as does this project.
		"empty hostname": {differs, tree(file("etc/hostname", ""), file("usr/etc/resolv.conf", ""))},
		// The host cannot deploy the tree: nothing of the system's /etc is left.
		"link for etc": {host1, tree(symlink("etc", "usr/etc"))},

		// Whiteouts.
		"whiteouts": {equal, tree(file("usr/lib/bootc/kargs.d/.wh.10-fixture.toml", ""), file("etc/.wh.passwd", ""), file("etc/.wh.nasty", "content"), file("usr/lib/.wh.nothing", ""),
			file(".wh.opt", ""), file(".wh.home", ""), file(".wh.run", ""), file("run/.wh.x", ""), file(".wh.etc", ""),
			file("usr/lib/.wh..wh.foo", ""), file("usr/lib/.wh..wh.bootc", ""), file("usr/lib/.wh..wh.aufs", ""), x("usr/lib/.wh..wh.plnk/12.34"), dir("usr/lib/.wh..wh.orph"), file("usr/lib/.ostree-wh.bootc", ""))},
		"whiteouts in other places": {equal, tree(file("usr/etc/.wh.passwd", ""), file("usr/etc/.wh.nasty", ""), file("lib/.wh.bootc", ""), file("usr/share/.wh.nasty", ""), file("usr/share/.wh.nasty", ""))},
		// The whiteout removes a file that sorts before it.
		"whiteouts of the layer's": {equal, tree(file("usr/lib/bootc/kargs.d/.wh.10-fixture.toml", ""), file(inside, "new"), x("usr/share/z"), file("usr/share/.wh.z", ""), x("usr/lib/+x"), file("usr/lib/.wh.+x", ""))},
		"whiteouts of the system":  {equal, tree(file("usr/.wh.etc", ""), x("etc/new"), file(".wh.var", ""), file(".wh.sysroot", ""), file(".wh.boot", ""), file("var/.wh.lib", ""), file("var/.wh..wh..opq", ""))},
		"whiteouts, no parents":    {equal, []entry{file("usr/lib/bootc/.wh.kargs.d", "").owner(5, 6), file("usr/lib/new/.wh.x", "").owner(7, 8), file("usr/share/.wh..wh..opq", "").owner(6, 7)}},
		"whiteouts after files":    {equal, tree(x("usr/lib/!x"), file("usr/lib/.wh.!x", ""), x("usr/lib/.a"), file("usr/lib/.wh..a", ""), x("usr/lib/.z"), file("usr/lib/.wh..z", ""), x("usr/a"), hardlink("usr/lib/-l", "usr/a"), file("usr/lib/.wh.-l", ""))},
		"names of whiteouts":       {equal, tree(file("usr/lib/.wh.a\nb", ""), file("usr/share/.wh. ", ""), file("usr/lib/.wh."+strings.Repeat("a", 251), ""), x("usr/lib/.wh.bootc/x"))},
		"opaque, two names of etc": {equal, tree(file("etc/nasty/.wh..wh..opq", ""), x("usr/etc/nasty/x"), file("usr/etc/selinux/default/contexts/users/.wh..wh..opq", ""), x("etc/selinux/default/contexts/users/x"))},
		"whiteouts and folders":    {equal, tree(file("usr/lib/.wh.bootc", ""), x("usr/lib/bootc/x"), x("usr/share/nasty/x"), file("usr/share/.wh.nasty", ""))},
		"whiteouts of other types": {equal, tree(file("usr/lib/e", ""), hardlink("usr/lib/.wh.bootc", "usr/lib/e"), symlink("usr/share/.wh.nasty", "x"), x("etc/.wh.nasty/x"))},
		"whiteout of overlayfs":    {refused, tree(special("usr/lib/bootc", tar.TypeChar, 0))},
		"whiteout of no name":      {refused, tree(file("usr/lib/.wh.", ""))},
		"opaque": {equal, tree(file("usr/lib/bootc/.wh..wh..opq", ""), x("usr/lib/bootc/x"), file("usr/share/new/.wh..wh..opq", ""), x("usr/share/new/x"),
			file("usr/share/nasty/.wh..wh..opq", ""), x("usr/share/nasty/names/x"), file("lib/.wh..wh..opq", ""), x("lib/x"), file("etc/passwd/.wh..wh..opq", ""))},
		"opaque at the end":     {equal, tree(dir("usr/lib/bootc").mode(0o700).owner(1, 2), x("usr/lib/bootc/x"), file("usr/lib/bootc/.wh..wh..opq", ""))},
		"opaque of other types": {equal, tree(file("usr/e", ""), hardlink("usr/lib/bootc/.wh..wh..opq", "usr/e"), symlink("usr/share/nasty/.wh..wh..opq", "x"), dir("etc/nasty/.wh..wh..opq"))},
		// Without a policy in the layer, the policy of the base defines the labels.
		"opaque etc":  {equal, tree(file("etc/.wh..wh..opq", ""), x("etc/x"), x("usr/x"), dir("usr/d"))},
		"opaque root": {equal, []entry{file(".wh..wh..opq", ""), dir("usr"), x("usr/x")}},

		// Changes of the type of a file, in the base and in the layer.
		"for a folder":            {equal, tree(x("usr/lib/bootc"), symlink("usr/share/nasty", "x"), hardlink("etc/nasty", "usr/lib/bootc"))},
		"for a file":              {equal, tree(x(inside+"/x"), symlink("etc/passwd", "x"), x("usr/a"), hardlink("etc/shadow", "usr/a"))},
		"for a link":              {equal, tree(x("etc/os-release"), dir("lib"), symlink("home", "x"), x("usr/a"), hardlink("srv", "usr/a"))},
		"file, then folder":       {refused, tree(x("usr/l"), dir("usr/l"))},
		"folder, then file":       {refused, tree(dir("usr/l"), x("usr/l"))},
		"folder, then link":       {refused, tree(dir("usr/l"), symlink("usr/l", "share"))},
		"file below its own link": {refused, []entry{dir("usr"), symlink("usr/l", "share"), x("usr/l/x")}},
		"twice": {equal, tree(file("usr/a", "1"), file("usr/a", "2").mode(0o600), symlink("usr/b", "1"), symlink("usr/b", "2"), x("usr/c"), symlink("usr/c", "2"), symlink("usr/d", "1"), x("usr/d"),
			file("usr/e", "1"), hardlink("usr/e", "usr/a"), hardlink("usr/f", "usr/a"), file("usr/f", "1"), file("usr/g", "1"), hardlink("usr/h", "usr/g"), file("usr/g", "2"), x("usr/i"), hardlink("usr/i", "usr/i"))},

		// Hard links.
		"hard links": {equal, tree(x("usr/share/a"), hardlink("usr/share/b", "usr/share/a"), hardlink("usr/share/c", "usr/share/d"), x("usr/share/d"), hardlink("usr/share/e", "usr/share/d"),
			file("usr/0", ""), hardlink("usr/00", "usr/0"), symlink("usr/l", "share"), hardlink("usr/ll", "usr/l"), hardlink("run/b", "usr/share/a"), x("var/a"), hardlink("usr/var", "var/a"),
			hardlink("usr/x", "usr/share/a").mode(0o600).owner(1, 2).xattr("user.x", "y").xattr("security.selinux", "x"))},
		"hard links of etc": {equal, tree(x("etc/a"), hardlink("etc/b", "etc/a"), hardlink("usr/etc/c", "etc/a"), hardlink("usr/share/d", "./etc/a"), hardlink("etc/e", "/etc/a"),
			x("usr/share/f"), hardlink("etc/g", "/usr//share/./f"), x("usr/etc/h"), hardlink("etc/i", "usr/etc/h"))},
		// Hosts of 2025 reject chains.
		"chain of hard links":            {equal, tree(x("usr/share/a"), hardlink("usr/share/b", "usr/share/a"), hardlink("usr/share/c", "usr/share/b"))},
		"chain of hard links, reversed":  {equal, tree(hardlink("usr/share/c", "usr/share/b"), hardlink("usr/share/b", "usr/share/a"), x("usr/share/a"))},
		"chain to the end":               {equal, tree(x("usr/share/a"), hardlink("usr/share/c", "usr/share/b"), hardlink("usr/share/b", "usr/share/a"))},
		"hard link chain of all folders": {ours1, tree(x("usr/a"), hardlink("etc/b", "usr/a"), hardlink("opt/c", "etc/b"), hardlink("var/d", "opt/c"), hardlink("usr/e", "var/d"))},
		"hard links, types": {equal, tree(file("usr/a", "1"), symlink("usr/b", "x"), hardlink("usr/b", "usr/a"), hardlink("usr/c", "usr/a"), symlink("usr/c", "x"), file("usr/d", "2"), hardlink("usr/e", "usr/d"), symlink("usr/d", "x"),
			symlink("etc/l", "x"), hardlink("usr/l", "etc/l"), hardlink("etc/m", "usr/etc/l"), file("usr/.wh.f", ""), hardlink("usr/g", "usr/.wh.f"))},
		"hard links, owners of parents": {equal, []entry{x("usr/a").owner(1, 1), hardlink("usr/p/q/b", "usr/a").owner(3, 4), hardlink("new/c", "usr/a").owner(5, 6)}},
		"hard link, then folder":        {refused, tree(x("usr/a"), hardlink("usr/h", "usr/a"), dir("usr/h"))},
		"hard link, then below":         {refused, tree(x("usr/a"), hardlink("usr/h", "usr/a"), x("usr/h/x"))},
		"folder, then hard link":        {refused, tree(x("usr/a"), dir("usr/h"), hardlink("usr/h", "usr/a"))},
		"hard link through run":         {refused, tree(x("usr/a"), hardlink("run/b", "usr/a"), hardlink("usr/c", "run/b"))},
		// The host uses the last entry of its hash table, which has no defined order.
		"hard link to another, twice": {differs, tree(file("usr/a", "1"), file("usr/b", "2"), hardlink("usr/l", "usr/a"), hardlink("usr/l", "usr/b"))},
		"hard link to the base":       {refused, tree(hardlink("usr/share/b", inside))},
		"hard link to a removed file": {refused, tree(file("usr/lib/bootc/kargs.d/.wh.10-fixture.toml", ""), hardlink("usr/b", inside))},
		"hard links in a circle":      {refused, tree(hardlink("usr/a", "usr/b"), hardlink("usr/b", "usr/a"))},
		"hard link to itself":         {refused, tree(hardlink("usr/a", "usr/a"))},
		"hard link to a folder":       {refused, tree(dir("usr/d"), hardlink("usr/b", "usr/d"))},
		"hard link through a link":    {refused, tree(x("usr/d/a"), symlink("usr/l", "d"), hardlink("usr/b", "usr/l/a"))},
		"hard link into run":          {refused, tree(x("run/a"), hardlink("usr/b", "run/a"))},
		"hard link to dot dot":        {refused, tree(x("usr/a"), hardlink("usr/b", "usr/share/../a"))},

		// Attributes and labels.
		"attributes": {equal, tree(x("usr/a").xattr("user.a", "1").xattr("user.b", "2").xattr("user.aa", "3"), dir("usr/b").xattr("user.a", ""), x("usr/c").xattr("user.a", "\x00\xff\x00"),
			x("usr/d").xattr("trusted.a", "1"), symlink("usr/e", "x").xattr("trusted.a", "2"), dir("usr/f").xattr("trusted.a", "3"), x("usr/g").xattr("security.ima", "1"), x("usr/h").xattr("user.long", strings.Repeat("x", 3000)),
			x("usr/i").pax("LIBARCHIVE.xattr.user.a", "dv8"), x("usr/j").pax("LIBARCHIVE.xattr.user.a", "dg").xattr("user.a", "v"))},
		"capabilities and lists": {equal, tree(x("usr/a").xattr("security.capability", capability), x("usr/b").xattr("security.capability", "\x01\x00\x00\x03\x00\x20"+strings.Repeat("\x00", 18)),
			x("usr/c").mode(0o4755).xattr("security.capability", capability), x("usr/d").mode(0o664).xattr("system.posix_acl_access", acl), dir("usr/e").xattr("system.posix_acl_default", acl),
			x("usr/f").pax("SCHILY.acl.access", "user::rw-,group::r--,other::r--"), x("usr/g").pax("SCHILY.fflags", "immutable"))},
		// The host hashes the attribute, but does not read it back: ostree fsck reports the object as corrupt.
		"attribute without a value":  {differs, tree(x("usr/x").xattr("user.x", ""))},
		"attribute with a line feed": {ours1, tree(x("usr/x").xattr("user.x", "a\nb"))},
		"line feed of a hard link":   {ours1, tree(x("usr/a"), hardlink("usr/b", "usr/a").xattr("user.x", "a\nb"))},
		"line feed of a whiteout":    {ours1, tree(file("usr/lib/.wh.bootc", "").xattr("user.x", "a\nb"))},
		"line feed in run":           {equal, tree(x("run/a").xattr("user.x", "a\nb"))},
		"more attributes": {equal, tree(dir(".").xattr("user.a", "1"), dir("usr/lib/bootc").xattr("user.a", "1"), x("usr/a").xattr("security.evm", "\x02abc").xattr("user.ü", "=ü="), x("usr/b").xattr("user.a", "1"), x("usr/b"), dir("usr/c").xattr("user.a", "1"), dir("usr/c"),
			dir("usr/d").xattr("security.capability", capability).xattr("user.overlay.opaque", "y"), x("usr/e").pax("LIBARCHIVE.xattr.user.a%3Db", "dv8"))},
		"attribute without a place": {ours1, tree(x("usr/a").xattr("system.nfs4_acl", "x"))}, // the formats of root file systems refuse it
		// The attribute would hide the content of the folder.
		"attribute of overlayfs": {host1, tree(dir("usr/d").xattr("trusted.overlay.opaque", "y"))},
		// The host hashes its own label and the layer's, but stores only its own: ostree fsck reports the object as corrupt.
		"label of a file":               {differs, tree(x("usr/x").xattr("security.selinux", "system_u:object_r:usr_t:s0\x00"))},
		"label of a symbolic link":      {differs, tree(symlink("usr/x", "x").xattr("security.selinux", "system_u:object_r:container_file_t:s0\x00"))},
		"label of a folder":             {ours1, tree(dir("usr/d").xattr("security.selinux", "system_u:object_r:container_file_t:s0\x00"))},
		"label of a file, GNU tar":      {differs, tree(x("usr/x").pax("RHT.security.selinux", "system_u:object_r:bin_t:s0"))},
		"label of a folder, GNU tar":    {ours1, tree(dir("usr/d").pax("RHT.security.selinux", "system_u:object_r:bin_t:s0"))},
		"label of a folder, libarchive": {ours1, tree(dir("usr/d").pax("LIBARCHIVE.xattr.security.selinux", "eAA"))},
		"empty label of a folder":       {ours1, tree(dir("usr/d").xattr("security.selinux", ""))},
		"label of the root":             {ours1, []entry{dir(".").xattr("security.selinux", "system_u:object_r:root_t:s0\x00")}},
		"label of what is not imported": {equal, tree(dir("run/d").xattr("security.selinux", "x"), file("usr/lib/.wh.bootc", "").xattr("security.selinux", "x"))},

		// Policies.
		"labels":                {equal, tree(file(contexts+".local", "# x\n\n  /usr/x\t--\tsystem_u:object_r:etc_t:s0  \n/usr/lib/bootc(/.*)? system_u:object_r:bin_t:s0\n/usr/y system_u:object_r:etc_t:s0"), x("usr/x"), x("usr/y"), x("usr/z"))},
		"labels none":           {equal, tree(file(contexts+".local", "/usr/share/x <<none>>\n/usr/lib/bootc(/.*)? <<none>>\n/etc/passwd -- <<none>>\n"), x("usr/share/x"), dir("usr/lib/bootc/new"))},
		"labels of other names": {equal, tree(file(contexts+".subs", "/opt/mine /usr/lib\n"), x("opt/mine/x"), x("opt/x"), file("etc/selinux/default/contexts/files/.wh.file_contexts.homedirs", ""), x("var/home/x/.ssh/id"))},
		"another policy":        {equal, tree(file("etc/selinux/config", "SELINUXTYPE=mine\nSELINUX=enforcing\n"), file("etc/selinux/mine/contexts/files/file_contexts", "/.* system_u:object_r:etc_t:s0\n"), file("etc/selinux/mine/policy/policy.33", "x"), x("usr/x"))},
		"policy disabled":       {equal, tree(file("etc/selinux/config", "SELINUX=disabled\nSELINUXTYPE=default\n"), x("usr/x"))},
		"no such policy":        {refused, tree(file("etc/selinux/config", "SELINUX=enforcing\nSELINUXTYPE=other\n"))},
		"no label of the root":  {ours1, tree(file(contexts+".local", "/ -d <<none>>\n"))},
		"bad label":             {refused, tree(file(contexts+".local", "/usr/x( system_u:object_r:etc_t:s0\n"))},

		// Names, and forms of tar.
		"spellings":                {equal, []entry{dir("usr"), folder("usr/d"), folder("usr/e//"), folder("./usr/f/./"), folder("//usr//g//"), folder("./"), x("./etc/a"), x("/etc/b"), x("etc//c"), x("./././etc/./d"), x("//etc/e"), x("usr/./etc/f"), x("usr//etc/g"), hardlink("./usr/h", "./etc/a"), hardlink("/usr/i", "/etc/b")}},
		"records":                  {equal, []entry{dir("usr"), records("size", "3"), file("usr/a", "xyz"), records("uid", "77", "gid", "88", "mtime", "5.25"), x("usr/b"), records("uname", "nobody", "gname", "wheel"), x("usr/c"), records("SCHILY.ino", "55", "SCHILY.nlink", "2", "SCHILY.realsize", "1"), x("usr/d"), records("path", "usr/e/"), dir("usr/x"), records("path", "/usr/f"), x("usr/x"), records("linkpath", "usr/f"), hardlink("usr/g", "usr/x")}},
		"old header":               {equal, tree(x("usr/a"), blocks(append(old(header(0, x("usr/b"))), "x"...)), x("usr/c").gnu().owner(3000000, 1<<31))},
		"long names of hard links": {equal, tree(x("usr/"+long).gnu(), hardlink("usr/"+long+"b", "usr/"+long).gnu(), hardlink("etc/"+long, "usr/"+long).gnu(), x("usr/"+strings.Repeat("ü/", 80)+"a"), hardlink("usr/"+strings.Repeat("ü/", 80)+"b", "usr/"+strings.Repeat("ü/", 80)+"a"))},
		"names": {equal, []entry{dir("./."), dir("./usr"), x("./usr/a"), x("//usr/b"), x("/usr/./c"), x("usr/..x"), x("usr/..."), x("usr/a\nb"), x("usr/a\\b"), x("usr/ "), x("usr/\x01"), symlink("usr/l", " \n"),
			x("usr/" + strings.Repeat("a", 255)), x("usr/é").gnu(), x("usr/ü"), x("etc/é").gnu(), x("usr/share/" + strings.Repeat("d/", 254) + "x")}},
		"long names": {equal, tree(x("usr/"+long), x("etc/"+long), symlink("usr/l", strings.Repeat("y/", 2000)), x("etc/"+strings.Repeat("a", 150)), hardlink("etc/a", "etc/"+strings.Repeat("a", 150)),
			x("usr/g/"+long).gnu(), x("etc/g/"+long).gnu(), symlink("usr/g/l", strings.Repeat("y/", 2000)).gnu(), x("etc/"+strings.Repeat("b", 150)).gnu(), hardlink("etc/b", "etc/"+strings.Repeat("b", 150)).gnu())},
		// Later hosts also find etc in a PAX record.
		"other letters in etc": {differs, tree(x("etc/ü"))},
		"not UTF-8":            {refused, tree(x("usr/\xe9").gnu())},
		"link to not UTF-8":    {refused, tree(symlink("usr/l", "\xe9").gnu())},
		"name of 256 bytes":    {refused, tree(x("usr/" + strings.Repeat("a", 256)))},
		"name of the root":     {refused, []entry{x(".")}},
		"dot dot":              {refused, []entry{x("usr/../usr/x")}},
		"dot dot, folder":      {refused, []entry{dir("usr/..")}},
		// ostree itself has a limit of 256 nested folders.
		"more than 256 folders": {host1, tree(x("usr/" + strings.Repeat("d/", 257) + "x"))},
		// The host finds no name in the entry.
		"folder without a name": {ours1, tree(x("/usr/x"))},
		"device":                {refused, tree(special("usr/x", tar.TypeChar, 1))},
		"fifo":                  {refused, tree(special("usr/x", tar.TypeFifo, 0))},
		"forms": {equal, append([]entry{{tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "x"}}, ""}},
			append(tree(entry{tar.Header{Typeflag: tar.TypeCont, Name: "usr/x", Mode: 0o644, Size: 1}, "x"}, x("usr/a").at(1<<40).gnu(), x("usr/b").at(-1).gnu(), x("usr/c").at(1<<40), x("usr/d").at(-1), x("usr/e").pax("atime", "1.5").pax("ctime", "-1")),
				blocks(append(sum([]byte(strings.Replace(string(header('0', x("usr/y_"))), "y_", "y/", 1))), "x"...)))...)},
		"sparse files": {equal, append(tree(x("usr/x")),
			records("GNU.sparse.size", "8192", "GNU.sparse.numblocks", "1", "GNU.sparse.offset", "4096", "GNU.sparse.numbytes", "512"), file("usr/a", strings.Repeat("x", 512)),
			records("GNU.sparse.name", "usr/b", "GNU.sparse.size", "8192", "GNU.sparse.numblocks", "1", "GNU.sparse.map", "4096,512"), file("usr/GNUSparseFile.0/b", strings.Repeat("x", 512)),
			records(sparse("usr/c")...), file("usr/GNUSparseFile.0/c", "1\n4096\n512\n"+strings.Repeat("\x00", 501)+strings.Repeat("x", 512)))},
		// The host reads zeros for the rest of the file and for the end of the layer.
		"sparse file, old form": {differs, tree(x("usr/x"), blocks(append(oldSparse("usr/d"), strings.Repeat("x", 512)...)))},
		// The host uses the name of a record without changes.
		"sparse file in etc": {differs, []entry{records(sparse("etc/c")...), file("etc/GNUSparseFile.0/c", "1\n4096\n512\n"+strings.Repeat("\x00", 501)+strings.Repeat("x", 512))}},
		// Container runtimes reject it as well.
		"volume header": {host1, append([]entry{blocks(header('V', file("volume", "")))}, tree(x("usr/x"))...)},

		// Changes of files of the base through their object.
		"touched": {equal, tree(file(object, "new").changed(), hardlink("usr/b", object).changed(), hardlink("usr/a", object).changed(), hardlink(inside, object).changed(), hardlink("var/c", object).changed(),
			file(passwd, "").mode(0o600).owner(1, 2).changed(), hardlink("usr/etc/passwd", passwd).changed())},
		"touched, no name":           {equal, tree(file(object, "new").changed(), hardlink("usr/b", passwd).changed())},
		"touched, twice":             {equal, tree(file(object, "1").changed(), hardlink(inside, object).changed(), file(object, "2").changed(), hardlink("usr/b", object).changed(), hardlink("usr/c", object).changed())},
		"touched, twice, a name":     {equal, tree(file(object, "1").changed(), file(object, "2").changed(), hardlink(inside, object).changed())},
		"touched, no time":           {equal, tree(file(object, "new"), hardlink(inside, object), symlink(link, "elsewhere"), hardlink("usr/l", link))},
		"touched, no time of object": {equal, tree(file(object, "new"), hardlink(inside, object).changed(), symlink(link, "elsewhere").changed(), hardlink("usr/l", link).changed())},
		"touched, far future":        {equal, tree(file(object, "new").at(1<<40).gnu(), hardlink(inside, object).at(1<<40).gnu())},
		"object is in the base":      {refused, tree(hardlink("usr/b", object))},
		// The host does not find the objects of these names.
		"touched, no time of name": {ours1, tree(file(object, "new").changed(), hardlink(inside, object))},
		"touched, absolute target": {ours1, tree(file(object, "new").changed(), hardlink(inside, "/"+object).changed())},
		"touched, dotted target":   {ours1, tree(file(object, "new").changed(), hardlink(inside, "./"+object).changed())},
		// The host moves nothing from /etc to /usr/etc here, and loses the attributes.
		"touched in etc":     {differs, tree(file(passwd, "new").changed(), hardlink("etc/passwd", passwd).changed())},
		"touched attributes": {differs, tree(file(object, "new").changed().xattr("user.x", "y"), hardlink(inside, object).changed())},
		// The host loses a name that precedes the object; container runtimes show it.
		"name, object, name": {differs, []entry{dir("usr"), hardlink("usr/early", object).changed(), file(object, "new").changed(), hardlink(inside, object).changed()}},
		// The host has the first name in /run, and the second is a link to it.
		"touched in run": {differs, tree(file(object, "new").changed(), hardlink("run/a", object).changed(), hardlink(inside, object).changed())},
		// The host keeps the object's name as a file below /sysroot, which the booted system hides.
		"name, then object":     {differs, tree(file(inside, "new").changed(), hardlink(object, inside).changed())},
		"touched, dotted names": {differs, tree(file("./"+object, "new").changed(), hardlink("./"+inside, "./"+object).changed())},

		"touched, other forms": {equal, tree(file(object, "new").mode(0o4751).owner(1234567890, 4000000000).fraction(), hardlink("./"+inside, object).mode(0o600).owner(1, 1).fraction(), hardlink("opt/a", object).changed(), hardlink("boot/b", object).changed(), hardlink("sysroot/ostree/c", object).changed(),
			file(passwd, strings.Repeat("x", 300000)).changed(), hardlink("usr/share/nasty", passwd).changed())},
		"touched, absolute names": {equal, []entry{dir("usr"), file("/"+object, "new").changed(), hardlink("/"+inside, object).changed(), hardlink("/usr/b", object).changed()}},
		"touched, no parents":     {equal, []entry{file(object, "new").owner(3, 4).changed(), hardlink("usr/brand/new/name", object).owner(7, 8).changed(), hardlink("usr/other/second", object).owner(9, 9).changed()}},
		"touched, crossed":        {equal, tree(file(object, "1").changed(), file(passwd, "2").changed(), hardlink("usr/etc/passwd", passwd).changed(), hardlink(inside, object).changed(), hardlink("usr/a", passwd).changed(), hardlink("usr/b", object).changed())},
		"touched whiteouts":       {equal, tree(file(object, "").changed(), hardlink("usr/lib/.wh.bootc", object).changed(), file(passwd, "").changed(), hardlink("usr/share/nasty/.wh..wh..opq", passwd).changed(), x("usr/share/nasty/x"))},
		"touched policy":          {equal, tree(file(names.contexts, "/.* system_u:object_r:etc_t:s0\n").changed(), hardlink("usr/"+contexts, names.contexts).changed(), x("usr/x"))},
		"touched link":            {equal, tree(symlink(link, "elsewhere").changed(), hardlink("usr/etc/os-release", link).changed(), dir(object).changed(), hardlink("usr/b", object).changed())},
		"touched, then a file":    {equal, tree(file(object, "new").changed(), file("usr/a", "first").changed(), hardlink("usr/a", object).changed(), hardlink("usr/b", object).changed(), file("usr/b", "last").changed())},
		"touched, a folder":       {refused, tree(file(object, "new").changed(), dir("usr/d"), hardlink("usr/d", object).changed())},
		"touched, a chain":        {ours1, tree(file(object, "new").changed(), hardlink(inside, object).changed(), hardlink("usr/b", inside).changed(), hardlink("usr/c", "usr/b").changed())},
		"touched, two objects":    {ours1, tree(file(object, "new").changed(), hardlink(passwd, object).changed(), hardlink(inside, object).changed())},
		"touched, before 1970":    {equal, tree(file(object, "new").at(-5), hardlink(inside, object).at(-5))},
		// The time is in a PAX record, which the host does not read.
		"touched, far future, record":   {differs, tree(file(object, "new").at(1<<40), hardlink(inside, object).at(1<<40))},
		"kaniko":                        {ours1, kaniko(folder("/"))},
		"kaniko, no root":               {ours1, kaniko()},
		"file for the repository, time": {equal, tree(x("sysroot/ostree/repo").changed(), hardlink("usr/r", "sysroot/ostree/repo").changed())},

		// Other things of the repository.
		"repository, opaque":        {equal, tree(file(path.Dir(object)+"/.wh..wh..opq", ""), x(path.Dir(object)+"/x"), file("sysroot/ostree/repo/objects/.wh..wh..opq", ""), file("sysroot/ostree/repo/.wh.config", ""))},
		"repository, opaque, times": {equal, tree(file(path.Dir(object)+"/.wh..wh..opq", "").changed(), x(path.Dir(object)+"/x").changed(), file("sysroot/ostree/repo/.wh..wh..opq", "").changed())},
		"repository": {equal, append(tree(file("sysroot/ostree/repo/.lock", ""), file("sysroot/ostree/repo/config", "[core]\n"), x("sysroot/ostree/repo/refs/heads/x"), symlink("sysroot/ostree/repo/link", "x"),
			dir("sysroot/ostree/repo/tmp/x"), dir("sysroot/ostree/repo/objects/aa").mode(0o700).owner(1, 2), x("sysroot/ostree/repo/objects/aa/x"), x("sysroot/ostree/repo/objects/y"), file(names.whiteout, ""),
			x("sysroot/ostree/repo/objects/aa/b.file-xattrs"), hardlink("sysroot/ostree/repo/objects/aa/b.file-xattrs-link", "sysroot/ostree/repo/objects/aa/b.file-xattrs")), metadata(func(e entry) entry { return e })...)},
		"repository, times": {equal, append(tree(file("sysroot/ostree/repo/.lock", "").changed(), file("sysroot/ostree/repo/config", "[core]\n").changed(), x("sysroot/ostree/repo/refs/heads/x").changed(), symlink("sysroot/ostree/repo/link", "x").changed(),
			dir("sysroot/ostree/repo/tmp/x").changed(), dir("sysroot/ostree/repo/objects/aa").changed(), x("sysroot/ostree/repo/objects/aa/x").changed(), x("sysroot/ostree/repo/objects/y").changed(), file(names.whiteout, "").changed()), metadata(entry.changed)...)},
		"repository removed":       {equal, tree(file("sysroot/ostree/.wh.repo", ""))},
		"file for the repository":  {equal, tree(x("sysroot/ostree/repo"))},
		"shared attributes, times": {ours1, tree(x("sysroot/ostree/repo/objects/aa/b.file-xattrs").changed(), hardlink("sysroot/ostree/repo/objects/aa/b.file-xattrs-link", "sysroot/ostree/repo/objects/aa/b.file-xattrs").changed())},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) { h.judge(t, c.want, c.layer) })
	}
}

// TestSeveralLayers puts layers on top of each other.
func TestSeveralLayers(t *testing.T) {
	h, names := newLayersHost(t)
	inside, object := names.inside, names.object
	x := func(name string) entry { return file(name, "x") }
	type layers [][]entry
	var dozen layers
	for i := range 12 {
		dozen = append(dozen, tree(file(fmt.Sprintf("usr/share/f%d", i%5), fmt.Sprint(i)), file(fmt.Sprintf("usr/share/.wh.f%d", (i+2)%5), "")))
	}
	for name, c := range map[string]struct {
		want   verdict
		layers layers
	}{
		"three": {equal, layers{
			tree(file("usr/x", "1"), x("usr/d/x"), x("usr/a"), hardlink("usr/b", "usr/a"), dir("usr/m").mode(0o700), x("usr/o/a"), x("usr/o/e/a"), x("etc/x"), file("usr/lib/.wh.bootc", "")),
			tree(file("usr/x", "2").mode(0o600), x("usr/d"), file("usr/a", "2"), dir("usr/m").owner(1, 2), x("usr/m/x"), file("usr/o/.wh..wh..opq", ""), x("usr/o/b"), file("usr/etc/.wh.x", ""), x("usr/etc/y"), x("usr/lib/bootc/x").owner(5, 6)),
			tree(file("usr/.wh.x", ""), dir("usr/d").mode(0o700), x("usr/o/e/c"), file("etc/.wh.y", ""))}},
		"link, then below it":        {equal, layers{tree(symlink("usr/lib64", "lib"), symlink("usr/lib32", "lib")), {x("usr/lib64/x"), dir("usr/lib32"), x("usr/lib32/x")}}},
		"hard link to a lower one":   {refused, layers{tree(x("usr/a")), tree(hardlink("usr/b", "usr/a"))}},
		"nothing, file, nothing":     {equal, layers{nil, tree(x("usr/x")), nil}},
		"a dozen":                    {equal, dozen},
		"touched, again, removed":    {equal, layers{tree(file(object, "1").changed(), hardlink(inside, object).changed()), tree(file(object, "2").changed(), hardlink(inside, object).changed()), tree(hardlink("usr/b", object).changed(), file(names.whiteout, "").changed(), file("usr/lib/bootc/kargs.d/.wh.10-fixture.toml", "").changed())}},
		"touched, again":             {equal, layers{tree(file(object, "1").changed(), hardlink(inside, object).changed()), tree(file(object, "2").changed(), hardlink(inside, object).changed())}},
		"in the repository, removed": {equal, layers{tree(x("sysroot/ostree/repo/x")), tree(file("sysroot/ostree/.wh.repo", ""))}},
		// The host removes folders and links of tools of the past.
		"whiteouts of whiteouts":        {equal, layers{tree(dir("usr/lib/.wh.d"), symlink("usr/lib/.wh.l", "x"), x("usr/lib/.wh..wh.plnk/1"), dir("usr/lib/.wh..wh.orph")), tree(file("usr/lib/.wh..wh.d", ""), file("usr/lib/.wh..wh.l", ""), file("usr/lib/.wh..wh..wh.plnk", ""))}},
		"one twice":                     {equal, layers{tree(file("usr/a", "1"), file("usr/.wh.b", "")), tree(file("usr/a", "2"), x("usr/b")), tree(file("usr/a", "1"), file("usr/.wh.b", ""))}},
		"types, again":                  {equal, layers{tree(x("usr/share/nasty"), symlink("usr/l1", "lib"), symlink("usr/l2", "l1"), symlink("usr/l3", "share")), append(tree(x("usr/share/nasty/x"), file("usr/l3/.wh..wh..opq", ""), x("usr/l3/x")), x("usr/l2/x"), file("usr/l1/.wh.bootc", "")), tree(symlink("usr/share/nasty", "y"), symlink("usr/l2", "share")), {x("usr/l2/y").owner(5, 5)}}},
		"owners of folders":             {equal, layers{tree(dir("usr/m").mode(0o700).owner(1, 2).xattr("user.a", "1")), tree(dir("usr/m").mode(0o755)), tree(file("usr/.wh.m", "")), tree(dir("usr/m").mode(0o711))}},
		"hard links, changed":           {equal, layers{tree(x("usr/a"), hardlink("usr/b", "usr/a"), x("usr/c"), hardlink("usr/d", "usr/c")), tree(file("usr/a", "2"), file("usr/.wh.c", ""))}},
		"touched, removed, touched":     {equal, layers{tree(file(object, "1").changed(), hardlink(inside, object).changed()), tree(file("usr/lib/bootc/kargs.d/.wh.10-fixture.toml", "").changed(), file(names.whiteout, "").changed()), tree(file(object, "3").changed(), hardlink(inside, object).changed())}},
		"labels, removed":               {equal, layers{tree(file(contexts+".local", "/usr/x -- system_u:object_r:etc_t:s0\n"), x("usr/x")), tree(file("etc/selinux/default/contexts/files/.wh.file_contexts.local", ""), x("usr/y"))}},
		"whiteouts, two names of etc":   {equal, layers{tree(x("etc/q"), x("usr/etc/r")), tree(file("usr/etc/.wh.q", ""), file("etc/.wh.r", ""))}},
		"hostname, then an empty one":   {differs, layers{tree(x("etc/hostname")), tree(file("etc/hostname", ""))}}, // later hosts remove it, as does this project
		"policy removed, then new file": {equal, layers{tree(file("etc/.wh.selinux", "")), tree(x("usr/x"), dir("usr/d"))}},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) { h.judge(t, c.want, c.layers...) })
	}
}

// layersNames are names in the tiny fixture and its layers.
type layersNames struct {
	inside               string // a file
	object, passwd, link string // objects of inside, of etc/passwd and of a symbolic link, as in container storage
	contexts             string // object of the labels
	whiteout             string // whiteout of object
}

// newLayersHost returns a host and names of the base container.
func newLayersHost(t *testing.T) (*host, layersNames) {
	h := newHost(t)
	h.place(fixture(t, "tiny-chunked"))
	base, err := h.ours()
	if err != nil {
		t.Fatal(err)
	}
	of := func(name, prefix string) string {
		id := base.Repo.IDs()[base.Root.Lookup(name)].String()
		return "sysroot/ostree/repo/objects/" + id[:2] + "/" + prefix + id[2:] + ".file"
	}
	const inside = "usr/lib/bootc/kargs.d/10-fixture.toml"
	return h, layersNames{inside, of(inside, ""), of("usr/etc/passwd", ""), of("usr/etc/os-release", ""), of("usr/"+contexts, ""), of(inside, ".wh.")}
}

// judge imports the tiny fixture with layers on top with both programs.
func (h host) judge(t *testing.T, want verdict, layers ...[]entry) {
	h.t = t
	h.place(fixture(t, "tiny-chunked"), layers...)
	if v, why := h.judgeLayers(); v != want {
		t.Errorf("%s, want: %s\n%s", v, want, why)
	}
}

// TestComposefs compares the composefs image of a deployment with that of libcomposefs.
func TestComposefs(t *testing.T) {
	h := newHost(t)
	reference := fixture(t, "tiny-derived-10")
	h.place(reference)
	commit, err := h.pull()
	if err != nil {
		t.Fatal(err)
	}
	h.must("ostree", "checkout", "--repo=repo", "--composefs", "--composefs-noverity", commit, "theirs")

	disk := build(t, h.dir, reference, "--platform", "qemu")["qemu"]
	var report struct {
		Deployments []struct {
			Stateroot string
			Commit    string `json:"ostree_commit"`
		}
	}
	if err := json.Unmarshal([]byte(assemble(t, ".", "inspect", disk, "--format", "json")), &report); err != nil {
		t.Fatal(err)
	}
	d := report.Deployments[0]
	ours := assemble(t, ".", "cat", disk, fmt.Sprintf("/sysroot/ostree/deploy/%s/deploy/%s.0/.ostree.cfs", d.Stateroot, d.Commit))
	theirs, err := os.ReadFile(filepath.Join(h.dir, "theirs"))
	if err != nil {
		t.Fatal(err)
	}
	if ours != string(theirs) {
		t.Errorf("%d bytes differ from the %d of libcomposefs", len(ours), len(theirs))
	}
}
