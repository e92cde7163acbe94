package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/assemble"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/inspect/inspecttest"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/oci"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/build"
)

// A layoutEdit is an OCI layout of one image that is being changed.
type layoutEdit struct {
	t        *testing.T
	dir      string
	manifest map[string]any
	config   map[string]any
}

func editLayout(t *testing.T, dir string) *layoutEdit {
	t.Helper()
	e := &layoutEdit{t: t, dir: dir}
	var index struct{ Manifests []struct{ Digest string } }
	e.read(filepath.Join(dir, "index.json"), &index)
	e.read(e.blob(index.Manifests[0].Digest), &e.manifest)
	e.read(e.blob(e.manifest["config"].(map[string]any)["digest"].(string)), &e.config)
	return e
}

func (e *layoutEdit) read(name string, v any) {
	e.t.Helper()
	data, err := os.ReadFile(name)
	if err == nil {
		err = json.Unmarshal(data, v)
	}
	if err != nil {
		e.t.Fatal(err)
	}
}

func (e *layoutEdit) blob(digest string) string {
	return filepath.Join(e.dir, "blobs", strings.Replace(digest, ":", "/", 1))
}

func (e *layoutEdit) layer(i int) map[string]any {
	layers := e.manifest["layers"].([]any)
	return layers[(i+len(layers))%len(layers)].(map[string]any)
}

// layerFile returns the file of a layer's blob; -1 is the last layer.
func (e *layoutEdit) layerFile(i int) string { return e.blob(e.layer(i)["digest"].(string)) }

func (e *layoutEdit) put(data []byte) string {
	e.t.Helper()
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(data))
	if err := os.WriteFile(e.blob(digest), data, 0o644); err != nil {
		e.t.Fatal(err)
	}
	return digest
}

// setLayer replaces a layer by another tar, all digests made right.
func (e *layoutEdit) setLayer(i int, tar []byte) {
	var z bytes.Buffer
	w, _ := gzip.NewWriterLevel(&z, gzip.BestSpeed)
	w.Write(tar)
	w.Close()
	l := e.layer(i)
	l["digest"], l["size"] = e.put(z.Bytes()), z.Len()
	diffIDs := e.config["rootfs"].(map[string]any)["diff_ids"].([]any)
	i = (i + len(diffIDs)) % len(diffIDs)
	diffIDs[i] = fmt.Sprintf("sha256:%x", sha256.Sum256(tar))
	if i == len(diffIDs)-1 {
		e.config["config"].(map[string]any)["Labels"].(map[string]any)["ostree.final-diffid"] = diffIDs[i]
	}
}

// addLayer puts a layer on top of the commit, with files that are empty.
func (e *layoutEdit) addLayer(entries ...*tar.Header) {
	e.t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range entries {
		if err := w.WriteHeader(h); err != nil {
			e.t.Fatal(err)
		}
	}
	w.Close()
	e.addTar(b.Bytes())
}

// addContent puts a layer with one entry on top of the commit. The rest of its content
// is zeros.
func (e *layoutEdit) addContent(h *tar.Header, content string) {
	e.t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(h); err != nil {
		e.t.Fatal(err)
	}
	w.Write([]byte(content))
	w.Write(make([]byte, h.Size-int64(len(content))))
	w.Close()
	e.addTar(b.Bytes())
}

// addTar puts a layer on top of the commit.
func (e *layoutEdit) addTar(layer []byte) {
	e.t.Helper()
	layers := e.manifest["layers"].([]any)
	rootfs := e.config["rootfs"].(map[string]any)
	e.manifest["layers"] = append(layers, map[string]any{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip"})
	rootfs["diff_ids"] = append(rootfs["diff_ids"].([]any), "")
	labels := e.config["config"].(map[string]any)["Labels"].(map[string]any)
	final := labels["ostree.final-diffid"]
	e.setLayer(-1, layer)
	labels["ostree.final-diffid"] = final
}

// tar returns a layer inflated.
func (e *layoutEdit) tar(i int) []byte {
	e.t.Helper()
	f, err := os.Open(e.layerFile(i))
	if err != nil {
		e.t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		e.t.Fatal(err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		e.t.Fatal(err)
	}
	return data
}

// filter rewrites a layer's entries; edit returns false to drop one.
func (e *layoutEdit) filter(i int, edit func(h *tar.Header, content []byte) ([]byte, bool)) {
	e.t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	r := tar.NewReader(bytes.NewReader(e.tar(i)))
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			e.t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			e.t.Fatal(err)
		}
		content, keep := edit(h, content)
		if !keep {
			continue
		}
		h.Size = int64(len(content))
		h.Format = tar.FormatUnknown
		if err := w.WriteHeader(h); err != nil {
			e.t.Fatal(err)
		}
		w.Write(content)
	}
	w.Close()
	e.setLayer(i, out.Bytes())
}

// save writes config, manifest and index, and returns the new reference.
func (e *layoutEdit) save() string {
	e.t.Helper()
	encode := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil {
			e.t.Fatal(err)
		}
		return b
	}
	config := encode(e.config)
	c := e.manifest["config"].(map[string]any)
	c["digest"], c["size"] = e.put(config), len(config)
	manifest := encode(e.manifest)
	digest := e.put(manifest)
	index := encode(map[string]any{"schemaVersion": 2, "manifests": []any{map[string]any{
		"mediaType": e.manifest["mediaType"], "digest": digest, "size": len(manifest),
	}}})
	if err := os.WriteFile(filepath.Join(e.dir, "index.json"), index, 0o644); err != nil {
		e.t.Fatal(err)
	}
	return "oci:" + e.dir + "@" + digest
}

// object reports whether a tar entry is an object of the given suffix.
func object(h *tar.Header, suffix string) bool {
	return strings.HasPrefix(h.Name, "sysroot/ostree/repo/objects/") && strings.HasSuffix(h.Name, suffix)
}

// TestFaults breaks a good container in every way that comes to mind. Each
// gets a one-line error that names thing and place, an honest exit code, no
// output, and a cache with which the good container still builds.
func TestFaults(t *testing.T) {
	good := fixture(t, "tiny-chunked")
	once := func(suffix string, edit func(h *tar.Header, content []byte) ([]byte, bool)) func(*tar.Header, []byte) ([]byte, bool) {
		done := false
		return func(h *tar.Header, content []byte) ([]byte, bool) {
			if done || !object(h, suffix) || len(content) < 100 {
				return content, true
			}
			done = true
			return edit(h, content)
		}
	}
	drop := func(*tar.Header, []byte) ([]byte, bool) { return nil, false }
	flip := func(_ *tar.Header, content []byte) ([]byte, bool) {
		content[len(content)/2] ^= 1
		return content, true
	}
	cases := []struct {
		name  string
		code  int
		says  []string // all of them
		spoil func(e *layoutEdit) string
	}{
		{"layer cut short", exitVerify, []string{"layer sha256:"}, func(e *layoutEdit) string {
			info, _ := os.Stat(e.layerFile(1))
			os.Truncate(e.layerFile(1), info.Size()/2)
			return e.save()
		}},
		{"bit flipped in a blob", exitVerify, []string{"layer sha256:"}, func(e *layoutEdit) string {
			data, _ := os.ReadFile(e.layerFile(1))
			data[len(data)/2] ^= 1
			os.WriteFile(e.layerFile(1), data, 0o644)
			return e.save()
		}},
		{"blob is missing", exitFailed, []string{"layer sha256:"}, func(e *layoutEdit) string {
			os.Remove(e.layerFile(1))
			return e.save()
		}},
		{"config flipped", exitVerify, []string{"sha256:"}, func(e *layoutEdit) string {
			e.config["author"] = t.Name() // so that no other case has it in the cache
			ref := e.save()
			name := e.blob(e.manifest["config"].(map[string]any)["digest"].(string))
			data, _ := os.ReadFile(name)
			os.WriteFile(name, bytes.Replace(data, []byte("amd64"), []byte("amd46"), 1), 0o644)
			return ref
		}},
		{"diffID is wrong", exitVerify, []string{"layer sha256:", "sha256:"}, func(e *layoutEdit) string {
			diffIDs := e.config["rootfs"].(map[string]any)["diff_ids"].([]any)
			diffIDs[1] = "sha256:" + strings.Repeat("0", 64)
			return e.save()
		}},
		{"bit flipped in a file object", exitVerify, []string{"layer sha256:", ".file"}, func(e *layoutEdit) string {
			e.filter(1, once(".file", flip))
			return e.save()
		}},
		{"bit flipped in a dirtree", exitVerify, []string{"layer sha256:", ".dirtree"}, func(e *layoutEdit) string {
			e.filter(0, once(".dirtree", flip))
			return e.save()
		}},
		{"file object is missing", exitFailed, []string{".file"}, func(e *layoutEdit) string {
			e.filter(1, once(".file", drop))
			return e.save()
		}},
		{"dirtree is missing", exitFailed, []string{".dirtree"}, func(e *layoutEdit) string {
			e.filter(0, once(".dirtree", drop))
			return e.save()
		}},
		{"no commit", exitFailed, []string{"commit"}, func(e *layoutEdit) string {
			e.filter(0, func(h *tar.Header, c []byte) ([]byte, bool) { return c, !object(h, ".commit") })
			return e.save()
		}},
		{"a file of 10 TiB is announced", exitFailed, []string{"layer sha256:", "big"}, func(e *layoutEdit) string {
			var b bytes.Buffer
			w := tar.NewWriter(&b)
			w.WriteHeader(&tar.Header{Name: "usr/big", Typeflag: tar.TypeReg, Mode: 0o644, Size: 10 << 40, Format: tar.FormatGNU})
			e.setLayer(1, append(b.Bytes(), make([]byte, 4096)...))
			return e.save()
		}},
		{"a name that climbs out", exitFailed, []string{"layer sha256:", "../"}, func(e *layoutEdit) string {
			e.filter(1, once(".file", func(h *tar.Header, c []byte) ([]byte, bool) {
				h.Name = "../../../../../../tmp/ohp-escaped"
				return c, true
			}))
			return e.save()
		}},
		{"a device in a layer on top", exitFailed, []string{"layer", "usr/null"}, func(e *layoutEdit) string {
			e.addLayer(&tar.Header{Name: "usr/null", Typeflag: tar.TypeChar, Mode: 0o666, Devmajor: 1, Devminor: 3})
			return e.save()
		}},
		{"squashed", exitFailed, []string{"ostree.final-diffid"}, func(e *layoutEdit) string {
			e.config["config"].(map[string]any)["Labels"].(map[string]any)["ostree.final-diffid"] = "sha256:" + strings.Repeat("1", 64)
			return e.save()
		}},
		{"another architecture", exitFailed, []string{"s390x"}, func(e *layoutEdit) string {
			e.config["architecture"] = "s390x"
			return e.save()
		}},
		{"no such digest", exitFailed, []string{strings.Repeat("2", 64)}, func(e *layoutEdit) string {
			return "oci:" + e.dir + "@sha256:" + strings.Repeat("2", 64)
		}},
	}
	cache := filepath.Join(t.TempDir(), "cache")
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir, ref := copyLayout(t, good)
			_ = ref
			ref = c.spoil(editLayout(t, filepath.Join(dir, "layout")))
			out := filepath.Join(dir, "out")
			p := finish(t, start(t, nil, "build", "--cache", cache, "--out", out, "--arch", "amd64", ref))
			if p.code != c.code {
				t.Errorf("exit code %d, want %d", p.code, c.code)
			}
			said := errorLine(p.stderr)
			for _, s := range c.says {
				if !strings.Contains(said, s) {
					t.Errorf("the error does not say %q: %s", s, p.stderr)
				}
			}
			if p.stdout != "" {
				t.Errorf("there is a result: %s", p.stdout)
			}
			noFiles(t, out)
			if _, err := os.Lstat("/tmp/ohp-escaped"); err == nil {
				t.Fatal("a file was written outside")
			}
		})
	}
	noTemporary(t, cache)
	built(t, nil, good, "--cache", cache, "--out", t.TempDir())
}

// TestNothingPulled: a container that is rejected before its layers are known costs none of
// them.
func TestNothingPulled(t *testing.T) {
	good := fixture(t, "tiny-chunked")
	for name, tc := range map[string]struct {
		policy     string
		code       int
		says, hint string
	}{
		"squashed": {"", exitFailed, "the image was squashed", ""},
		"rejected": {`{"default": [{"type": "reject"}]}`, exitAccess, "rejects it", "policy.json and registries.conf"},
		"unsigned": {`{"default": [{"type": "signedBy", "keyType": "GPGKeys", "keyData": ""}]}`, exitAccess, "no signature", "policy.json and registries.conf"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, ref := copyLayout(t, good)
			args := []string{"build", "--cache", filepath.Join(dir, "cache"), "--out", filepath.Join(dir, "out")}
			if tc.policy == "" {
				e := editLayout(t, filepath.Join(dir, "layout"))
				e.config["config"].(map[string]any)["Labels"].(map[string]any)["ostree.final-diffid"] = "sha256:" + strings.Repeat("1", 64)
				ref = e.save()
			} else {
				if !oci.HasPolicies {
					treetest.Missing(t, "OHP_TOOLS", "policies are not built in: test with -tags containers_image_openpgp")
				}
				policy := filepath.Join(dir, "policy.json")
				if err := os.WriteFile(policy, []byte(tc.policy), 0o644); err != nil {
					t.Fatal(err)
				}
				args = append(args, "--policy", policy)
			}
			p := finish(t, start(t, nil, append(args, ref)...))
			if p.code != tc.code || !strings.Contains(errorLine(p.stderr), tc.says) || !strings.Contains(p.stderr, tc.hint) {
				t.Errorf("exit code %d: %s", p.code, p.stderr)
			}
			if names, _ := filepath.Glob(filepath.Join(dir, "cache/v1/layers/*")); len(names) > 0 {
				t.Errorf("layers were fetched: %q", names)
			}
			noFiles(t, filepath.Join(dir, "out"))
		})
	}
}

// TestWarnings has a container that hosts would not take for an update, and
// one that has no Ignition for the config.
func TestWarnings(t *testing.T) {
	dir, _ := copyLayout(t, fixture(t, "tiny-chunked"))
	e := editLayout(t, filepath.Join(dir, "layout"))
	labels := e.config["config"].(map[string]any)["Labels"].(map[string]any)
	delete(labels, "containers.bootc")
	args := []string{"plan", "--strict", "--cache", filepath.Join(dir, "cache")}
	program(t, nil, append(args, e.save())...)
	if p := finish(t, start(t, nil, append(args, "--ignition", writeConfig(t), e.save())...)); p.code != exitFailed || !strings.Contains(p.stderr, "no Ignition in the container") {
		t.Errorf("exit code %d: %s", p.code, p.stderr)
	}
	delete(labels, "ostree.bootable")
	if p := finish(t, start(t, nil, append(args, e.save())...)); p.code != exitFailed || !strings.Contains(p.stderr, "neither the label containers.bootc nor ostree.bootable") {
		t.Errorf("exit code %d: %s", p.code, p.stderr)
	}
}

// TestAleph: a container of bootc's has bootc's note of the image on the disk,
// with the container's time; another has the classic one.
func TestAleph(t *testing.T) {
	dir, ref := copyLayout(t, fixture(t, "tiny-chunked"))
	root := diskOf(t, ref, "metal").Root
	text, err := rootfs.ReadAll(root.Resolve(".aleph-version.json").Content, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	var aleph struct {
		Digest, Timestamp string
		Image             struct {
			Digest string            `json:"image-digest"`
			Labels map[string]string `json:"image-labels"`
		} `json:"container-image"`
	}
	if err := json.Unmarshal(text, &aleph); err != nil {
		t.Fatal(err)
	}
	if n := root.Lookup(".bootc-aleph.json"); n == nil || !n.IsFile() || aleph.Timestamp != "2025-11-14T00:00:00Z" ||
		aleph.Digest == "" || aleph.Digest != aleph.Image.Digest || aleph.Image.Labels["containers.bootc"] == "" {
		t.Errorf("%s", text)
	}
	e := editLayout(t, filepath.Join(dir, "layout"))
	delete(e.config["config"].(map[string]any)["Labels"].(map[string]any), "containers.bootc")
	root = diskOf(t, e.save(), "metal").Root
	if n := root.Lookup(".aleph-version.json"); n == nil || !n.IsFile() || root.Lookup(".bootc-aleph.json") != nil {
		t.Errorf("without the label: %q", root.Names())
	}
}

// TestPlanLoaders has a container with several boot loaders, of which one is
// installed and named, and with an entry that is lost.
func TestPlanLoaders(t *testing.T) {
	dir, _ := copyLayout(t, fixture(t, "tiny-chunked"))
	e := editLayout(t, filepath.Join(dir, "layout"))
	const efi = "usr/lib/efi/"
	var entries []*tar.Header
	for _, name := range []string{"grub2/2.12/EFI/fedora/grubx64.efi", "grub-cc/2.12/EFI/fedora/cc/grubx64-cc.efi", "shim/16/EFI/fedora/shimx64.efi", "lost"} {
		entries = append(entries, &tar.Header{Name: efi + name, Typeflag: tar.TypeReg, Mode: 0o644})
	}
	e.addLayer(entries...)
	args := []string{"plan", "--arch", "amd64", "--cache", filepath.Join(dir, "cache"), e.save()}
	p := program(t, nil, args...)
	if want := "\nloader     grub2, chosen by default; installed grub2 2.12, shim 16; ignored grub-cc 2.12\n"; !strings.Contains(p.stdout, want) {
		t.Errorf("no %q in %s", want, p.stdout)
	}
	if want := "warning: /usr/lib/efi/lost: not a directory"; !strings.Contains(p.stderr, want) {
		t.Errorf("no %q in %s", want, p.stderr)
	}
	p = program(t, nil, append(args, "--format", "json")...)
	var got struct {
		Loader struct {
			Name      string
			By        string `json:"chosen_by"`
			Installed []struct{ Name, Version string }
			Ignored   []struct{ Name, Version string }
		} `json:"boot_loader"`
	}
	if err := json.Unmarshal([]byte(p.stdout), &got); err != nil {
		t.Fatal(err)
	}
	if l := fmt.Sprint(got.Loader); l != "{grub2 default [{grub2 2.12} {shim 16}] [{grub-cc 2.12}]}" {
		t.Error(l)
	}
}

// TestConfiguration has layers that change the container's configuration of its
// images: to a key without effect, and to nothing that can be read.
func TestConfiguration(t *testing.T) {
	dir, _ := copyLayout(t, fixture(t, "tiny-chunked"))
	e := editLayout(t, filepath.Join(dir, "layout"))
	args := []string{"plan", "--cache", filepath.Join(dir, "cache"), "--format", "json"}
	e.addLayer(&tar.Header{Name: "usr/lib/bootc/bound-images.d/app.image", Typeflag: tar.TypeSymlink, Linkname: "/usr/lib/os-release", Mode: 0o777})
	p := program(t, nil, append(args, e.save())...)
	var plan assemble.Description
	if err := json.Unmarshal([]byte(p.stdout), &plan); err != nil || plan.Kernel == "" || !strings.Contains(p.stderr, "warning: usr/lib/bootc/bound-images.d: bound images (app.image)") {
		t.Errorf("kernel %q, %v: %s", plan.Kernel, err, p.stderr)
	}
	if p := finish(t, start(t, nil, append(args, "--strict", e.save())...)); p.code != exitFailed || !strings.Contains(errorLine(p.stderr), "(--strict)") {
		t.Errorf("exit code %d: %s", p.code, p.stderr)
	}
	e.addLayer(&tar.Header{Name: "usr/lib/bootc/kargs.d/50.toml", Typeflag: tar.TypeSymlink, Linkname: "/nonexistent", Mode: 0o777})
	if p := finish(t, start(t, nil, append(args, e.save())...)); p.code != exitFailed || !strings.Contains(errorLine(p.stderr), "usr/lib/bootc/kargs.d/50.toml: a link to /nonexistent") {
		t.Errorf("exit code %d: %s", p.code, p.stderr)
	}
}

// TestNoSELinux has a layer that takes the policy away. Without labels an
// enforcing system is unusable, so it must be asked for, by option or definition.
func TestNoSELinux(t *testing.T) {
	dir, _ := copyLayout(t, fixture(t, "tiny-chunked"))
	e := editLayout(t, filepath.Join(dir, "layout"))
	e.addLayer(&tar.Header{Name: "etc/selinux/.wh.config", Mode: 0o644})
	ref, args := e.save(), []string{"plan", "--arch", "amd64", "--cache", filepath.Join(dir, "cache")}
	if p := finish(t, start(t, nil, append(args, ref)...)); p.code != exitFailed || p.stdout != "" || !strings.Contains(p.stderr, "usr/etc/selinux/config: missing: ") || !strings.Contains(p.stderr, "\nohp-assemble: hint: --no-selinux makes ") {
		t.Errorf("exit code %d: %s%s", p.code, p.stdout, p.stderr)
	}
	definition := filepath.Join(dir, "definition.yaml")
	text := "apiVersion: ohp.dev/v1alpha1\nkind: Image\nspec:\n  source: " + ref + "\n  platforms: [qemu]\n  noSELinux: true\n"
	if err := os.WriteFile(definition, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, more := range [][]string{{"--no-selinux", ref}, {"-m", definition}} {
		if p := program(t, nil, append(args, more...)...); !strings.Contains(p.stderr, "warning: the container has no SELinux policy") {
			t.Errorf("%q: %s", more, p.stderr)
		}
	}
}

// TestDerivedWarnings: a warning names the files of a layer that the system will not have, with
// layer and path, and is an error to who wants no surprises.
func TestDerivedWarnings(t *testing.T) {
	args := []string{"plan", "--cache", filepath.Join(t.TempDir(), "cache"), fixture(t, "tiny-derived")}
	const want = ": run: run/derived is not imported, nor is anything else in there; a container has it\n"
	if p := program(t, nil, args...); !strings.Contains(p.stderr, "warning: layer ") || !strings.Contains(p.stderr, want) ||
		!strings.Contains(p.stderr, ": setuid or setgid files: usr/bin/derived-suid (4755 0:0)\n") {
		t.Errorf("warnings: %s", p.stderr)
	}
	p := finish(t, start(t, nil, append(args, "--strict")...))
	if p.code != exitFailed || p.stdout != "" || !strings.Contains(errorLine(p.stderr), "(--strict)") {
		t.Errorf("exit code %d: %s%s", p.code, p.stdout, p.stderr)
	}
}

// errorLine returns the one line of the error itself.
func errorLine(stderr string) string {
	for line := range strings.Lines(stderr) {
		if s, ok := strings.CutPrefix(line, "ohp-assemble: "); ok && !strings.HasPrefix(s, "hint: ") {
			return s
		}
	}
	return ""
}

// noFiles fails if there is a file below dir.
func noFiles(t *testing.T, dir string) {
	t.Helper()
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			t.Errorf("%s was left behind", path)
		}
		return nil
	})
}

// noTemporary fails if a temporary file is left in the cache.
func noTemporary(t *testing.T, cache string) {
	t.Helper()
	filepath.WalkDir(cache, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && (strings.Contains(d.Name(), "tmp") || strings.Contains(d.Name(), "part")) {
			t.Errorf("%s was left behind", path)
		}
		return nil
	})
}

// TestNoSpace builds onto a device that is too small, for the images and for
// the cache.
func TestNoSpace(t *testing.T) {
	treetest.Root(t)
	ref := fixture(t, "tiny-base")
	for _, what := range []string{"out", "cache"} {
		t.Run(what, func(t *testing.T) {
			small, dir := t.TempDir(), t.TempDir()
			if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size=8m"); err != nil {
				treetest.Missing(t, "OHP_TOOLS", "mounting a small device: "+err.Error())
			}
			defer syscall.Unmount(small, 0)
			places := map[string]string{"out": filepath.Join(dir, "out"), "cache": filepath.Join(dir, "cache")}
			places[what] = filepath.Join(small, what)
			p := finish(t, start(t, nil, "build", "--cache", places["cache"], "--out", places["out"], ref))
			if p.code != exitFailed || !strings.Contains(errorLine(p.stderr), "no space left on device") || !strings.Contains(p.stderr, "hint: free some space") {
				t.Errorf("exit code %d: %s", p.code, p.stderr)
			}
			if !strings.Contains(errorLine(p.stderr), small) {
				t.Errorf("the error does not say where there is no space: %s", p.stderr)
			}
			noFiles(t, places["out"])
			noTemporary(t, places["cache"])
		})
	}
}

// TestReadOnlyCache has a cache on a device that is mounted read-only.
func TestReadOnlyCache(t *testing.T) {
	treetest.Root(t)
	cache := t.TempDir()
	if err := syscall.Mount("tmpfs", cache, "tmpfs", 0, ""); err != nil {
		treetest.Missing(t, "OHP_TOOLS", "mounting a device: "+err.Error())
	}
	defer syscall.Unmount(cache, 0)
	plan := []string{"plan", "--cache", cache, fixture(t, "tiny-base")}
	program(t, nil, plan...)
	if err := syscall.Mount("", cache, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{plan, {"cache", "prune", "--cache", cache}} {
		p := finish(t, start(t, nil, args...))
		if p.code != exitFailed || !strings.Contains(errorLine(p.stderr), "the cache cannot be written: ") || !strings.Contains(errorLine(p.stderr), cache) ||
			!strings.Contains(p.stderr, "hint: choose another folder with --cache, or with the variable XDG_CACHE_HOME\n") {
			t.Errorf("%s: exit code %d: %s", args[0], p.code, p.stderr)
		}
	}
}

// TestInterrupt presses ^C at different moments.
func TestInterrupt(t *testing.T) {
	ref := fixture(t, "tiny-base")
	dir := t.TempDir()
	out, cache := filepath.Join(dir, "out"), filepath.Join(dir, "cache")
	interrupted := 0
	for delay := 20 * time.Millisecond; ; delay = delay * 3 / 2 { // until a run is faster
		os.RemoveAll(cache)
		cmd := start(t, nil, "build", "--platform", "qemu,metal", "--cache", cache, "--out", out, ref)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(delay)
		cmd.Process.Signal(os.Interrupt)
		err := cmd.Wait()
		if err == nil {
			break
		}
		if !cmd.ProcessState.Exited() {
			continue // the signal came before the program could ask for it
		}
		interrupted++
		if code := cmd.ProcessState.ExitCode(); code != exitFailed || !strings.Contains(stderr.String(), "interrupted: incomplete output was removed") {
			t.Errorf("after %s: exit code %d: %s", delay, code, stderr.String())
		}
		noTemporary(t, cache)
		if names, err := os.ReadDir(out); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		} else {
			for _, d := range names {
				if strings.HasPrefix(d.Name(), ".") {
					t.Errorf("after %s: %s was left behind", delay, d.Name())
				}
			}
		}
	}
	if interrupted == 0 {
		t.Error("no run was interrupted")
	}
	built(t, nil, ref, "--cache", cache, "--out", out)
}

// TestInterruptLook: a command without temporary files ends at once, here while
// nobody reads the output of cat.
func TestInterruptLook(t *testing.T) {
	root := rootfs.Dir(0o755)
	root.Children["large"] = rootfs.Text(0o644, strings.Repeat("x", 1<<20))
	name, _ := inspecttest.SmallDisk(t, root)
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		cmd := start(t, nil, "cat", name, "/large")
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		var stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = w, &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		w.Close()
		if _, err := r.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		cmd.Process.Signal(sig)
		late := time.AfterFunc(10*time.Minute, func() { cmd.Process.Kill() })
		cmd.Wait()
		if !late.Stop() || cmd.ProcessState.ExitCode() != exitFailed || !strings.Contains(stderr.String(), "interrupted: incomplete output was removed") {
			t.Errorf("%v: %v, %s", sig, cmd.ProcessState, stderr.String())
		}
		r.Close()
	}
}

// TestTwoAtOnce runs two builds of the same container with one empty cache.
func TestTwoAtOnce(t *testing.T) {
	ref := fixture(t, "tiny-chunked")
	cache := filepath.Join(t.TempDir(), "cache")
	results := make(chan build.Report, 2)
	for range 2 {
		go func() { results <- built(t, nil, ref, "--cache", cache, "--out", t.TempDir()) }()
	}
	a, b := <-results, <-results
	if len(a.Images) != 1 || len(b.Images) != 1 || a.Images[0].SHA256 != b.Images[0].SHA256 {
		t.Errorf("%v and %v", a.Images, b.Images)
	}
}
