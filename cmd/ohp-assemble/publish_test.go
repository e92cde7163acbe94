package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/upload"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry/registrytest"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/build"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/publish"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/source"
)

// makeOutput writes the output folder of a build with one image of so many bytes.
func makeOutput(t *testing.T, size int64) string {
	t.Helper()
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "os-1-metal.x86_64.raw"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	hash := sha256.New()
	if _, err := io.Copy(io.MultiWriter(f, hash), io.NewSectionReader(treetest.Pattern{Seed: 1, Length: size}, 0, size)); err != nil {
		t.Fatal(err)
	}
	meta := &stream.Meta{
		BuildID: "1", Name: "os", OSTreeCommit: strings.Repeat("c", 64), OSTreeTimestamp: "2026-01-02T03:04:05Z", OSTreeVersion: "1", BaseArch: "x86_64",
		Images: map[string]stream.Artifact{"metal": {Path: filepath.Base(f.Name()), SHA256: hex.EncodeToString(hash.Sum(nil)), Size: size}},
	}
	if err := os.WriteFile(filepath.Join(dir, build.MetaFile), stream.Marshal(meta), 0o644); err != nil {
		t.Fatal(err)
	}
	where, err := stream.HTTP("https://example.com")
	if err != nil {
		t.Fatal(err)
	}
	release, err := stream.NewRelease(meta, "s", where)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, source.StreamFile), stream.Marshal(release.Current()), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestPublish publishes a large file, is killed while it does, and publishes
// again, all in little memory.
func TestPublish(t *testing.T) {
	const size = 96 << 20
	host := registrytest.Start(t, registrytest.Debian, "").Host
	dir := makeOutput(t, size)
	args := func(n int) []string {
		return []string{"publish", dir, fmt.Sprintf("%s/os%d", host, n), "--tls-verify=false", "--format", "json", "--view", "all"}
	}
	r := rand.New(rand.NewPCG(7, 8))
	for i := range 4 {
		cmd := start(t, nil, args(i)...)
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(50+r.IntN(400))*time.Millisecond)
		killed := exec.CommandContext(ctx, cmd.Path, cmd.Args[1:]...)
		killed.Env = cmd.Env
		p := finish(t, killed)
		cancel()
		if p.code != 0 && p.code != -1 {
			t.Errorf("exit code %d: %s", p.code, p.stderr)
		}
		p = program(t, nil, args(i)...)
		if !testing.Short() && p.rss > 64<<20 { // the race detector, which is run with -short, takes its part
			t.Errorf("%d MiB of memory for a file of %d", p.rss>>20, size>>20)
		}
		var res publish.Result
		if err := json.Unmarshal([]byte(p.stdout), &res); err != nil {
			t.Fatal(err)
		}
		files := []string{}
		for _, e := range res.Entries {
			files = append(files, e.File)
		}
		if strings.Join(files, " ") != "os-1-metal.x86_64.raw meta.x86_64.json stream.json" || res.Tag != "1-images" || res.Form != publish.Artifact {
			t.Errorf("%+v", res)
		}
		if !strings.Contains(p.stderr, "will be "+res.Reference) {
			t.Errorf("stderr: %s", p.stderr)
		}
		resp, err := http.Get(fmt.Sprintf("http://%s/v2/os%d/blobs/%s", host, i, res.Entries[0].Blob))
		if err != nil {
			t.Fatal(err)
		}
		hash := sha256.New()
		io.Copy(hash, resp.Body)
		resp.Body.Close()
		if "sha256:"+hex.EncodeToString(hash.Sum(nil)) != res.Entries[0].Blob {
			t.Error("the registry has something else")
		}
	}
	p := program(t, nil, "publish", dir, host+"/text:1", "--tls-verify=false", "--as", "container")
	if !strings.Contains(p.stdout, "form: container") || !testing.Short() && p.rss > 64<<20 {
		t.Errorf("%d MiB, %s", p.rss>>20, p.stdout)
	}
}

// TestPublishFails tells failures apart by the exit code.
func TestPublishFails(t *testing.T) {
	denied := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer denied.Close()
	empty := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.Header().Set("Location", "/v2/upload")
			w.WriteHeader(http.StatusAccepted)
		} else if r.Method == http.MethodPatch {
			io.Copy(io.Discard, r.Body)
			w.WriteHeader(http.StatusAccepted)
		} else if r.Method == http.MethodPut {
			w.WriteHeader(http.StatusCreated)
		} else if r.URL.Path != "/v2/" {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer empty.Close()
	host := func(s *httptest.Server) string { return strings.TrimPrefix(s.URL, "http://") }
	good, bad, short, nonsense, other := makeOutput(t, 1<<20), makeOutput(t, 1<<20), makeOutput(t, 1<<20), makeOutput(t, 1<<20), makeOutput(t, 1<<20)
	for dir, text := range map[string]string{nonsense: `{"stream": "s", "architectures": {}}`, other: `{"a": 1}`} {
		if err := os.WriteFile(filepath.Join(dir, source.StreamFile), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	name := "os-1-metal.x86_64.raw"
	if err := os.WriteFile(filepath.Join(bad, name), make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(short, name), 1<<19); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		code   int
		stderr string
		args   []string
	}{
		{exitAccess, "access denied", []string{good, host(denied) + "/os:1"}},
		{exitVerify, "the content to send does not match its digest: its SHA-256 is", []string{bad, host(empty) + "/os:1"}},
		{exitVerify, "has 512 KiB (524288 bytes), want 1 MiB (1048576 bytes)", []string{short, host(empty) + "/os:1"}},
		{exitFailed, "stream.json: missing propert", []string{nonsense, host(empty) + "/os:1"}},
		{exitFailed, "stream.json: unknown document", []string{other, host(empty) + "/os:1"}},
		{exitUsage, "no registry, want HOST/NAME", []string{good, "os:1"}},
		{exitUsage, "missing repository", []string{good}},
		{exitUsage, `view "vagrant"`, []string{good, host(empty) + "/os:1", "--view", "vagrant"}},
		{exitUsage, `form "tape"`, []string{good, host(empty) + "/os:1", "--as", "tape"}},
		{exitUsage, `must be "text" or "json"`, []string{good, host(empty) + "/os:1", "--format", "xml"}},
		{exitFailed, "not the output folder of build", []string{t.TempDir(), host(empty) + "/os:1"}},
		{exitFailed, "authfile: ", []string{good, host(empty) + "/os:1", "--authfile", "/none"}},
	} {
		p := finish(t, start(t, nil, append([]string{"publish", "--tls-verify=false"}, tc.args...)...))
		said := false
		for want := range strings.SplitSeq(tc.stderr, "|") {
			said = said || strings.Contains(p.stderr, want)
		}
		if p.code != tc.code || !said || p.stdout != "" {
			t.Errorf("%q: exit code %d, want %d and %q\n%s", tc.args, p.code, tc.code, tc.stderr, p.stderr)
		}
	}
}

// TestPublishRecords: the digest of each image's own manifest is printed, and
// recorded beside the image; that changes nothing that is published.
func TestPublishRecords(t *testing.T) {
	host := registrytest.Start(t, registrytest.Debian, "").Host
	dir := makeOutput(t, 1<<20)
	image := filepath.Join(dir, "os-1-metal.x86_64.raw")
	m := opened(t, dir)
	a := m.Images["metal"]
	for name, text := range map[string][]byte{
		build.MetaFile:   append(stream.Marshal(m.Meta), ' '), // lost if the file is written
		build.ImagesFile: []byte(`{"` + a.Path + `": {"format": "raw", "virtual-size": 1048576}}`),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	doc, err := upload.New(cloud.File{
		Platform: "metal", Name: filepath.Base(image), Content: cloud.Content{Size: a.Size, SHA256: a.SHA256}, Type: filetype.Type{Format: filetype.Raw}, VirtualSize: 1 << 20,
	}, upload.System{Arch: "x86_64", OS: "os", Version: "1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(upload.FileName(image), doc.Marshal(), 0o644); err != nil {
		t.Fatal(err)
	}
	meta := fileSum(t, filepath.Join(dir, build.MetaFile))
	put := func(repository string, args ...string) publish.Result {
		p := program(t, nil, append([]string{"publish", dir, host + "/" + repository + ":1", "--tls-verify=false", "--format", "json", "--cache", t.TempDir()}, args...)...)
		var res publish.Result
		if err := json.Unmarshal([]byte(p.stdout), &res); err != nil {
			t.Fatal(err)
		}
		return res
	}
	recorded := func(want ...cloud.Place) {
		t.Helper()
		m := opened(t, dir)
		got, _ := m.File("metal")
		if !slices.Equal(got.Published, want) || got.VirtualSize != 1<<20 {
			t.Errorf("images.json: %+v, want %+v", got, want)
		}
		text, err := os.ReadFile(upload.FileName(filepath.Join(dir, got.Name)))
		if err != nil {
			t.Fatal(err)
		}
		var doc upload.Document
		if err := json.Unmarshal(text, &doc); err != nil {
			t.Fatal(err)
		}
		var places []cloud.Place
		for _, p := range doc.Image.Published {
			places = append(places, cloud.Place(p))
		}
		if !slices.Equal(places, want) || doc.Image.SHA256 != got.SHA256 || len(doc.Steps) == 0 {
			t.Errorf("upload document: %+v, want %+v", doc.Image, want)
		}
	}
	one := put("one")
	e := one.Entries[0]
	req, err := http.NewRequestWithContext(t.Context(), http.MethodHead, "http://"+host+"/v2/one/manifests/"+e.Digest, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp, err)
	}
	resp.Body.Close()
	if e.Reference != host+"/one@"+e.Digest || e.OCI != "oci://"+e.Reference || e.SHA256 != a.SHA256 || one.Entries[1].OCI != "" {
		t.Errorf("%+v", one.Entries)
	}
	first := cloud.Place{Repository: host + "/one", Manifest: e.Digest}
	recorded(first)
	if again := put("one"); again.Digest != one.Digest || fileSum(t, filepath.Join(dir, build.MetaFile)) != meta {
		t.Errorf("%s, then %s", one.Digest, again.Digest)
	}
	recorded(first)
	boxed := put("two", "--as", "container").Entries[0] // which Ironic treats as a system to install
	if boxed.OCI != "" || boxed.Digest == e.Digest {
		t.Errorf("%+v", boxed)
	}
	recorded(first, cloud.Place{Repository: host + "/two", Manifest: boxed.Digest})
	if p := program(t, nil, "publish", dir, host+"/one:1", "--tls-verify=false", "--cache", t.TempDir()); !strings.Contains(p.stdout, "oci://"+host+"/one@"+e.Digest) {
		t.Errorf("%s", p.stdout)
	}
	program(t, nil, "compress", dir, "--compress", "gzip") // which makes another file
	recorded()
}
