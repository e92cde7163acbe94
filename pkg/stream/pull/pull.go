// Package pull fetches one disk image from a registry.
//
// Images are in registries in several shapes, and all of them are understood. A
// reference may name
//
//	an index whose entries are disks       ours: annotation dev.ohp.platform
//	                                       Fedora's pipeline: platform.os is the platform
//	                                       podman machine: annotation disktype
//	a manifest of one file                 type application/vnd.diskimage.*, or a layer with a title
//	a container image of one layer         with one file in the folder /disk, as KubeVirt has it
//	an operating system container          whose referrers are one of these
//	stream metadata                        which names manifests by digest
//	an index of containers                 of which the architecture's is taken
//
// In each the first entry is taken that matches what is wanted. Live parts and
// disks with large sectors have two names, and answer to both: live-kernel, as
// their files, and metal with the format kernel, as in streams.
//
// Nothing of what a registry says is trusted: manifests and blobs are checked
// against their digests and sizes, what is decompressed against the digest that
// a manifest gives it, and the name of a file must be one that does no harm. A
// download goes on where a connection was cut, or an earlier run ended; credentials
// are sent to the registry only, not to where it redirects to.
package pull

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/oci"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
)

// Options say which image is wanted and how it may be fetched.
type Options struct {
	Platform   string // as qemu or metal; may be empty where there is no choice
	Arch       string // as Go or as uname(1) calls it, perhaps with a variant, as amd64/v3; default is the host's
	Format     string // as qcow2, raw or raw.gzip; default is the first that there is
	Decompress bool   // what is compressed with gzip, xz, zstd or zip

	Registry registry.Options  // its ReadTimeout is two minutes by default
	Progress registry.Progress // may be nil
}

// An Image is one file in a registry.
type Image struct {
	Reference              string // with the digest of its manifest
	Manifest               digest.Digest
	Platform, Arch, Format string // as far as they are known
	Title                  string // name of the file; empty if it is in a container image, and only its layer tells
	Size                   int64  // of the blob that is to be fetched

	repo         *repo
	o            Options
	blob         imgspec.Descriptor
	inTar        bool
	sha256       string // of the file; empty if it is in a container image that does not tell
	uncompressed string // SHA-256 that the publisher gives; may be empty
}

// Find returns the image that is wanted of what a reference names.
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

// List returns every file that a reference names: the one of its manifest, or
// those of all manifests that its index lists, documents as well as images.
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

const maxEntries = 1000 // manifests that an index may lead to

func (r *repo) files(ctx context.Context, top *registry.Document, o Options) (all []*Image, err error) {
	docs := []*registry.Document{top}
	for n := 0; n < len(docs); n++ {
		doc := docs[n]
		for _, d := range doc.Manifests {
			if err := registry.CheckDigest(d.Digest); err != nil {
				return nil, fmt.Errorf("index %s: %w", doc.Digest, err)
			}
			if len(docs) == maxEntries {
				return nil, fmt.Errorf("index %s: leads to more than %d manifests", top.Digest, maxEntries)
			}
			in, err := r.Manifest(ctx, d.Digest.String())
			if err != nil {
				return nil, err
			}
			docs = append(docs, in)
		}
		if len(doc.Layers) != 1 {
			continue // an index, or a container as they usually are
		}
		m, err := r.imageOf(ctx, doc, entryOf(imgspec.Descriptor{Digest: doc.Digest, Annotations: doc.Annotations, ArtifactType: typeOf(doc)}), o)
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

// FileSHA256 returns the digest of the file as it is published. It is empty if the
// file is in a container image that does not tell.
func (m *Image) FileSHA256() string { return m.sha256 }

// InContainer reports whether the file is in a container image, so that no blob
// is the file.
func (m *Image) InContainer() bool { return m.inTar }

// Read returns a file that is a document. It must not be large.
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

// A memory is where documents are unpacked to.
type memory struct{ bytes.Buffer }

func (b *memory) Write(p []byte) (int, error) {
	if b.Len()+len(p) > registry.MaxContent {
		return 0, fmt.Errorf("unpacks to more than %d bytes", registry.MaxContent)
	}
	return b.Buffer.Write(p)
}

func (b *memory) Size() int64  { return int64(b.Len()) }
func (b *memory) Close() error { return nil }

// complete fills in what options leave to us.
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

// wanted says what Options ask for.
func wanted(o Options) string {
	return entry{platform: o.Platform, arch: o.Arch, format: normal(o.Format)}.String()
}

// BlobDigest is the digest of the blob that is to be fetched.
func (m *Image) BlobDigest() digest.Digest { return m.blob.Digest }

// Expected returns the file that will come of the image, as far as that is known
// before: a name and a SHA-256 may be missing.
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

// packed reports whether anything says that the file is compressed.
func (m *Image) packed() bool {
	t := filetype.Parse(m.Format)
	return isPacked(m.Title) || t.Compression != filetype.None || t.Format == filetype.TarGz
}

// image reads the manifest of an entry.
func (r *repo) image(ctx context.Context, e entry, o Options) (*Image, error) {
	doc, err := r.Manifest(ctx, e.digest.String())
	if err != nil {
		return nil, err
	}
	return r.imageOf(ctx, doc, e, o)
}

func (r *repo) imageOf(ctx context.Context, doc *registry.Document, e entry, o Options) (*Image, error) {
	ref := r.named.Name() + "@" + e.digest.String()
	if e.size > 0 && e.size != doc.Size {
		return nil, fmt.Errorf("manifest %s: has %d bytes, the index says %d: %w", e.digest, doc.Size, e.size, registry.ErrVerify)
	}
	if len(doc.Layers) == 0 {
		return nil, fmt.Errorf("manifest %s: has no layer", e.digest)
	}
	if len(doc.Layers) > 1 && !e.first {
		return nil, fmt.Errorf("manifest %s: has %d layers: a disk is one", e.digest, len(doc.Layers))
	}
	m := &Image{Reference: ref, Manifest: e.digest, Platform: e.platform, Arch: e.arch, Format: e.format,
		repo: r, o: o, blob: doc.Layers[0], Size: doc.Layers[0].Size}
	if err := registry.CheckDigest(m.blob.Digest); err != nil {
		return nil, fmt.Errorf("manifest %s: layer: %w", e.digest, err)
	}
	if m.Size < 0 || m.Size > maxImage {
		return nil, fmt.Errorf("manifest %s: layer of %d bytes", e.digest, m.Size)
	}
	if err := m.describe(ctx, doc, e); err != nil {
		return nil, fmt.Errorf("manifest %s: %w", e.digest, err)
	}
	return m, nil
}

// describe fills in what an image's manifest and its entry in an index say.
func (m *Image) describe(ctx context.Context, doc *registry.Document, e entry) error {
	title, titled := m.blob.Annotations[imgspec.AnnotationTitle]
	notes := []map[string]string{m.blob.Annotations, doc.Annotations, e.annotations}
	switch {
	case titled:
		m.Title = title
	case isContainer(doc):
		m.inTar = true
		labels, err := m.repo.labels(ctx, doc)
		if err != nil {
			return err
		}
		notes = append(notes, labels)
	}
	for _, n := range notes {
		if m.Platform == "" {
			m.Platform = n[stream.AnnotationPlatform]
		}
		if m.uncompressed == "" {
			m.uncompressed = strings.TrimPrefix(n[stream.AnnotationUncompressed], "sha256:")
		}
		if m.inTar && m.sha256 == "" && n[stream.AnnotationFile] != "" { // of any other container the title is no file's
			m.sha256, m.Title = n[stream.AnnotationFile], n[imgspec.AnnotationTitle]
		}
	}
	for name, s := range map[string]string{stream.AnnotationUncompressed: m.uncompressed, stream.AnnotationFile: m.sha256} {
		if b, err := hex.DecodeString(s); err != nil || len(b) != 32 && len(b) != 0 {
			return fmt.Errorf("%s %q is no SHA-256", name, s)
		}
	}
	if !m.inTar && m.uncompressed == m.blob.Digest.Encoded() {
		m.o.Decompress = false // it is as it should be, however it begins: a tarball for GCP, an initramfs
	}
	m.Format = cmp.Or(m.Format, formatOfType(typeOf(doc)), formatOfType(m.blob.MediaType), formatOfName(m.Title))
	if m.inTar && m.sha256 == "" {
		return nil
	}
	if !m.inTar {
		m.sha256 = m.blob.Digest.Encoded()
	}
	if !titled && !m.inTar {
		m.Title = m.makeTitle()
	}
	return checkTitle(m.Title)
}

// makeTitle returns a name for a file that has none.
func (m *Image) makeTitle() string {
	base := m.repo.named.Name()
	name := base[strings.LastIndex(base, "/")+1:]
	for _, part := range []string{m.Platform, m.Arch} {
		if part != "" {
			name += "-" + part
		}
	}
	t := filetype.Parse(m.Format)
	return name + "." + cmp.Or(string(t.Format), "img") + t.Compression.Suffix()
}

// maxTitle leaves room for what temporary files add.
const maxTitle = 200

// checkTitle refuses names that are no names of files, or of files that nobody
// sees: whoever publishes an image chooses its name, not its place.
func checkTitle(s string) error {
	odd := func(r rune) bool { return !unicode.IsPrint(r) || r == '/' || r == '\\' || r == utf8.RuneError }
	if s == "" || s[0] == '.' || len(s) > maxTitle || strings.ContainsFunc(s, odd) {
		return fmt.Errorf("file name %q is refused: want 1 to %d printable characters without / and no dot in front", s, maxTitle)
	}
	return nil
}
