package publish

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	other "github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry/registrytest"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/pull"
)

// orasVersion is built where no oras is installed.
const orasVersion = "oras.land/oras/cmd/oras@v1.3.6"

// oras returns the path of that program.
func oras(t *testing.T) string {
	t.Helper()
	if path, err := exec.LookPath("oras"); err == nil {
		return path
	}
	dir := t.TempDir()
	cmd := exec.Command("go", "install", orasVersion)
	cmd.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=-trimpath") // as make does, so that packages are built once
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		treetest.Missing(t, "OHP_TOOLS", "oras is not installed, nor can it be built: go install "+orasVersion+": "+string(out))
	}
	return filepath.Join(dir, "oras")
}

// layerOf returns a layer with one file in it.
func layerOf(t *testing.T, name string, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	w.Write(content)
	w.Close()
	return b.Bytes()
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestOtherRegistry publishes into a registry of another codebase, which has the
// API for referrers, and reads back with ours, skopeo and oras.
func TestOtherRegistry(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(other.New(other.WithReferrersSupport(true), other.Logger(log.New(io.Discard, "", 0))))
	defer s.Close()
	host, tmp, dir := strings.TrimPrefix(s.URL, "http://"), t.TempDir(), t.TempDir()
	tarball, _ := archive(layerOf(t, "etc/os-release", nil))
	write(t, filepath.Join(tmp, "os.ociarchive"), tarball)
	treetest.Run(t, "skopeo", "--insecure-policy", "copy", "-q", "--dest-tls-verify=false", "oci-archive:"+filepath.Join(tmp, "os.ociarchive"), "docker://"+host+"/os:stable")
	os := digest.FromString(treetest.Run(t, "skopeo", "inspect", "--raw", "--tls-verify=false", "docker://"+host+"/os:stable"))
	disks := images("x86_64", 1<<20)[:2]
	makeBuild(t, dir, "x86_64", disks, &stream.Container{Image: host + "/os", Digest: os.String()})
	o := options(t)
	o.Stream = "stable"
	r := publish(t, dir, host+"/os:1", o)
	if r.Form != Artifact || len(r.Notes) > 0 {
		t.Errorf("%s: %q", r.Form, r.Notes)
	}
	program := oras(t)
	for _, disk := range disks {
		for _, ref := range []string{host + "/os:1", host + "/os@" + os.String()} {
			img, err := pull.Find(t.Context(), ref, pull.Options{Platform: disk.platform, Arch: "amd64", Registry: o.Registry})
			if err != nil {
				t.Fatal(err)
			}
			if b, err := img.Read(t.Context()); err != nil || !bytes.Equal(b, disk.content) {
				t.Errorf("%s: %s: %d bytes, %v", ref, disk.platform, len(b), err)
			}
		}
		for _, e := range r.Entries {
			if e.Platform != disk.platform {
				continue
			}
			to := filepath.Join(tmp, disk.platform)
			treetest.Run(t, "skopeo", "--insecure-policy", "copy", "-q", "--src-tls-verify=false", "docker://"+host+"/os@"+e.Digest, "dir:"+to)
			if !bytes.Equal(readFile(t, filepath.Join(to, strings.TrimPrefix(e.Blob, "sha256:"))), disk.content) {
				t.Errorf("skopeo: %s: not what was published", e.File)
			}
			treetest.Run(t, program, "pull", "--plain-http", "-o", to, host+"/os@"+e.Digest)
			if !bytes.Equal(readFile(t, filepath.Join(to, disk.path)), disk.content) {
				t.Errorf("oras: %s: not what was published", e.File)
			}
		}
	}
	// Who asks for the architecture alone gets the image for QEMU.
	treetest.Run(t, program, "pull", "--plain-http", "--platform", "linux/amd64", "-o", filepath.Join(tmp, "index"), host+"/os:1")
	if !bytes.Equal(readFile(t, filepath.Join(tmp, "index", disks[1].path)), disks[1].content) {
		t.Error("oras: the index leads to something else")
	}
	var found struct{ Referrers []imgspec.Descriptor }
	text := treetest.Run(t, program, "discover", "--plain-http", "--format", "json", host+"/os@"+os.String())
	if err := json.Unmarshal([]byte(text), &found); err != nil || len(found.Referrers) != len(disks)+1 {
		t.Errorf("oras discover: %d referrers, %v: %s", len(found.Referrers), err, text)
	}
}

// TestPodman pulls disks in containers, and the container for KubeVirt, with
// podman, and finds the files in them.
func TestPodman(t *testing.T) {
	t.Parallel()
	podman := treetest.Tool(t, "podman")
	treetest.Root(t) // for podman image mount
	reg := registrytest.Start(t, registrytest.Debian, "")
	dir, store := t.TempDir(), t.TempDir()
	disks := images("x86_64", 1<<20)[:2]
	content := noise("kubevirt", 1<<20)
	oci, _ := archive(layerOf(t, "disk/disk.qcow2", content))
	makeBuild(t, dir, "x86_64", append(disks, image2("kubevirt", oci)), nil)
	o := options(t)
	o.As = "container"
	r := publish(t, dir, reg.Host+"/os:1", o)

	policy := filepath.Join(store, "policy.json")
	write(t, policy, []byte(`{"default": [{"type": "insecureAcceptAnything"}]}`))
	run := func(args ...string) string {
		return strings.TrimSpace(treetest.Run(t, podman, append([]string{"--root", store + "/root", "--runroot", store + "/run", "--storage-driver", "vfs", "--log-level", "error"}, args...)...))
	}
	look := func(ref, name string, want []byte) {
		id := run("pull", "-q", "--tls-verify=false", "--signature-policy", policy, "--arch", "amd64", ref)
		at := run("image", "mount", id)
		if !bytes.Equal(readFile(t, filepath.Join(at, "disk", name)), want) {
			t.Errorf("%s: %s: not what was published", ref, name)
		}
		run("image", "umount", id)
	}
	for _, e := range r.Entries {
		for _, d := range disks {
			if d.path == e.File {
				look(reg.Host+"/os@"+e.Digest, d.path, d.content)
			}
		}
	}
	look(reg.Host+"/os:1", disks[1].path, disks[1].content) // the index leads to that for QEMU
	look(reg.Host+"/os:1-containerdisk", "disk.qcow2", content)
}
