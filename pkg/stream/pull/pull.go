// Package pull fetches a disk image from a registry.
//
//	img, err := pull.Find(ctx, "registry.example/os-images:stable", pull.Options{Platform: "qemu"})
//	saved, err := img.Save(ctx, pull.SaveOptions{Dir: "images"})
//
// Registries contain images in several shapes. A reference may name
//
//	an index of disks                      ours: annotation dev.ohp.platform
//	                                       Fedora's pipeline: platform.os is the platform
//	                                       podman machine: annotation disktype
//	a manifest of one file                 type application/vnd.diskimage.*, or a layer with a title
//	a container image of one layer         with one file in the folder /disk, as for KubeVirt
//	an operating system container          whose referrers have one of these shapes
//	stream metadata                        which contains digests of manifests
//	an index of containers                 from which the architecture's container is taken
//
// The first matching entry is taken. Live parts and disks with large sectors have two
// names: that of their file, such as live-kernel, and that in streams, such as metal with
// the format kernel.
//
// Nothing from a registry is trusted: manifests and blobs are verified against their
// digests and sizes, decompressed data against the digest in the manifest, and file names
// are checked. A download resumes after a broken connection, and after an interrupted run.
// Credentials go only to the registry, not to the target of a redirect.
//
//	pull.go      Find and List; Image
//	entries.go   the entries of each shape
//	image.go     from an entry and its manifest to an Image
//	save.go      Save: Fetch, with file names; part.go locks the partial file
//	fetch.go     Fetch: download.go downloads while unpack.go decompresses
//	names.go     formats and compressions in names and media types
package pull

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/oci"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
)

// Options select an image and say how to fetch it. The zero value takes the only image of
// the host's architecture.
type Options struct {
	Platform   string // qemu, metal, ...; may be empty if there is only one
	Arch       string // as Go or uname(1) name it, optionally with a variant: amd64/v3; default is the host's
	Format     string // qcow2, raw, raw.gzip, ...; default is the first one
	Decompress bool   // decompress a file with gzip, xz, zstd or zip

	Registry registry.Options  // of the repository
	Progress registry.Progress // of the download; nil is silent
}

// An Image is one file in a registry.
type Image struct {
	Reference              string // with the digest of its manifest
	Manifest               digest.Digest
	Platform, Arch, Format string // empty if unknown
	Title                  string // name of the file; empty if only the layer of a container image has it
	Size                   int64  // of the blob, in bytes

	repo         *repo
	o            Options
	blob         imgspec.Descriptor
	inTar        bool
	sha256       string // of the file; empty if a container image does not contain it
	uncompressed string // SHA-256 of the decompressed file by the publisher; may be empty
}

// Find returns the wanted image of a reference. Without a platform it fails if there are
// images for several platforms. The error lists the available images.
func Find(ctx context.Context, ref string, o Options) (*Image, error) {
	o = o.complete()
	named, err := oci.Named(ref, o.Registry)
	if err != nil {
		return nil, err
	}
	m, err := find(ctx, named, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ref, err)
	}
	return m, nil
}

// List returns every file of a reference: that of its manifest, or those of all manifests in
// its index, documents as well as images.
func List(ctx context.Context, named reference.Named, o Options) (all []*Image, err error) {
	o = o.complete()
	r, top, err := open(ctx, named, o)
	if err == nil {
		all, err = r.files(ctx, top, o)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", named, err)
	}
	return all, nil
}

const maxEntries = 1000 // manifests below an index

func (r *repo) files(ctx context.Context, top *registry.Document, o Options) (all []*Image, err error) {
	docs := []*registry.Document{top}
	for n := 0; n < len(docs); n++ {
		doc := docs[n]
		for _, d := range doc.Manifests {
			if err := registry.CheckDigest(d.Digest); err != nil {
				return nil, fmt.Errorf("index %s: %w", doc.Digest, err)
			}
			if len(docs) == maxEntries {
				return nil, fmt.Errorf("index %s: has more than %d manifests below it", top.Digest, maxEntries)
			}
			in, err := r.Manifest(ctx, d.Digest.String())
			if err != nil {
				return nil, err
			}
			docs = append(docs, in)
		}
		if len(doc.Layers) != 1 {
			continue // an index, or an ordinary container
		}
		m, err := r.imageOf(ctx, doc, entryOf(imgspec.Descriptor{Digest: doc.Digest, Annotations: doc.Annotations, ArtifactType: typeOf(doc)}), o)
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

// FileSHA256 returns the SHA-256 of the published file in hexadecimal. It is empty for a
// file in a container image that does not contain it.
func (m *Image) FileSHA256() string { return m.sha256 }

// InContainer reports whether the file is in a container image, so that the blob is an
// archive with it.
func (m *Image) InContainer() bool { return m.inTar }

// Read returns a document. It must have at most [registry.MaxContent] bytes.
func (m *Image) Read(ctx context.Context) ([]byte, error) {
	text, err := m.repo.Content(ctx, m.blob)
	if err != nil || !m.inTar {
		return text, err
	}
	b, doc := &memory{}, *m
	doc.o.Decompress = false
	err = (&unpacker{Image: &doc, out: b, sum: sha256.New()}).untar(ctx, bytes.NewReader(text))
	return b.Bytes(), err
}

// A memory receives an unpacked document.
type memory struct{ bytes.Buffer }

func (b *memory) Write(p []byte) (int, error) {
	if b.Len()+len(p) > registry.MaxContent {
		return 0, fmt.Errorf("unpacks to more than %d bytes", registry.MaxContent)
	}
	return b.Buffer.Write(p)
}

func (b *memory) Size() int64  { return int64(b.Len()) }
func (b *memory) Close() error { return nil }

// complete fills in the defaults.
func (o Options) complete() Options {
	o.Arch = rootfs.GoArch(cmp.Or(o.Arch, runtime.GOARCH))
	o.Registry = o.Registry.ForReading()
	if o.Progress == nil {
		o.Progress = registry.Silent
	}
	return o
}

func find(ctx context.Context, named reference.Named, o Options) (*Image, error) {
	r, top, err := open(ctx, named, o)
	if err != nil {
		return nil, err
	}
	entries, err := r.entries(ctx, top, o.Arch)
	if err != nil {
		return nil, err
	}
	platforms := []string{}
	var found *Image
	ranked := slices.SortedStableFunc(slices.Values(entries), func(a, b entry) int { return cmp.Compare(a.rank(o.Arch), b.rank(o.Arch)) })
	for _, e := range ranked {
		if !e.matches(o) {
			continue
		}
		if found == nil || e.format == "" && o.Format != "" {
			m, err := r.image(ctx, e, o)
			if err != nil {
				return nil, err
			}
			if o.Format != "" && m.Format != "" && !sameFormat(m.Format, strings.TrimPrefix(o.Format, "4k.")) {
				continue
			}
			if found == nil {
				found = m
			}
		}
		if o.Platform != "" {
			break
		}
		if !slices.Contains(platforms, e.platform) {
			platforms = append(platforms, e.platform)
		}
	}
	switch {
	case found == nil:
		return nil, fmt.Errorf("no image for %s; there is %s", wanted(o), list(entries))
	case o.Platform == "" && len(platforms) > 1:
		return nil, fmt.Errorf("images for several platforms, name one: %s", list(entries))
	}
	return found, nil
}

// wanted returns the wanted image for errors, as far as the options say.
func wanted(o Options) string {
	all := []string{o.Platform, o.Arch, normal(o.Format)}
	return strings.Join(slices.DeleteFunc(all, func(s string) bool { return s == "" }), "/")
}

// BlobDigest returns the digest of the blob to fetch.
func (m *Image) BlobDigest() digest.Digest { return m.blob.Digest }

// Expected returns the properties of the resulting file that are known before the download.
// Its name and SHA-256 may be missing.
func (m *Image) Expected() File {
	switch {
	case m.inTar && m.sha256 == "":
		return File{}
	case m.o.Decompress && m.packed():
		f := m.unpackedFile(plainName(m.Title))
		f.SHA256 = m.uncompressed
		return f
	case m.inTar:
		f := m.unpackedFile(m.Title)
		f.SHA256 = m.sha256
		return f
	}
	return m.packedFile()
}

// packed reports whether the name or the type says that the file is compressed.
func (m *Image) packed() bool {
	t := filetype.Parse(m.Format)
	return isPacked(m.Title) || t.Compression != filetype.None || t.Format == filetype.TarGz
}
