package publish

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/distribution/distribution/v3/configuration"
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry/registrytest"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
)

// registries are Debian's, and distribution 3, which is this program.
func registries(t *testing.T, test func(t *testing.T, binary string)) {
	t.Run("docker-registry", func(t *testing.T) { test(t, registrytest.Debian) })
	t.Run("distribution 3", func(t *testing.T) {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		test(t, self)
	})
}

// TestMain is distribution 3 when it is called as that.
func TestMain(m *testing.M) {
	if len(os.Args) != 3 || os.Args[1] != "serve" {
		os.Exit(m.Run())
	}
	f, err := os.Open(os.Args[2])
	if err == nil {
		var config *configuration.Configuration
		if config, err = configuration.Parse(f); err == nil {
			logrus.SetLevel(logrus.PanicLevel)
			config.Log.AccessLog.Disabled = true
			err = http.ListenAndServe(config.HTTP.Addr, handlers.NewApp(context.Background(), config))
		}
	}
	log.Fatal(err)
}

// TestRealRegistries publishes in all forms beside a real container, and reads
// back with skopeo.
func TestRealRegistries(t *testing.T) {
	t.Parallel() // with the next, which waits for registries to start
	registries(t, func(t *testing.T, binary string) {
		const me = "me:$2a$05$EjJgBgh3pFcq.kjItK8YzOHzcg3/guKy2s7RcZR6QjuD5hH8/OtIK\n"
		reg := registrytest.Start(t, binary, me)
		o := options(t)
		write(t, o.Registry.AuthFile, fmt.Appendf(nil, `{"auths":{%q:{"auth":"bWU6c2VjcmV0"}}}`, reg.Host))
		skopeo := func(args ...string) string {
			t.Helper()
			return treetest.Run(t, "skopeo", append([]string{"--insecure-policy"}, args...)...)
		}
		// The system is a container that skopeo has put there.
		tmp := t.TempDir()
		tarball, _ := archive(noise("layer", 5000))
		write(t, filepath.Join(tmp, "os.ociarchive"), tarball)
		skopeo("copy", "-q", "--dest-tls-verify=false", "--authfile", o.Registry.AuthFile, "oci-archive:"+filepath.Join(tmp, "os.ociarchive"), "docker://"+reg.Host+"/os:stable")
		image := digest.FromString(skopeo("inspect", "--raw", "--tls-verify=false", "--authfile", o.Registry.AuthFile, "docker://"+reg.Host+"/os:stable"))
		dir := t.TempDir()
		disks := images("x86_64", 1<<20)
		kubevirt, _ := archive(noise("kubevirt", 5000))
		disks = append(disks, image2("kubevirt", kubevirt))
		makeBuild(t, dir, "x86_64", disks, &stream.Container{Image: reg.Host + "/os", Digest: image.String()})

		if _, err := Publish(t.Context(), dir, reg.Host+"/os:denied", options(t)); !isAccess(err) {
			t.Errorf("without a password: %v", err)
		}
		o.Views = []string{"all"}
		o.Documents = []Document{{"stream.json", stream.StreamType, []byte("{}")}}
		for _, as := range []string{"auto", "container"} {
			o.As = as
			r := publish(t, dir, reg.Host+"/os:"+as, o)
			if want := map[string]Form{"auto": ArtifactTag, "container": Container}[as]; r.Form != want {
				t.Errorf("%s: %s %q", as, r.Form, r.Notes)
			}
			for _, tag := range r.Tags {
				raw := skopeo("inspect", "--raw", "--tls-verify=false", "--authfile", o.Registry.AuthFile, "docker://"+reg.Host+"/os:"+tag.Tag)
				if got := "sha256:" + sum([]byte(raw)); got != tag.Digest {
					t.Errorf("%s is %s, not %s", tag.Tag, got, tag.Digest)
				}
			}
			for _, e := range r.Entries {
				to := filepath.Join(tmp, as+e.File)
				skopeo("copy", "-q", "--src-tls-verify=false", "--authfile", o.Registry.AuthFile, "docker://"+reg.Host+"/os@"+e.Digest, "dir:"+to)
				b, err := os.ReadFile(filepath.Join(to, strings.TrimPrefix(e.Blob, "sha256:")))
				if err != nil {
					t.Fatal(err)
				}
				for _, i := range disks[:len(disks)-1] { // the last is an archive, which skopeo read
					if i.path == e.File && as == "auto" && !bytes.Equal(b, i.content) || !bytes.Contains(b, i.content) && i.path == e.File {
						t.Errorf("%s: not what was published", e.File)
					}
				}
			}
		}
		// A mirror takes the whole index with everything in it.
		skopeo("copy", "-q", "--all", "--src-tls-verify=false", "--dest-tls-verify=false", "--authfile", o.Registry.AuthFile, "docker://"+reg.Host+"/os:auto", "docker://"+reg.Host+"/mirror:auto")
		// A machine of that architecture finds the container in the view for cosa import.
		var config imgspec.Image
		text := skopeo("inspect", "--config", "--override-arch", "amd64", "--override-os", "linux", "--tls-verify=false", "--authfile", o.Registry.AuthFile, "docker://"+reg.Host+"/os:auto-fcos")
		if json.Unmarshal([]byte(text), &config); len(config.RootFS.DiffIDs) != 1 {
			t.Errorf("the view for cosa import is no container: %s", text)
		}
		// The images are found from the operating system, by the tag.
		var x imgspec.Index
		json.Unmarshal([]byte(skopeo("inspect", "--raw", "--tls-verify=false", "--authfile", o.Registry.AuthFile, "docker://"+reg.Host+"/os:"+strings.Replace(image.String(), ":", "-", 1))), &x)
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
	t.Parallel()
	registries(t, func(t *testing.T, binary string) {
		disks := images("x86_64", 1<<20)
		dir := t.TempDir()
		makeBuild(t, dir, "x86_64", disks, nil)
		reg := registrytest.Start(t, binary, "")
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
				reg.Kill()
				reg.Restart()
			}()
			to := fmt.Sprintf("%s/os%d:1", reg.Host, i)
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
				resp, err := http.Get("http://" + reg.Host + fmt.Sprintf("/v2/os%d/blobs/", i) + e.Blob)
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
