//go:build !containers_image_openpgp

package oci

import (
	"strings"
	"testing"
)

// TestNoPolicy: a program that cannot check signatures rejects every image that a
// policy is for.
func TestNoPolicy(t *testing.T) {
	m := newImage(tarball(file{"etc/a", "a"}))
	o := options(t, t.TempDir())
	o.Policy = "testdata/accept.json"
	_, err := Pull(t.Context(), "oci:"+m.layout(t, m.done()), o)
	if err == nil || !strings.Contains(err.Error(), "-tags containers_image_openpgp") {
		t.Errorf("error is %v", err)
	}
}
