package oci

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/pkg/sysregistriesv2"
	"go.podman.io/image/v5/types"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
)

// TestStalled has a registry that sends nothing more, in every place where it can.
func TestStalled(t *testing.T) {
	m := newImage(tarball(file{"etc/a", noise(1, 1<<20)}))
	top := m.done()
	for name, path := range map[string]string{
		"manifest": "manifests/stable",
		"config":   "blobs/" + m.manifest.Config.Digest.String(),
		"layer":    "blobs/" + m.manifest.Layers[0].Digest.String(),
	} {
		for _, after := range []int{-1, 0, 100} { // bytes; -1 is before the header
			t.Run(fmt.Sprint(name, after), func(t *testing.T) {
				reg := serve(t, m, top)
				reg.fail = func(w http.ResponseWriter, r *http.Request, p string, _ int) bool {
					if p != path {
						return false
					}
					if after >= 0 {
						b := m.blobs[digest.Digest(p[strings.LastIndex(p, "/")+1:])]
						if b == nil {
							b = m.blobs[top]
						}
						w.Header().Set("Content-Length", fmt.Sprint(len(b)))
						w.Write(b[:after])
						w.(http.Flusher).Flush()
					}
					<-r.Context().Done()
					return true
				}
				o := options(t, t.TempDir())
				o.Registry.ReadTimeout = 150 * time.Millisecond
				_, err := Pull(t.Context(), reg.ref, o)
				checkFault(t, err, nil, "the registry has stalled: it sent nothing for 150ms")
				checkCache(t, o.Cache)
			})
		}
	}
}

// A slowBlob is a source and reader of a blob that takes its time before each of
// so many bytes.
type slowBlob struct {
	imageSource
	io.ReadCloser
	bytes int
	delay time.Duration
}

func (s *slowBlob) GetBlob(context.Context, types.BlobInfo, types.BlobInfoCache) (io.ReadCloser, int64, error) {
	time.Sleep(s.delay)
	return s, -1, nil
}

func (s *slowBlob) Read(p []byte) (int, error) {
	time.Sleep(s.delay)
	if s.bytes == 0 {
		return 0, io.EOF
	}
	s.bytes--
	return 1, nil
}

func (s *slowBlob) Close() error { return nil }

// TestSlow has a registry that does not stall, however long it takes, and a
// reader that is slower still. Its clock does not depend on the machine.
func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 10 * time.Second
		src := &slowBlob{bytes: 100, delay: limit - time.Second}
		r, err := remoteBlob(t.Context(), src, types.BlobInfo{}, limit)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		p := make([]byte, 10)
		for n := 0; ; n++ {
			_, err := r.Read(p)
			if err == io.EOF && n == 100 {
				return
			}
			if err != nil {
				t.Fatalf("after %d bytes: %v", n, err)
			}
			time.Sleep(2 * limit)
		}
	})
}

// TestMirror pulls an image whose registry is not there, but a mirror of it.
func TestMirror(t *testing.T) {
	m := newImage(tarball(file{"etc/a", "a"}))
	top := m.done()
	reg := serve(t, m, top)
	gone := serve(t, m, top)
	gone.Close()
	for name, conf := range map[string]string{
		"mirror":   "[[registry]]\nprefix=\"vendor.example\"\nlocation=%[2]q\ninsecure=true\n[[registry.mirror]]\nlocation=%[1]q\ninsecure=true\n",
		"location": "[[registry]]\nprefix=\"vendor.example\"\nlocation=%[1]q\ninsecure=true\n",
		"blocked":  "[[registry]]\nprefix=\"vendor.example\"\nlocation=%[1]q\nblocked=true\n",
	} {
		o := options(t, t.TempDir())
		host, goneHost := strings.TrimPrefix(reg.URL, "http://"), strings.TrimPrefix(gone.URL, "http://")
		write(t, o.Registry.RegistryConf, fmt.Appendf(nil, conf, host, goneHost))
		for _, ref := range []string{"docker://vendor.example/os:stable", "vendor.example/os@" + top.String()} {
			o.Cache = t.TempDir()
			if name == "blocked" {
				_, err := Pull(t.Context(), ref, o)
				checkFault(t, err, registry.ErrAccess, "blocks vendor.example")
				continue
			}
			checkAllowed(t, ref, o)
			// The policy is that for the name, not for the mirror.
			o.Policy = writePolicy(t, policyReject, "vendor.example")
			checkRejected(t, reg, ref, o, "rejects it")
			o.Policy = writePolicy(t, policyReject, host)
			checkAllowed(t, ref, o)
			o.Policy = ""
		}
		if name == "mirror" { // all that it pulled stays forbidden, once it is
			write(t, o.Registry.RegistryConf, fmt.Appendf(nil, conf+"[[registry.mirror]]\nlocation=%[2]q\ninsecure=true\n", goneHost, goneHost))
			sysregistriesv2.InvalidateCache()
			_, err := Pull(t.Context(), "docker://vendor.example/os:stable", o)
			checkFault(t, err, nil, "Mirrors also failed")
			write(t, o.Registry.RegistryConf, []byte("[[registry]]\nlocation=\"vendor.example\"\nblocked=true\n"))
			sysregistriesv2.InvalidateCache()
			_, err = Pull(t.Context(), "vendor.example/os@"+top.String(), o)
			checkFault(t, err, registry.ErrAccess, "blocks vendor.example")
		}
	}
}

func TestShortNames(t *testing.T) {
	m := newImage(tarball(file{"etc/a", "a"}))
	top := m.done()
	reg := serve(t, m, top)
	host := strings.TrimPrefix(reg.URL, "http://")
	t.Setenv("HOME", t.TempDir()) // which may have aliases
	for _, tc := range []struct{ conf, ref, want string }{
		{"[aliases]\n\"my-os\"=\"HOST/os\"\n", "my-os:stable", ""},
		{"[aliases]\n\"my-os\"=\"HOST/os\"\n", "my-os@" + top.String(), ""},
		{"unqualified-search-registries=[\"HOST\"]\n", "os:stable", ""},
		{"unqualified-search-registries=[\"HOST\",\"b.example\"]\n", "os:stable", "use one of HOST/os, b.example/os"},
		{"", "os:stable", "the full name may be docker.io/library/os"},
		{"", "a/os:stable", "the full name may be docker.io/a/os"},
	} {
		o := options(t, t.TempDir())
		write(t, o.Registry.RegistryConf, []byte(strings.ReplaceAll(tc.conf, "HOST", host)))
		img, err := Pull(t.Context(), tc.ref, o)
		if tc.want != "" {
			checkFault(t, err, nil, strings.ReplaceAll(tc.want, "HOST", host))
			continue
		}
		if err != nil {
			t.Error(err)
			continue
		}
		if !strings.HasPrefix(img.Reference, "docker://"+host+"/os") {
			t.Errorf("%s: %s", tc.ref, img.Reference)
		}
		img.Close()
	}
}

// TestCredentials takes the password from a file and from a helper.
func TestCredentials(t *testing.T) {
	m := newImage(tarball(file{"etc/a", "a"}))
	reg := serve(t, m, m.done())
	reg.auth = "user:secret"
	host := strings.TrimPrefix(reg.URL, "http://")
	bin := t.TempDir()
	helper := "#!/bin/sh\nread server\n[ \"$1 $server\" = \"get " + host + "\" ] && echo '{\"ServerURL\":\"'$server'\",\"Username\":\"user\",\"Secret\":\"secret\"}'\n"
	if err := os.WriteFile(filepath.Join(bin, "docker-credential-test"), []byte(helper), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	for name, auth := range map[string]string{
		"file":   fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, base64.StdEncoding.EncodeToString([]byte("user:secret"))),
		"helper": fmt.Sprintf(`{"credHelpers":{%q:"test"}}`, host),
		"wrong":  fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, base64.StdEncoding.EncodeToString([]byte("user:guess"))),
		"none":   `{}`,
	} {
		o := options(t, t.TempDir())
		write(t, o.Registry.AuthFile, []byte(auth))
		img, err := Pull(t.Context(), reg.ref, o)
		if name == "wrong" || name == "none" {
			if !errors.Is(err, registry.ErrAccess) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		img.Close()
	}
}

// TestLogin has credentials that are given: they go before those of files, and
// only to the host that the reference names.
func TestLogin(t *testing.T) {
	m := newImage(tarball(file{"etc/a", "a"}))
	reg := serve(t, m, m.done())
	reg.auth = "user:secret"
	host := strings.TrimPrefix(reg.URL, "http://")
	file := `{"auths":{%q:{"auth":%q}}}`
	for name, tc := range map[string]struct {
		login registry.Login
		file  string // user and password
		ref   string
		ok    bool
	}{
		"login":            {registry.Login{Username: "user", Password: "secret"}, "user:guess", reg.ref, true},
		"wrong login":      {registry.Login{Username: "user", Password: "hunter2"}, "user:secret", reg.ref, false},
		"user only":        {registry.Login{Username: "user"}, "user:secret", reg.ref, false},
		"of another host":  {registry.Login{Username: "user", Password: "secret"}, "user:guess", "docker://vendor.example/os:stable", false},
		"file for a place": {registry.Login{Username: "user", Password: "hunter2"}, "user:secret", "docker://vendor.example/os:stable", true},
	} {
		o := options(t, t.TempDir())
		o.Registry.Login = &tc.login
		write(t, o.Registry.AuthFile, fmt.Appendf(nil, file, host, base64.StdEncoding.EncodeToString([]byte(tc.file))))
		write(t, o.Registry.RegistryConf, fmt.Appendf(nil, "[[registry]]\nprefix=\"vendor.example\"\nlocation=%q\n", host))
		img, err := Pull(t.Context(), tc.ref, o)
		if tc.ok && err == nil {
			img.Close()
		} else if tc.ok || !errors.Is(err, registry.ErrAccess) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
