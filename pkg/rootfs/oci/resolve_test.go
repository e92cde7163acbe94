package oci

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
)

// requests returns the number of requests for paths of the repository.
func (s *fakeRegistry) requests() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, count := range s.gets {
		n += count
	}
	return n
}

// TestResolve counts the requests for an image with large layers: none is for a layer
// before Fetch, and none is repeated by it.
func TestResolve(t *testing.T) {
	m := newImage(tarball(file{"etc/large", noise(1, 8<<20)}), tarball(file{"etc/other", noise(2, 4<<20)}))
	reg := serve(t, m, m.done())
	o := options(t, t.TempDir())
	got, err := Resolve(t.Context(), reg.ref, o)
	if err != nil {
		t.Fatal(err)
	}
	if n := reg.requests(); n > 3 || reg.blobGets() != 0 {
		t.Errorf("%d requests, %d of them for layers", n, reg.blobGets())
	}
	if got.Digest != reg.top || string(got.Raw) != string(m.blobs[reg.top]) || got.Labels["containers.bootc"] != "1" || got.Arch != "amd64" {
		t.Errorf("%+v", got)
	}
	if len(got.Layers) != 2 || got.Layers[0].Digest != m.manifest.Layers[0].Digest || got.Layers[1].DiffID != m.config.RootFS.DiffIDs[1] {
		t.Errorf("layers %+v", got.Layers)
	}
	if used, err := Usage(o.Cache); err != nil || len(used) != 2 {
		t.Errorf("the cache has %+v, %v; want a manifest and a config", used, err)
	}
	before := reg.requests()
	for range 2 { // from the registry, then from the cache
		img, err := got.Fetch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(img.Layers) != 2 || img.Digest != got.Digest || img.Layers[1].DiffID != got.Layers[1].DiffID {
			t.Errorf("%+v", img)
		}
		img.Close()
	}
	if n := reg.requests() - before; n != 2 || reg.blobGets() != 2 {
		t.Errorf("%d requests for two layers", n)
	}
}

// TestResolvePrune: a resolved image does not keep the cache in use.
func TestResolvePrune(t *testing.T) {
	m := newImage(tarball(file{"etc/a", "a"}))
	reg := serve(t, m, m.done())
	o := options(t, t.TempDir())
	got, err := Resolve(t.Context(), reg.ref, o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Prune(o.Cache, PruneOptions{}); err != nil {
		t.Fatal(err)
	}
	img, err := got.Fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	img.Close()
}

// TestResolveArchive: the temporary copy of an archive is gone after Close, and after a
// Fetch, which can be repeated.
func TestResolveArchive(t *testing.T) {
	m := newImage(tarball(file{"etc/a", "a"}))
	ref := "oci-archive:" + archiveOf(t, m.layout(t, m.done()))
	o := options(t, t.TempDir())
	temporary := func() int {
		names, err := os.ReadDir(o.Cache + "/v1/tmp")
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	got, err := Resolve(t.Context(), ref, o)
	if err != nil {
		t.Fatal(err)
	}
	if temporary() == 0 {
		t.Error("no temporary copy, so this test checks nothing")
	}
	got.Close()
	if n := temporary(); n != 0 {
		t.Errorf("%d temporary files after Close", n)
	}
	for range 2 {
		img, err := got.Fetch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		img.Close()
		if n := temporary(); n != 0 {
			t.Errorf("%d temporary files after Fetch", n)
		}
	}
}

// TestResolvePolicy: Resolve applies the policy.
func TestResolvePolicy(t *testing.T) {
	m := newImage(tarball(file{"etc/a", "a"}))
	reg := serve(t, m, m.done())
	o := options(t, t.TempDir())
	o.Policy = o.Cache + "/reject.json"
	write(t, o.Policy, []byte(`{"default": [{"type": "reject"}]}`))
	_, err := Resolve(t.Context(), reg.ref, o)
	if HasPolicies && !errors.Is(err, registry.ErrForbidden) || err == nil || !HasPolicies && !strings.Contains(err.Error(), "-tags") || reg.requests() != 0 {
		t.Errorf("%v, after %d requests", err, reg.requests())
	}
}
