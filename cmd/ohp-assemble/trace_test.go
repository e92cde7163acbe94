package main

import (
	"archive/tar"
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// TestTouchesNothingElse builds good and hostile containers with every call of
// the kernel that names a file recorded: none changes anything outside of the
// cache and the folder for images.
func TestTouchesNothingElse(t *testing.T) {
	fixture := fixture(t, "tiny-chunked")
	away := filepath.Join(t.TempDir(), "away")
	file := func(name string) *tar.Header { return &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644} }
	link := func(kind byte, name, target string) *tar.Header {
		return &tar.Header{Name: name, Typeflag: kind, Linkname: target, Mode: 0o777}
	}
	for _, tc := range []struct {
		name  string
		code  int
		layer []*tar.Header
	}{
		{"good", 0, []*tar.Header{file("usr/lib/new")}},
		{"up", exitFailed, []*tar.Header{file("../../../../../../../.." + away)}},
		{"absolute", 0, []*tar.Header{file("/usr" + away)}}, // in the image
		{"through a link", exitFailed, []*tar.Header{link(tar.TypeSymlink, "usr/out", filepath.Dir(away)), file("usr/out/away")}},
		{"hard link", exitFailed, []*tar.Header{link(tar.TypeLink, "usr/out", away)}},
		{"whiteout", exitFailed, []*tar.Header{file("usr/.wh...")}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir, ref := copyLayout(t, fixture)
			layout, _ := layoutDir(ref)
			e := editLayout(t, layout)
			labels := e.config["config"].(map[string]any)["Labels"].(map[string]any)
			final := labels["ostree.final-diffid"]
			e.manifest["layers"] = append(e.manifest["layers"].([]any), maps.Clone(e.layer(-1)))
			rootfs := e.config["rootfs"].(map[string]any)
			rootfs["diff_ids"] = append(rootfs["diff_ids"].([]any), "")
			var layer bytes.Buffer
			w := tar.NewWriter(&layer)
			for _, h := range tc.layer {
				if err := w.WriteHeader(h); err != nil {
					t.Fatal(err)
				}
			}
			w.Close()
			e.setLayer(-1, layer.Bytes())
			labels["ostree.final-diffid"] = final

			work := t.TempDir()
			cmd := start(t, []string{"TMPDIR=" + dir}, "build", "--platform", "qemu,metal", "--cache", filepath.Join(work, "cache"), "--out", filepath.Join(work, "out"), e.save())
			trace := treetest.Trace(t, cmd)
			if p := finish(t, trace.Cmd); p.code != tc.code {
				t.Fatalf("exit code %d, want %d: %s", p.code, tc.code, p.stderr)
			}
			trace.OnlyIn(t, work)
			if _, err := os.Lstat(away); err == nil {
				t.Errorf("%s was made", away)
			}
		})
	}
}
