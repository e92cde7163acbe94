package judges

import (
	"archive/tar"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A verdict is the result of importing a container.
type verdict string

const (
	equal   verdict = "both import it, to the same tree"
	differs verdict = "both import it, to different trees"
	refused verdict = "both refuse it"
	host1   verdict = "only the host imports it"
	ours1   verdict = "only ohp-assemble imports it"
)

// judgeLayers has both import a container and returns their verdicts.
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
	if theirs := h.tree(commit); merged.Tree != theirs {
		return differs, fmt.Sprintf("the tree is %s, the host's %s", merged.Tree, theirs)
	}
	return equal, ""
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

// parents are the folders that lead to a path.
func parents(name string) (all []entry) {
	for i, r := range name {
		if r == '/' {
			all = append(all, dir(name[:i]))
		}
	}
	return all
}

// TestLayers puts a layer on the tiny fixture and has both import it. The
// verdicts are those of ostree-ext 0.15.3, which hosts of 2024 have, with a
// libostree of 2026. Where they differ from what later hosts do, a comment says
// so.
func TestLayers(t *testing.T) {
	h := newHost(t)
	h.place(fixture(t, "tiny-chunked"))
	base, err := h.ours()
	if err != nil {
		t.Fatal(err)
	}
	// The object of a file of the base, as container storage shows it.
	const inside = "usr/lib/bootc/kargs.d/10-fixture.toml"
	id := base.Repo.IDs[base.Root.Resolve(inside)].String()
	object := "sysroot/ostree/repo/objects/" + id[:2] + "/" + id[2:] + ".file"
	on := func(name string, entries ...entry) []entry { return append(parents(name), entries...) }

	for name, c := range map[string]struct {
		want  verdict
		layer []entry
	}{
		"nothing":                   {equal, nil},
		"new file":                  {equal, on("usr/share/x", file("usr/share/x", "x"))},
		"no parents":                {equal, []entry{file("usr/share/new/x", "x").owner(3, 4)}},
		"set-user-id":               {equal, on("usr/bin/x", file("usr/bin/x", "x").mode(0o4755))},
		"capability":                {equal, on("usr/bin/x", file("usr/bin/x", "x").xattr("security.capability", "\x01\x00\x00\x02\x00\x20"+strings.Repeat("\x00", 14)))},
		"folder of the base":        {equal, []entry{dir("usr").mode(0o700), dir("usr/share").owner(1, 1), file("usr/share/x", "x")}},
		"etc":                       {equal, on("etc/x", file("etc/x", "x"))},
		"usr/etc":                   {equal, on("usr/etc/x", file("usr/etc/x", "x"))},
		"opt":                       {equal, on("opt/x/y", file("opt/x/y", "x"))},
		"run and tmp":               {equal, append(on("run/x", file("run/x", "x")), on("tmp/x", file("tmp/x", "x"))...)},
		"var":                       {equal, on("var/lib/x", file("var/lib/x", "x"))},
		"whiteout":                  {equal, on("usr/lib/bootc/kargs.d/x", file("usr/lib/bootc/kargs.d/.wh.10-fixture.toml", ""))},
		"whiteout of nothing":       {equal, on("usr/lib/x", file("usr/lib/.wh.nothing", ""))},
		"whiteout of a folder":      {equal, on("usr/lib/x", file("usr/lib/.wh.bootc", ""))},
		"opaque":                    {equal, on("usr/lib/bootc/x", file("usr/lib/bootc/.wh..wh..opq", ""), file("usr/lib/bootc/x", "x"))},
		"whiteout and file":         {equal, on("usr/lib/bootc/kargs.d/x", file("usr/lib/bootc/kargs.d/.wh.10-fixture.toml", ""), file(inside, "new"))},
		"file for a folder":         {equal, on("usr/lib/bootc", file("usr/lib/bootc", "x"))},
		"folder for a file":         {equal, on(inside+"/x", file(inside+"/x", "x"))},
		"link for a folder":         {equal, on("usr/lib/bootc", symlink("usr/lib/bootc", "modules"))},
		"hard link":                 {equal, on("usr/share/a", file("usr/share/a", "x"), hardlink("usr/share/b", "usr/share/a"))},
		"hard link in etc":          {equal, on("etc/a", file("etc/a", "x"), hardlink("etc/b", "etc/a"))},
		"hard link before its file": {equal, on("usr/share/a", hardlink("usr/share/b", "usr/share/a"), file("usr/share/a", "x"))},
		// Hosts of 2025 refuse chains.
		"chain of hard links":           {equal, on("usr/share/a", file("usr/share/a", "x"), hardlink("usr/share/b", "usr/share/a"), hardlink("usr/share/c", "usr/share/b"))},
		"chain of hard links, reversed": {equal, on("usr/share/a", hardlink("usr/share/c", "usr/share/b"), hardlink("usr/share/b", "usr/share/a"), file("usr/share/a", "x"))},
		"chain to the end":              {equal, on("usr/share/a", file("usr/share/a", "x"), hardlink("usr/share/c", "usr/share/b"), hardlink("usr/share/b", "usr/share/a"))},
		"hard link to the base":         {refused, on("usr/share/b", hardlink("usr/share/b", inside))},
		// Later hosts remove what build tools leave there, and so do we.
		"empty hostname": {differs, on("etc/hostname", file("etc/hostname", ""), file("etc/resolv.conf", ""))},
		"device":         {refused, on("usr/x", entry{tar.Header{Typeflag: tar.TypeChar, Name: "usr/x", Devmajor: 1, Devminor: 3}, ""})},
		"fifo":           {refused, on("usr/x", entry{tar.Header{Typeflag: tar.TypeFifo, Name: "usr/x"}, ""})},
		"dot dot":        {refused, []entry{file("usr/../../x", "x")}},
		// The host hashes its own label and the layer's, and stores its own only: ostree fsck calls the object corrupt.
		"label of a file":            {differs, on("usr/x", file("usr/x", "x").xattr("security.selinux", "system_u:object_r:container_file_t:s0\x00"))},
		"label of a folder":          {ours1, []entry{dir("usr"), dir("usr/d").xattr("security.selinux", "system_u:object_r:container_file_t:s0\x00")}},
		"attribute with a line feed": {ours1, on("usr/x", file("usr/x", "x").xattr("user.x", "a\nb"))},
		"240 folders":                {equal, on("usr/"+strings.Repeat("d/", 240)+"x", file("usr/"+strings.Repeat("d/", 240)+"x", "x"))},
		"touched":                    {equal, append(on(object, file(object, "new").changed()), on(inside, hardlink(inside, object).changed())...)},
		"touched, another mode":      {equal, append(on(object, file(object, "new").mode(0o600).owner(1, 2).changed()), on(inside, hardlink(inside, object).changed())...)},
		"touched, two names":         {equal, append(on(object, file(object, "new").changed()), append(on(inside, hardlink(inside, object).changed()), hardlink("usr/lib/bootc/kargs.d/more.toml", object).changed())...)},
		"touched, no name":           {equal, on(object, file(object, "new").changed())},
		// The host keeps the object's name as a file below /sysroot, which the booted system hides.
		"name, then object":             {differs, append(on(inside, file(inside, "new").changed()), on(object, hardlink(object, inside).changed())...)},
		"lock file":                     {equal, on("sysroot/ostree/repo/.lock", file("sysroot/ostree/repo/.lock", "").changed())},
		"config of the repository":      {equal, on("sysroot/ostree/repo/config", file("sysroot/ostree/repo/config", "[core]\n").changed())},
		"folder of the repository":      {equal, on("sysroot/ostree/repo/tmp/x/y")},
		"no object in objects":          {equal, on("sysroot/ostree/repo/objects/aa/x", file("sysroot/ostree/repo/objects/aa/x", "x"))},
		"no object in objects, changed": {equal, on("sysroot/ostree/repo/objects/aa/x", file("sysroot/ostree/repo/objects/aa/x", "x").changed())},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			h := *h
			h.t = t
			h.place(fixture(t, "tiny-chunked"), c.layer)
			if v, why := h.judgeLayers(); v != c.want {
				t.Errorf("%s, want: %s\n%s", v, c.want, why)
			}
		})
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
