package judges

import (
	"archive/tar"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree"
)

// A verdict is what becomes of a container.
type verdict string

const (
	equal   verdict = "both import it, to the same tree"
	differs verdict = "both import it, to different trees"
	refused verdict = "both refuse it"
	host1   verdict = "only the host imports it"
	ours1   verdict = "only ohp-assemble imports it"
)

// judgeLayers has both import a container and returns what came of it.
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

// differences names what is not the same in a directory of ours and the host's.
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

// TestImport imports what people have: containers in one layer and in several,
// and with layers on top. The trees are the same to the byte, owners, labels and
// attributes among it. ostree-ext 0.15.3 refuses containers without ostree data.
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

// tree returns entries with the folders that they are in, as builders write a
// layer.
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

// TestLayers puts a layer on the tiny fixture and has both import it. The
// verdicts are those of ostree-ext 0.15.3, which hosts of 2024 have, with a
// libostree of 2026. Where they differ from what later hosts do, a comment says
// so. What does not conflict shares a layer: a failure names the files.
func TestLayers(t *testing.T) {
	h, names := newLayersHost(t)
	inside, object, passwd, link := names.inside, names.object, names.passwd, names.link
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
		"folders": {equal, tree(dir("usr/share/d").mode(0o1777).owner(5, 6), dir("usr/share/e").mode(0o2775), dir("usr/share/f").mode(0),
			dir("var/d").mode(0o1777).owner(1000, 1000), dir("etc/d").mode(0o4711), dir("usr/twice").mode(0o700), dir("usr/twice").mode(0o750).owner(1, 2))},
		"files": {equal, tree(x("usr/bin/x").mode(0o4755), x("usr/a").mode(0), x("usr/b").mode(0o7777), x("usr/c").mode(0o1644), x("usr/d").owner(1<<31, 4000000000),
			x("usr/e").mode(0o100755), dir("usr/f").mode(0o40700))},
		"no parents":                      {equal, []entry{x("usr/share/new/x").owner(3, 4), x("top/x").owner(5, 6), x("etc/new/x").owner(7, 8)}},
		"parents behind what is in them":  {equal, []entry{x("usr/share/new/a/x").owner(3, 4), dir("usr/share/new").mode(0o700)}},
		"parents in front, not all":       {equal, []entry{dir("usr/share/new").mode(0o700).owner(1, 1), x("usr/share/new/a/b/x").owner(3, 4), x("usr/share/new/a/c/x").owner(5, 6)}},
		"folders of the base":             {equal, []entry{dir(".").mode(0o700), dir("usr").mode(0o700), dir("usr/share").owner(1, 1), dir("etc").mode(0o700).owner(1, 2), x("usr/share/x"), x("etc/x")}},
		"folders that the kernel mounts":  {equal, tree(dir("run").mode(0o700).owner(1, 2), dir("tmp").mode(0o755), dir("proc").mode(0o555), dir("sys").mode(0o555), dir("dev").mode(0o711))},
		"symbolic link with another mode": {differs, tree(symlink("usr/l", "share").mode(0o600))}, // the host's object has the mode in its checksum and not on the disk: ostree fsck calls it corrupt

		// Places.
		"new":                  {equal, tree(x("usr/share/x"), x("etc/a"), x("usr/etc/b"), x("opt/x/y"), x("nix/x"), x("top"), symlink("l", "usr"), x("etcetera/x"), x("usr/etcetera/x"))},
		"links of the base":    {equal, tree(x("srv/x"), x("home/x"), x("root/x"), x("mnt/x"), x("media/x"), x("lib/x"))},
		"link, parents not":    {equal, []entry{x("lib/x")}},
		"boot":                 {equal, tree(x("boot/x"), dir("boot").mode(0o700))},
		"sysroot":              {equal, tree(x("sysroot/x"), x("sysroot/ostree/deploy/x"), dir("sysroot").mode(0o700), x("ostree/y"))},
		"var":                  {equal, tree(x("var/lib/x"), symlink("var/run", "../run"), dir("var").mode(0o700), dir("var/log/x").owner(1, 2), x("var/tmp/x"))},
		"what a kernel mounts": {equal, tree(x("run/x"), x("tmp/x"), x("proc/x"), x("sys/x/y"), x("dev/x"), dir("run/d"), symlink("run/l", "x"), special("dev/null", tar.TypeChar, 1))},
		"file for run":         {equal, tree(x("run"), symlink("tmp", "var/tmp"))},
		"etc and usr/etc":      {equal, tree(file("etc/a", "1"), file("usr/etc/a", "2"), file("usr/etc/b", "1"), file("etc/b", "2"), dir("etc/d").mode(0o700), dir("usr/etc/d").mode(0o711))},
		"hostname":             {equal, tree(x("etc/hostname"), symlink("etc/resolv.conf", "../run/x"))},
		// Later hosts remove what build tools leave there, and so do we.
		"empty hostname": {differs, tree(file("etc/hostname", ""), file("usr/etc/resolv.conf", ""))},
		// The host imports these, and cannot deploy them: no file of the system's /etc is left.
		"file for etc": {host1, tree(x("etc"))},
		"link for etc": {host1, tree(symlink("etc", "usr/etc"))},

		// Whiteouts.
		"whiteout":                    {equal, tree(file("usr/lib/bootc/kargs.d/.wh.10-fixture.toml", ""), file("etc/.wh.passwd", ""), file("etc/.wh.nasty", ""), file("usr/lib/.wh.nothing", ""))},
		"whiteout in usr/etc":         {equal, tree(file("usr/etc/.wh.passwd", ""), file("usr/etc/.wh.nasty", ""))},
		"whiteout of a folder":        {equal, tree(file("usr/lib/.wh.bootc", "content"), file("usr/lib/.wh.bootc", ""))},
		"whiteout at the top":         {equal, tree(file(".wh.opt", ""), file(".wh.home", ""), file(".wh.run", ""), file("run/.wh.x", ""), file(".wh.etc", ""))},
		"whiteout and file":           {equal, tree(file("usr/lib/bootc/kargs.d/.wh.10-fixture.toml", ""), file(inside, "new"), x("usr/share/z"), file("usr/share/.wh.z", ""))},
		"file that sorts in front":    {equal, tree(x("usr/lib/+x"), file("usr/lib/.wh.+x", ""))}, // is removed again
		"whiteout and folder":         {equal, tree(file("usr/lib/.wh.bootc", ""), x("usr/lib/bootc/x"))},
		"folder and whiteout":         {equal, tree(x("usr/lib/bootc/x"), file("usr/lib/.wh.bootc", ""))},
		"whiteout as a hard link":     {equal, tree(file("usr/lib/e", ""), hardlink("usr/lib/.wh.bootc", "usr/lib/e"))},
		"whiteout as a link":          {equal, tree(symlink("usr/lib/.wh.bootc", "x"))},
		"whiteout as a folder":        {equal, tree(x("usr/lib/.wh.bootc/x"))},
		"whiteout through a link":     {equal, tree(file("lib/.wh.bootc", ""))},
		"whiteout of another kind":    {refused, tree(special("usr/lib/bootc", tar.TypeChar, 0))},
		"whiteout of no name":         {refused, tree(file("usr/lib/.wh.", ""))},
		"names of aufs":               {equal, tree(file("usr/lib/.wh..wh.foo", ""), file("usr/lib/.wh..wh.bootc", ""), file("usr/lib/.wh..wh.aufs", ""), x("usr/lib/.wh..wh.plnk/12.34"), dir("usr/lib/.wh..wh.orph"))},
		"name of ostree":              {equal, tree(file("usr/lib/.ostree-wh.bootc", ""))},
		"opaque":                      {equal, tree(file("usr/lib/bootc/.wh..wh..opq", ""), x("usr/lib/bootc/x"), file("usr/share/new/.wh..wh..opq", ""), x("usr/share/new/x"))},
		"opaque at the end":           {equal, tree(dir("usr/lib/bootc").mode(0o700).owner(1, 2), x("usr/lib/bootc/x"), file("usr/lib/bootc/.wh..wh..opq", ""))},
		"opaque further up":           {equal, tree(file("usr/lib/bootc/.wh..wh..opq", ""), x("usr/lib/bootc/kargs.d/x"))},
		"opaque over links and files": {equal, tree(file("lib/.wh..wh..opq", ""), x("lib/x"), file(inside+"/.wh..wh..opq", ""))},
		"opaque as a hard link":       {equal, tree(file("usr/lib/bootc/e", ""), hardlink("usr/lib/bootc/.wh..wh..opq", "usr/lib/bootc/e"))},
		"opaque as a link":            {equal, tree(symlink("usr/lib/bootc/.wh..wh..opq", "x"))},
		"opaque as a folder":          {equal, tree(dir("usr/lib/bootc/.wh..wh..opq"))},
		"opaque etc":                  {equal, tree(file("etc/.wh..wh..opq", ""), x("etc/x"), x("usr/x"))}, // without a policy, labels are those of the base's
		"opaque root":                 {equal, []entry{file(".wh..wh..opq", ""), dir("usr"), x("usr/x")}},

		// One thing for another, in the base and in the layer.
		"file for a folder":       {equal, tree(x("usr/lib/bootc"), x("etc/os-release"))},
		"folder for a file":       {equal, tree(x(inside+"/x"), dir("lib"))},
		"link for others":         {equal, tree(symlink("usr/lib/bootc", "modules"), symlink("etc/passwd", "x"), symlink("etc/os-release", "x"))},
		"twice":                   {equal, tree(file("usr/a", "1"), file("usr/a", "2").mode(0o600), symlink("usr/b", "1"), symlink("usr/b", "2"), x("usr/c"), symlink("usr/c", "2"), symlink("usr/d", "1"), x("usr/d"))},
		"file, then folder":       {refused, tree(x("usr/l"), dir("usr/l"))},
		"folder, then file":       {refused, tree(dir("usr/l"), x("usr/l"))},
		"folder, then link":       {refused, tree(dir("usr/l"), symlink("usr/l", "share"))},
		"link, then folder":       {refused, tree(symlink("usr/l", "share"), dir("usr/l"))},
		"file below its own link": {refused, []entry{dir("usr"), symlink("usr/l", "share"), x("usr/l/x")}},

		// Hard links.
		"hard links": {equal, tree(x("usr/share/a"), hardlink("usr/share/b", "usr/share/a"), hardlink("usr/share/c", "usr/share/d"), x("usr/share/d"), hardlink("usr/share/e", "usr/share/d"),
			file("usr/0", ""), hardlink("usr/00", "usr/0"), symlink("usr/l", "share"), hardlink("usr/ll", "usr/l"), hardlink("run/b", "usr/share/a"), x("var/a"), hardlink("usr/var", "var/a"))},
		"hard links of etc": {equal, tree(x("etc/a"), hardlink("etc/b", "etc/a"), hardlink("usr/etc/c", "etc/a"), hardlink("usr/share/d", "./etc/a"), hardlink("etc/e", "/etc/a"),
			x("usr/share/f"), hardlink("etc/g", "/usr//share/./f"), x("usr/etc/h"), hardlink("etc/i", "usr/etc/h"))},
		"hard links with attributes":  {equal, tree(x("usr/a"), hardlink("usr/b", "usr/a").mode(0o600).owner(1, 2).xattr("user.x", "y").xattr("security.selinux", "x"))},
		"hard links and twice":        {equal, tree(x("usr/a"), file("usr/b", "1"), hardlink("usr/b", "usr/a"), hardlink("usr/c", "usr/a"), file("usr/c", "1"), file("usr/d", "1"), hardlink("usr/e", "usr/d"), file("usr/d", "2"), x("usr/f"), hardlink("usr/f", "usr/f"))},
		"hard links for others":       {equal, tree(x("usr/a"), hardlink(inside, "usr/a"), hardlink("usr/share/nasty", "usr/a"))},
		"hard link to another, twice": {differs, tree(file("usr/a", "1"), file("usr/b", "2"), hardlink("usr/l", "usr/a"), hardlink("usr/l", "usr/b"))}, // the host takes the one that its hash table has last
		// Hosts of 2025 refuse chains.
		"chain of hard links":           {equal, tree(x("usr/share/a"), hardlink("usr/share/b", "usr/share/a"), hardlink("usr/share/c", "usr/share/b"))},
		"chain of hard links, reversed": {equal, tree(hardlink("usr/share/c", "usr/share/b"), hardlink("usr/share/b", "usr/share/a"), x("usr/share/a"))},
		"chain to the end":              {equal, tree(x("usr/share/a"), hardlink("usr/share/c", "usr/share/b"), hardlink("usr/share/b", "usr/share/a"))},
		"hard link to the base":         {refused, tree(hardlink("usr/share/b", inside))},
		"hard link to the base's etc":   {refused, tree(hardlink("etc/b", "etc/passwd"))},
		"hard link to a removed file":   {refused, tree(file("usr/lib/bootc/kargs.d/.wh.10-fixture.toml", ""), hardlink("usr/b", inside))},
		"hard links in a circle":        {refused, tree(hardlink("usr/a", "usr/b"), hardlink("usr/b", "usr/a"))},
		"hard link to itself":           {refused, tree(hardlink("usr/a", "usr/a"))},
		"hard link to a folder":         {refused, tree(dir("usr/d"), hardlink("usr/b", "usr/d"))},
		"hard link through a link":      {refused, tree(x("usr/d/a"), symlink("usr/l", "d"), hardlink("usr/b", "usr/l/a"))},
		"hard link into run":            {refused, tree(x("run/a"), hardlink("usr/b", "run/a"))},
		"hard link to a name with /":    {ours1, tree(x("usr/a"), hardlink("usr/b", "usr/a/"))}, // no builder writes that

		// Attributes and labels.
		"attributes": {equal, tree(x("usr/a").xattr("user.a", "1").xattr("user.b", "2").xattr("user.aa", "3"), x("usr/b").xattr("user.a", ""), x("usr/c").xattr("user.a", "\x00\xff\x00"),
			x("usr/d").xattr("trusted.a", "1"), symlink("usr/e", "x").xattr("trusted.a", "2"), dir("usr/f").xattr("trusted.a", "3"), x("usr/g").xattr("security.ima", "1"), x("usr/h").xattr("user.long", strings.Repeat("x", 3000)))},
		"capabilities":               {equal, tree(x("usr/a").xattr("security.capability", capability), x("usr/b").xattr("security.capability", "\x01\x00\x00\x03\x00\x20"+strings.Repeat("\x00", 18)), x("usr/c").mode(0o4755).xattr("security.capability", capability))},
		"access control lists":       {equal, tree(x("usr/a").xattr("system.posix_acl_access", acl), dir("usr/d").xattr("system.posix_acl_default", acl), x("usr/b").pax("SCHILY.acl.access", "user::rw-,group::r--,other::r--"), x("usr/c").pax("SCHILY.fflags", "immutable"))},
		"attributes of libarchive":   {equal, tree(x("usr/a").pax("LIBARCHIVE.xattr.user.a", "dv8"), x("usr/b").pax("LIBARCHIVE.xattr.user.a", "dg").xattr("user.a", "v"))},
		"attribute with a line feed": {ours1, tree(x("usr/x").xattr("user.x", "a\nb"))},
		"attribute of overlayfs":     {host1, tree(dir("usr/d").xattr("trusted.overlay.opaque", "y"))}, // would hide what is in the folder
		// The host hashes its own label and the layer's, and stores its own only: ostree fsck calls the object corrupt.
		"label of a file":               {differs, tree(x("usr/x").xattr("security.selinux", "system_u:object_r:container_file_t:s0\x00"))},
		"label of a file, the same":     {differs, tree(x("usr/x").xattr("security.selinux", "system_u:object_r:usr_t:s0\x00"))},
		"label of a symbolic link":      {differs, tree(symlink("usr/x", "x").xattr("security.selinux", "system_u:object_r:container_file_t:s0\x00"))},
		"label of a folder":             {ours1, tree(dir("usr/d").xattr("security.selinux", "system_u:object_r:container_file_t:s0\x00"))},
		"label of what is not imported": {equal, tree(dir("run/d").xattr("security.selinux", "x"), file("usr/lib/.wh.bootc", "").xattr("security.selinux", "x"))},

		// Names, and forms of tar.
		"names":                {equal, []entry{dir("./."), dir("./usr"), x("./usr/a"), x("//usr/b"), x("/usr/./c"), x("usr/..x"), x("usr/..."), x("usr/a\nb"), x("usr/a\\b"), x("usr/ "), x("usr/\x01"), symlink("usr/l", " \n"), x("usr/" + strings.Repeat("a", 255))}},
		"name with a slash":    {equal, []entry{dir("usr"), blocks(append(sum([]byte(strings.Replace(string(header('0', x("usr/x_"))), "x_", "x/", 1))), "x"...))}},
		"long names, PAX":      {equal, tree(x("usr/"+long), x("etc/"+long), symlink("usr/l", strings.Repeat("y/", 2000)), x("etc/"+strings.Repeat("a", 150)), hardlink("etc/b", "etc/"+strings.Repeat("a", 150)))},
		"long names, GNU":      {equal, tree(x("usr/"+long).gnu(), x("etc/"+long).gnu(), symlink("usr/l", strings.Repeat("y/", 2000)).gnu(), x("etc/"+strings.Repeat("a", 150)).gnu(), hardlink("etc/b", "etc/"+strings.Repeat("a", 150)).gnu())},
		"other letters":        {equal, tree(x("usr/é").gnu(), x("usr/ü"), x("etc/é").gnu())},
		"other letters in etc": {differs, tree(x("etc/ü"))}, // later hosts find etc in a PAX record, too
		"not UTF-8":            {refused, tree(x("usr/\xe9").gnu())},
		"link to not UTF-8":    {refused, tree(symlink("usr/l", "\xe9").gnu())},
		"name of 256 bytes":    {refused, tree(x("usr/" + strings.Repeat("a", 256)))},
		"name of the root":     {refused, []entry{x(".")}},
		"dot dot":              {refused, []entry{x("usr/../../x")}},
		"dot dot, and back":    {refused, []entry{x("usr/../usr/x")}},
		"dot dot, folder":      {refused, []entry{dir("usr/..")}},
		"dot dot, hard link":   {refused, tree(x("usr/a"), hardlink("usr/b", "usr/share/../a"))},
		"folder /":             {ours1, tree(x("/usr/x"))}, // the host has no name for it
		"256 folders":          {equal, tree(x("usr/" + strings.Repeat("d/", 255) + "x"))},
		"more folders":         {host1, tree(x("usr/" + strings.Repeat("d/", 257) + "x"))}, // ostree walks 256 of them
		"device":               {refused, tree(special("usr/x", tar.TypeChar, 1))},
		"fifo":                 {refused, tree(special("usr/x", tar.TypeFifo, 0))},
		"comment":              {equal, []entry{{tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "x"}}, ""}, dir("usr"), x("usr/x")}},
		"contiguous file":      {equal, tree(entry{tar.Header{Typeflag: tar.TypeCont, Name: "usr/x", Mode: 0o644, Size: 1}, "x"})},
		"times":                {equal, tree(x("usr/a").at(1<<40).gnu(), x("usr/b").at(-1).gnu(), x("usr/c").at(1<<40), x("usr/d").at(-1), x("usr/e").pax("atime", "1.5").pax("ctime", "-1"))},
		"sparse files": {equal, append(tree(x("usr/x")),
			records("GNU.sparse.size", "8192", "GNU.sparse.numblocks", "1", "GNU.sparse.offset", "4096", "GNU.sparse.numbytes", "512"), file("usr/a", strings.Repeat("x", 512)),
			records("GNU.sparse.name", "usr/b", "GNU.sparse.size", "8192", "GNU.sparse.numblocks", "1", "GNU.sparse.map", "4096,512"), file("usr/GNUSparseFile.0/b", strings.Repeat("x", 512)),
			records("GNU.sparse.major", "1", "GNU.sparse.minor", "0", "GNU.sparse.name", "usr/c", "GNU.sparse.realsize", "8192"), file("usr/GNUSparseFile.0/c", "1\n4096\n512\n"+strings.Repeat("\x00", 501)+strings.Repeat("x", 512)),
			blocks(append(oldSparse("usr/d"), strings.Repeat("x", 512)...)))},
		// The host takes the name in a PAX record as it is.
		"sparse file in etc": {differs, []entry{records("GNU.sparse.major", "1", "GNU.sparse.minor", "0", "GNU.sparse.name", "etc/c", "GNU.sparse.realsize", "8192"), file("etc/GNUSparseFile.0/c", "1\n4096\n512\n"+strings.Repeat("\x00", 501)+strings.Repeat("x", 512))}},
		"volume header":      {host1, append([]entry{blocks(header('V', file("volume", "")))}, tree(x("usr/x"))...)}, // container runtimes refuse it
		// Files of the base that were changed through their object.
		"touched":                    {equal, tree(file(object, "new").changed(), hardlink(inside, object).changed(), file(passwd, "").mode(0o600).owner(1, 2).changed(), hardlink("usr/etc/passwd", passwd).changed())},
		"touched, three names":       {equal, tree(file(object, "new").changed(), hardlink("usr/b", object).changed(), hardlink("usr/a", object).changed(), hardlink(inside, object).changed(), hardlink("var/c", object).changed())},
		"touched, no name":           {equal, tree(file(object, "new").changed())},
		"touched, twice":             {equal, tree(file(object, "1").changed(), hardlink(inside, object).changed(), file(object, "2").changed(), hardlink("usr/b", object).changed(), hardlink("usr/c", object).changed())},
		"touched, no name between":   {equal, tree(file(object, "1").changed(), file(object, "2").changed(), hardlink(inside, object).changed())},
		"touched, no time":           {equal, tree(file(object, "new"), hardlink(inside, object))},
		"touched, no time of object": {equal, tree(file(object, "new"), hardlink(inside, object).changed())},
		"touched, no time of name":   {ours1, tree(file(object, "new").changed(), hardlink(inside, object))},
		"touched, far future":        {equal, tree(file(object, "new").at(1<<40).gnu(), hardlink(inside, object).at(1<<40).gnu())},
		"touched, link":              {equal, tree(symlink(link, "elsewhere").changed(), hardlink("usr/l", link).changed())},
		"touched, link, no time":     {equal, tree(symlink(link, "elsewhere"), hardlink("usr/l", link))},
		"object is not there":        {equal, tree(hardlink("usr/b", object).changed(), hardlink("etc/b", passwd).changed())},
		"object is in the base":      {refused, tree(hardlink("usr/b", object))},
		// The host moves nothing from /etc to /usr/etc here, and loses the attributes.
		"touched in etc":     {differs, tree(file(passwd, "new").changed(), hardlink("etc/passwd", passwd).changed())},
		"touched attributes": {differs, tree(file(object, "new").changed().xattr("user.x", "y"), hardlink(inside, object).changed())},
		// The host loses a name in front of the object; in a container it is there.
		"name, object, name": {differs, tree(hardlink("usr/early", object).changed(), file(object, "new").changed(), hardlink(inside, object).changed())},
		// The host has the first name in /run, and the second is a link to it.
		"touched in run": {differs, tree(file(object, "new").changed(), hardlink("run/a", object).changed(), hardlink(inside, object).changed())},
		// The host keeps the object's name as a file below /sysroot, which the booted system hides.
		"name, then object":          {differs, tree(file(inside, "new").changed(), hardlink(object, inside).changed())},
		"name, then object, no time": {differs, tree(file(inside, "new"), hardlink(object, inside))},
		"touched, names with ./":     {differs, tree(file("./"+object, "new").changed(), hardlink("./"+inside, "./"+object).changed())},
		// The host does not find the object of these.
		"touched, target with /":  {ours1, tree(file(object, "new").changed(), hardlink(inside, "/"+object).changed())},
		"touched, target with ./": {ours1, tree(file(object, "new").changed(), hardlink(inside, "./"+object).changed())},

		// Other things of the repository.
		"object removed":               {equal, tree(file(names.whiteout, ""), file("usr/lib/bootc/kargs.d/.wh.10-fixture.toml", ""))},
		"object removed, time":         {equal, tree(file(names.whiteout, "").changed(), file("usr/lib/bootc/kargs.d/.wh.10-fixture.toml", "").changed())},
		"repository removed":           {equal, tree(file("sysroot/ostree/.wh.repo", ""))},
		"file for the repository":      {equal, tree(x("sysroot/ostree/repo"))},
		"repository":                   {equal, tree(file("sysroot/ostree/repo/.lock", ""), file("sysroot/ostree/repo/config", "[core]\n"), x("sysroot/ostree/repo/refs/heads/x"), x("sysroot/ostree/repo/tmp/cache/x"), symlink("sysroot/ostree/repo/link", "x").changed())},
		"repository, times":            {equal, tree(file("sysroot/ostree/repo/.lock", "").changed(), file("sysroot/ostree/repo/config", "[core]\n").changed(), x("sysroot/ostree/repo/refs/heads/x").changed(), x("sysroot/ostree/repo/tmp/cache/x").changed())},
		"folders of the repository":    {equal, tree(dir("sysroot/ostree/repo/tmp/x"), dir("sysroot/ostree/repo/objects/aa").mode(0o700).owner(1, 2), dir("sysroot/ostree/repo/extensions"))},
		"metadata":                     {equal, metadata(func(e entry) entry { return e })},
		"metadata, times":              {equal, metadata(entry.changed)},
		"shared attributes":            {equal, tree(x("sysroot/ostree/repo/objects/aa/b.file-xattrs"), hardlink("sysroot/ostree/repo/objects/aa/b.file-xattrs-link", "sysroot/ostree/repo/objects/aa/b.file-xattrs"))},
		"shared attributes, times":     {ours1, tree(x("sysroot/ostree/repo/objects/aa/b.file-xattrs").changed(), hardlink("sysroot/ostree/repo/objects/aa/b.file-xattrs-link", "sysroot/ostree/repo/objects/aa/b.file-xattrs").changed())},
		"no object in objects":         {equal, tree(x("sysroot/ostree/repo/objects/aa/x"), x("sysroot/ostree/repo/objects/y"))},
		"no object in objects, times":  {equal, tree(x("sysroot/ostree/repo/objects/aa/x").changed(), x("sysroot/ostree/repo/objects/y").changed())},
		"fifo of the repository, time": {refused, tree(special("sysroot/ostree/repo/fifo", tar.TypeFifo, 0).changed())},
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
		"added, changed, removed":       {equal, layers{tree(file("usr/x", "1")), tree(file("usr/x", "2").mode(0o600)), tree(file("usr/.wh.x", ""))}},
		"folder, file, folder":          {equal, layers{tree(x("usr/d/x")), tree(x("usr/d")), tree(dir("usr/d").mode(0o700))}},
		"link, then parents":            {equal, layers{tree(symlink("usr/lib64", "lib")), {x("usr/lib64/x")}}},
		"link, then folder":             {equal, layers{tree(symlink("usr/lib64", "lib")), tree(x("usr/lib64/x"))}},
		"opaque":                        {equal, layers{tree(x("usr/d/a"), x("usr/d/e/a")), tree(file("usr/d/.wh..wh..opq", ""), x("usr/d/b")), tree(x("usr/d/e/c"))}},
		"hard link to a lower one":      {refused, layers{tree(x("usr/a")), tree(hardlink("usr/b", "usr/a"))}},
		"hard links, then one changed":  {equal, layers{tree(x("usr/a"), hardlink("usr/b", "usr/a")), tree(file("usr/a", "2"))}},
		"modes of a folder":             {equal, layers{tree(dir("usr/d").mode(0o700)), tree(dir("usr/d").mode(0o755).owner(1, 2), x("usr/d/x"))}},
		"removed, there again":          {equal, layers{tree(file("usr/lib/.wh.bootc", "")), {x("usr/lib/bootc/x").owner(5, 6)}}},
		"etc, usr/etc, etc":             {equal, layers{tree(x("etc/x")), tree(file("usr/etc/.wh.x", ""), x("usr/etc/y")), tree(file("etc/.wh.y", ""))}},
		"nothing, file, nothing":        {equal, layers{nil, tree(x("usr/x")), nil}},
		"a dozen":                       {equal, dozen},
		"touched, touched":              {equal, layers{tree(file(object, "1").changed(), hardlink(inside, object).changed()), tree(file(object, "2").changed(), hardlink(inside, object).changed())}},
		"touched, another name":         {equal, layers{tree(file(object, "1").changed(), hardlink(inside, object).changed()), tree(hardlink("usr/b", object).changed())}},
		"touched, removed":              {equal, layers{tree(file(object, "1").changed(), hardlink(inside, object).changed()), tree(file("usr/lib/bootc/kargs.d/.wh.10-fixture.toml", "").changed())}},
		"touched, removed with object":  {equal, layers{tree(file(object, "1").changed(), hardlink(inside, object).changed()), tree(file(names.whiteout, "").changed(), file("usr/lib/bootc/kargs.d/.wh.10-fixture.toml", "").changed())}},
		"in the repository, removed":    {equal, layers{tree(x("sysroot/ostree/repo/x")), tree(file("sysroot/ostree/.wh.repo", ""))}},
		"hostname, then an empty one":   {differs, layers{tree(x("etc/hostname")), tree(file("etc/hostname", ""))}}, // later hosts remove it, and so do we
		"policy removed, then new file": {equal, layers{tree(file("etc/.wh.selinux", "")), tree(x("usr/x"), dir("usr/d"))}},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) { h.judge(t, c.want, c.layers...) })
	}
}

// layersNames are names in the tiny fixture and its layers.
type layersNames struct {
	inside               string // a file
	object, passwd, link string // the objects of that, of etc/passwd and of a symbolic link, as container storage shows them
	whiteout             string // of the first object
}

// newLayersHost returns a host, and names in the base of the layers.
func newLayersHost(t *testing.T) (*host, layersNames) {
	h := newHost(t)
	h.place(fixture(t, "tiny-chunked"))
	base, err := h.ours()
	if err != nil {
		t.Fatal(err)
	}
	of := func(name, prefix string) string {
		id := base.Repo.IDs[base.Root.Lookup(name)].String()
		return "sysroot/ostree/repo/objects/" + id[:2] + "/" + prefix + id[2:] + ".file"
	}
	const inside = "usr/lib/bootc/kargs.d/10-fixture.toml"
	return h, layersNames{inside, of(inside, ""), of("usr/etc/passwd", ""), of("usr/etc/os-release", ""), of(inside, ".wh.")}
}

// judge has both import the tiny fixture with layers on top.
func (h host) judge(t *testing.T, want verdict, layers ...[]entry) {
	h.t = t
	h.place(fixture(t, "tiny-chunked"), layers...)
	if v, why := h.judgeLayers(); v != want {
		t.Errorf("%s, want: %s\n%s", v, want, why)
	}
}

// TestComposefs has libcomposefs make the image that a deployment boots from.
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
