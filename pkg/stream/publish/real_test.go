package publish

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
)

// A daemon is a registry as a process of its own, which can be killed.
type daemon struct {
	t      testing.TB
	binary string
	conf   string
	host   string
	cmd    *exec.Cmd
}

// run starts a registry of which Debian has an old version. With a password it
// asks for that.
func run(t testing.TB, binary, password string) *daemon {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := l.Addr().String()
	l.Close()
	dir := t.TempDir()
	d := &daemon{t: t, binary: binary, conf: filepath.Join(dir, "config.yml"), host: host}
	conf := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %q, secret: s}\n", dir, host)
	if password != "" {
		write(t, filepath.Join(dir, "htpasswd"), []byte(password))
		conf += fmt.Sprintf("auth: {htpasswd: {realm: test, path: %s/htpasswd}}\n", dir)
	}
	write(t, d.conf, []byte(conf))
	t.Cleanup(d.kill)
	d.start()
	return d
}

func (d *daemon) start() {
	d.cmd = exec.Command(d.binary, "serve", d.conf)
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	for range 500 {
		if resp, err := http.Get("http://" + d.host + "/v2/"); err == nil {
			resp.Body.Close()
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	d.t.Fatal("the registry does not start")
}

func (d *daemon) kill() {
	d.cmd.Process.Kill()
	d.cmd.Wait()
}

// registries are implementations that may be installed. The second is called as
// distribution 3 is when it is built.
func registries(t *testing.T, test func(t *testing.T, binary string)) {
	t.Run("docker-registry", func(t *testing.T) { test(t, treetest.Tool(t, "docker-registry")) })
	t.Run("registry", func(t *testing.T) {
		binary, err := exec.LookPath("registry")
		if err != nil {
			t.Skip("distribution 3 is not installed: go install github.com/distribution/distribution/v3/cmd/registry@v3.1.2")
		}
		test(t, binary)
	})
}

// TestRealRegistries publishes in all forms beside a real container, and reads
// back with skopeo.
func TestRealRegistries(t *testing.T) {
	registries(t, func(t *testing.T, binary string) {
		const me = "me:$2a$05$EjJgBgh3pFcq.kjItK8YzOHzcg3/guKy2s7RcZR6QjuD5hH8/OtIK\n"
		reg := run(t, binary, me)
		o := options(t)
		write(t, o.Registry.AuthFile, fmt.Appendf(nil, `{"auths":{%q:{"auth":"bWU6c2VjcmV0"}}}`, reg.host))
		skopeo := func(args ...string) string {
			t.Helper()
			return treetest.Run(t, "skopeo", append([]string{"--insecure-policy"}, args...)...)
		}
		// The system is a container that skopeo has put there.
		tmp := t.TempDir()
		tarball, _ := archive(noise("layer", 5000))
		write(t, filepath.Join(tmp, "os.ociarchive"), tarball)
		skopeo("copy", "-q", "--dest-tls-verify=false", "--authfile", o.Registry.AuthFile, "oci-archive:"+filepath.Join(tmp, "os.ociarchive"), "docker://"+reg.host+"/os:stable")
		image := digest.FromString(skopeo("inspect", "--raw", "--tls-verify=false", "--authfile", o.Registry.AuthFile, "docker://"+reg.host+"/os:stable"))
		dir := t.TempDir()
		disks := images("x86_64", 1<<20)
		kubevirt, _ := archive(noise("kubevirt", 5000))
		disks = append(disks, image2("kubevirt", kubevirt))
		makeBuild(t, dir, "x86_64", disks, &stream.Container{Image: reg.host + "/os", Digest: image.String()})

		if _, err := Publish(t.Context(), dir, reg.host+"/os:denied", options(t)); !isAccess(err) {
			t.Errorf("without a password: %v", err)
		}
		o.Views = []string{"all"}
		o.Documents = []Document{{"stream.json", stream.StreamType, []byte("{}")}}
		for _, as := range []string{"auto", "container"} {
			o.As = as
			r := publish(t, dir, reg.host+"/os:"+as, o)
			if want := map[string]Form{"auto": ArtifactTag, "container": Container}[as]; r.Form != want {
				t.Errorf("%s: %s %q", as, r.Form, r.Notes)
			}
			for _, tag := range r.Tags {
				raw := skopeo("inspect", "--raw", "--tls-verify=false", "--authfile", o.Registry.AuthFile, "docker://"+reg.host+"/os:"+tag.Tag)
				if got := "sha256:" + sum([]byte(raw)); got != tag.Digest {
					t.Errorf("%s is %s, not %s", tag.Tag, got, tag.Digest)
				}
			}
			for _, e := range r.Entries {
				to := filepath.Join(tmp, as+e.File)
				skopeo("copy", "-q", "--src-tls-verify=false", "--authfile", o.Registry.AuthFile, "docker://"+reg.host+"/os@"+e.Digest, "dir:"+to)
				b, err := os.ReadFile(filepath.Join(to, strings.TrimPrefix(e.Blob, "sha256:")))
				if err != nil {
					t.Fatal(err)
				}
				for _, i := range disks {
					if i.path == e.File && as == "auto" && !bytes.Equal(b, i.content) || !bytes.Contains(b, i.content) && i.path == e.File {
						t.Errorf("%s: not what was published", e.File)
					}
				}
			}
		}
		// A mirror takes the whole index with everything in it.
		skopeo("copy", "-q", "--all", "--src-tls-verify=false", "--dest-tls-verify=false", "--authfile", o.Registry.AuthFile, "docker://"+reg.host+"/os:auto", "docker://"+reg.host+"/mirror:auto")
		// What a machine of that architecture finds in the view for cosa import is the container.
		var config imgspec.Image
		text := skopeo("inspect", "--config", "--override-arch", "amd64", "--override-os", "linux", "--tls-verify=false", "--authfile", o.Registry.AuthFile, "docker://"+reg.host+"/os:auto-fcos")
		if json.Unmarshal([]byte(text), &config); len(config.RootFS.DiffIDs) != 1 {
			t.Errorf("the view for cosa import is no container: %s", text)
		}
		// The images are found from the operating system, by the tag.
		var x imgspec.Index
		json.Unmarshal([]byte(skopeo("inspect", "--raw", "--tls-verify=false", "--authfile", o.Registry.AuthFile, "docker://"+reg.host+"/os:"+strings.Replace(image.String(), ":", "-", 1))), &x)
		if len(x.Manifests) != 8 {
			t.Errorf("%d referrers", len(x.Manifests))
		}
	})
}

func image2(platform string, content []byte) image {
	return image{platform: platform, path: "os-1-" + platform + ".ociarchive", content: content}
}

// TestRegistryKilled kills a real registry at points of an upload, some of them
// several times, and starts it again at once.
func TestRegistryKilled(t *testing.T) {
	registries(t, func(t *testing.T, binary string) {
		disks := images("x86_64", 1<<20)
		dir := t.TempDir()
		makeBuild(t, dir, "x86_64", disks, nil)
		reg := run(t, binary, "")
		r := rand.New(rand.NewPCG(5, 6))
		var want string
		rounds := 20
		if testing.Short() {
			rounds = 4
		}
		failed := 0
		for i := range rounds {
			at, seen := r.Int64N(5<<19), int64(0)
			o := options(t)
			hit := make(chan struct{}, 1)
			o.Progress = serial(func(n int64) {
				if seen <= at && seen+n > at {
					hit <- struct{}{}
				}
				seen += n
			})
			done := make(chan struct{})
			go func() {
				defer close(done)
				<-hit
				reg.kill()
				reg.start()
			}()
			to := fmt.Sprintf("%s/os%d:1", reg.host, i)
			res, err := Publish(t.Context(), dir, to, o)
			select {
			case hit <- struct{}{}: // it ended before that
			default:
			}
			<-done
			if err != nil {
				failed++
				res = publish(t, dir, to, options(t))
			}
			if want == "" {
				want = res.Digest
			}
			if res.Digest != want {
				t.Errorf("index %s, want %s", res.Digest, want)
			}
			for _, e := range res.Entries {
				resp, err := http.Get("http://" + reg.host + fmt.Sprintf("/v2/os%d/blobs/", i) + e.Blob)
				if err != nil {
					t.Fatal(err)
				}
				var b bytes.Buffer
				b.ReadFrom(resp.Body)
				resp.Body.Close()
				if "sha256:"+sum(b.Bytes()) != e.Blob {
					t.Errorf("%s: not what was published", e.File)
				}
			}
		}
		t.Logf("killed %d times; %d runs did not get over it, and the next one did", rounds, failed)
	})
}

// serial is progress told by one at a time.
func serial(f func(int64)) progress {
	var mu = make(chan struct{}, 1)
	return func(n int64) {
		mu <- struct{}{}
		defer func() { <-mu }()
		f(n)
	}
}
