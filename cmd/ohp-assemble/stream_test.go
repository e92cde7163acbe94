package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/raw"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry/registrytest"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/build"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/publish"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/source"
)

// A testServer is a web server, and a registry that has the same content by
// digest. It wants to know who asks if it has a password.
type testServer struct {
	*httptest.Server
	mu       sync.Mutex
	content  map[string][]byte // by the end of the path
	types    map[string]string
	password string
}

func newTestServer(t *testing.T) *testServer {
	s := &testServer{content: map[string][]byte{}, types: map[string]string{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if _, password, _ := r.BasicAuth(); s.password != "" && password != s.password {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		at := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		b, ok := s.content[at]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", s.types[at])
		w.Header().Set("Content-Length", fmt.Sprint(len(b)))
		if r.Method == http.MethodGet {
			w.Write(b)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// secure makes the server want a password from now on.
func (s *testServer) secure(password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.password = password
}

func (s *testServer) put(name, mediaType string, b []byte) imgspec.Descriptor {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := imgspec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
	for _, at := range []string{name, d.Digest.String()} {
		s.content[at], s.types[at] = b, mediaType
	}
	return d
}

// artifact puts a file as the one layer of a manifest.
func (s *testServer) artifact(name, artifactType, title string, b []byte) imgspec.Descriptor {
	layer := s.put("-", "application/octet-stream", b)
	layer.Annotations = map[string]string{imgspec.AnnotationTitle: title}
	m := imgspec.Manifest{MediaType: imgspec.MediaTypeImageManifest, ArtifactType: artifactType, Config: imgspec.DescriptorEmptyJSON, Layers: []imgspec.Descriptor{layer}}
	m.SchemaVersion = 2
	return s.put(name, m.MediaType, stream.Marshal(m))
}

func (s *testServer) index(name string, list ...imgspec.Descriptor) imgspec.Descriptor {
	i := imgspec.Index{MediaType: imgspec.MediaTypeImageIndex, Manifests: list}
	i.SchemaVersion = 2
	return s.put(name, i.MediaType, stream.Marshal(i))
}

// testBuild writes a build of one disk for qemu.
func testBuild(t *testing.T, disk []byte) (dir, file string) {
	t.Helper()
	dir, file = t.TempDir(), "os-1-qemu.x86_64.qcow2"
	m := stream.Meta{
		BuildID: "1", Name: "os", OSTreeCommit: strings.Repeat("0", 64), OSTreeTimestamp: "2026-01-01T00:00:00Z", OSTreeVersion: "1", BaseArch: "x86_64",
		Images: map[string]stream.Artifact{"qemu": {Path: file, SHA256: digest.FromBytes(disk).Encoded(), Size: int64(len(disk))}},
	}
	if err := os.WriteFile(filepath.Join(dir, build.MetaFile), stream.Marshal(m), 0o666); err != nil {
		t.Fatal(err)
	}
	return dir, file
}

// TestStreamHTTP fetches a file of a web server through a stream on the same server, and
// rejects a file that does not match the stream.
func TestStreamHTTP(t *testing.T) {
	disk := bytes.Repeat([]byte("disk"), 100_000)
	dir, file := testBuild(t, disk)
	s := newTestServer(t)
	s.put(file, "", disk)
	s.put("s.json", "", []byte(program(t, nil, "stream", "make", dir, "--stream", "s", "--base-url", s.URL).stdout))

	out := filepath.Join(t.TempDir(), "disk")
	p := program(t, nil, "stream", "get", s.URL+"/s.json", "qemu", "--arch", "x86_64", "--out", out, "--format", "json")
	var g stream.Found
	if err := json.Unmarshal([]byte(p.stdout), &g); err != nil || g.Path != out || g.Size != int64(len(disk)) || g.Location != s.URL+"/"+file {
		t.Errorf("%s: %v", p.stdout, err)
	}
	if b, err := os.ReadFile(out); err != nil || !bytes.Equal(b, disk) {
		t.Errorf("%d bytes, %v", len(b), err)
	}

	s.put(file, "", disk[1:])
	for what, want := range map[string]struct {
		args string
		code int
		err  string
	}{
		"other content": {s.URL + "/s.json", exitVerify, "has sha256 "},
		"no document":   {s.URL + "/none.json", exitFailed, "none.json: 404"},
		"too large":     {s.URL + "/large.json", exitFailed, "large.json: more than"},
	} {
		s.put("large.json", "", bytes.Repeat([]byte(" "), stream.MaxDocument+10))
		other := filepath.Join(t.TempDir(), "x")
		p := finish(t, start(t, nil, "stream", "get", want.args, "qemu", "--arch", "x86_64", "--out", other))
		if p.code != want.code || !strings.Contains(p.stderr, want.err) || p.stdout != "" {
			t.Errorf("%s: %d, %s", what, p.code, p.stderr)
		}
		if left, _ := filepath.Glob(filepath.Dir(other) + "/*"); len(left) > 0 {
			t.Errorf("%s: left %q", what, left)
		}
	}
	s.secure("secret")
	if p := finish(t, start(t, nil, "stream", "show", s.URL+"/s.json")); p.code != exitAccess || strings.Contains(p.stderr, "--authfile") {
		t.Errorf("%d, %s", p.code, p.stderr)
	}
	s.secure("")
	s.put("bad.json", "", []byte(`{"stream": "s"}`))
	away := httptest.NewServer(http.RedirectHandler("http://127.0.0.1:1/x?Signature=hunter2", http.StatusFound))
	defer away.Close()
	with := func(url string) string { return strings.Replace(url, "://", "://me:hunter2@", 1) }
	for _, args := range [][]string{
		{"show", away.URL}, {"show", with(s.URL) + "/none.json?hunter2"}, {"check", with(s.URL) + "/bad.json"}, {"check", with(s.URL) + "/s.json"},
		{"show", with(s.URL) + "/%zz"},
	} {
		if p := finish(t, start(t, nil, append([]string{"stream"}, args...)...)); strings.Contains(p.stdout+p.stderr, "hunter2") {
			t.Errorf("%q tells: %s%s", args, p.stdout, p.stderr)
		}
	}
}

// TestStreamOCI fetches a file of a registry through a stream in the registry: alone or in
// an index, by tag or digest, with a password.
func TestStreamOCI(t *testing.T) {
	disk := bytes.Repeat([]byte("disk"), 100_000)
	dir, file := testBuild(t, disk)
	s := newTestServer(t)
	host := strings.TrimPrefix(s.URL, "http://")
	repo := host + "/os/images"
	qemu := s.artifact("qemu", "application/vnd.diskimage.qcow2", file, disk)
	s.index("images", s.artifact("other", "application/x", "x", []byte("x")), qemu)
	auth, conf := filepath.Join(t.TempDir(), "auth.json"), filepath.Join(t.TempDir(), "registries.conf")
	mirror := fmt.Sprintf("[[registry]]\nprefix=\"vendor.example\"\nlocation=\"127.0.0.1:1\"\n[[registry.mirror]]\nlocation=%q\n", host)
	if err := os.WriteFile(conf, []byte(mirror), 0o600); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, host, base64.StdEncoding.EncodeToString([]byte("me:secret")))
	if err := os.WriteFile(auth, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.secure("secret")
	with := func(args ...string) []string {
		return append([]string{"stream"}, append(args, "--tls-verify=false", "--authfile", auth)...)
	}

	made := program(t, nil, with("make", dir, "--stream", "s", "--repository", repo+":images")...).stdout
	for _, want := range []string{
		`"location": "https://` + host + `/v2/os/images/blobs/` + digest.FromBytes(disk).String() + `"`,
		`"digest-ref": "` + repo + `@` + qemu.Digest.String() + `"`, `"image": "` + repo + `"`,
	} {
		if !strings.Contains(made, want) {
			t.Errorf("no %s in %s", want, made)
		}
	}
	doc := s.artifact("stream", stream.StreamType, source.StreamFile, []byte(made))
	s.index("all", qemu, doc)
	for _, ref := range []string{repo + ":stream", repo + ":all", repo + "@" + doc.Digest.String(), "docker://" + repo + ":tag@" + doc.Digest.String()} {
		out := filepath.Join(t.TempDir(), "disk")
		program(t, nil, with("get", ref, "qemu", "--arch", "x86_64", "--out", out)...)
		if b, err := os.ReadFile(out); err != nil || !bytes.Equal(b, disk) {
			t.Errorf("%s: %d bytes, %v", ref, len(b), err)
		}
	}

	// A mirror has the content of its registry, under the registry's name.
	mirrored := func(args ...string) string {
		p := finish(t, start(t, []string{"CONTAINERS_REGISTRIES_CONF=" + conf}, with(args...)...))
		if p.code != 0 {
			t.Errorf("%q: %s", args, p.stderr)
		}
		return p.stdout
	}
	if s := mirrored("show", "vendor.example/os/images:stream"); !strings.Contains(s, repo+"@") {
		t.Error(s)
	}
	local := filepath.Join(t.TempDir(), "s.json")
	mirrored("make", dir, "--stream", "s", "--repository", "vendor.example/os/images:images", "--out", local)
	out := filepath.Join(t.TempDir(), "disk")
	mirrored("get", local, "qemu", "--arch", "x86_64", "--out", out)
	if b, err := os.ReadFile(out); err != nil || !bytes.Equal(b, disk) {
		t.Errorf("from the mirror: %d bytes, %v", len(b), err)
	}

	if err := os.WriteFile(local, []byte(made), 0o666); err != nil {
		t.Fatal(err)
	}
	s.index("hostile", imgspec.Descriptor{MediaType: imgspec.MediaTypeImageManifest, Digest: "nonsense", Size: 1})
	s.put("md5", imgspec.MediaTypeImageManifest, []byte(`{"layers": [{"digest": "md5:0", "size": -1}]}`))
	s.mu.Lock()
	for _, b := range [][]byte{disk, []byte(made)} {
		s.content[digest.FromBytes(b).String()] = append([]byte("X"), b[1:]...)
	}
	s.mu.Unlock()
	for _, tc := range []struct {
		args []string
		code int
		err  string
	}{
		{with("get", local, "qemu", "--arch", "x86_64", "--out", filepath.Join(t.TempDir(), "x")), exitVerify, "digest mismatch"},
		{with("show", repo+":stream"), exitVerify, "digest mismatch"},
		{with("show", repo+":images"), exitFailed, repo + ":images: no stream.json is published there"},
		{with("show", repo+":hostile"), exitFailed, `"nonsense" is not a digest`},
		{with("make", dir, "--stream", "s", "--repository", repo+":md5"), exitFailed, `"md5:0" is not a digest`},
		{with("show", repo+":none"), exitFailed, "not found"},
		{with("make", dir, "--stream", "s", "--repository", repo+":stream"), exitFailed, "images.qemu: " + file + ": not in " + repo},
		{[]string{"stream", "show", repo + ":all", "--tls-verify=false"}, exitAccess, "access denied"},
	} {
		p := finish(t, start(t, nil, tc.args...))
		if p.code != tc.code || !strings.Contains(p.stderr, tc.err) || p.stdout != "" {
			t.Errorf("%q: %d, %s", tc.args, p.code, p.stderr)
		}
	}
}

// TestStreamPublished publishes images to a real registry, makes their stream and publishes
// it, and fetches an image through it: as a client of registries, and by a plain GET.
func TestStreamPublished(t *testing.T) {
	host := registrytest.Start(t, registrytest.Debian, "").Host
	dir := makeOutput(t, 1<<20)
	document := filepath.Join(dir, source.StreamFile)
	if err := os.Remove(document); err != nil {
		t.Fatal(err)
	}
	ref := host + "/os:1-images"
	program(t, nil, "publish", dir, ref, "--tls-verify=false")
	program(t, nil, "stream", "make", dir, "--stream", "s", "--repository", ref, "--tls-verify=false", "--out", document)
	program(t, nil, "stream", "check", document)
	program(t, nil, "publish", dir, ref, "--tls-verify=false")

	out := filepath.Join(t.TempDir(), "disk")
	p := program(t, nil, "stream", "get", ref, "metal", "--arch", "x86_64", "--out", out, "--tls-verify=false", "--format", "json")
	var g stream.Found
	if err := json.Unmarshal([]byte(p.stdout), &g); err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get(strings.Replace(g.Location, "https:", "http:", 1))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	plain, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	fetched, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(filepath.Join(dir, "os-1-metal.x86_64.raw"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(fetched, want) || !bytes.Equal(plain, want) {
		t.Errorf("%d and %d bytes of %d are not those of the file", len(fetched), len(plain), len(want))
	}
}

// TestStreamContainer does the same in the form container. The stream and its files are
// inside containers, and no URL fetches them.
func TestStreamContainer(t *testing.T) {
	host := registrytest.Start(t, registrytest.Debian, "").Host
	dir := makeOutput(t, 3<<20)
	want, err := os.ReadFile(filepath.Join(dir, "os-1-metal.x86_64.raw"))
	if err != nil {
		t.Fatal(err)
	}
	ref, insecure := host+"/os:1", "--tls-verify=false"
	var res publish.Result
	text := program(t, nil, "publish", dir, ref, insecure, "--as", "container", "--stream", "stable", "--format", "json").stdout
	if err := json.Unmarshal([]byte(text), &res); err != nil {
		t.Fatal(err)
	}
	image := host + "/os@" + res.Entries[0].Digest
	if s := program(t, nil, "stream", "show", ref, insecure).stdout; !strings.Contains(s, image) {
		t.Errorf("show: %s", s)
	}
	if s := program(t, nil, "stream", "check", ref, insecure).stdout; !strings.Contains(s, "no plain HTTP client") {
		t.Errorf("check: %s", s)
	}
	tmp := t.TempDir()
	document := filepath.Join(tmp, "made.json")
	program(t, nil, "stream", "make", dir, "--stream", "stable", "--repository", ref, insecure, "--out", document)
	if b, err := os.ReadFile(document); err != nil || !strings.Contains(string(b), `"location": "docker://`+image) {
		t.Errorf("%s: %v", b, err)
	}
	for i, from := range []string{ref, document} {
		out := filepath.Join(tmp, fmt.Sprint("disk", i))
		program(t, nil, "stream", "get", from, "metal", "--arch", "x86_64", "--out", out, insecure)
		if b, err := os.ReadFile(out); err != nil || !bytes.Equal(b, want) {
			t.Errorf("%s: %d bytes, %v", from, len(b), err)
		}
	}
	// pull finds the disk through the stream, and not the stream for the disk.
	for _, e := range res.Entries {
		if e.File == source.StreamFile {
			program(t, nil, "pull", host+"/os@"+e.Digest, "--platform", "metal", "--arch", "amd64", "--out", tmp, insecure)
		}
	}
	if b, err := os.ReadFile(filepath.Join(tmp, "os-1-metal.x86_64.raw")); err != nil || !bytes.Equal(b, want) {
		t.Errorf("pull: %d bytes, %v", len(b), err)
	}
	if left, _ := filepath.Glob(filepath.Join(tmp, ".*.part")); len(left) > 0 {
		t.Errorf("left %q", left)
	}
}

// TestStreamResumes: a file that was cut off goes on where it ended, and has
// holes where it has nothing.
func TestStreamResumes(t *testing.T) {
	blob := make([]byte, 8<<20)
	rand.NewChaCha8([32]byte{1}).Read(blob[:3<<20])
	s := shelve(t, "os-1-metal.x86_64.raw", blob, sum(blob))
	repo := strings.TrimSuffix(s.ref(), ":one")
	document, dir := filepath.Join(t.TempDir(), "s.json"), t.TempDir()
	text := fmt.Sprintf(`{"stream": "s", "metadata": {"last-modified": "2026-01-01T00:00:00Z"}, "architectures": {"x86_64": {"artifacts": {"metal": {"release": "1",
		"formats": {"raw": {"disk": {"location": "https://example.com/x", "sha256": %q, "oci": {"image": %q, "digest-ref": "%s@sha256:%s"}}}}}}}}}`,
		sum(blob), repo, repo, sum([]byte(s.manifest)))
	if err := os.WriteFile(document, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "."+sum(blob)+".part"), blob[:2<<20], 0o666); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "disk")
	program(t, nil, "stream", "get", document, "metal", "--arch", "x86_64", "--out", out, "--tls-verify=false")
	b, err := os.ReadFile(out)
	if err != nil || !bytes.Equal(b, blob) || s.sent.Load() != 6<<20 {
		t.Errorf("%d bytes of %d, %d were sent: %v", len(b), len(blob), s.sent.Load(), err)
	}
	if info, err := os.Stat(out); err != nil || raw.Allocated(info) > 4<<20 {
		t.Errorf("takes %d bytes on the disk", raw.Allocated(info))
	}
}

// TestStreamEdits: of many edits at the same time none is lost, and the file
// keeps its mode.
func TestStreamEdits(t *testing.T) {
	name := filepath.Join(t.TempDir(), "s.json")
	if err := os.WriteFile(name, []byte(`{"stream": "s", "architectures": {"x86_64": {}}}`), 0o640); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			p := finish(t, start(t, nil, "stream", "set-image", name, "aws", fmt.Sprint("region-", i), "ami-01234567", "--arch", "x86_64", "--release", "1"))
			if p.code != 0 {
				t.Error(p.stderr)
			}
		})
	}
	all.Wait()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var s stream.Stream
	if err := json.Unmarshal(text, &s); err != nil || len(s.Architectures["x86_64"].Images.Aws.Regions) != 8 {
		t.Errorf("%s: %v", text, err)
	}
	if info, err := os.Stat(name); err != nil || info.Mode() != 0o640 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// TestStreamCheckCode: scripts tell a document that is wrong from one that
// cannot be read.
func TestStreamCheckCode(t *testing.T) {
	name := filepath.Join(t.TempDir(), "s.json")
	for text, code := range map[string]int{`{"architectures": {}}`: exitVerify, `{`: exitVerify, `{"x": 1}`: exitVerify} {
		if err := os.WriteFile(name, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		p := finish(t, start(t, nil, "stream", "check", name, "--format", "json"))
		var all stream.Reports
		if err := json.Unmarshal([]byte(p.stdout), &all); p.code != code || err != nil || len(all[0].Problems) == 0 {
			t.Errorf("%s: %d, %s%s", text, p.code, p.stdout, p.stderr)
		}
	}
	if p := finish(t, start(t, nil, "stream", "check", name+".none")); p.code != exitFailed {
		t.Errorf("%d, %s", p.code, p.stderr)
	}
}
