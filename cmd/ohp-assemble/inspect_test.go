package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/oci"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest/tinyos"
)

// A layoutRegistry is a registry whose repository os is a folder in the OCI layout. It
// records all requests.
type layoutRegistry struct {
	dir string

	mu  sync.Mutex
	log []string // METHOD path
}

func (r *layoutRegistry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	r.log = append(r.log, req.Method+" "+req.URL.Path)
	r.mu.Unlock()
	if req.URL.Path == "/v2/" {
		return
	}
	b, err := os.ReadFile(path.Join(r.dir, "blobs/sha256", strings.TrimPrefix(path.Base(req.URL.Path), "sha256:")))
	if err != nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	if strings.HasPrefix(req.URL.Path, "/v2/os/manifests/") {
		var typed struct{ MediaType string }
		_ = json.Unmarshal(b, &typed)
		w.Header().Set("Content-Type", typed.MediaType)
	}
	_, _ = w.Write(b)
}

// TestInspectRequests counts the requests of inspect for a container: the index, the
// manifest and the config, and no layer. The second run makes none.
func TestInspectRequests(t *testing.T) {
	t.Chdir(t.TempDir())
	ref, err := tinyos.Write("os", tinyos.Plain)
	if err != nil {
		t.Fatal(err)
	}
	reg := &layoutRegistry{dir: "os"}
	server := httptest.NewServer(reg)
	defer server.Close()
	_, index, _ := strings.Cut(ref, "@")
	args := []string{"inspect", strings.TrimPrefix(server.URL, "http://") + "/os@" + index, "--tls-verify=false", "--arch", "amd64", "--cache", "cache", "--format", "json"}

	var found oci.Description
	if err := json.Unmarshal([]byte(asked(t, args...)), &found); err != nil {
		t.Fatal(err)
	}
	var manifest struct {
		Config struct{ Digest string }
		Layers []struct{ Digest string }
	}
	b, err := os.ReadFile("os/blobs/sha256/" + strings.TrimPrefix(found.Digest, "sha256:"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &manifest); err != nil || len(manifest.Layers) != 2 || len(found.Layers) != 2 {
		t.Fatalf("%+v, %+v, %v", found, manifest, err)
	}
	want := []string{"GET /v2/os/manifests/" + index, "GET /v2/os/manifests/" + found.Digest, "GET /v2/os/blobs/" + manifest.Config.Digest}
	if got := slices.DeleteFunc(slices.Clone(reg.log), func(s string) bool { return s == "GET /v2/" }); !slices.Equal(got, want) {
		t.Errorf("requests %q, want %q", got, want)
	}
	all := len(reg.log)
	asked(t, args...)
	if more := reg.log[all:]; len(more) > 0 {
		t.Errorf("with everything cached: requests %q", more)
	}
}
