package pull

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/compress"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
)

// isBlob reports whether a request is one for content.
func isBlob(req *http.Request) bool { return strings.Contains(req.URL.Path, "/blobs/sha256:") }

// TestCut interrupts a download at twenty points: the connection, after which the same run
// resumes, and the run, after which the next one resumes.
func TestCut(t *testing.T) {
	r := serve(t)
	content := diskOf(3, 3<<20)
	packed := zstded(content)
	r.artifact(filetype.MediaTypePrefix+"raw", "disk.raw", content, "raw")
	r.artifactOf(func(m *imgspec.Manifest) {
		m.Annotations = map[string]string{stream.AnnotationUncompressed: hexOf(content)}
	}, "disk.raw.zst", packed, "zst")
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 20 {
		tag, blob := "raw", content
		if i%2 == 1 {
			tag, blob = "zst", packed
		}
		at := rng.IntN(len(blob))
		o := options(t)
		o.Decompress = true
		for _, whole := range []bool{false, true} {
			ctx, cancel := context.WithCancel(t.Context())
			var mu sync.Mutex
			var ranges []string
			r.failing(func(w http.ResponseWriter, req *http.Request, n int) bool {
				if !isBlob(req) {
					return false
				}
				mu.Lock()
				ranges = append(ranges, req.Header.Get("Range"))
				mu.Unlock()
				if n == 1 {
					defer func() {
						if whole {
							cancel()
						}
					}()
					r.cut(w, req, at)
				}
				return false
			})
			part, out := temp(t), temp(t)
			img, err := Find(t.Context(), r.name+":"+tag, o)
			if err != nil {
				t.Fatal(err)
			}
			f, err := img.Fetch(ctx, part, out)
			if whole {
				if !errors.Is(err, context.Canceled) {
					t.Fatalf("cut at %d: %v", at, err)
				}
				if kept := contentOf(t, part); !bytes.HasPrefix(blob, kept) {
					t.Fatalf("cut at %d: what is kept is not of the blob", at)
				}
				img, _ = Find(t.Context(), r.name+":"+tag, o)
				f, err = img.Fetch(t.Context(), part, out)
			}
			cancel()
			if err != nil {
				t.Fatalf("cut at %d of %d: %v", at, len(blob), err)
			}
			got := part
			if f.Unpacked {
				got = out
			}
			if f.Unpacked != (tag == "zst") || !bytes.Equal(contentOf(t, got), content) || f.SHA256 != hexOf(content) {
				t.Errorf("cut at %d: another file", at)
			}
			from := 0
			fmt.Sscanf(ranges[len(ranges)-1], "bytes=%d-", &from)
			// Only a hole at the end of the partial file, and one buffer, are fetched again.
			if !whole && from != at || len(ranges) != 2 || from > at {
				t.Errorf("cut at %d, whole run %v: went on with %q", at, whole, ranges)
			}
		}
	}
}

// TestNeverWhole has a registry that cuts every connection after some bytes. A download that
// makes progress completes; one without progress fails.
func TestNeverWhole(t *testing.T) {
	r := serve(t)
	content := noise(4, 5<<20)
	r.artifact(filetype.MediaTypePrefix+"raw", "disk.raw", content, "raw")
	for after, want := range map[int]string{1500 << 10: "", 100: "after 500 of 5242880 bytes: unexpected EOF"} {
		r.failing(func(w http.ResponseWriter, req *http.Request, n int) bool {
			if isBlob(req) {
				r.cut(w, req, after)
			}
			return false
		})
		got, err := get(t, temp(t), r.name+":raw", options(t))
		if want == "" && (err != nil || !bytes.Equal(got.content, content)) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("after %d: %v", after, err)
		}
	}
}

// TestStorm has a registry that is overloaded: a few answers to everything are errors.
func TestStorm(t *testing.T) {
	r := serve(t)
	r.artifact(qcow2Type, "disk.qcow2", qcow2Content, "one")
	for _, status := range []int{408, 429, 500, 502, 503, 504, 0, 1} {
		var n atomic.Int64
		storm := func(forever bool) {
			r.failing(func(w http.ResponseWriter, req *http.Request, _ int) bool {
				if i := n.Add(1); i%4 == 0 && !forever {
					return false
				}
				if status > 1 {
					w.WriteHeader(status)
					return true
				}
				conn, _, err := w.(http.Hijacker).Hijack()
				if err == nil && status == 1 {
					conn.(*net.TCPConn).SetLinger(0) // a reset
				}
				conn.Close()
				return true
			})
		}
		storm(false)
		got, err := get(t, temp(t), r.name+":one", options(t))
		if err != nil || !bytes.Equal(got.content, qcow2Content) {
			t.Errorf("status %d: %v", status, err)
		}
		if n.Load() < 12 {
			t.Errorf("status %d: only %d requests", status, n.Load())
		}
		storm(true)
		n.Store(0)
		if _, err = get(t, temp(t), r.name+":one", options(t)); err == nil || n.Load() > 20 {
			t.Errorf("status %d for ever: %v after %d requests", status, err, n.Load())
		}
	}
	// Others do not go away.
	for _, status := range []int{400, 401, 403, 404, 451, 501} {
		var n atomic.Int64
		r.failing(func(w http.ResponseWriter, req *http.Request, _ int) bool {
			if isBlob(req) {
				n.Add(1)
				w.WriteHeader(status)
			}
			return isBlob(req)
		})
		_, err := get(t, temp(t), r.name+":one", options(t))
		if err == nil || n.Load() != 1 || errors.Is(err, registry.ErrAccess) != (status == 401 || status == 403) || errors.Is(err, registry.ErrNotFound) != (status == 404) {
			t.Errorf("status %d: %v after %d requests", status, err, n.Load())
		}
	}
}

func TestRetryAfter(t *testing.T) {
	r := serve(t)
	r.artifact(qcow2Type, "disk.qcow2", qcow2Content, "one")
	r.failing(func(w http.ResponseWriter, req *http.Request, n int) bool {
		if isBlob(req) && n == 1 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			return true
		}
		return false
	})
	start := time.Now()
	if _, err := get(t, temp(t), r.name+":one", options(t)); err != nil || time.Since(start) < time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
}

// TestWrongBlobs has a registry with other content than its manifests say.
func TestWrongBlobs(t *testing.T) {
	r := serve(t)
	content := gzipped(rawContent)
	r.artifact(rawGzip, "disk.raw.gz", content, "one")
	flip := func(at int) []byte {
		b := bytes.Clone(content)
		b[at] ^= 4
		return b
	}
	for name, blob := range map[string][]byte{
		"truncated": content[:len(content)/2], "longer": append(bytes.Clone(content), 0), "empty": {}, "one byte": content[:1],
		"first bit": flip(0), "bit in the middle": flip(len(content) / 2), "last bit": flip(len(content) - 1), "zeros": make([]byte, len(content)),
	} {
		for _, chunked := range []bool{false, true} {
			r.failing(func(w http.ResponseWriter, req *http.Request, n int) bool {
				if !isBlob(req) {
					return false
				}
				if chunked {
					for piece := blob; len(piece) > 0; piece = piece[min(len(piece), 1000):] {
						w.Write(piece[:min(len(piece), 1000)])
						w.(http.Flusher).Flush()
					}
					return true
				}
				http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(blob))
				return true
			})
			for _, decompress := range []bool{false, true} {
				o := options(t)
				o.Decompress = decompress
				part := temp(t)
				_, err := get(t, part, r.name+":one", o)
				if chunked && name == "longer" { // more than it says is not read
					if err != nil {
						t.Errorf("%s, chunked: %v", name, err)
					}
					continue
				}
				if chunked && len(blob) < len(content) { // it may be a connection that was cut
					if err == nil {
						t.Errorf("%s, chunked: no error", name)
					}
					continue
				}
				if !errors.Is(err, registry.ErrVerify) {
					t.Errorf("%s, chunked %v: %v", name, chunked, err)
				}
				if info, _ := part.Stat(); info.Size() != 0 {
					t.Errorf("%s: %d wrong bytes are kept", name, info.Size())
				}
			}
		}
	}
	// And manifests, one letter of which is another.
	r.failing(func(w http.ResponseWriter, req *http.Request, n int) bool {
		if !strings.Contains(req.URL.Path, "/manifests/sha256:") {
			return false
		}
		real := httptest.NewRecorder()
		r.app.ServeHTTP(real, req)
		w.Write(bytes.Replace(real.Body.Bytes(), []byte("disk.raw"), []byte("dusk.raw"), 1))
		return true
	})
	if _, err := get(t, temp(t), r.name+":one", options(t)); !errors.Is(err, registry.ErrVerify) {
		t.Error(err)
	}
}

// TestRanges has registries that have no ranges, or others than were asked for.
func TestRanges(t *testing.T) {
	r := serve(t)
	content := noise(5, 1<<20)
	r.artifact(filetype.MediaTypePrefix+"raw", "disk.raw", content, "raw")
	for name, answer := range map[string]func(w http.ResponseWriter, from int){
		"none": func(w http.ResponseWriter, from int) { w.Write(content) },
		"416":  func(w http.ResponseWriter, from int) { w.WriteHeader(416) },
		"another start": func(w http.ResponseWriter, from int) {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from-10, len(content)-1, len(content)))
			w.WriteHeader(206)
			w.Write(content[from-10:])
		},
		"nonsense": func(w http.ResponseWriter, from int) {
			w.Header().Set("Content-Range", "bytes 7-5/x")
			w.WriteHeader(206)
			w.Write(content[from:])
		},
		"missing": func(w http.ResponseWriter, from int) {
			w.WriteHeader(206)
			w.Write(content[from:])
		},
		"no total": func(w http.ResponseWriter, from int) {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/*", from, len(content)-1))
			w.WriteHeader(206)
			w.Write(content[from:])
		},
		"less": func(w http.ResponseWriter, from int) {
			to := min(from+200_000, len(content))
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to-1, len(content)))
			w.WriteHeader(206)
			w.Write(content[from:to])
		},
		"another offset": func(w http.ResponseWriter, from int) { // a lie that only the digest tells
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(content)-1, len(content)))
			w.WriteHeader(206)
			w.Write(bytes.Repeat([]byte{1}, len(content)-from))
		},
		"another total": func(w http.ResponseWriter, from int) {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(content), len(content)+1))
			w.WriteHeader(206)
			w.Write(content[from:])
		},
	} {
		r.failing(func(w http.ResponseWriter, req *http.Request, n int) bool {
			if isBlob(req) && n == 1 {
				r.cut(w, req, len(content)/2)
			}
			from := 0
			if fmt.Sscanf(req.Header.Get("Range"), "bytes=%d-", &from); from > 0 {
				answer(w, from)
				return true
			}
			return false
		})
		got, err := get(t, temp(t), r.name+":raw", options(t))
		if lies := name == "another offset" || name == "another total"; lies {
			if !errors.Is(err, registry.ErrVerify) {
				t.Errorf("%s: %v", name, err)
			}
		} else if err != nil || !bytes.Equal(got.content, content) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRedirect has blobs on another host, where credentials are of no business.
func TestRedirect(t *testing.T) {
	r := serve(t)
	r.artifact(qcow2Type, "disk.qcow2", qcow2Content, "one")
	var leaked, asked atomic.Int64
	var broken atomic.Bool
	storage := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		asked.Add(1)
		for _, h := range []string{"Authorization", "Cookie"} {
			if req.Header.Get(h) != "" {
				leaked.Add(1)
			}
		}
		if broken.Load() {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		if asked.Load() == 1 {
			w.Header().Set("Content-Length", fmt.Sprint(len(qcow2Content)))
			w.Write(qcow2Content[:1000])
			return
		}
		http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(qcow2Content))
	}))
	defer storage.Close()
	_, port, _ := net.SplitHostPort(storage.Listener.Addr().String())
	for _, host := range []string{"127.0.0.1", "localhost"} {
		asked.Store(0)
		broken.Store(false)
		tokens := bearer(r, func() string { return "token" })
		r.failing(func(w http.ResponseWriter, req *http.Request, n int) bool {
			if tokens(w, req, n) {
				return true
			}
			if isBlob(req) {
				http.Redirect(w, req, "http://"+host+":"+port+"/x?signature=hidden", http.StatusTemporaryRedirect)
				return true
			}
			return false
		})
		o := options(t)
		os.WriteFile(o.Registry.AuthFile, fmt.Appendf(nil, `{"auths":{%q:{"auth":"dXNlcjpzZWNyZXQ="},%q:{"auth":"dXNlcjpzZWNyZXQ="}}}`, r.Listener.Addr(), storage.Listener.Addr()), 0o600)
		got, err := get(t, temp(t), r.name+":one", o)
		if err != nil || !bytes.Equal(got.content, qcow2Content) {
			t.Errorf("%s: %v", host, err)
		}
		if asked.Load() != 2 {
			t.Errorf("%s: %d requests", host, asked.Load())
		}
		broken.Store(true)
		if _, err = get(t, temp(t), r.name+":one", o); !errors.Is(err, registry.ErrAccess) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %v", host, err)
		}
	}
	if leaked.Load() != 0 {
		t.Errorf("credentials were sent %d times to another host", leaked.Load())
	}
	storage.Close() // nobody listens there any more
	o := options(t)
	os.WriteFile(o.Registry.AuthFile, fmt.Appendf(nil, `{"auths":{%q:{"auth":"dXNlcjpzZWNyZXQ="}}}`, r.Listener.Addr()), 0o600)
	if _, err := get(t, temp(t), r.name+":one", o); err == nil || strings.Contains(err.Error(), "hidden") {
		t.Error(err)
	}
}

// TestExpiry has a token that is worth nothing any more when the connection is cut.
func TestExpiry(t *testing.T) {
	r := serve(t)
	r.artifact(qcow2Type, "disk.qcow2", qcow2Content, "one")
	var token atomic.Int64
	tokens := bearer(r, func() string { return fmt.Sprint("token", token.Load()) })
	r.failing(func(w http.ResponseWriter, req *http.Request, n int) bool {
		if tokens(w, req, n) {
			return true
		}
		if isBlob(req) && token.Load() == 0 {
			token.Store(1)
			r.cut(w, req, 1000)
		}
		return false
	})
	o := options(t)
	os.WriteFile(o.Registry.AuthFile, fmt.Appendf(nil, `{"auths":{%q:{"auth":"dXNlcjpzZWNyZXQ="}}}`, r.Listener.Addr()), 0o600)
	got, err := get(t, temp(t), r.name+":one", o)
	if err != nil || !bytes.Equal(got.content, qcow2Content) || token.Load() != 1 {
		t.Error(err)
	}
}

// TestStalled has a registry that sends nothing more.
func TestStalled(t *testing.T) {
	r := serve(t)
	r.artifact(qcow2Type, "disk.qcow2", qcow2Content, "one")
	for _, what := range []string{"/manifests/", "/blobs/"} {
		for _, after := range []int{-1, 0, 1000} {
			r.failing(func(w http.ResponseWriter, req *http.Request, n int) bool {
				if !strings.Contains(req.URL.Path, what) {
					return false
				}
				if after >= 0 {
					w.Header().Set("Content-Length", fmt.Sprint(len(qcow2Content)))
					w.Write(qcow2Content[:after])
					w.(http.Flusher).Flush()
				}
				<-req.Context().Done()
				return true
			})
			o := options(t)
			o.Registry.ReadTimeout = 100 * time.Millisecond
			part := temp(t)
			_, err := get(t, part, r.name+":one", o)
			if err == nil || !strings.Contains(err.Error(), "the registry has stalled: it sent nothing for 100ms") {
				t.Errorf("%s after %d: %v", what, after, err)
			}
			r.failing(nil)
			if got, err := get(t, part, r.name+":one", options(t)); err != nil || !bytes.Equal(got.content, qcow2Content) {
				t.Errorf("%s after %d, once it is well: %v", what, after, err)
			}
		}
	}
}

// TestDamagedPart finds something else in the file than the beginning of the blob.
func TestDamagedPart(t *testing.T) {
	r := serve(t)
	content := gzipped(rawContent)
	r.artifact(rawGzip, "disk.raw.gz", content, "one")
	flipped := bytes.Clone(content[:len(content)/2])
	flipped[len(flipped)/2] ^= 1
	for name, tc := range map[string]struct {
		part []byte
		gets int
	}{
		"nothing": {nil, 1}, "half": {content[:len(content)/2], 1}, "all": {content, 0},
		"flipped": {flipped, 2}, "garbage": {noise(7, 1000), 2}, "longer": {append(bytes.Clone(content), 1), 1},
		"all, flipped": {append(bytes.Clone(flipped), content[len(flipped):]...), 1}, "zeros": {make([]byte, len(content)), 1},
	} {
		for _, decompress := range []bool{false, true} {
			r.failing(nil)
			o := options(t)
			o.Decompress = decompress
			part := temp(t)
			part.Write(tc.part)
			got, err := get(t, part, r.name+":one", o)
			want := content
			if decompress {
				want = rawContent
			}
			if err != nil || !bytes.Equal(got.content, want) || r.blobGets() != tc.gets {
				t.Errorf("%s, decompress %v: %v, %d requests", name, decompress, err, r.blobGets())
			}
		}
	}
}

func TestDecompress(t *testing.T) {
	r := serve(t)
	for name, tc := range map[string]struct {
		title string
		blob  []byte
		sum   string
		want  string
		err   error
	}{
		"gzip":           {"d.raw.gz", gzipped(rawContent), "", "d.raw", nil},
		"xz":             {"d.raw.xz", xzed(rawContent), hexOf(rawContent), "d.raw", nil},
		"zstd":           {"d.raw.zst", zstded(rawContent), "sha256:" + hexOf(rawContent), "d.raw", nil},
		"zip":            {"d.raw.zip", zipped(t, rawContent), hexOf(rawContent), "d.raw", nil},
		"zstd frames":    {"d.raw.zst", append(zstded(rawContent[:1000]), zstded(rawContent[1000:])...), "", "d.raw", nil},
		"gzip members":   {"d.raw.gz", append(gzipped(rawContent[:1000]), gzipped(rawContent[1000:])...), "", "d.raw", nil},
		"tgz":            {"d.tgz", gzipped(rawContent), "", "d.tar", nil},
		"no suffix":      {"d.raw", gzipped(rawContent), "", "d.raw", nil},
		"wrong suffix":   {"d.raw.xz", gzipped(rawContent), "", "d.raw", nil},
		"wrong digest":   {"d.raw.gz", gzipped(rawContent), hexOf(nil), "", registry.ErrVerify},
		"truncated":      {"d.raw.gz", gzipped(rawContent)[:10_000], "", "", io.ErrUnexpectedEOF},
		"truncated xz":   {"d.raw.xz", xzed(rawContent)[:10_000], "", "", io.ErrUnexpectedEOF},
		"truncated zstd": {"d.raw.zst", zstded(rawContent)[:10_000], "", "", io.ErrUnexpectedEOF},
		"not compressed": {"d.raw.gz", rawContent, "", "d.raw", nil},
		"nor as it says": {"d.raw.gz", rawContent, hexOf(nil), "", registry.ErrVerify},
		"empty":          {"d.raw", nil, "", "d.raw", nil},
	} {
		r.artifactOf(func(m *imgspec.Manifest) {
			if tc.sum != "" {
				m.Annotations = map[string]string{stream.AnnotationUncompressed: tc.sum}
			}
		}, tc.title, tc.blob, "one")
		o := options(t)
		o.Decompress = true
		part := temp(t)
		got, err := get(t, part, r.name+":one", o)
		if !errors.Is(err, tc.err) || tc.err != nil && err == nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want := rawContent
		if name == "empty" {
			want = nil
		}
		if err == nil && (got.Name != tc.want || !bytes.Equal(got.content, want)) {
			t.Errorf("%s: %s, %d bytes", name, got.Name, len(got.content))
		}
		if info, _ := part.Stat(); err != nil && info.Size() != 0 {
			t.Errorf("%s: useless bytes are kept", name)
		}
	}
	// A file that was published uncompressed stays unchanged, even if it begins like gzip.
	tgz := gzipped(rawContent)
	r.artifactOf(func(m *imgspec.Manifest) {
		m.Annotations = map[string]string{stream.AnnotationUncompressed: hexOf(tgz)}
	}, "d.tar.gz", tgz, "one")
	o := options(t)
	o.Decompress = true
	if got, err := get(t, temp(t), r.name+":one", o); err != nil || got.Name != "d.tar.gz" || !bytes.Equal(got.content, tgz) {
		t.Errorf("%s, %v", got.Name, err)
	}
	// An uncompressed file has the digest too, with and without Decompress.
	r.artifactOf(func(m *imgspec.Manifest) {
		m.Annotations = map[string]string{stream.AnnotationUncompressed: hexOf(nil)}
	}, "d.raw", rawContent, "one")
	if _, err := get(t, temp(t), r.name+":one", options(t)); !errors.Is(err, registry.ErrVerify) {
		t.Error(err)
	}
}

func TestUntar(t *testing.T) {
	r := serve(t)
	disk := file{"disk/a.qcow2", qcow2Content}
	for name, tc := range map[string]struct {
		layer []byte
		want  string
	}{
		"plain":      {tarball(disk), ""},
		"gzip":       {gzipped(tarball(disk)), ""},
		"zstd":       {zstded(tarball(disk)), ""},
		"absolute":   {tarball(file{"/disk/a.qcow2", qcow2Content}), ""},
		"two":        {tarball(disk, file{"disk/b", nil}), `has "a.qcow2" and "b" in the folder disk`},
		"none":       {tarball(file{"a.qcow2", qcow2Content}), "has no file in the folder disk"},
		"nested":     {tarball(file{"disk/x/a.qcow2", qcow2Content}), `file name "x/a.qcow2" is rejected`},
		"dotdot":     {tarball(file{"disk/../../a.qcow2", qcow2Content}), "has no file in the folder disk"},
		"truncated":  {tarball(disk)[:20_000], "unexpected EOF"},
		"no tarball": {qcow2Content, "layer: "},
	} {
		r.container(tc.layer, nil, "one")
		got, err := get(t, temp(t), r.name+":one", options(t))
		if tc.want == "" && (err != nil || got.Name != "a.qcow2" || !bytes.Equal(got.content, qcow2Content)) {
			t.Errorf("%s: %v", name, err)
		}
		if tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestFollower reads where the file has a hole at its end, and so does not reach.
func TestFollower(t *testing.T) {
	d := &download{file: temp(t), n: 10_000, ended: true}
	d.cond.L = &d.mu
	d.file.WriteString("x")
	got := bytes.Repeat([]byte("garbage"), 2000)
	n, err := io.ReadFull(&follower{d: d}, got)
	if n != 10_000 || err != io.ErrUnexpectedEOF || got[0] != 'x' || !bytes.Equal(got[1:n], make([]byte, n-1)) {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// TestSparse: zeros take no room, wherever they are.
func TestSparse(t *testing.T) {
	r := serve(t)
	content := make([]byte, 8<<20)
	copy(content[1<<20:], noise(8, 50_000))
	r.artifact(filetype.MediaTypePrefix+"raw", "disk.raw", content, "raw")
	r.artifact(filetype.MediaTypePrefix+"raw.zst", "disk.raw.zst", zstded(content), "zst")
	for _, tag := range []string{"raw", "zst"} {
		o := options(t)
		o.Decompress = true
		part, out := temp(t), temp(t)
		img, err := Find(t.Context(), r.name+":"+tag, o)
		if err != nil {
			t.Fatal(err)
		}
		f, err := img.Fetch(t.Context(), part, out)
		if err != nil {
			t.Fatal(err)
		}
		whole := part
		if f.Unpacked {
			whole = out
		}
		var st syscall.Stat_t
		if err := syscall.Fstat(int(whole.Fd()), &st); err != nil {
			t.Fatal(err)
		}
		if st.Size != int64(len(content)) || st.Blocks*512 > 256<<10 {
			t.Errorf("%s: %d bytes of %d are on the disk", tag, st.Blocks*512, st.Size)
		}
	}
}

// zipped is an archive of one file.
func zipped(t testing.TB, b []byte) []byte {
	t.Helper()
	var packed bytes.Buffer
	z, err := compress.NewWriter(&packed, filetype.Zip, compress.Options{Name: "d.raw"})
	if err != nil {
		t.Fatal(err)
	}
	z.Write(b)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}
