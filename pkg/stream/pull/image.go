package pull

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
)

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
		return nil, fmt.Errorf("manifest %s: has %d layers, want one for a disk", e.digest, len(doc.Layers))
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

// describe fills in the fields that come from the manifest and from its entry in an index.
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
		if m.inTar && m.sha256 == "" && n[stream.AnnotationFile] != "" { // in other containers the title is not that of the file
			m.sha256, m.Title = n[stream.AnnotationFile], n[imgspec.AnnotationTitle]
		}
	}
	for name, s := range map[string]string{stream.AnnotationUncompressed: m.uncompressed, stream.AnnotationFile: m.sha256} {
		if b, err := hex.DecodeString(s); err != nil || len(b) != 32 && len(b) != 0 {
			return fmt.Errorf("%s %q is not a SHA-256", name, s)
		}
	}
	if !m.inTar && m.uncompressed == m.blob.Digest.Encoded() {
		m.o.Decompress = false // published like this on purpose: a tar.gz for GCP, an initramfs
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

// makeTitle returns a name for a file without one.
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

// maxTitle is shorter than the limit of file systems, for suffixes of temporary files.
const maxTitle = 200

// checkTitle rejects names that are not plain file names, and names of hidden files. The
// publisher of an image chooses its name, but not its folder.
func checkTitle(s string) error {
	odd := func(r rune) bool { return !unicode.IsPrint(r) || r == '/' || r == '\\' || r == utf8.RuneError }
	if s == "" || s[0] == '.' || len(s) > maxTitle || strings.ContainsFunc(s, odd) {
		return fmt.Errorf("file name %q is rejected: want 1 to %d printable characters without / and no leading dot", s, maxTitle)
	}
	return nil
}
