package oci

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
)

func TestParseReference(t *testing.T) {
	d := digest.FromString("x").String()
	for in, want := range map[string]string{
		"docker://example.org/os:stable":         "docker://example.org/os:stable",
		"example.org/os":                         "docker://example.org/os:latest",
		"example.org:5000/a/b@" + d:              "docker://example.org:5000/a/b@" + d,
		"docker://localhost:5000/os:stable@" + d: "docker://localhost:5000/os:stable@" + d,
		"oci:dir":                                "oci:dir",
		"oci:/a/dir:tag":                         "oci:/a/dir:tag",
		"oci:/a/dir@" + d:                        "oci:/a/dir@" + d,
		"oci:/a@b/dir:tag@" + d:                  "oci:/a@b/dir:tag@" + d,
		"oci-archive:file.ociarchive:tag":        "oci-archive:file.ociarchive:tag",
		"dir:/a/dir@" + d:                        "dir:/a/dir@" + d,
		"oci:":                                   "error: names no path",
		"./dir":                                  "error: write oci:./dir",
		"/dir":                                   "error: looks like a path",
		"containers-storage:localhost/os":        "containers-storage:localhost/os",
		"containers-storage:[vfs@/a]b:1@" + d:    "containers-storage:[vfs@/a]b:1@" + d,
		"containers-storage:[vfs@/a]":            "error: names no image",
		"containers-storage:[vfs@/a":             "error: names no image",
		"docker-archive:/a/b.tar":                "docker-archive:/a/b.tar",
		"docker-archive:b.tar:example.org:5000/os:1@" + d: "docker-archive:b.tar:example.org:5000/os:1@" + d,
		"docker-archive:":                          "error: names nothing",
		"docker-daemon:os":                         "error: not supported",
		"https://example.org/os":                   "error: not supported",
		"example.org/OS":                           "error: lowercase",
		"oci:dir@sha512:" + strings.Repeat("a", 8): "error: not a digest of the form sha256:HEX",
		"oci:dir@sha256:abc":                       "error: not a digest of the form sha256:HEX",
	} {
		got, err := parseReference(in)
		if want, bad := strings.CutPrefix(want, "error: "); bad {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, %v, want %s", in, got, err, want)
			}
		} else if err != nil || got.String() != want {
			t.Errorf("%s: %v, %v, want %s", in, got, err, want)
		}
	}
}

// archive packs a directory as an OCI archive is.
func archiveOf(t *testing.T, dir string) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.AddFS(os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "os.ociarchive")
	write(t, name, b.Bytes())
	return name
}

// dirOf writes an image as the dir: transport has it.
func dirOf(t *testing.T, m *testImage, top digest.Digest) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir+"/manifest.json", m.blobs[top])
	for d, b := range m.blobs {
		write(t, dir+"/"+d.Encoded(), b)
	}
	return dir
}

func TestTransports(t *testing.T) {
	m := newImage(tarball(file{"etc/a", "a"}, file{"etc/b", noise(1, 100_000)}), tarball(object("hello", "hello")...))
	top := m.done()
	dir := m.layout(t, top)
	reg := serve(t, m, top)
	host := strings.TrimSuffix(strings.TrimPrefix(reg.ref, "docker://"), ":stable")
	var want map[string]string
	for ref, canonical := range map[string]string{
		reg.ref:                            reg.ref + "@" + top.String(),
		host + ":stable":                   reg.ref + "@" + top.String(),
		host + "@" + top.String():          "docker://" + host + "@" + top.String(),
		reg.ref + "@" + top.String():       reg.ref + "@" + top.String(),
		"oci:" + dir:                       "oci:" + dir + "@" + top.String(),
		"oci:" + dir + ":latest":           "oci:" + dir + ":latest@" + top.String(),
		"oci-archive:" + archiveOf(t, dir): "",
		"oci-archive:" + archiveOf(t, dir) + ":latest@" + top.String(): "",
		"dir:" + dirOf(t, m, top):                                      "",
	} {
		cache := t.TempDir()
		img, err := Pull(t.Context(), ref, options(t, cache))
		if err != nil {
			t.Error(err)
			continue
		}
		defer img.Close()
		if canonical != "" && img.Reference != canonical || !strings.HasSuffix(img.Reference, "@"+top.String()) {
			t.Errorf("%s: reference is %s, want %s", ref, img.Reference, canonical)
		}
		got := contents(t, img)
		if want == nil {
			want = got
		}
		if !maps.Equal(got, want) || len(got) != 3 || got["etc/a"] != "a" || got["etc/b"] != noise(1, 100_000) {
			t.Errorf("%s: contents are wrong: %v", ref, keys(got))
		}
		checkCache(t, cache)
	}
}

func TestCompression(t *testing.T) {
	plain := tarball(file{"etc/a", strings.Repeat("text ", 300_000)}, file{"etc/b", noise(2, 300_000)})
	half := len(plain) / 3
	skippable := "\x5a\x2a\x4d\x18\x08\x00\x00\x00skipped!"
	for name, blob := range map[string][]byte{
		"none":                 plain,
		"gzip":                 gzipped(plain),
		"gzip of many members": append(gzipped(plain[:half]), gzipped(plain[half:])...),
		"zstd":                 zstded(plain),
		"zstd of many frames":  append(zstded(plain[:half]), zstded(plain[half:])...),
		"zstd, skippable end":  append(zstded(plain), skippable...),
		"zstd, skippable head": append([]byte(skippable), zstded(plain)...),
	} {
		m := newImage()
		m.add(plain, blob)
		img, err := Pull(t.Context(), "oci:"+m.layout(t, m.done()), options(t, t.TempDir()))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := contents(t, img); got["etc/b"] != noise(2, 300_000) {
			t.Errorf("%s: contents are wrong", name)
		}
		img.Close()
	}
}

// multiArch returns an index of two architectures, and the digest of one.
func multiArch(t *testing.T) (m *testImage, index, arm digest.Digest) {
	m = newImage(tarball(file{"arch", "arm64"}))
	m.config.Architecture = "arm64"
	arm = m.done()
	amd := newImage(tarball(file{"arch", "amd64"}))
	x := imgspec.Index{MediaType: imgspec.MediaTypeImageIndex}
	x.SchemaVersion = 2
	for arch, d := range map[string]digest.Digest{"amd64": amd.done(), "arm64": arm} {
		x.Manifests = append(x.Manifests, imgspec.Descriptor{MediaType: imgspec.MediaTypeImageManifest, Digest: d, Size: 1, Platform: &imgspec.Platform{OS: "linux", Architecture: arch}})
	}
	maps.Copy(m.blobs, amd.blobs)
	return m, m.put(imgspec.MediaTypeImageIndex, mustJSON(x)).Digest, arm
}

func TestMultiArch(t *testing.T) {
	m, index, arm := multiArch(t)
	dir := m.layout(t, index)
	reg := serve(t, m, index)
	for _, ref := range []string{reg.ref, reg.ref + "@" + index.String(), "oci:" + dir, "oci:" + dir + "@" + index.String()} {
		for arch, want := range map[string]string{"x86_64": "amd64", "arm64": "arm64"} {
			o := options(t, t.TempDir())
			o.Arch = arch
			img, err := Pull(t.Context(), ref, o)
			if err != nil {
				t.Fatal(err)
			}
			if got := contents(t, img)["arch"]; got != want || img.Arch != want || img.Digest == index || !strings.HasSuffix(img.Reference, index.String()) {
				t.Errorf("%s for %s: got %q, %s, %s", ref, arch, got, img.Digest, img.Reference)
			}
			img.Close()
		}
		o := options(t, t.TempDir())
		o.Arch = "s390x"
		if _, err := Pull(t.Context(), ref, o); !errors.Is(err, registry.ErrNotFound) || !strings.Contains(err.Error(), "no image for linux/s390x, there is linux/amd64, linux/arm64") {
			t.Errorf("%s: %v", ref, err)
		}
	}
	// The digest of one manifest of them is good too, but not for another architecture.
	for _, ref := range []string{"oci:" + dir + "@" + arm.String(), reg.ref + "@" + arm.String()} {
		o := options(t, t.TempDir())
		if _, err := Pull(t.Context(), ref, o); err == nil || !strings.Contains(err.Error(), "image is for arm64, not amd64") {
			t.Errorf("%s: %v", ref, err)
		}
		o.Arch = "aarch64"
		if img, err := Pull(t.Context(), ref, o); err != nil || img.Digest != arm {
			t.Errorf("%s: %v", ref, err)
		}
	}
}

// TestWarm pulls again when the source is gone.
func TestWarm(t *testing.T) {
	m := newImage(tarball(file{"etc/a", noise(3, 200_000)}), tarball(file{"etc/c", "c"}))
	top := m.done()
	reg := serve(t, m, top)
	cache := t.TempDir()
	img, err := Pull(t.Context(), reg.ref, options(t, cache))
	if err != nil {
		t.Fatal(err)
	}
	want := contents(t, img)
	ref := img.Reference
	img.Close()
	if n := reg.blobGets(); n != 2 {
		t.Errorf("%d requests for 2 layers", n)
	}

	// For a tag the registry is asked; for a cached digest it is not.
	img, err = Pull(t.Context(), reg.ref, options(t, cache))
	if err != nil {
		t.Fatal(err)
	}
	img.Close()
	if n := reg.blobGets(); n != 2 {
		t.Errorf("%d requests for layers after the second pull", n)
	}
	reg.Close()
	img, err = Pull(t.Context(), ref, options(t, cache))
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	if !maps.Equal(contents(t, img), want) {
		t.Error("contents differ")
	}

	dir := m.layout(t, top)
	for _, l := range m.manifest.Layers {
		if err := os.Remove(filepath.Join(dir, "blobs/sha256", l.Digest.Encoded())); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Pull(t.Context(), "oci:"+dir, options(t, cache)); err != nil {
		t.Error(err)
	}
	if _, err := Pull(t.Context(), "oci:"+dir, options(t, t.TempDir())); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("cold, without blobs: %v", err)
	}
}

// TestSameLayers pulls an image that was compressed again, with the same tars as in the
// cache.
func TestSameLayers(t *testing.T) {
	tars := [][]byte{tarball(file{"etc/a", noise(3, 200_000)}), tarball(file{"etc/c", "c"})}
	first, second := newImage(tars...), newImage()
	for _, tar := range tars {
		second.add(tar, zstded(tar))
	}
	o := options(t, t.TempDir())
	ref := "oci:" + first.layout(t, first.done())
	img := pull(t, ref, o)
	want := contents(t, img)
	img.Close()

	reg := serve(t, second, second.done())
	img = pull(t, reg.ref, o)
	if got := contents(t, img); !maps.Equal(got, want) || reg.blobGets() != 0 {
		t.Errorf("%d layers were fetched again", reg.blobGets())
	}
	for i, l := range img.Layers {
		if l.Digest != second.manifest.Layers[i].Digest {
			t.Errorf("layer %d is %s", i, l.Digest)
		}
	}
	img.Close()

	// Notes are not believed: one is of another layer, one of none.
	notes, _ := filepath.Glob(filepath.Join(o.Cache, version, "diffs/*"))
	if len(notes) != 2 {
		t.Fatalf("notes %q", notes)
	}
	write(t, filepath.Join(o.Cache, version, "diffs", digest.FromBytes(tars[0]).Encoded()), []byte(first.manifest.Layers[1].Digest))
	write(t, filepath.Join(o.Cache, version, "diffs", digest.FromBytes(tars[1]).Encoded()), []byte("../../etc/passwd"))
	img = pull(t, reg.ref, o)
	if got := contents(t, img); !maps.Equal(got, want) || reg.blobGets() != 2 {
		t.Errorf("%d layers were fetched for wrong notes", reg.blobGets())
	}
	img.Close()
	if _, err := Prune(o.Cache, PruneOptions{}); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(o.Cache, version, "diffs/*")); len(left) != 0 {
		t.Errorf("notes of layers that are gone: %q", left)
	}
}

// TestDamagedCache spoils one file of the cache at a time.
func TestDamagedCache(t *testing.T) {
	m := newImage(tarball(append(object("content", "content"), file{"etc/a", noise(4, 200_000)})...))
	dir := m.layout(t, m.done())
	cache := t.TempDir()
	pull := func() map[string]string {
		t.Helper()
		img, err := Pull(t.Context(), "oci:"+dir, options(t, cache))
		if err != nil {
			t.Fatal(err)
		}
		defer img.Close()
		return contents(t, img)
	}
	want := pull()
	files := snapshot(t, cache)
	if len(files) != 4 {
		t.Fatalf("cache has %v", files)
	}
	for name := range files {
		found, _ := filepath.Glob(filepath.Join(cache, "v1", "*", name))
		path := found[0]
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		flipped := bytes.Clone(whole)
		flipped[len(flipped)/2] ^= 1
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		for how, b := range map[string][]byte{"flipped": flipped, "truncated": whole[:len(whole)/2], "empty": {}, "longer": append(bytes.Clone(whole), 0)} {
			write(t, path, b)
			if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil { // as a disk does it
				t.Fatal(err)
			}
			if got := pull(); !maps.Equal(got, want) {
				t.Errorf("%s %s: contents differ", how, name)
			}
			if diff := cmp.Diff(files, snapshot(t, cache)); diff != "" {
				t.Errorf("%s %s is not replaced: %s", how, name, diff)
			}
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if got := pull(); !maps.Equal(got, want) {
			t.Errorf("without %s: contents differ", name)
		}
	}
}

// TestDeterminism pulls with one and two processors into different caches.
func TestDeterminism(t *testing.T) {
	var layers [][]byte
	for i := range 5 {
		layers = append(layers, tarball(file{"etc/a", noise(uint64(i), 300_000*i)}, file{"etc/b", fmt.Sprint(i)}))
	}
	m := newImage(layers...)
	dir := m.layout(t, m.done())
	var want map[string]digest.Digest
	for _, procs := range []int{1, 2, 8} {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
		cache := t.TempDir()
		img, err := Pull(t.Context(), "oci:"+dir, options(t, cache))
		if err != nil {
			t.Fatal(err)
		}
		img.Close()
		got := snapshot(t, cache)
		if want == nil {
			want = got
		}
		if diff := cmp.Diff(want, got); diff != "" || len(got) != 12 {
			t.Errorf("%d processors: %s", procs, diff)
		}
	}
}

// TestAtOnce has several pulls of the same image at once.
func TestAtOnce(t *testing.T) {
	m := newImage(tarball(file{"etc/a", noise(5, 2<<20)}), tarball(file{"etc/b", "b"}))
	reg := serve(t, m, m.done())
	reg.slow = 1e6
	o := options(t, t.TempDir())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			img, err := Pull(t.Context(), reg.ref, o)
			if err != nil {
				t.Error(err)
				return
			}
			defer img.Close()
			if contents(t, img)["etc/a"] != noise(5, 2<<20) {
				t.Error("contents differ")
			}
		})
	}
	wg.Wait()
	if n := reg.blobGets(); n != 2 {
		t.Errorf("%d requests for 2 layers", n)
	}
	checkCache(t, o.Cache)
}

// counter is a Progress.
type counter struct{ expect, done atomic.Int64 }

func (c *counter) Expect(n int64) { c.expect.Add(n) }
func (c *counter) Done(n int64)   { c.done.Add(n) }

func TestProgress(t *testing.T) {
	m := newImage(tarball(file{"etc/a", noise(6, 1<<20)}), tarball(file{"etc/b", "b"}), tarball(file{"etc/b", "b"}))
	var want int64
	for _, l := range m.manifest.Layers[:2] {
		want += l.Size
	}
	o := options(t, t.TempDir())
	for _, want := range []int64{want, 0} {
		c := &counter{}
		o.Progress = c
		img, err := Pull(t.Context(), "oci:"+m.layout(t, m.done()), o)
		if err != nil {
			t.Fatal(err)
		}
		if c.expect.Load() != want || c.done.Load() != want {
			t.Errorf("expected %d, did %d, want %d", c.expect.Load(), c.done.Load(), want)
		}
		if img.Layers[1] != img.Layers[2] {
			t.Error("equal layers differ")
		}
		if err := img.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestCancel(t *testing.T) {
	m := newImage(tarball(file{"etc/a", noise(7, 4<<20)}))
	top := m.done()
	reg := serve(t, m, top)
	reg.slow = 5e6
	o := options(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	reg.fail = func(_ http.ResponseWriter, _ *http.Request, path string, _ int) bool {
		if path == "blobs/"+m.manifest.Layers[0].Digest.String() {
			cancel()
		}
		return false
	}
	if _, err := Pull(ctx, reg.ref, o); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	checkCache(t, o.Cache)
	if _, err := Pull(t.Context(), serve(t, m, top).ref, o); err != nil {
		t.Error(err)
	}
}

func TestBlob(t *testing.T) {
	plain := tarball(file{"etc/a", "abc"}, file{"etc/empty", ""}, file{"etc/b", noise(8, 100_000)}, file{"etc/c", "c"})
	m := newImage(plain)
	img, err := Pull(t.Context(), "oci:"+m.layout(t, m.done()), options(t, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	l := img.Layers[0]
	for _, e := range indexOf(t, l).Entries {
		b := l.Blob(e.Off, e.Size)
		if b != l.Blob(e.Off, e.Size) {
			t.Errorf("%s: two blobs of the same content differ", e.Name)
		}
		data, err := rootfs.ReadAll(b, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		blob := b.(Blob)
		if e.Size == 0 {
			if f, _ := blob.File(); f != nil {
				t.Errorf("%s: empty content has a place", e.Name)
			}
			if from, ok := rootfs.SourceOf(b); ok {
				t.Errorf("%s: empty content is at %+v", e.Name, from)
			}
			continue
		}
		from, ok := rootfs.SourceOf(b)
		if got := plain[from.Off:][:e.Size]; !ok || from.Layer != l.Digest.String() || string(got) != string(data) {
			t.Errorf("%s: %+v has %.20q", e.Name, from, got)
		}
		if e.Size > 1 {
			part := rootfs.Section(b, 1, e.Size-1)
			want := rootfs.Source{Layer: from.Layer, Off: from.Off + 1}
			if second, ok := rootfs.SourceOf(part); !ok || second != want || part != l.Blob(e.Off+1, e.Size-1) {
				t.Errorf("%s: second byte is at %+v, want %+v", e.Name, second, want)
			}
			if !rootfs.SameBlob(part, b) || !rootfs.SameBlob(b, part) || rootfs.SameBlob(part, rootfs.Section(b, 0, 1)) {
				t.Errorf("%s: its section is not recognized", e.Name)
			}
		}
		f, off := blob.File()
		again := make([]byte, e.Size)
		if _, err := f.ReadAt(again, off); err != nil || string(again) != string(data) {
			t.Errorf("%s: file at %d has %.20q, %v", e.Name, off, again, err)
		}
		buf := make([]byte, 10)
		if n, err := b.ReadAt(buf, e.Size-1); n != 1 || err != io.EOF {
			t.Errorf("%s: last byte: %d, %v", e.Name, n, err)
		}
		if n, err := b.ReadAt(buf, e.Size); n != 0 || err != io.EOF {
			t.Errorf("%s: behind: %d, %v", e.Name, n, err)
		}
	}
}
