package pull

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/oci"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
)

const (
	maxDepth     = 8  // of indexes in an index
	maxReferrers = 16 // indexes and documents that are read of those that refer to a manifest
	maxListed    = 40 // entries in an error
)

// An entry is an image in a repository. Unknown fields are empty.
type entry struct {
	platform, arch string
	variant        string // of the architecture
	format         string // with its compression: raw.gzip
	digest         digest.Digest
	size           int64 // of the manifest; 0 is unknown
	annotations    map[string]string
	alone          bool // the reference names the image itself
	first          bool // the image is the first one of several layers
}

// String returns platform, architecture and, if it is known, the format.
func (e entry) String() string {
	s := cmp.Or(e.platform, "unknown") + "/" + cmp.Or(e.arch, "unknown")
	if e.variant != "" {
		s += "/" + e.variant
	}
	if e.format != "" {
		s += "/" + e.format
	}
	return s
}

// rank orders the entries of an architecture by the distance of their variants. No variant
// is rejected, because the image does not run here.
func (e entry) rank(arch string) int {
	if e.arch == "" {
		return 0
	}
	rank, ok := oci.Fit(imgspec.Descriptor{Platform: &imgspec.Platform{OS: "linux", Architecture: e.arch, Variant: e.variant}}, arch)
	if !ok {
		return math.MaxInt
	}
	return rank
}

// matches reports whether an entry matches the options by one of its names. An entry
// without a format matches; the manifest contains the format.
func (e entry) matches(o Options) bool {
	arch, _, _ := strings.Cut(o.Arch, "/")
	arch = rootfs.GoArch(arch)
	want := entry{platform: o.Platform, format: o.Format}
	for _, want := range []entry{want, want.asFile(), want.asStream()} {
		if (want.platform == "" || e.platform == want.platform || e.alone && e.platform == "") &&
			(e.arch == "" || e.arch == arch) &&
			(want.format == "" || e.format == "" && o.Format != "" || sameFormat(e.format, want.format)) {
			return true
		}
	}
	return false
}

// list returns entries for people.
func list(entries []entry) string {
	var all []string
	for _, e := range entries {
		if s := e.String(); !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	if n := len(all) - maxListed; n > 0 {
		all = append(all[:maxListed], fmt.Sprintf("and %d more", n))
	}
	return cmp.Or(strings.Join(all, ", "), "none")
}

// entries lists the images of a document and those that refer to it.
func (r *repo) entries(ctx context.Context, doc *registry.Document, arch string) ([]entry, error) {
	for range maxDepth {
		if doc.Manifests == nil {
			return r.ofManifest(ctx, doc)
		}
		disks, err := ofIndex(doc)
		if err != nil || len(disks) > 0 {
			return disks, err
		}
		if disks, err = r.ofReferrers(ctx, doc); err != nil || len(disks) > 0 {
			return disks, err
		}
		next := container(doc.Manifests, arch)
		if next == "" {
			return nil, fmt.Errorf("an index without disk images and without a container for %s", arch)
		}
		if doc, err = r.Manifest(ctx, next.String()); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("indexes in an index, more than %d deep", maxDepth)
}

// container returns the best entry of an index for an architecture, or "". A higher variant
// is acceptable, because the container does not run here.
func container(entries []imgspec.Descriptor, arch string) (found digest.Digest) {
	best := math.MaxInt
	name, _, _ := strings.Cut(arch, "/")
	for _, d := range entries {
		rank, ok := oci.Fit(d, arch)
		if !ok && d.ArtifactType == "" && entryOf(d).arch == rootfs.GoArch(name) {
			rank, ok = math.MaxInt-1, true
		}
		if ok && (found == "" || rank < best) {
			best, found = rank, d.Digest
		}
	}
	return found
}

// ofIndex lists the disks in an index.
func ofIndex(doc *registry.Document) (disks []entry, err error) {
	for _, d := range doc.Manifests {
		if err := registry.CheckDigest(d.Digest); err != nil {
			return nil, fmt.Errorf("index %s: %w", doc.Digest, err)
		}
		e := entryOf(d)
		if e.format != "" || d.Annotations[stream.AnnotationPlatform] != "" || d.Annotations[stream.AnnotationDiskType] != "" {
			disks = append(disks, e)
		}
	}
	return disks, nil
}

// entryOf reads a descriptor in the styles of all producers.
func entryOf(d imgspec.Descriptor) entry {
	e := entry{digest: d.Digest, size: d.Size, annotations: d.Annotations, format: formatOfType(cmp.Or(d.ArtifactType, d.Annotations[stream.AnnotationFileType]))}
	e.platform = cmp.Or(d.Annotations[stream.AnnotationPlatform], d.Annotations[stream.AnnotationDiskType])
	e.first = e.platform == ""
	if p := d.Platform; p != nil {
		if p.Architecture != "" && p.Architecture != "unknown" {
			e.arch, e.variant = rootfs.GoArch(p.Architecture), p.Variant
		}
		if e.platform == "" && p.OS != "linux" && p.OS != "unknown" {
			e.platform = p.OS
		}
	}
	return e
}

// ErrContainer is the error of a container without disk images. It is an
// [registry.ErrNotFound].
var ErrContainer = fmt.Errorf("no disk image: %w", registry.ErrNotFound)

// ofManifest lists the image of a manifest, or those that refer to it.
func (r *repo) ofManifest(ctx context.Context, doc *registry.Document) ([]entry, error) {
	if typeOf(doc) == stream.StreamType {
		return r.ofStream(ctx, doc)
	}
	e := entryOf(imgspec.Descriptor{Digest: doc.Digest, Size: doc.Size, Annotations: doc.Annotations, ArtifactType: typeOf(doc)})
	e.alone = true
	titled := len(doc.Layers) > 0 && doc.Layers[0].Annotations[imgspec.AnnotationTitle] != ""
	if e.format != "" || e.platform != "" || titled {
		return []entry{e}, nil
	}
	if !isContainer(doc) {
		return nil, fmt.Errorf("manifest %s: type %q is not that of a disk image", doc.Digest, typeOf(doc))
	}
	all, err := r.ofReferrers(ctx, doc)
	if err != nil || len(all) > 0 {
		return all, err
	}
	if len(doc.Layers) != 1 {
		return nil, registry.Errorf(ErrContainer, "manifest %s: a container image of %d layers, and no disk image refers to it", doc.Digest, len(doc.Layers))
	}
	return []entry{e}, nil
}

// ofReferrers lists the images that refer to a manifest: directly, in an index, or in stream
// metadata.
func (r *repo) ofReferrers(ctx context.Context, doc *registry.Document) (all []entry, err error) {
	refs, err := r.referrers(ctx, doc)
	if err != nil {
		return nil, err
	}
	read := 0
	for _, d := range refs {
		index := d.MediaType == imgspec.MediaTypeImageIndex && (d.ArtifactType == stream.IndexType || strings.HasPrefix(d.ArtifactType, filetype.MediaTypePrefix))
		disk := formatOfType(d.ArtifactType) != "" || d.Annotations[stream.AnnotationPlatform] != "" // some registries list the types of configs
		if !index && d.ArtifactType != stream.StreamType && !disk {
			continue // a signature or another artifact
		}
		if err := registry.CheckDigest(d.Digest); err != nil {
			return nil, fmt.Errorf("referrers of %s: %w", doc.Digest, err)
		}
		if !index && d.ArtifactType != stream.StreamType {
			all = append(all, entryOf(d))
			continue
		}
		if read++; read > maxReferrers {
			return nil, fmt.Errorf("more than %d indexes refer to %s", maxReferrers, doc.Digest)
		}
		ref, err := r.Manifest(ctx, d.Digest.String())
		if err != nil {
			return nil, err
		}
		var more []entry
		if index {
			more, err = ofIndex(ref)
		} else {
			more, err = r.ofStream(ctx, ref)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	return all, nil
}

// ofStream lists the images in stream metadata that have a digest. They are expected in the
// repository of the metadata: a mirror has both.
func (r *repo) ofStream(ctx context.Context, doc *registry.Document) (all []entry, err error) {
	m, err := r.imageOf(ctx, doc, entry{digest: doc.Digest}, Options{})
	if err != nil {
		return nil, fmt.Errorf("stream metadata: %w", err)
	}
	raw, err := m.Read(ctx)
	if err != nil {
		return nil, fmt.Errorf("stream metadata: %w", err)
	}
	var meta stream.Stream
	if err := json.Unmarshal(raw, &meta); err != nil {
		return nil, fmt.Errorf("stream metadata: %w", err)
	}
	for _, e := range meta.Entries() {
		if e.OCI == nil {
			continue // on a web server
		}
		format := normal(e.Format)
		if e.Artifact != "disk" {
			format = e.Artifact
		}
		if at := pinned(e.OCI.DigestRef); at != "" {
			all = append(all, entry{platform: e.Platform, arch: rootfs.GoArch(e.Arch), format: format, digest: at}.asFile())
		}
	}
	for _, arch := range slices.Sorted(maps.Keys(meta.Architectures)) {
		image := meta.Architectures[arch].Images.KubeVirt
		if image == nil {
			continue
		}
		if at := pinned(image.DigestRef); at != "" {
			all = append(all, entry{platform: "kubevirt", arch: rootfs.GoArch(arch), digest: at})
		}
	}
	if len(all) == 0 {
		return nil, errors.New("stream metadata: contains no image with a digest")
	}
	return all, nil
}

// pinned returns the digest of a reference, or "".
func pinned(ref string) digest.Digest {
	_, at, _ := strings.Cut(ref, "@")
	if registry.CheckDigest(digest.Digest(at)) != nil {
		return ""
	}
	return digest.Digest(at)
}

// liveParts are the files that a machine boots from a network or an optical disc. In
// streams, these and the disks with large sectors are files of metal; in file names each
// has its own platform.
var liveParts = []string{"kernel", "initramfs", "rootfs", "iso"}

// asFile returns an entry of a stream with the platform of its file name.
func (e entry) asFile() entry {
	if e.platform == "metal" && slices.Contains(liveParts, e.format) {
		e.platform = "live-" + e.format
	}
	if format, large := strings.CutPrefix(e.format, "4k."); e.platform == "metal" && large {
		e.platform, e.format = "metal4k", format
	}
	return e
}

// asStream is the inverse of asFile.
func (e entry) asStream() entry {
	if part, ok := strings.CutPrefix(e.platform, "live-"); ok && slices.Contains(liveParts, part) {
		e.platform, e.format = "metal", cmp.Or(e.format, part)
	}
	return e
}
