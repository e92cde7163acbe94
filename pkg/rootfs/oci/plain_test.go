package oci

import (
	"errors"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/layer"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
)

// TestDerived pulls a layer as one with objects, and as one that has only
// files, from one cache.
func TestDerived(t *testing.T) {
	name := "sysroot/ostree/repo/objects/" + ostree.ObjectPath(ostree.Sum(nil), ostree.FileObject)
	layers := [][]byte{tarball(object("content", "content")...), tarball(file{"usr/a", "a"}), tarball(file{name, "no object"})}
	cache := t.TempDir()
	pull := func(final digest.Digest) (*Image, error) {
		m := newImage(layers...)
		m.config.Config.Labels[layer.FinalDiffID] = final.String()
		img, err := Pull(t.Context(), "oci:"+m.layout(t, m.done()), options(t, cache))
		if err == nil {
			t.Cleanup(func() { img.Close() })
		}
		return img, err
	}
	if _, err := pull(digest.FromBytes(layers[2])); err == nil || !strings.Contains(err.Error(), name+": object has no xattrs") {
		t.Errorf("all layers have objects: %v", err)
	}
	for _, final := range []digest.Digest{digest.FromBytes(layers[1]), digest.FromBytes(layers[0]), "", digest.FromBytes(layers[1])} {
		img, err := pull(final)
		if err != nil {
			t.Fatal(err)
		}
		all := contents(t, img)
		if all[name] != "no object" || all["usr/a"] != "a" {
			t.Errorf("final layer %s: %q", final, all)
		}
		if objects := len(indexOf(t, img.Layers[0]).Objects); objects != 1 && final != "" || objects > 0 && final == "" {
			t.Errorf("final layer %s: %d objects", final, objects)
		}
	}
}

// TestDamagedContainer tells damage in a container from damage on the way.
func TestDamagedContainer(t *testing.T) {
	m := newImage(tarball(object("content", "contend")...))
	if _, err := Pull(t.Context(), "oci:"+m.layout(t, m.done()), options(t, t.TempDir())); !errors.Is(err, registry.ErrDamaged) {
		t.Errorf("wrong object: %v", err)
	}
	m = newImage(tarball(file{"usr/a", "a"}))
	top := m.done()
	m.blobs[m.manifest.Layers[0].Digest][20] ^= 1
	if _, err := Pull(t.Context(), "oci:"+m.layout(t, top), options(t, t.TempDir())); errors.Is(err, registry.ErrDamaged) || !errors.Is(err, registry.ErrVerify) {
		t.Errorf("wrong blob: %v", err)
	}
}

// TestHoles has layers whose holes are each within the limit, and not together.
func TestHoles(t *testing.T) {
	sparse := func(name string) []byte { return sparseFile(name, 600<<10) }
	m := newImage(sparse("usr/a"), sparse("usr/b"))
	ref := "oci:" + m.layout(t, m.done())
	o := options(t, t.TempDir())
	o.Limits.Holes = 1 << 20
	if _, err := Pull(t.Context(), ref, o); err == nil || !errors.Is(err, layer.ErrHoles) || !strings.Contains(err.Error(), "limit of the holes in all layers") {
		t.Errorf("%v", err)
	}
	o.Limits.Holes = 2 << 20
	img, err := Pull(t.Context(), ref, o)
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	if all := contents(t, img); all["usr/a"] != strings.Repeat("\x00", 600<<10) {
		t.Errorf("usr/a has %d bytes", len(all["usr/a"]))
	}
}
