package main

import (
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
)

// credentials writes a file of them.
func credentials(t *testing.T, name, host, userPassword string) string {
	t.Helper()
	text := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, base64.StdEncoding.EncodeToString([]byte(userPassword)))
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestCredentials takes them from where podman, skopeo and docker look, with
// every kind of command. One that was let in finds nothing.
func TestCredentials(t *testing.T) {
	s := newTestServer(t)
	s.secure("secret")
	host := strings.TrimPrefix(s.URL, "http://")
	dir := t.TempDir()
	good := credentials(t, filepath.Join(dir, "good.json"), host, "me:secret")
	wrong := credentials(t, filepath.Join(dir, "wrong.json"), host, "me:guess")
	docker := filepath.Dir(credentials(t, filepath.Join(dir, "docker/config.json"), host, "me:secret"))
	home := filepath.Dir(filepath.Dir(credentials(t, filepath.Join(dir, "home/.docker/config.json"), host, "me:secret")))
	none := filepath.Join(dir, "none.json")
	disk := []byte("QFI\xfbdisk")
	build, file := testBuild(t, disk)
	if err := os.WriteFile(filepath.Join(build, file), disk, 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "out")
	commands := [][]string{
		{"inspect", host + "/os:1"}, {"build", host + "/os:1", "--out", out}, {"plan", host + "/os:1"}, {"diff", host + "/os:1", host + "/os:2"},
		{"pull", host + "/os:1", "--out", out}, {"publish", build, host + "/os:1"}, {"stream", "show", host + "/os:1"},
	}
	for _, tc := range []struct {
		env, args []string
		ok        bool
	}{
		{nil, nil, false},
		{nil, []string{"--authfile", good}, true},
		{[]string{"REGISTRY_AUTH_FILE=" + good}, nil, true},
		{[]string{"REGISTRY_AUTH_FILE="}, []string{"--authfile", good}, true},
		{[]string{"REGISTRY_AUTH_FILE=" + good}, []string{"--authfile", wrong}, false},
		{[]string{"REGISTRY_AUTH_FILE=" + none}, []string{"--authfile", good}, true},
		{[]string{"REGISTRY_AUTH_FILE=" + none, "HOME=" + home}, nil, false},
		{[]string{"REGISTRY_AUTH_FILE=" + wrong, "DOCKER_CONFIG=" + docker}, nil, false},
		{[]string{"DOCKER_CONFIG=" + docker}, nil, true},
		{[]string{"HOME=" + home}, nil, true},
		{nil, []string{"--creds", "me:secret"}, true},
		{[]string{"REGISTRY_AUTH_FILE=" + good}, []string{"--creds", "me:hunter2"}, false},
		{[]string{"REGISTRY_AUTH_FILE=" + good}, []string{"--creds", "me"}, false},
	} {
		some := commands
		if tc.args != nil && tc.env == nil || len(tc.env) == 2 {
			some = commands[:1] // the command has no part in it
		}
		for _, command := range some {
			args := append(append(command[:len(command):len(command)], "--tls-verify=false"), tc.args...)
			p := finish(t, start(t, append([]string{"XDG_CACHE_HOME=" + dir}, tc.env...), args...))
			if tc.ok && command[0] == "publish" {
				if p.code == exitAccess { // that the server takes nothing is no matter
					t.Errorf("%q %q: %s", tc.env, args, p.stderr)
				}
				continue
			}
			if want := map[bool]int{true: exitFailed, false: exitAccess}[tc.ok]; p.code != want {
				t.Errorf("%q %q: %d, %s", tc.env, args, p.code, p.stderr)
			}
			if !tc.ok && len(tc.env) > 0 && tc.env[0] == "REGISTRY_AUTH_FILE="+none && !strings.Contains(p.stderr, none+", which cannot be read") {
				t.Errorf("%q %q: %s", tc.env, args, p.stderr)
			}
			if !tc.ok && !strings.Contains(p.stderr, "--creds USER:PASSWORD, --authfile FILE, or the file in $REGISTRY_AUTH_FILE") || strings.Contains(p.stderr, "hunter2") {
				t.Errorf("%q %q: %s", tc.env, args, p.stderr)
			}
		}
	}
	for name, text := range map[string]string{"text.json": "{bad", "login.json": fmt.Sprintf(`{"auths":{%q:{"auth":"!"}}}`, host)} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"inspect", host + "/os:1"}, {"pull", host + "/os:1", "--out", out}} {
			if p := finish(t, start(t, []string{"REGISTRY_AUTH_FILE=" + file}, append(args, "--tls-verify=false")...)); p.code != exitFailed || !strings.Contains(p.stderr, file) {
				t.Errorf("%q: %d, %s", args, p.code, p.stderr)
			}
		}
	}
	for _, args := range [][]string{{"inspect", "me:hunter2@" + host + "/os:1"}, {"publish", build, "docker://me:hunter2@" + host + "/os:1"}, {"pull", "me:hunter2@" + host + "/os"}} {
		if p := finish(t, start(t, nil, args...)); p.code != exitUsage || !strings.Contains(p.stderr, "--creds USER:PASSWORD") || strings.Contains(p.stderr, "hunter2") {
			t.Errorf("%q: %d, %s", args, p.code, p.stderr)
		}
	}
	if p := finish(t, start(t, nil, "inspect", host+"/os:1", "--creds", ":hunter2")); p.code != exitUsage || !strings.Contains(p.stderr, "must be USER[:PASSWORD]") || strings.Contains(p.stderr, "hunter2") {
		t.Errorf("%d, %s", p.code, p.stderr)
	}
}

// TestRegistryHints has errors that a flag of the command explains.
func TestRegistryHints(t *testing.T) {
	s := newTestServer(t)
	plain := strings.TrimPrefix(s.URL, "http://")
	s.put("", "text/plain", nil) // /v2/
	image := func(arch, variant string) imgspec.Descriptor {
		config := s.put("-", imgspec.MediaTypeImageConfig, stream.Marshal(map[string]any{"os": "linux", "architecture": arch, "variant": variant}))
		m := imgspec.Manifest{MediaType: imgspec.MediaTypeImageManifest, Config: config, Layers: []imgspec.Descriptor{}}
		m.SchemaVersion = 2
		d := s.put(arch, m.MediaType, stream.Marshal(m))
		d.Platform = &imgspec.Platform{OS: "linux", Architecture: arch, Variant: variant}
		return d
	}
	s.index("index", image("riscv64", ""), image("ppc64le", "power9"))
	tls := httptest.NewUnstartedServer(http.NotFoundHandler())
	tls.Config.ErrorLog = log.New(io.Discard, "", 0)
	tls.StartTLS()
	t.Cleanup(tls.Close)
	secure := strings.TrimPrefix(tls.URL, "https://")
	certs := t.TempDir()
	if err := os.WriteFile(filepath.Join(certs, "ca.crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: tls.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	disk := []byte("QFI\xfbdisk")
	build, file := testBuild(t, disk)
	if err := os.WriteFile(filepath.Join(build, file), disk, 0o600); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(t.TempDir(), "registries.conf")
	mirrors := fmt.Sprintf(`[[registry]]
location = "mirrored.example/plain"
[[registry.mirror]]
location = %q
[[registry]]
location = "mirrored.example/secure"
[[registry.mirror]]
location = %q
`, plain, secure)
	if err := os.WriteFile(conf, []byte(mirrors), 0o600); err != nil {
		t.Fatal(err)
	}
	const noHint = "-"
	lax := "--tls-verify=false"
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"inspect", plain + "/os:1"}, "--tls-verify=false allows plain HTTP"},
		{[]string{"pull", plain + "/os:1"}, "--tls-verify=false allows plain HTTP"},
		{[]string{"stream", "show", plain + "/os:1"}, "--tls-verify=false allows plain HTTP"},
		{[]string{"publish", build, plain + "/os:1"}, "--tls-verify=false allows plain HTTP"},
		{[]string{"publish", build, secure + "/os:1"}, "--cert-dir names a folder with the CA"},
		{[]string{"inspect", secure + "/os:1"}, "--cert-dir names a folder with the CA"},
		{[]string{"pull", secure + "/os:1"}, "--cert-dir names a folder with the CA"},
		{[]string{"inspect", "mirrored.example/plain/os:1"}, "--tls-verify=false allows plain HTTP"},
		{[]string{"pull", "mirrored.example/plain/os:1"}, "--tls-verify=false allows plain HTTP"},
		{[]string{"inspect", "mirrored.example/secure/os:1"}, "--cert-dir names a folder with the CA"},
		{[]string{"pull", plain + "/os:riscv64", "--arch", "riscv64", lax}, "build makes disk images of a container"},
		{[]string{"inspect", secure + "/os:1", "--cert-dir", certs}, noHint},
		{[]string{"pull", secure + "/os:1", "--cert-dir", certs}, noHint},
		{[]string{"inspect", plain + "/os:1", "--tls-verify", "false"}, `write --tls-verify=false: without the = the word "false" is an argument`},
		{[]string{"publish", t.TempDir(), "--tls-verify", "false"}, "write --tls-verify=false"},
		{[]string{"stream", "merge", "none.json", "--tls-verify", "true"}, "write --tls-verify=true"},
		{[]string{"build", plain + "/os:1", "--strict", "true"}, "write --strict=true"},
		{[]string{"inspect", plain + "/os:index", lax}, "choose with --arch: ppc64le/power9, riscv64"},
		{[]string{"inspect", plain + "/os:riscv64", lax}, "choose with --arch: riscv64"},
		{[]string{"inspect", plain + "/os:riscv64", lax, "--arch", "arm64"}, noHint},
		{[]string{"inspect", plain + "/os:index", lax, "--arch", "arm64/v8"}, noHint},
		{[]string{"inspect", plain + "/os:index", lax, "--arch", "ppc64le"}, noHint},
	} {
		p := finish(t, start(t, []string{"CONTAINERS_REGISTRIES_CONF=" + conf}, tc.args...))
		_, hint, hinted := strings.Cut(p.stderr, "hint: ")
		if p.code == 0 || hinted != (tc.want != noHint) || hinted && !strings.Contains(hint, tc.want) {
			t.Errorf("%q: %d, %s", tc.args, p.code, p.stderr)
		}
	}
	p := finish(t, start(t, nil, "inspect", plain+"/os:index", lax, "--arch", "arm64"))
	if want := "no image for linux/arm64, there is linux/ppc64le/power9, linux/riscv64\n"; !strings.HasSuffix(p.stderr, want) {
		t.Errorf("%s, want %s", p.stderr, want)
	}
}

// TestRegistryFlags: every command that takes a reference has all of them.
func TestRegistryFlags(t *testing.T) {
	root := command()
	for _, path := range []string{"build", "plan", "inspect", "diff", "publish", "pull", "stream show", "stream make", "stream get"} {
		cmd, _, err := root.Find(strings.Fields(path))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, name := range []string{"authfile", "creds", "cert-dir", "tls-verify"} {
			if cmd.Flags().Lookup(name) == nil {
				t.Errorf("%s has no --%s", path, name)
			}
		}
	}
}

// TestArchVariant: a variant is asked for beside the architecture, and changes
// nothing but the choice of the image.
func TestArchVariant(t *testing.T) {
	o := defaults()
	o.reference, o.cache = "example.org/os:1", t.TempDir()
	r, err := o.request("amd64/v3")
	if err != nil {
		t.Fatal(err)
	}
	if machine(r.arch) != "x86_64" || r.arch != "amd64/v3" {
		t.Errorf("%s, %s", machine(r.arch), r.arch)
	}
	p := finish(t, start(t, nil, "build", "example.org/os:1", "--arch", "amd64/v3,x86_64"))
	if p.code != exitUsage || !strings.Contains(p.stderr, "architecture x86_64 is listed twice") {
		t.Errorf("%d, %s", p.code, p.stderr)
	}
}

// TestCreated builds from containers that name a time which file systems cannot
// store.
func TestCreated(t *testing.T) {
	ref := fixture(t, "tiny-base")
	for created, want := range map[string]string{
		"1901-02-03T04:05:06Z": "1970-01-01T00:00:00Z", "2310-04-04T16:10:39Z": "", "2310-04-04T16:10:40Z": "2310-04-04T16:10:39Z",
		"9999-12-31T23:59:59Z": "2310-04-04T16:10:39Z", "": "1970-01-01",
	} {
		_, copied := copyLayout(t, ref)
		dir, _ := layoutDir(copied)
		e := editLayout(t, dir)
		e.config["created"] = created
		edited, cache := e.save(), t.TempDir()
		for _, fs := range []string{"xfs", "ext4"} {
			p := finish(t, start(t, nil, "plan", edited, "--cache", cache, "--root-fs", fs))
			note := strings.Contains(p.stderr, "the container's config: created: ")
			if p.code != 0 || note != (want != "") || note && !strings.Contains(p.stderr, "using "+want) {
				t.Errorf("%q, %s: %d, %s", created, fs, p.code, p.stderr)
			}
		}
	}
}
