package deploy

import (
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// Content of a layer says so.
type ofLayer struct{ *strings.Reader }

func (ofLayer) Origin() string { return "layer sha256:1234" }

// TestExplainComposefs: the layer is told even of a file that the system cannot
// be deployed with.
func TestExplainComposefs(t *testing.T) {
	root := system(t, fedora)
	place(t, root, "usr/bin/big", &rootfs.Inode{
		Mode: rootfs.ModeFile | 0o755, Content: ofLayer{strings.NewReader("big\n")}, Xattrs: map[string]string{"user.x": strings.Repeat("x", 40000)},
	})
	repo, id := commit(t, root)
	_, err := New(repo, options(id))
	if want := "deploy: composefs: /usr/bin/big (layer sha256:1234): xattrs of 40"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
}
