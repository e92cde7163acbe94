package pull

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"
	"github.com/ulikunitz/xz"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
)

// A server is distribution's own, in this process, with something in front of
// it that can misbehave.
type server struct {
	*httptest.Server
	t    testing.TB
	app  http.Handler
	name string // HOST/disks
	repo *remote.Repository

	mu   sync.Mutex
	fail func(w http.ResponseWriter, r *http.Request, n int) bool // may answer itself; n counts blobs from 1
	gets int                                                      // of blobs
}

func serve(t testing.TB) *server { return serveAs(t, nil, false) }

func serveAs(t testing.TB, login configuration.Auth, tls bool) *server {
	t.Helper()
	logrus.SetLevel(logrus.PanicLevel)
	config := &configuration.Configuration{Auth: login, Storage: configuration.Storage{"inmemory": nil, "maintenance": {"uploadpurging": map[any]any{"enabled": false}}}}
	config.Log.Level = "panic"
	config.Log.AccessLog.Disabled = true
	config.HTTP.Secret = "secret"
	ctx, cancel := context.WithCancel(context.Background())
	app := handlers.NewApp(ctx, config)
	r := &server{t: t, app: app}
	r.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		if strings.Contains(req.URL.Path, "/blobs/sha256:") && req.Method == http.MethodGet {
			r.gets++
		}
		fail, n := r.fail, r.gets
		r.mu.Unlock()
		if fail == nil || !fail(w, req, n) {
			app.ServeHTTP(w, req)
		}
	}))
	r.Config.ErrorLog = log.New(io.Discard, "", 0)
	if tls {
		r.StartTLS()
	} else {
		r.Start()
	}
	t.Cleanup(func() { r.CloseClientConnections(); r.Close(); cancel() })
	host := r.Listener.Addr().String()
	r.name = host + "/disks"
	r.repo, _ = remote.NewRepository(r.name)
	r.repo.PlainHTTP = r.TLS == nil
	r.repo.Client = &auth.Client{Client: r.Client(), Credential: auth.StaticCredential(host, auth.Credential{Username: "user", Password: "secret"})}
	return r
}

// failing sets the fault of the registry, and restarts the count of blobs.
func (r *server) failing(fail func(w http.ResponseWriter, req *http.Request, n int) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail, r.gets = fail, 0
}

func (r *server) blobGets() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.gets
}

// push pushes a blob, or a manifest under tags or none.
func (r *server) push(mediaType string, b []byte, tags ...string) imgspec.Descriptor {
	r.t.Helper()
	d := imgspec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
	ctx := r.t.Context()
	err := r.repo.Push(ctx, d, bytes.NewReader(b))
	for _, tag := range tags {
		if err == nil {
			err = r.repo.Tag(ctx, d, tag)
		}
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return d
}

// artifact pushes a manifest with one layer.
func (r *server) artifact(artifactType, title string, content []byte, tags ...string) imgspec.Descriptor {
	return r.artifactOf(func(m *imgspec.Manifest) { m.ArtifactType = artifactType }, title, content, tags...)
}

// artifactOf does so with something that is not as usual.
func (r *server) artifactOf(change func(*imgspec.Manifest), title string, content []byte, tags ...string) imgspec.Descriptor {
	r.t.Helper()
	m := imgspec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspec.MediaTypeImageManifest}
	m.Config = r.push(imgspec.MediaTypeEmptyJSON, []byte("{}"))
	m.Layers = []imgspec.Descriptor{r.push("application/octet-stream", content)}
	if title != "" {
		m.Layers[0].Annotations = map[string]string{imgspec.AnnotationTitle: title}
	}
	change(&m)
	d := r.push(imgspec.MediaTypeImageManifest, mustJSON(m), tags...)
	d.ArtifactType = m.ArtifactType
	return d
}

// index pushes an index.
func (r *server) index(tag string, entries ...imgspec.Descriptor) imgspec.Descriptor {
	return r.push(imgspec.MediaTypeImageIndex, mustJSON(imgspec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspec.MediaTypeImageIndex, Manifests: entries}), tag)
}

// container pushes a container image of one layer.
func (r *server) container(layer []byte, labels map[string]string, tags ...string) imgspec.Descriptor {
	config := imgspec.Image{Platform: imgspec.Platform{OS: "linux", Architecture: "amd64"}}
	config.Config.Labels = labels
	m := imgspec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspec.MediaTypeImageManifest}
	m.Config = r.push(imgspec.MediaTypeImageConfig, mustJSON(config))
	m.Layers = []imgspec.Descriptor{r.push(imgspec.MediaTypeImageLayer, layer)}
	return r.push(imgspec.MediaTypeImageManifest, mustJSON(m), tags...)
}

// on adds the fields of an entry of an index to a descriptor.
func on(d imgspec.Descriptor, os, arch string, annotations ...string) imgspec.Descriptor {
	d.Platform = &imgspec.Platform{OS: os, Architecture: arch}
	d.Annotations = map[string]string{}
	for i := 0; i < len(annotations); i += 2 {
		d.Annotations[annotations[i]] = annotations[i+1]
	}
	return d
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// noise returns bytes that compress badly.
func noise(seed byte, n int) []byte {
	b := make([]byte, n)
	rng := rand.NewChaCha8([32]byte{seed})
	rng.Read(b)
	return b
}

// diskOf returns content like that of a raw disk: mostly holes.
func diskOf(seed byte, n int) []byte {
	b := make([]byte, n)
	for off := 0; off < n; off += n/8 + 1 {
		copy(b[off:], noise(seed+byte(off>>12), 20_000))
	}
	return b
}

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(b)
	w.Close()
	return out.Bytes()
}

func zstded(b []byte) []byte {
	w, _ := zstd.NewWriter(nil)
	return w.EncodeAll(b, nil)
}

func xzed(b []byte) []byte {
	var out bytes.Buffer
	w, _ := xz.NewWriter(&out)
	w.Write(b)
	w.Close()
	return out.Bytes()
}

type file struct {
	name string
	data []byte
}

func tarball(files ...file) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Size: int64(len(f.data)), Mode: 0o644}); err != nil {
			panic(err)
		}
		w.Write(f.data)
	}
	w.Close()
	return b.Bytes()
}

// options are those of tests, which read no configuration of the machine.
func options(t testing.TB) Options {
	dir := t.TempDir()
	conf := filepath.Join(dir, "registries.conf")
	if err := os.WriteFile(conf, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	no := false
	return Options{Arch: "amd64", Registry: registry.Options{TLSVerify: &no, RegistryConf: conf, AuthFile: filepath.Join(dir, "auth.json"), Backoff: time.Millisecond, ReadTimeout: time.Minute}}
}

// A fetched is the result of a pull.
type fetched struct {
	*Image
	File
	content []byte
}

// cut serves a request, and closes the connection when so many bytes of its
// body were sent.
func (r *server) cut(w http.ResponseWriter, req *http.Request, after int) {
	r.app.ServeHTTP(&cutWriter{w, after}, req)
}

type cutWriter struct {
	http.ResponseWriter
	left int
}

func (c *cutWriter) Write(p []byte) (int, error) {
	if len(p) < c.left {
		c.left -= len(p)
		return c.ResponseWriter.Write(p)
	}
	c.ResponseWriter.Write(p[:c.left])
	c.ResponseWriter.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

// get finds and fetches an image; part is kept from one call to the next.
func get(t testing.TB, part *os.File, reference string, o Options) (fetched, error) {
	t.Helper()
	img, err := Find(t.Context(), reference, o)
	if err != nil {
		return fetched{}, err
	}
	out := temp(t)
	f, err := img.Fetch(t.Context(), part, out)
	if err != nil {
		return fetched{}, err
	}
	whole := part
	if f.Unpacked {
		whole = out
	}
	return fetched{img, f, contentOf(t, whole)}, nil
}

func temp(t testing.TB) *os.File {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func contentOf(t testing.TB, f *os.File) []byte {
	t.Helper()
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<40))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func hexOf(b []byte) string { return digest.FromBytes(b).Encoded() }

// bearer puts tokens in front of a registry, as most public ones have them.
func bearer(r *server, valid func() string) func(w http.ResponseWriter, req *http.Request, n int) bool {
	return func(w http.ResponseWriter, req *http.Request, n int) bool {
		switch {
		case req.URL.Path == "/token":
			if user, password, _ := req.BasicAuth(); user != "user" || password != "secret" {
				w.WriteHeader(http.StatusUnauthorized)
				return true
			}
			fmt.Fprintf(w, `{"token":%q}`, valid())
			return true
		case req.Header.Get("Authorization") != "Bearer "+valid():
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="test",scope="repository:disks:pull"`, req.Host))
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		return false
	}
}
