package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/oci"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
)

// TestContainer: meta.json names the container as others would find it.
func TestContainer(t *testing.T) {
	d := digest.FromString("manifest")
	at := "@" + d.String()
	for _, tc := range []struct {
		reference, origin string
		want              stream.Container
	}{
		{"docker://registry.example/os" + at, "ostree-unverified-registry:registry.example/other:1", stream.Container{Image: "registry.example/os"}},
		{"docker://registry.example:5000/os:43" + at, "", stream.Container{Image: "registry.example:5000/os", Tags: []string{"43"}}},
		{"oci:/some/Where" + at, "ostree-unverified-registry:registry.example/os:43", stream.Container{Image: "registry.example/os", Tags: []string{"43"}}},
		{"oci:/some/Where" + at, "ostree-unverified-image:oci:/some/Where" + at, stream.Container{Image: "oci:/some/Where"}},
	} {
		s := system{image: &oci.Image{Manifest: &oci.Manifest{Reference: tc.reference, Digest: d}}, origin: tc.origin}
		tc.want.Digest = d.String()
		if diff := cmp.Diff(&tc.want, s.container()); diff != "" {
			t.Errorf("%s, %s: %s", tc.reference, tc.origin, diff)
		}
	}
}
