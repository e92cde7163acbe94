package oci

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/manifest"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
)

// A platform is an operating system with an architecture. The variant of the oldest
// processors is empty: amd64/v1 is amd64.
type platform struct{ os, arch, variant string }

// newPlatform normalizes names as containerd does.
func newPlatform(os, arch, variant string) platform {
	if os == "" {
		os = "linux"
	}
	p := platform{strings.ToLower(os), rootfs.GoArch(strings.ToLower(arch)), strings.ToLower(variant)}
	if p.variant != "" && p.variant[0] >= '0' && p.variant[0] <= '9' {
		p.variant = "v" + p.variant
	}
	p.variant = strings.TrimSuffix(p.variant, ".0")
	if p.arch == "amd64" && p.variant == "v1" || p.arch == "arm64" && p.variant == "v8" {
		p.variant = ""
	}
	return p
}

// parsePlatform parses ARCH or ARCH/VARIANT as a platform of Linux.
func parsePlatform(s string) platform {
	arch, variant, _ := strings.Cut(s, "/")
	return newPlatform("linux", arch, variant)
}

func (p platform) String() string { return platformName(p.os, p.arch, p.variant) }

func platformName(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "/")
}

// rank returns the distance of an image from the wanted platform: 0 for the same platform,
// and a negative number for an image that may not run there. As in containerd, a processor
// runs images of its own variant and of older ones. Because the machine is unknown, only the
// oldest variant matches if no variant is wanted.
func (p platform) rank(image platform) int {
	if p.os != image.os || p.arch != image.arch {
		return -1
	}
	if p.variant == image.variant {
		return 0
	}
	major, minor := p.version()
	imageMajor, imageMinor := image.version()
	switch {
	case major < 0 || imageMajor < 0:
		return -1
	case major == imageMajor:
		return max(minor-imageMinor, -1)
	case p.arch == "amd64":
		return max(major-imageMajor, -1)
	case major == 9 && imageMajor == 8 && imageMinor <= minor+5: // ARMv9.0 has all of ARMv8.5
		return minor + 1 + minor + 5 - imageMinor
	}
	return -1
}

// version returns the version number of a variant. It is negative for unordered variants.
func (p platform) version() (major, minor int) {
	variant := p.variant
	switch {
	case p.arch == "amd64" && variant == "":
		variant = "v1"
	case p.arch == "arm64" && variant == "":
		variant = "v8"
	case p.arch != "amd64" && p.arch != "arm64":
		return -1, 0
	}
	number, ok := strings.CutPrefix(variant, "v")
	a, b, fraction := strings.Cut(number, ".")
	if !fraction {
		b = "0"
	}
	x, errMajor := strconv.ParseUint(a, 10, 8)
	y, errMinor := strconv.ParseUint(b, 10, 8)
	if !ok || errMajor != nil || errMinor != nil {
		return -1, 0
	}
	return int(x), int(y)
}

// A PlatformError is an [registry.ErrNotFound]: the image exists only for other platforms.
type PlatformError struct {
	Have []string // such as linux/amd64/v3
	text string
}

func (e *PlatformError) Error() string        { return e.text }
func (e *PlatformError) Is(target error) bool { return target == registry.ErrNotFound }

// Arches returns the available architectures of Linux, as for [Options].
func (e *PlatformError) Arches() (all []string) {
	for _, name := range e.Have {
		if arch, ok := strings.CutPrefix(name, "linux/"); ok {
			all = append(all, arch)
		}
	}
	return all
}

// Fit reports whether an entry of an index may lead to an image for an architecture, given as
// in [Options]. The rank is the distance of the image: the smallest is the best. An entry
// without a platform ranks behind all others.
func Fit(d imgspec.Descriptor, arch string) (rank int, ok bool) {
	if d.Platform == nil || !mayBeImage(d) {
		return math.MaxInt, mayBeImage(d)
	}
	rank = parsePlatform(arch).rank(newPlatform(d.Platform.OS, d.Platform.Architecture, d.Platform.Variant))
	return rank, rank >= 0
}

// Limits of an index and the indexes in it.
const (
	maxDepth   = 8
	maxIndexed = 64       // indexes
	maxNested  = 16 << 20 // bytes of them
	maxTried   = 64       // manifests that are read because their entries are incomplete
)

// A document is a manifest or an index.
type document struct {
	raw    []byte
	digest digest.Digest
}

func (d document) mime() string { return manifest.GuessMIMEType(d.raw) }

// An instance is a manifest below an index.
type instance struct {
	digest   digest.Digest
	platform *platform // nil is unknown, it is in the config
	rank     int
	zstd     bool
}

// A walk finds the instances for a platform in an index.
type walk struct {
	src       *source
	want      platform
	found     []instance
	others    []string   // other available platforms
	artifacts int        // entries that are not images
	indexes   []document // below the top one
	fetched   int        // documents with the type of an index
	size      int        // of those
	exact     bool       // one of them has the exact variant
	all       bool       // find all, even after an exact one
	skipped   bool       // indexes were not fetched because of exact
}

// choose returns the manifest for a platform in an index, and the indexes on the way to it.
func (s *source) choose(ctx context.Context, index document, want platform) (document, []document, error) {
	w := &walk{src: s, want: want}
	m, err := w.choose(ctx, index)
	if err == nil && isArtifact(m.raw) && w.skipped {
		w = &walk{src: s, want: want, all: true} // the exact match was not an image
		m, err = w.choose(ctx, index)
	}
	return m, w.indexes, err
}

func (w *walk) choose(ctx context.Context, index document) (document, error) {
	if err := w.index(ctx, index, nil, 0); err != nil {
		return document{}, err
	}
	slices.SortStableFunc(w.found, func(a, b instance) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), order(b.zstd, a.zstd))
	})
	var artifact, best *document
	rank := math.MaxInt // of best, whose platform is in its config
	for _, in := range w.found[:min(len(w.found), maxTried)] {
		m, err := w.src.document(ctx, in.digest)
		if err != nil {
			return document{}, fmt.Errorf("manifest %s: %w", short(in.digest), err)
		}
		if isArtifact(m.raw) {
			if artifact == nil {
				artifact = &m
			}
			continue
		}
		if in.platform == nil && len(w.found) > 1 {
			p, err := w.src.platformOf(ctx, m)
			if err != nil {
				return document{}, fmt.Errorf("manifest %s: %w", short(in.digest), err)
			}
			switch r := w.want.rank(p); {
			case r < 0:
				w.others = append(w.others, p.String())
			case r < rank:
				best, rank = &m, r
			}
			if rank > 0 {
				continue
			}
			return *best, nil
		}
		return m, nil
	}
	switch {
	case best != nil:
		return *best, nil
	case artifact != nil:
		return *artifact, nil // its config causes the error
	}
	return document{}, w.missing()
}

// order sorts true behind false.
func order(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// index reads the entries of an index. Entries without a platform inherit that of the
// index's own entry.
func (w *walk) index(ctx context.Context, index document, inherited *imgspec.Platform, depth int) error {
	if _, err := manifest.ListFromBlob(index.raw, index.mime()); err != nil {
		return fmt.Errorf("index: %w", err)
	}
	var x imgspec.Index
	if err := json.Unmarshal(index.raw, &x); err != nil {
		return fmt.Errorf("index: %w", err)
	}
	return w.list(ctx, x.Manifests, inherited, depth)
}

// list reads entries. Indexes among them come last, and are not fetched after an exact match.
func (w *walk) list(ctx context.Context, entries []imgspec.Descriptor, inherited *imgspec.Platform, depth int) error {
	type nested struct {
		instance
		platform *imgspec.Platform
	}
	var below []nested
	for _, d := range entries {
		if !mayBeImage(d) {
			w.artifacts++
			continue
		}
		in := instance{digest: d.Digest, rank: math.MaxInt, zstd: d.Annotations["io.github.containers.compression.zstd"] == "true"}
		p := d.Platform
		if p == nil || p.Architecture == "" {
			p = inherited
		}
		if p != nil {
			has := newPlatform(p.OS, p.Architecture, p.Variant)
			in.platform, in.rank = &has, w.want.rank(has)
			if in.rank < 0 {
				w.others = append(w.others, platformName(p.OS, p.Architecture, p.Variant))
				continue
			}
		}
		if err := checkDigest("index", d.Digest); err != nil {
			return err
		}
		if manifest.MIMETypeIsMultiImage(d.MediaType) {
			below = append(below, nested{in, p})
			continue
		}
		w.found = append(w.found, in)
		w.exact = w.exact || in.rank == 0
	}
	for _, n := range below {
		if w.exact && !w.all {
			w.skipped = true
			break
		}
		if err := w.fetch(ctx, n.instance, n.platform, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// fetch reads an index in an index. If the document is a manifest in spite of its entry's type,
// it is an instance.
func (w *walk) fetch(ctx context.Context, in instance, inherited *imgspec.Platform, depth int) error {
	if slices.ContainsFunc(w.indexes, func(x document) bool { return x.digest == in.digest }) {
		return nil
	}
	if depth > maxDepth {
		return fmt.Errorf("index: more than %d levels of indexes in indexes", maxDepth)
	}
	if w.fetched++; w.fetched > maxIndexed {
		return fmt.Errorf("index: more than %d indexes in it", maxIndexed)
	}
	x, err := w.src.document(ctx, in.digest)
	if err != nil {
		return fmt.Errorf("index %s: %w", short(in.digest), err)
	}
	if w.size += len(x.raw); w.size > maxNested {
		return fmt.Errorf("index: the indexes in it have more than %d bytes", maxNested)
	}
	if !manifest.MIMETypeIsMultiImage(x.mime()) {
		w.found = append(w.found, in)
		w.exact = w.exact || in.rank == 0
		return nil
	}
	w.indexes = append(w.indexes, x)
	return w.index(ctx, x, inherited, depth)
}

// mayBeImage reports whether an entry of an index may lead to an image, and not to an
// attestation, a delta or another artifact.
func mayBeImage(d imgspec.Descriptor) bool {
	switch {
	case d.ArtifactType != "" && !registry.IsImageConfig(d.ArtifactType), d.Annotations["vnd.docker.reference.type"] != "":
		return false
	case d.Platform != nil && (d.Platform.OS == "unknown" || d.Platform.Architecture == "unknown"):
		return false
	}
	return slices.Contains([]string{
		"", imgspec.MediaTypeImageManifest, imgspec.MediaTypeImageIndex, manifest.DockerV2Schema2MediaType,
		manifest.DockerV2ListMediaType, manifest.DockerV2Schema1MediaType, manifest.DockerV2Schema1SignedMediaType,
	}, d.MediaType)
}

// isArtifact reports whether a manifest has a type that is not that of an image.
func isArtifact(raw []byte) bool {
	var m imgspec.Manifest
	if json.Unmarshal(raw, &m) != nil {
		return false
	}
	kind := cmp.Or(m.ArtifactType, m.Config.MediaType)
	return kind != "" && !registry.IsImageConfig(kind)
}

// document returns the manifest or index of a digest.
func (s *source) document(ctx context.Context, d digest.Digest) (document, error) {
	raw, err := s.cached(d)
	if raw == nil && err == nil {
		raw, err = s.manifest(ctx, d)
	}
	if err != nil {
		return document{}, err
	}
	_, err = checkBlob(raw, d, registry.MaxManifest)
	return document{raw, d}, err
}

// platformOf returns the platform in the config of an image.
func (s *source) platformOf(ctx context.Context, m document) (platform, error) {
	parsed, err := manifest.FromBlob(m.raw, m.mime())
	if err != nil {
		return platform{}, err
	}
	raw, err := s.config(ctx, parsed.ConfigInfo())
	if err != nil {
		return platform{}, fmt.Errorf("config: %w", err)
	}
	var config imgspec.Platform
	if err := json.Unmarshal(raw, &config); err != nil {
		return platform{}, fmt.Errorf("config: %w", err)
	}
	return newPlatform(config.OS, config.Architecture, config.Variant), nil
}

// inLayout returns the digest of the image for a platform if several entries of an OCI layout
// match the reference, otherwise "". Only one may be for the platform, because the order of
// entries has no meaning.
func (s *source) inLayout(ctx context.Context, want platform) (digest.Digest, error) {
	if s.ref.transport != "oci" || s.ref.digest != "" {
		return "", nil
	}
	layout, err := readLayout(s.ref.name)
	if err != nil {
		return "", explain(err)
	}
	entries := slices.DeleteFunc(layout.Manifests, func(d imgspec.Descriptor) bool {
		return s.ref.tag != "" && d.Annotations[imgspec.AnnotationRefName] != s.ref.tag
	})
	if len(entries) < 2 {
		return "", nil
	}
	w := &walk{src: s, want: want, all: true}
	if err := w.list(ctx, entries, nil, 0); err != nil {
		return "", err
	}
	best, err := w.nearest(ctx)
	if err != nil {
		return "", err
	}
	switch len(best) {
	case 0:
		return "", w.missing()
	case 1:
		for d := range best {
			return d, nil
		}
	}
	if s.ref.tag != "" {
		return "", nil // the first one of that name, as in other tools
	}
	var names []string
	for _, d := range entries {
		names = append(names, cmp.Or(d.Annotations[imgspec.AnnotationRefName], "@"+d.Digest.String()))
	}
	return "", fmt.Errorf("the layout has several images for %s, add the name or digest of one: %s", want, strings.Join(names[:min(len(names), 10)], ", "))
}

// nearest returns the digests of the found images with the smallest rank. It reads the
// config of an image without a platform.
func (w *walk) nearest(ctx context.Context) (map[digest.Digest]bool, error) {
	best := map[digest.Digest]bool{}
	rank := math.MaxInt
	for _, in := range w.found[:min(len(w.found), maxTried)] {
		if in.platform == nil {
			m, err := w.src.document(ctx, in.digest)
			if err != nil {
				return nil, fmt.Errorf("manifest %s: %w", short(in.digest), err)
			}
			if isArtifact(m.raw) {
				w.artifacts++
				continue
			}
			p, err := w.src.platformOf(ctx, m)
			if err != nil {
				return nil, fmt.Errorf("manifest %s: %w", short(in.digest), err)
			}
			if in.rank = w.want.rank(p); in.rank < 0 {
				w.others = append(w.others, p.String())
				continue
			}
		}
		if in.rank < rank {
			clear(best)
			rank = in.rank
		}
		if in.rank == rank {
			best[in.digest] = true
		}
	}
	return best, nil
}

// missing returns the error for an index without an image for the platform.
func (w *walk) missing() error {
	slices.Sort(w.others)
	others := slices.Compact(w.others)
	have := strings.Join(others, ", ")
	switch {
	case have != "":
	case w.artifacts > 0:
		have = "none, only attestations or other artifacts"
	default:
		have = "none"
	}
	return &PlatformError{others, fmt.Sprintf("no image for %s, there is %s", w.want, have)}
}
