package main

import (
	"archive/tar"
	"bytes"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// TestTouchesNothingElse builds good and hostile containers with every call of
// the kernel that names a file recorded: none changes anything outside of the
// cache and the folder for images.
func TestTouchesNothingElse(t *testing.T) {
	strace := treetest.Tool(t, "strace")
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

			work, log := t.TempDir(), filepath.Join(t.TempDir(), "log")
			cmd := start(t, []string{"TMPDIR=" + dir}, "build", "--platform", "qemu,metal", "--cache", filepath.Join(work, "cache"), "--out", filepath.Join(work, "out"), e.save())
			trace := exec.Command(strace, append([]string{"-f", "-qq", "-s", "4096", "-e", "trace=%file", "-o", log, cmd.Path}, cmd.Args[1:]...)...)
			trace.Env = cmd.Env
			if p := finish(t, trace); p.code != tc.code {
				t.Fatalf("exit code %d, want %d: %s", p.code, tc.code, p.stderr)
			}
			calls, err := os.ReadFile(log)
			if err != nil {
				t.Fatal(err)
			}
			changed := 0
			for line := range strings.Lines(string(calls)) {
				names, changes := changing(line)
				if !changes {
					continue
				}
				changed++
				for _, name := range names {
					if !strings.HasPrefix(name, work+"/") {
						t.Errorf("touches %s: %s", name, line)
					}
				}
			}
			if changed == 0 {
				t.Errorf("nothing was recorded in %d bytes", len(calls))
			}
			if _, err := os.Lstat(away); err == nil {
				t.Errorf("%s was made", away)
			}
		})
	}
}

var (
	call   = regexp.MustCompile(`^\d+ +(\w+)\(`)
	quoted = regexp.MustCompile(`"((?:[^"\\]|\\.)*)"`)
	reads  = regexp.MustCompile(`^(access|faccessat2?|stat|lstat|fstat|newfstatat|statx|statfs|readlink|readlinkat|getcwd|chdir|execve|getxattr|lgetxattr|listxattr|llistxattr|inotify_add_watch)$`)
)

// changing returns the names in a line of strace's, if it is of a call that
// changes something; what it cannot tell is one.
func changing(line string) (names []string, changes bool) {
	m := call.FindStringSubmatch(line)
	if m == nil || reads.MatchString(m[1]) {
		return nil, false
	}
	if strings.HasPrefix(m[1], "open") && !regexp.MustCompile(`O_(WRONLY|RDWR|CREAT|TRUNC|APPEND|TMPFILE)`).MatchString(line) {
		return nil, false
	}
	for _, q := range quoted.FindAllStringSubmatch(line, -1) {
		names = append(names, q[1])
	}
	return names, true
}
