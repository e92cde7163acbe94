package oci

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/layer"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
)

// A testImage is an image in the making.
type testImage struct {
	blobs    map[digest.Digest][]byte
	manifest imgspec.Manifest
	config   imgspec.Image
}

// newImage makes an image of layers, each a tarball and how it is compressed.
func newImage(layers ...[]byte) *testImage {
	m := &testImage{blobs: map[digest.Digest][]byte{}}
	m.config.OS, m.config.Architecture = "linux", "amd64"
	m.config.Config.Labels = map[string]string{"containers.bootc": "1"}
	m.config.RootFS.Type = "layers"
	m.manifest = imgspec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspec.MediaTypeImageManifest}
	for _, l := range layers {
		m.add(l, gzipped(l))
	}
	return m
}

func (m *testImage) put(mediaType string, b []byte) imgspec.Descriptor {
	d := imgspec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
	m.blobs[d.Digest] = b
	return d
}

func (m *testImage) add(tarball, blob []byte) {
	m.manifest.Layers = append(m.manifest.Layers, m.put(imgspec.MediaTypeImageLayerGzip, blob))
	m.config.RootFS.DiffIDs = append(m.config.RootFS.DiffIDs, digest.FromBytes(tarball))
}

// done writes config and manifest and returns the digest of the latter. Unless
// the labels say something else, all layers may have objects.
func (m *testImage) done() digest.Digest {
	if _, ok := m.config.Config.Labels[layer.FinalDiffID]; !ok && len(m.config.RootFS.DiffIDs) > 0 {
		m.config.Config.Labels[layer.FinalDiffID] = m.config.RootFS.DiffIDs[len(m.config.RootFS.DiffIDs)-1].String()
	}
	m.manifest.Config = m.put(imgspec.MediaTypeImageConfig, mustJSON(m.config))
	return m.put(imgspec.MediaTypeImageManifest, mustJSON(m.manifest)).Digest
}

// layout writes the image as an OCI layout and returns its directory. The first manifest is
// named "latest".
func (m *testImage) layout(t testing.TB, top ...digest.Digest) string {
	t.Helper()
	dir := t.TempDir()
	index := imgspec.Index{Versioned: specs.Versioned{SchemaVersion: 2}}
	for i, d := range top {
		desc := imgspec.Descriptor{MediaType: imgspec.MediaTypeImageManifest, Digest: d, Size: int64(len(m.blobs[d]))}
		if bytes.Contains(m.blobs[d], []byte(imgspec.MediaTypeImageIndex)) {
			desc.MediaType = imgspec.MediaTypeImageIndex
		}
		if i == 0 {
			desc.Annotations = map[string]string{imgspec.AnnotationRefName: "latest"}
		}
		index.Manifests = append(index.Manifests, desc)
	}
	write(t, filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`))
	write(t, filepath.Join(dir, "index.json"), mustJSON(index))
	for d, b := range m.blobs {
		write(t, filepath.Join(dir, "blobs/sha256", d.Encoded()), b)
	}
	return dir
}

func write(t testing.TB, name string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	w, _ := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	w.Write(b)
	w.Close()
	return out.Bytes()
}

func zstded(b []byte) []byte {
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		panic(err)
	}
	return w.EncodeAll(b, nil)
}

// A file is one in a layer that tests make.
type file struct{ name, data string }

func tarball(files ...file) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Size: int64(len(f.data)), Mode: 0o644}); err != nil {
			panic(err)
		}
		io.WriteString(w, f.data)
	}
	w.Close()
	return b.Bytes()
}

// object returns the entries of a file object whose name is that of data, and
// whose content is content.
func object(data, content string) []file {
	id := ostree.Sum(append(ostree.FileHeader(0, 0, rootfs.ModeFile|0o644, "", nil), data...))
	const dir = "sysroot/ostree/repo/objects/"
	return []file{
		{dir + ostree.ObjectPath(id, ostree.FileXattrsLinkObject), ""},
		{dir + ostree.ObjectPath(id, ostree.FileObject), content},
	}
}

// noise returns bytes that compress badly.
func noise(seed uint64, n int) string {
	b := make([]byte, n)
	rng := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	rng.Read(b)
	return string(b)
}

// A fakeRegistry serves an image and can misbehave.
type fakeRegistry struct {
	*httptest.Server
	image *testImage
	top   digest.Digest
	ref   string // docker://host/os:stable

	auth    string // "user:password"
	noRange bool
	slow    time.Duration                                                         // between pieces of a blob
	fail    func(w http.ResponseWriter, r *http.Request, path string, n int) bool // may answer itself; n counts from 1

	mu     sync.Mutex
	gets   map[string]int // requests by path
	pieces atomic.Int64   // sent, when slow
	most   atomic.Int64   // pieces after which the client hears nothing more; 0 for any number
}

func serve(t testing.TB, m *testImage, top digest.Digest) *fakeRegistry {
	r := &fakeRegistry{image: m, top: top, gets: map[string]int{}}
	r.Server = httptest.NewServer(r)
	r.Config.ErrorLog = nil
	r.ref = "docker://" + strings.TrimPrefix(r.URL, "http://") + "/os:stable"
	t.Cleanup(r.Close)
	return r
}

func (s *fakeRegistry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if user, password, _ := r.BasicAuth(); s.auth != "" && user+":"+password != s.auth {
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if r.URL.Path == "/v2/" {
		return
	}
	path, ok := strings.CutPrefix(r.URL.Path, "/v2/os/")
	s.mu.Lock()
	s.gets[path]++
	n := s.gets[path]
	s.mu.Unlock()
	if s.fail != nil && s.fail(w, r, path, n) {
		return
	}
	d := digest.Digest(path[strings.LastIndex(path, "/")+1:])
	if d == "stable" {
		d = s.top
	}
	b, there := s.image.blobs[d]
	if !ok || !there {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	if strings.HasPrefix(path, "manifests/") {
		var typed struct{ MediaType string }
		json.Unmarshal(b, &typed)
		w.Header().Set("Content-Type", typed.MediaType)
	}
	if s.noRange {
		r.Header.Del("Range")
	}
	if s.slow == 0 {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
		return
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(b)))
	for piece := range slices.Chunk(b, 64<<10) {
		w.Write(piece)
		if n := s.pieces.Add(1); s.most.Load() > 0 && n >= s.most.Load() {
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return
		}
		time.Sleep(s.slow)
	}
}

// waitFor waits until so many pieces were sent, or until done.
func (s *fakeRegistry) waitFor(pieces int64, done <-chan struct{}) {
	for s.pieces.Load() < pieces {
		select {
		case <-done:
			return
		case <-time.After(time.Millisecond):
		}
	}
}

// blobGets returns how many requests for layers there were.
func (s *fakeRegistry) blobGets() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for path, count := range s.gets {
		if slices.ContainsFunc(s.image.manifest.Layers, func(l imgspec.Descriptor) bool { return path == "blobs/"+l.Digest.String() }) {
			n += count
		}
	}
	return n
}

// options are those of tests, which read no configuration of the machine.
func options(t testing.TB, cache string) Options {
	conf := filepath.Join(t.TempDir(), "registries.conf")
	write(t, conf, nil)
	no := false
	return Options{Cache: cache, Arch: "amd64", Registry: registry.Options{TLSVerify: &no, RegistryConf: conf, AuthFile: filepath.Join(filepath.Dir(conf), "auth.json")}}
}

// contents returns the files of an image.
func contents(t testing.TB, img *Image) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, l := range img.Layers {
		index := indexOf(t, l)
		for _, e := range index.Entries {
			b, err := rootfs.ReadAll(l.Blob(e.Off, e.Size), 1<<30)
			if err != nil {
				t.Fatal(err)
			}
			all[e.Name] = string(b)
		}
		for _, o := range index.Objects {
			b, err := rootfs.ReadAll(l.Blob(o.Off, o.Size), 1<<30)
			if err != nil {
				t.Fatal(err)
			}
			all[o.ID.String()] = string(b)
		}
	}
	return all
}

func indexOf(t testing.TB, l *Layer) *layer.Index {
	t.Helper()
	index, err := l.Index()
	if err != nil {
		t.Fatal(err)
	}
	return index
}

// checkCache fails if anything unfinished is in a cache.
func checkCache(t testing.TB, dir string) {
	t.Helper()
	tmp, _ := filepath.Glob(dir + "/v1/tmp/*")
	left, _ := filepath.Glob(dir + "/v1/*/*.tmp")
	if all := append(tmp, left...); len(all) > 0 {
		t.Errorf("left behind: %q", all)
	}
}

// snapshot returns the files of a cache that have content.
func snapshot(t testing.TB, dir string) map[string]digest.Digest {
	t.Helper()
	all := map[string]digest.Digest{}
	for _, pattern := range []string{"blobs/*", "layers/*.pack", "layers/*.index"} {
		names, _ := filepath.Glob(filepath.Join(dir, "v1", pattern))
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			all[filepath.Base(name)] = digest.FromBytes(b)
		}
	}
	return all
}

func keys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
