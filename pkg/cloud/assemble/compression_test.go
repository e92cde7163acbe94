package assemble

import (
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"
)

// TestSetCompression: every name is accepted, and replaces the one before it.
func TestSetCompression(t *testing.T) {
	r := Request{}
	for _, name := range append(CompressionNames(), CompressionNames()...) {
		if err := r.SetCompression(name); err != nil {
			t.Fatal(err)
		}
		if r.AsPublished != (name == AsPublished) || !r.AsPublished && r.Compression.String() != name || r.AsPublished && r.Compression != filetype.None {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if err := r.SetCompression("lzma"); err == nil {
		t.Error("lzma is accepted")
	}
}
