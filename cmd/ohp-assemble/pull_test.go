package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/sys/unix"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/pull"
)

// A shelf is a registry with one image in it.
type shelf struct {
	*httptest.Server
	manifest string
	blob     []byte
	answer   atomic.Pointer[answer] // may be nil
	sent     atomic.Int64           // bytes of blobs that were asked for
}

// An answer is another than a file that was asked for; false is none.
type answer func(w http.ResponseWriter, r *http.Request) bool

func (s *shelf) answering(a answer) { s.answer.Store(&a) }

// shelve serves a file under 127.0.0.1:PORT/disks:one.
func shelve(t *testing.T, title string, blob []byte, uncompressed string) *shelf {
	t.Helper()
	s := &shelf{blob: blob}
	s.manifest = fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
		"artifactType":"application/vnd.diskimage.raw","annotations":{"dev.ohp.platform":"metal","dev.ohp.uncompressed-sha256":%q},
		"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:%s","size":2},
		"layers":[{"mediaType":"application/octet-stream","digest":"sha256:%s","size":%d,"annotations":{"org.opencontainers.image.title":%q}}]}`,
		uncompressed, sum([]byte("{}")), sum(blob), len(blob), title)
	s.Server = httptest.NewServer(s)
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

func (s *shelf) ref() string { return s.Listener.Addr().String() + "/disks:one" }

func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	other := s.answer.Load()
	switch {
	case strings.Contains(r.URL.Path, "/manifests/"):
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		fmt.Fprint(w, s.manifest)
	case !strings.Contains(r.URL.Path, "/blobs/"):
	case other == nil || *other == nil || !(*other)(w, r):
		from := 0
		fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
		s.sent.Add(int64(len(s.blob) - from))
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(s.blob))
	}
}

// stopAt sends so many bytes, says so, and then no more.
func (s *shelf) stopAt(n int) <-chan struct{} {
	reached := make(chan struct{}, 10)
	s.answering(func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Length", fmt.Sprint(len(s.blob)))
		w.Write(s.blob[:n])
		w.(http.Flusher).Flush()
		reached <- struct{}{}
		<-r.Context().Done()
		return true
	})
	return reached
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rng := rand.NewChaCha8([32]byte{1})
	rng.Read(b)
	return b
}

func gzipOf(b []byte) []byte {
	var out bytes.Buffer
	w, _ := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	w.Write(b)
	w.Close()
	return out.Bytes()
}

// files are the names in a folder, hidden ones included.
func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// awaitSize waits until another process has written so much of a file.
func awaitSize(name string, size int64) {
	for deadline := time.Now().Add(10 * time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if info, err := os.Stat(name); err == nil && info.Size() == size {
			return
		}
	}
}

func wantFile(t *testing.T, dir, name string, content []byte) {
	t.Helper()
	if got := files(t, dir); !slices.Equal(got, []string{name}) {
		t.Errorf("in the folder: %q, want %q alone", got, name)
	}
	if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(b, content) {
		t.Errorf("%s: %v, %d bytes", name, err, len(b))
	}
}

func TestPull(t *testing.T) {
	raw := randomBytes(500_000)
	s := shelve(t, "disk.raw.gz", gzipOf(raw), sum(raw))
	for _, decompress := range []bool{false, true} {
		dir := filepath.Join(t.TempDir(), "deep/out")
		args := []string{"pull", s.ref(), "--tls-verify=false", "--out", dir, "--format", "json", fmt.Sprintf("--decompress=%v", decompress)}
		name, want := "disk.raw.gz", s.blob
		if decompress {
			name, want = "disk.raw", raw
		}
		for try := range 2 { // the second time it is there already
			s.sent.Store(0)
			p := program(t, nil, args...)
			var res pull.Result
			if err := json.Unmarshal([]byte(p.stdout), &res); err != nil {
				t.Fatal(err)
			}
			if try == 1 && s.sent.Load() != 0 {
				t.Error("what was there was fetched again")
			}
			res.Allocated = 0
			digest := "sha256:" + sum([]byte(s.manifest))
			wantRes := pull.Result{
				Reference: strings.TrimSuffix(s.ref(), ":one") + "@" + digest, Digest: digest, Platform: "metal", Format: "raw",
				Path: filepath.Join(dir, name), Size: int64(len(want)), SHA256: sum(want), Uncompressed: sum(raw),
			}
			if res != wantRes {
				t.Errorf("result %+v, want %+v", res, wantRes)
			}
			wantFile(t, dir, name, want)
		}
		// A different file of that name is replaced.
		os.WriteFile(filepath.Join(dir, name), make([]byte, len(want)), 0o644)
		if p := program(t, nil, append(args, "--format", "text")...); !strings.Contains(p.stdout, sum(want)) || !strings.HasPrefix(p.stdout, "FILE ") {
			t.Error(p.stdout)
		}
		wantFile(t, dir, name, want)
	}
}

// TestPullExit checks the exit codes for damaged data and for denied access.
func TestPullExit(t *testing.T) {
	s := shelve(t, "disk.raw", randomBytes(100_000), "")
	wrong := bytes.Clone(s.blob)
	wrong[50_000] ^= 1
	for code, a := range map[int]answer{
		exitVerify: func(w http.ResponseWriter, r *http.Request) bool { w.Write(wrong); return true },
		exitAccess: func(w http.ResponseWriter, r *http.Request) bool { w.WriteHeader(http.StatusForbidden); return true },
		exitFailed: func(w http.ResponseWriter, r *http.Request) bool { w.WriteHeader(http.StatusNotFound); return true },
	} {
		s.answering(a)
		dir := t.TempDir()
		p := finish(t, start(t, nil, "pull", s.ref(), "--tls-verify=false", "--out", dir, "--quiet"))
		if p.code != code || p.stdout != "" || !strings.HasPrefix(p.stderr, "ohp-assemble: "+s.ref()[:9]) {
			t.Errorf("exit code %d, want %d: %s", p.code, code, p.stderr)
		}
		if left := files(t, dir); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
	}
}

// TestPullInterrupted ends pulls in the middle, in every way, and goes on.
func TestPullInterrupted(t *testing.T) {
	raw := randomBytes(3 << 20)
	for _, decompress := range []bool{false, true} {
		for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM, os.Kill} {
			s := shelve(t, "disk.raw.gz", gzipOf(raw), "")
			reached := s.stopAt(2 << 20)
			dir := t.TempDir()
			args := []string{"pull", s.ref(), "--tls-verify=false", "--out", dir, fmt.Sprintf("--decompress=%v", decompress)}
			cmd := start(t, nil, args...)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			<-reached
			part := filepath.Join(dir, "."+sum(s.blob)+".part")
			awaitSize(part, 2<<20)
			cmd.Process.Signal(sig)
			cmd.Wait()
			if b, err := os.ReadFile(part); err != nil || !bytes.Equal(b, s.blob[:2<<20]) {
				t.Fatalf("%v: %v, %d bytes are kept", sig, err, len(b))
			}
			if sig != os.Kill {
				if !strings.Contains(stderr.String(), "2 MiB of it are kept in "+part) || !strings.Contains(stderr.String(), "interrupted") {
					t.Error(stderr.String())
				}
				if got := files(t, dir); len(got) != 1 {
					t.Errorf("left behind: %q", got)
				}
			}
			s.answering(nil)
			program(t, nil, args...)
			if got, want := s.sent.Load(), int64(len(s.blob)-2<<20); got != want {
				t.Errorf("%v: %d bytes were fetched, %d were missing", sig, got, want)
			}
			if decompress {
				wantFile(t, dir, "disk.raw", raw)
			} else {
				wantFile(t, dir, "disk.raw.gz", s.blob)
			}
		}
	}
}

// TestStreamInterrupted: files of a stream are pulled in the same way.
func TestStreamInterrupted(t *testing.T) {
	s := shelve(t, "disk.raw.gz", gzipOf(randomBytes(3<<20)), "")
	reached := s.stopAt(2 << 20)
	dir := t.TempDir()
	doc, repo := filepath.Join(t.TempDir(), "stream.json"), s.Listener.Addr().String()+"/disks"
	text := fmt.Sprintf(`{"stream": "s", "metadata": {"last-modified": "2026-01-02T03:04:05Z"}, "architectures": {"x86_64": {"artifacts": {"metal": {
		"release": "1", "formats": {"raw.gz": {"disk": {"location": "https://host.example/disk.raw.gz", "signature": "", "sha256": %q,
		"oci": {"image": %q, "digest-ref": %q}}}}}}}}}`, sum(s.blob), repo, repo+"@sha256:"+sum([]byte(s.manifest)))
	if err := os.WriteFile(doc, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := start(t, nil, "stream", "get", doc, "metal", "--arch", "x86_64", "--tls-verify=false", "--out", filepath.Join(dir, "disk"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-reached
	part := "." + sum(s.blob) + ".part"
	awaitSize(filepath.Join(dir, part), 2<<20)
	cmd.Process.Signal(os.Interrupt)
	cmd.Wait()
	if got, want := files(t, dir), []string{part}; !slices.Equal(got, want) {
		t.Errorf("left behind: %q, want %q", got, want)
	}
}

// TestPullTwice has several processes pull the same image to the same folder.
func TestPullTwice(t *testing.T) {
	raw := randomBytes(2 << 20)
	s := shelve(t, "disk.raw.gz", gzipOf(raw), sum(raw))
	for _, decompress := range []bool{false, true} {
		s.sent.Store(0)
		dir := t.TempDir()
		results := make(chan process)
		for range 4 {
			cmd := start(t, nil, "pull", s.ref(), "--tls-verify=false", "--out", dir, fmt.Sprintf("--decompress=%v", decompress))
			go func() { results <- finish(t, cmd) }()
		}
		for range 4 {
			if p := <-results; p.code != 0 {
				t.Error(p.stderr)
			}
		}
		if s.sent.Load() != int64(len(s.blob)) {
			t.Errorf("%d bytes were fetched, the blob has %d", s.sent.Load(), len(s.blob))
		}
		if decompress {
			wantFile(t, dir, "disk.raw", raw)
		} else {
			wantFile(t, dir, "disk.raw.gz", s.blob)
		}
	}
}

// TestPullTraps has names in the folder that lead elsewhere.
func TestPullTraps(t *testing.T) {
	s := shelve(t, "disk.raw", randomBytes(100_000), "")
	victim := filepath.Join(t.TempDir(), "victim")
	for name, trap := range map[string]func(name string) error{
		"symlink": func(name string) error { return os.Symlink(victim, name) },
		"link":    func(name string) error { return os.Link(victim, name) },
		"folder":  func(name string) error { return os.Mkdir(name, 0o755) },
		"pipe":    func(name string) error { return unix.Mkfifo(name, 0o644) },
	} {
		os.WriteFile(victim, []byte("precious"), 0o644)
		dir := t.TempDir()
		if err := trap(filepath.Join(dir, "."+sum(s.blob)+".part")); err != nil {
			t.Fatal(err)
		}
		p := finish(t, start(t, nil, "pull", s.ref(), "--tls-verify=false", "--out", dir))
		if p.code != exitFailed {
			t.Errorf("%s: exit code %d: %s", name, p.code, p.stderr)
		}
		if b, _ := os.ReadFile(victim); string(b) != "precious" {
			t.Errorf("%s: what it leads to is gone", name)
		}
	}
	// Under the final name a link is replaced, and not followed.
	dir := t.TempDir()
	os.Symlink(victim, filepath.Join(dir, "disk.raw"))
	program(t, nil, "pull", s.ref(), "--tls-verify=false", "--out", dir)
	wantFile(t, dir, "disk.raw", s.blob)
	if b, _ := os.ReadFile(victim); string(b) != "precious" {
		t.Error("what a link led to is gone")
	}
}

// TestPullFull has no room for the download, or for the decompressed file.
func TestPullFull(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=2m"); err != nil {
		treetest.Missing(t, "OHP_TOOLS", "mounting a small device: "+err.Error())
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	raw := bytes.Repeat(randomBytes(1000), 3000)
	for title, blob := range map[string][]byte{"disk.raw": randomBytes(3 << 20), "disk.raw.gz": gzipOf(raw)} {
		s := shelve(t, title, blob, "")
		args := []string{"pull", s.ref(), "--tls-verify=false", "--decompress", "--out", dir}
		p := finish(t, start(t, nil, args...))
		if p.code != exitFailed || !strings.Contains(p.stderr, "no space left on device") || !strings.Contains(p.stderr, "hint: free some space") {
			t.Errorf("%s: exit code %d: %s", title, p.code, p.stderr)
		}
		if got := files(t, dir); len(got) != 1 || !strings.HasSuffix(got[0], ".part") {
			t.Errorf("%s: %q are there", title, got)
		}
		if err := unix.Mount("none", dir, "tmpfs", unix.MS_REMOUNT, "size=8m"); err != nil {
			t.Fatal(err)
		}
		program(t, nil, args...)
		want := blob
		if title == "disk.raw.gz" {
			want = raw
		}
		wantFile(t, dir, "disk.raw", want)
		os.Remove(filepath.Join(dir, "disk.raw"))
		if err := unix.Mount("none", dir, "tmpfs", unix.MS_REMOUNT, "size=2m"); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPullMemory pulls more than it may have of memory.
func TestPullMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("-short leaves large images out")
	}
	// The image is in a file: the memory of a process counts for the processes that it starts.
	blob, err := os.Create(filepath.Join(t.TempDir(), "blob"))
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	packed, unpacked := sha256.New(), sha256.New()
	z, _ := gzip.NewWriterLevel(io.MultiWriter(blob, packed), gzip.BestSpeed)
	piece := append(randomBytes(1<<20), make([]byte, 3<<20)...)
	for range 48 {
		io.MultiWriter(z, unpacked).Write(piece)
	}
	z.Close()
	info, _ := blob.Stat()
	s := shelve(t, "disk.raw.gz", nil, hex.EncodeToString(unpacked.Sum(nil)))
	s.manifest = strings.Replace(s.manifest, sum(nil)+`","size":0`, fmt.Sprintf(`%x","size":%d`, packed.Sum(nil), info.Size()), 1)
	// The peak is read before the last byte, because that of wait4 includes this process.
	almost, measured := make(chan struct{}), make(chan struct{})
	s.answering(func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Length", fmt.Sprint(info.Size()))
		io.Copy(w, io.NewSectionReader(blob, 0, info.Size()-1))
		w.(http.Flusher).Flush()
		close(almost)
		<-measured
		io.Copy(w, io.NewSectionReader(blob, info.Size()-1, 1))
		return true
	})
	cmd := start(t, nil, "pull", s.ref(), "--tls-verify=false", "--decompress", "--out", t.TempDir())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-almost
	var peak int64
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
	_, line, _ := strings.Cut(string(status), "VmHWM:")
	fmt.Sscan(line, &peak)
	close(measured)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	t.Logf("%d MiB compressed, %d MiB decompressed: peak resident set %d MiB", info.Size()>>20, 48*len(piece)>>20, peak>>10)
	if peak == 0 || peak > 64<<10 {
		t.Errorf("peak resident set %d KiB", peak)
	}
}
