package system

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/oci"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest/tinyos"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/usage"
)

// pulled returns the synthetic container.
func pulled(t *testing.T) *oci.Image {
	t.Helper()
	dir := t.TempDir()
	ref, err := tinyos.Write(filepath.Join(dir, "os"), tinyos.Plain)
	if err != nil {
		t.Fatal(err)
	}
	img, err := oci.Pull(t.Context(), ref, oci.Options{Cache: filepath.Join(dir, "cache"), Arch: "amd64"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { img.Close() })
	return img
}

// TestNew deploys the synthetic container.
func TestNew(t *testing.T) {
	img := pulled(t)
	s, err := New(img, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if s.Name != "tinyos" || s.Version != "44.20260731.1" || s.Arch != "x86_64" || s.Time.Sec != tinyos.Created.Unix() || s.Commit == (ostree.Checksum{}) {
		t.Errorf("%s %s %s %v %s", s.Name, s.Version, s.Arch, s.Time, s.Commit)
	}
	if len(s.Container.Layers) != 2 || s.Container.Digest != img.Digest || s.Deployment.Policy == nil || len(s.Deployment.IDs()) == 0 {
		t.Errorf("%+v", s.Container)
	}
	if want := "ostree-unverified-registry:localhost/tinyos@" + img.Digest.String(); s.Origin != want {
		t.Errorf("origin %s, want %s", s.Origin, want)
	}
	if notes := strings.Join(s.Notes, "\n"); !strings.Contains(notes, "no source of updates") {
		t.Errorf("notes %s", notes)
	}
	named, err := New(img, Options{Name: "mine", Origin: "ostree-unverified-registry:registry.example/os:1"})
	if err != nil {
		t.Fatal(err)
	}
	if named.Name != "mine" || named.Origin != "ostree-unverified-registry:registry.example/os:1" || strings.Contains(strings.Join(named.Notes, ""), "no source of updates") {
		t.Errorf("%s %s %q", named.Name, named.Origin, named.Notes)
	}
}

// TestOptions: each wrong option is an error that names its field.
func TestOptions(t *testing.T) {
	for field, o := range map[string]Options{
		"Name":   {Name: "../x"},
		"Merge":  {Merge: "git"},
		"Origin": {Origin: ":::"},
	} {
		var wrong usage.Error
		if err := o.Check(); !errors.As(err, &wrong) || wrong.Field != field {
			t.Errorf("%s: %v", field, err)
		}
		if _, err := New(&oci.Image{}, o); !errors.As(err, &wrong) || wrong.Field != field {
			t.Errorf("New, %s: %v", field, err)
		}
	}
	if err := (Options{Merge: "oci"}).Check(); err != nil {
		t.Error(err)
	}
}
