package registry

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"
)

// open returns a repository whose registry is a handler.
func open(t *testing.T, h http.HandlerFunc) *Repo {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	named, err := reference.ParseNormalizedNamed(strings.TrimPrefix(s.URL, "http://") + "/os")
	if err != nil {
		t.Fatal(err)
	}
	no, auth := false, filepath.Join(t.TempDir(), "auth.json")
	if err := os.WriteFile(auth, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := Open(t.Context(), named, Options{TLSVerify: &no, AuthFile: auth, RegistryConf: os.DevNull, Backoff: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// pattern returns n bytes without repetition.
func pattern(n int) (b []byte) {
	for i := 0; len(b) < n; i++ {
		sum := sha256.Sum256(fmt.Append(nil, i))
		b = append(b, sum[:]...)
	}
	return b[:n]
}

// counter is a Progress.
type counter struct{ expected, done atomic.Int64 }

func (c *counter) Expect(n int64) { c.expected.Add(n) }
func (c *counter) Done(n int64)   { c.done.Add(n) }

// TestReadBlob reads through connections that break every 1.5 MiB, from registries with and
// without ranges, from the beginning and from an offset.
func TestReadBlob(t *testing.T) {
	content := pattern(5 << 20)
	want := imgspec.Descriptor{Digest: digest.FromBytes(content), Size: int64(len(content))}
	for _, ranges := range []bool{true, false} {
		for _, from := range []int64{0, 1, 3 << 20, want.Size - 1, want.Size} {
			var connections atomic.Int64
			r := open(t, func(w http.ResponseWriter, req *http.Request) {
				if !strings.Contains(req.URL.Path, "/blobs/") {
					return
				}
				if !ranges {
					req.Header.Del("Range")
				}
				n := 3 << 19 * int(connections.Add(1))
				if ranges {
					n = 3 << 19
				}
				http.ServeContent(&breaking{w, n}, req, "", time.Time{}, bytes.NewReader(content))
			})
			var progress counter
			b := r.ReadBlob(t.Context(), want, from, &progress)
			got, err := io.ReadAll(b)
			if err != nil || !bytes.Equal(got, content[from:]) {
				t.Errorf("ranges %v, from %d: %d bytes, %v", ranges, from, len(got), err)
			}
			if err := b.Close(); err != nil {
				t.Error(err)
			}
			if e, d := progress.expected.Load(), progress.done.Load(); e != d || d < want.Size-from {
				t.Errorf("ranges %v, from %d: %d bytes expected, %d done", ranges, from, e, d)
			}
		}
	}
}

// breaking breaks the connection after n bytes.
type breaking struct {
	http.ResponseWriter
	n int
}

func (b *breaking) Write(p []byte) (int, error) {
	if len(p) > b.n {
		b.ResponseWriter.Write(p[:b.n])
		b.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	b.n -= len(p)
	return b.ResponseWriter.Write(p)
}

// TestReadBlobFails: a registry without progress, or with another blob, is given up.
func TestReadBlobFails(t *testing.T) {
	content := pattern(1 << 20)
	for name, tc := range map[string]struct {
		answer http.HandlerFunc
		want   string
		kind   error
		most   int64 // connections
	}{
		"no progress": {func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(&breaking{w, 1}, r, "", time.Time{}, bytes.NewReader(content))
		}, "after 5 of 1048576 bytes", nil, maxBroken},
		"other size": {func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content[1:]))
		}, "manifest says", ErrVerify, 1},
		"missing":   {http.NotFound, "404", ErrNotFound, 1},
		"forbidden": {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusForbidden) }, "403", ErrAccess, 1},
	} {
		var connections atomic.Int64
		r := open(t, func(w http.ResponseWriter, req *http.Request) {
			if strings.Contains(req.URL.Path, "/blobs/") {
				connections.Add(1)
				tc.answer(w, req)
			}
		})
		b := r.ReadBlob(t.Context(), imgspec.Descriptor{Digest: digest.FromBytes(content), Size: int64(len(content))}, 0, Silent)
		_, err := io.ReadAll(b)
		b.Close()
		if err == nil || !strings.Contains(err.Error(), tc.want) || tc.kind != nil && !errors.Is(err, tc.kind) || connections.Load() > tc.most {
			t.Errorf("%s: %v after %d connections", name, err, connections.Load())
		}
	}
}

// TestContentRange parses ranges of registries.
func TestContentRange(t *testing.T) {
	for s, want := range map[string][2]int64{"bytes 100-199/200": {100, 200}, "bytes 5-9/*": {5, -1}} {
		if from, total, err := parseContentRange(s); err != nil || from != want[0] || total != want[1] {
			t.Errorf("%s: %d, %d, %v", s, from, total, err)
		}
	}
	for _, s := range []string{"", "bytes 5-4/9", "bytes 0-9/9", "bytes */200", "0-9/10"} {
		if from, total, err := parseContentRange(s); err == nil {
			t.Errorf("%q: %d, %d", s, from, total)
		}
	}
}
