package oci

import (
	"io"
	"maps"
	"slices"
	"time"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/plaintext"
)

// A Description describes an image for a person or a program.
type Description struct {
	Reference string             `json:"reference"`
	Digest    string             `json:"digest"`
	Arch      string             `json:"arch"`
	Created   time.Time          `json:"created"`
	Labels    map[string]string  `json:"labels"`
	Layers    []LayerDescription `json:"layers"` // lowest first
}

// A LayerDescription describes a layer.
type LayerDescription struct {
	Digest string `json:"digest"`  // of the blob
	DiffID string `json:"diff_id"` // of the uncompressed tar
	Size   int64  `json:"size"`    // of the blob, in bytes
}

// Describe describes the image.
func (m *Manifest) Describe() *Description {
	d := &Description{Reference: m.Reference, Digest: m.Digest.String(), Arch: m.Arch, Created: m.Created, Labels: m.Labels}
	for _, l := range m.Layers {
		d.Layers = append(d.Layers, LayerDescription{l.Digest.String(), l.DiffID.String(), l.Size})
	}
	return d
}

// WriteText writes the description for a person.
func (d *Description) WriteText(w io.Writer) error {
	var b plaintext.Builder
	b.Printf("%s\ndigest   %s\narch     %s\ncreated  %s\n", d.Reference, d.Digest, d.Arch, d.Created.Format(time.RFC3339))
	AddLayers(&b, "layers   ", d.Layers)
	b.Printf("labels\n")
	for _, name := range slices.Sorted(maps.Keys(d.Labels)) {
		b.Printf("  %s=%s\n", plaintext.OneLine(name), plaintext.OneLine(d.Labels[name]))
	}
	return b.Flush(w)
}

// AddLayers adds the number of layers under a title, and a line for each layer.
func AddLayers(b *plaintext.Builder, title string, layers []LayerDescription) {
	b.Printf("%s%d\n", title, len(layers))
	for _, l := range layers {
		b.Printf("  %s  %s\n", l.Digest, rootfs.Size(l.Size))
	}
}
