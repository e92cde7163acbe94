package publish

import (
	"context"
	"encoding/pem"
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
	"sync/atomic"
	"testing"
	"time"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
)

// complete sees that a registry has all that was published.
func complete(t *testing.T, reg *fake, r *Result, disks []image) {
	t.Helper()
	for _, i := range disks {
		if b := reg.blobs["os@sha256:"+sum(i.content)]; sum(b) != sum(i.content) {
			t.Errorf("%s is not there, or not what it was", i.path)
		}
	}
	if got := len(reg.index(t, "os", "1").Manifests); got != len(r.Entries) {
		t.Errorf("%d entries", got)
	}
}

// TestCut breaks the connection at 20 points of an upload. Within a run it goes
// on where it was, if the registry can tell where that is.
func TestCut(t *testing.T) {
	const size = 6 << 20
	disks := images("x86_64", size)[1:2]
	dir := t.TempDir()
	makeBuild(t, dir, "x86_64", disks, nil)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 20 {
		at := r.Int64N(size)
		for _, status := range []bool{true, false} {
			t.Run(fmt.Sprint(at, status), func(t *testing.T) {
				reg := newFake(t)
				reg.noStatus = !status
				reg.maxPatch = 4 << 20
				var cuts, sent atomic.Int64
				reg.cut = func(r *http.Request) int64 {
					if r.ContentLength > 1<<20 && cuts.Add(1) <= int64(1+i%3) {
						n := min(at, r.ContentLength/2)
						sent.Add(n)
						return n
					}
					sent.Add(r.ContentLength)
					return -1
				}
				got := publish(t, dir, reg.host+"/os:1", options(t))
				complete(t, reg, got, disks)
				if n := sent.Load(); status && n > size+8192 {
					t.Errorf("%d bytes were sent, the file has %d", n, size)
				}
			})
		}
	}
}

// TestKilled ends a run at 20 points of it, and runs again.
func TestKilled(t *testing.T) {
	disks := images("x86_64", 1<<20)
	dir := t.TempDir()
	makeBuild(t, dir, "x86_64", disks, nil)
	want := publish(t, dir, newFake(t).host+"/os:1", options(t)).Digest
	r := rand.New(rand.NewPCG(3, 4))
	resent := 0
	for range 20 {
		at := r.Int64N(4 << 20)
		reg := newFake(t)
		ctx, kill := context.WithCancel(t.Context())
		var seen atomic.Int64
		o := options(t)
		o.Progress = progress(func(n int64) {
			if seen.Add(n) > at {
				kill()
			}
		})
		if _, err := Publish(ctx, dir, reg.host+"/os:1", o); err == nil && seen.Load() > at+1<<20 {
			t.Error("it was not killed")
		}
		reg.mu.Lock() // the interrupted request may still be in progress
		if len(reg.tags) > 0 && ctx.Err() != nil && len(reg.manifests) < len(disks) {
			t.Error("there is a tag of what is not whole")
		}
		there := len(reg.blobs)
		reg.mu.Unlock()
		kill()
		got := publish(t, dir, reg.host+"/os:1", options(t))
		if got.Digest != want {
			t.Errorf("index %s, want %s", got.Digest, want)
		}
		n := 0
		for _, e := range got.Entries {
			if e.Transfer == registry.Present {
				n++
			}
		}
		if there > 1 && n == 0 {
			t.Errorf("%d blobs were there, and were sent again", there)
		}
		resent += len(got.Entries) - n
		complete(t, reg, got, disks)
	}
	t.Logf("of 20 runs with %d blobs, the second ones sent %d", len(disks)-1, resent)
}

type progress func(int64)

func (p progress) Expect(int64) {}
func (p progress) Done(n int64) { p(n) }

// TestStorm has a registry that refuses two requests in three for want of time.
func TestStorm(t *testing.T) {
	disks := images("x86_64", 200000)
	dir := t.TempDir()
	makeBuild(t, dir, "x86_64", disks, nil)
	for _, status := range []int{429, 500, 502, 503, 504} {
		reg := newFake(t)
		var mu sync.Mutex
		n := map[string]int{}
		reg.before = func(w http.ResponseWriter, r *http.Request) bool {
			mu.Lock()
			defer mu.Unlock()
			n[r.Method+r.URL.Path]++
			if r.URL.Path == "/v2/" || n[r.Method+r.URL.Path]%3 == 0 {
				return false
			}
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(status)
			return true
		}
		complete(t, reg, publish(t, dir, reg.host+"/os:1", options(t)), disks)
	}
	// One that never has time is given up in the end, and no form is blamed.
	reg := newFake(t)
	reg.before = func(w http.ResponseWriter, r *http.Request) bool {
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	}
	if _, err := Publish(t.Context(), dir, reg.host+"/os:1", options(t)); err == nil || !strings.Contains(err.Error(), "503") {
		t.Error(err)
	}
	// It is asked again when it said, not before.
	reg = newFake(t)
	var first, second time.Time
	reg.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/v2/os/manifests/1" || !second.IsZero() {
			return false
		}
		if first.IsZero() {
			first = time.Now()
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			return true
		}
		second = time.Now()
		return false
	}
	one := t.TempDir()
	makeBuild(t, one, "x86_64", disks[1:2], nil)
	publish(t, one, reg.host+"/os:1", options(t))
	if d := second.Sub(first); d < time.Second {
		t.Errorf("asked again after %v", d)
	}
}

// TestToken has a registry whose tokens expire with every third request, also in the
// middle of a blob, and a token server that wants a password.
func TestToken(t *testing.T) {
	disks := images("x86_64", 9<<20)[:2]
	dir := t.TempDir()
	makeBuild(t, dir, "x86_64", disks, nil)
	reg := newFake(t)
	reg.maxPatch = 4 << 20
	var mu sync.Mutex
	needs := map[string]int{} // the first token that is good for a request
	issued, cuts := 0, 0
	reg.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/token" {
			return false
		}
		if user, password, _ := r.BasicAuth(); user != "me" || password != "secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		mu.Lock()
		issued++
		token := fmt.Sprint("t", issued)
		mu.Unlock()
		fmt.Fprintf(w, `{"token":%q}`, token)
		return true
	}
	reg.allow = func(r *http.Request) (string, bool) {
		mu.Lock()
		defer mu.Unlock()
		token, request := 0, fmt.Sprint(r.Method, r.URL, r.Header.Get("Content-Range"))
		fmt.Sscanf(r.Header.Get("Authorization"), "Bearer t%d", &token)
		if _, seen := needs[request]; !seen {
			needs[request] = 1
			if len(needs)%3 == 0 { // then the tokens that there are have expired
				needs[request] = issued + 1
			}
		}
		return fmt.Sprintf(`Bearer realm="%s/token",service="test",scope="repository:os:pull,push"`, reg.URL), token >= needs[request]
	}
	reg.cut = func(r *http.Request) int64 { // so that it goes on in pieces
		mu.Lock()
		defer mu.Unlock()
		if cuts++; cuts <= 2 && r.ContentLength > 1<<20 {
			return 1 << 20
		}
		return -1
	}
	o := options(t)
	write(t, o.Registry.AuthFile, fmt.Appendf(nil, `{"auths":{%q:{"auth":"bWU6c2VjcmV0"}}}`, reg.host)) // me:secret
	complete(t, reg, publish(t, dir, reg.host+"/os:1", o), disks)
	if issued < 5 {
		t.Errorf("%d tokens", issued)
	}
	o = options(t)
	if _, err := Publish(t.Context(), dir, reg.host+"/os:2", o); !isAccess(err) {
		t.Error(err)
	}
}

func isAccess(err error) bool {
	return err != nil && strings.Contains(err.Error(), registry.ErrAccess.Error())
}

// TestRedirect has a registry that takes blobs elsewhere, by redirection or by
// the place that it names. No password goes there.
func TestRedirect(t *testing.T) {
	disks := images("x86_64", 300000)[:2]
	dir := t.TempDir()
	makeBuild(t, dir, "x86_64", disks, nil)
	for _, how := range []string{"redirect", "location"} {
		reg := newFake(t)
		var elsewhere, leaked atomic.Int64
		other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			elsewhere.Add(1)
			if r.Header.Get("Authorization") != "" {
				leaked.Add(1)
			}
			reg.ServeHTTP(w, r)
		}))
		t.Cleanup(other.Close)
		var mu sync.Mutex
		reg.before = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Host != reg.host {
				return false
			}
			mu.Lock()
			defer mu.Unlock()
			if user, _, _ := r.BasicAuth(); user != "me" {
				w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
				w.WriteHeader(http.StatusUnauthorized)
				return true
			}
			switch {
			case how == "redirect" && r.Method == http.MethodPatch:
				io.Copy(io.Discard, r.Body)
				http.Redirect(w, r, other.URL+r.URL.Path, http.StatusTemporaryRedirect)
				return true
			case how == "location" && r.Method == http.MethodPost:
				rec := httptest.NewRecorder()
				reg.serve(rec, r, "/blobs/uploads/", "os", "")
				w.Header().Set("Location", other.URL+rec.Header().Get("Location"))
				w.WriteHeader(rec.Code)
				return true
			}
			return false
		}
		o := options(t)
		write(t, o.Registry.AuthFile, fmt.Appendf(nil, `{"auths":{%q:{"auth":"bWU6c2VjcmV0"}}}`, reg.host))
		complete(t, reg, publish(t, dir, reg.host+"/os:1", o), disks)
		if elsewhere.Load() == 0 || leaked.Load() != 0 {
			t.Errorf("%s: %d requests went elsewhere, %d with a password", how, elsewhere.Load(), leaked.Load())
		}
	}
}

// TestStalled has a registry that takes a blob no further.
func TestStalled(t *testing.T) {
	dir := t.TempDir()
	makeBuild(t, dir, "x86_64", images("x86_64", 16<<20)[1:2], nil)
	reg := newFake(t)
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	reg.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPatch && r.ContentLength > 1<<20 {
			<-over
			return true
		}
		return false
	}
	o := options(t)
	o.Registry.WriteTimeout = 250 * time.Millisecond
	_, err := Publish(t.Context(), dir, reg.host+"/os:1", o)
	if err == nil || !strings.Contains(err.Error(), "the registry took no data for 250ms") {
		t.Error(err)
	}
}

// TestTLS has a registry whose certificate is known from a folder, or not at all;
// and a helper that has its password.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	makeBuild(t, dir, "x86_64", images("x86_64", 1000)[:2], nil)
	reg := newFake(t)
	reg.allow = func(r *http.Request) (string, bool) {
		user, password, _ := r.BasicAuth()
		return `Basic realm="x"`, user == "me" && password == "secret"
	}
	secure := httptest.NewTLSServer(reg)
	defer secure.Close()
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	host := strings.TrimPrefix(secure.URL, "https://")
	config := t.TempDir()
	certs := filepath.Join(config, "containers", "certs.d")
	if err := os.MkdirAll(filepath.Join(certs, host), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(certs, host, "ca.crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}))
	bin := t.TempDir()
	helper := "#!/bin/sh\nread server\n[ \"$1 $server\" = \"get " + host + "\" ] && echo '{\"ServerURL\":\"'$server'\",\"Username\":\"me\",\"Secret\":\"secret\"}'\n"
	if err := os.WriteFile(filepath.Join(bin, "docker-credential-test"), []byte(helper), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	yes, no := true, false
	for _, tc := range []struct {
		verify *bool
		config string // the user's folder of configuration
		certs  string
		want   string
	}{
		{nil, "/none", "", "certificate"}, {&yes, "/none", "", "certificate"}, {nil, "/none", filepath.Join(certs, host), ""},
		{&yes, config, "", ""}, {nil, config, "", ""}, {&no, "/none", "", ""},
	} {
		o := options(t)
		t.Setenv("XDG_CONFIG_HOME", tc.config)
		o.Registry.TLSVerify, o.Registry.CertDir = tc.verify, tc.certs
		write(t, o.Registry.AuthFile, fmt.Appendf(nil, `{"credHelpers":{%q:"test"}}`, host))
		_, err := Publish(t.Context(), dir, host+"/os:1", o)
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: %v", tc, err)
		}
	}
	// Where TLS is wanted, nothing goes out without it.
	o := options(t)
	o.Registry.TLSVerify = nil
	if _, err := Publish(t.Context(), dir, reg.host+"/os:1", o); err == nil || !strings.Contains(err.Error(), "HTTPS") {
		t.Error(err)
	}
}

// TestDenied is told from other failures.
func TestDenied(t *testing.T) {
	dir := t.TempDir()
	makeBuild(t, dir, "x86_64", images("x86_64", 1000)[:2], nil)
	for _, status := range []int{401, 403} {
		for _, path := range []string{"/v2/os/manifests/1", "/v2/os/blobs/", "/v2/os/blobs/uploads/"} {
			reg := newFake(t)
			reg.before = func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasPrefix(r.URL.Path, path) {
					return false
				}
				w.WriteHeader(status)
				return true
			}
			if _, err := Publish(t.Context(), dir, reg.host+"/os:1", options(t)); !isAccess(err) {
				t.Errorf("%d on %s: %v", status, path, err)
			}
		}
	}
	for _, to := range []string{"os:1", "lib/os", "host.example/OS", "host.example/os@sha256:" + strings.Repeat("0", 64)} {
		if _, err := Publish(t.Context(), dir, to, options(t)); err == nil || !strings.Contains(err.Error(), ErrOptions.Error()) {
			t.Errorf("%s: %v", to, err)
		}
	}
	if _, err := Publish(t.Context(), filepath.Join(dir, "none"), "host.example/os", options(t)); err == nil || !strings.Contains(err.Error(), "not the output folder of build") {
		t.Error(err)
	}
}
