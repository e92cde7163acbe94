package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/types"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/layer"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
)

const (
	maxConfig = 8 << 20 // bytes
	maxLayers = 4096
)

// resolve finds the manifest and the config of an image. It stores nothing before
// the policy accepts the image.
func (s *source) resolve(ctx context.Context, wanted platform) (*Manifest, error) {
	allow, err := s.policy()
	if err != nil {
		return nil, err
	}
	if d, err := s.inLayout(ctx, wanted); err != nil {
		return nil, err
	} else if d != "" {
		s.ref.digest = d
	}
	named, err := s.named(ctx)
	if err != nil {
		return nil, err
	}
	r := s.ref
	r.digest = named.digest
	chosen, between := named, []document(nil)
	if manifest.MIMETypeIsMultiImage(named.mime()) {
		if chosen, between, err = s.choose(ctx, named, wanted); err != nil {
			return nil, err
		}
	}
	m := &Manifest{Reference: r.String(), Digest: chosen.digest, Raw: chosen.raw, Arch: wanted.arch}
	if err := allow(ctx, m, m.Digest != named.digest); err != nil {
		return nil, err
	}
	for _, d := range append(between, named, chosen) {
		if err := s.cache.putBlob(d.raw, d.digest); err != nil {
			return nil, fmt.Errorf("manifest: %w", err)
		}
	}
	if err := s.describe(ctx, m, wanted); err != nil {
		return nil, fmt.Errorf("manifest %s: %w", short(m.Digest), err)
	}
	return m, nil
}

// named returns the manifest or index that the reference names.
func (s *source) named(ctx context.Context) (document, error) {
	raw, err := s.cached(s.ref.digest)
	if raw == nil && err == nil {
		raw, err = s.top(ctx)
	}
	if err != nil {
		return document{}, err
	}
	d, err := checkBlob(raw, s.ref.digest, registry.MaxManifest)
	if err != nil {
		return document{}, fmt.Errorf("manifest: %w", err)
	}
	return document{raw, d}, nil
}

// cached returns a manifest or config from the cache, or nil.
func (s *source) cached(d digest.Digest) ([]byte, error) {
	if d == "" {
		return nil, nil
	}
	return s.cache.blob(d)
}

// describe fills in the fields of a manifest that come from its config.
func (s *source) describe(ctx context.Context, m *Manifest, wanted platform) error {
	parsed, err := parseManifest(m.Raw)
	if err != nil {
		return err
	}
	if err := s.enter(m.Digest); err != nil {
		return err
	}
	if m.Config, err = s.config(ctx, parsed.ConfigInfo()); err != nil {
		return fmt.Errorf("config: %w", err)
	}
	if err := s.cache.putBlob(m.Config, parsed.ConfigInfo().Digest); err != nil {
		return fmt.Errorf("config: %w", err)
	}
	var config imageConfig
	if err := json.Unmarshal(m.Config, &config); err != nil {
		return fmt.Errorf("config: %w", err)
	}
	if err := config.check(wanted); err != nil {
		return err
	}
	m.Labels = config.Config.Labels
	if m.Created, err = config.created(); err != nil {
		m.Notes = append(m.Notes, fmt.Sprintf("the container's config: %v", err))
	}
	layers := parsed.LayerInfos()
	if s.ref.transport == "containers-storage" {
		st, err := s.stored()
		if err != nil {
			return err
		}
		layers = st.infos()
	}
	m.Layers, err = descriptors(layers, config.RootFS.DiffIDs, m.Labels[layer.FinalDiffID])
	return err
}

func parseManifest(raw []byte) (manifest.Manifest, error) {
	mime := manifest.GuessMIMEType(raw)
	switch mime {
	case imgspec.MediaTypeImageManifest, manifest.DockerV2Schema2MediaType:
		return manifest.FromBlob(raw, mime)
	case manifest.DockerV2Schema1MediaType, manifest.DockerV2Schema1SignedMediaType:
		return nil, errors.New("docker schema 1 is not supported: convert the image with `skopeo copy --format oci`")
	}
	return nil, fmt.Errorf("type %q is not that of an image", mime)
}

// An imageConfig is the config of an image. A time that is not valid is no reason to
// reject an image, so it is parsed later.
type imageConfig struct {
	imgspec.Image
	Created json.RawMessage `json:"created"`
}

// check compares the config with the wanted platform.
func (c *imageConfig) check(wanted platform) error {
	if c.OS != "linux" {
		return fmt.Errorf("image is for the operating system %q, not linux", c.OS)
	}
	has := newPlatform(c.OS, c.Architecture, c.Variant)
	if has.arch != wanted.arch || wanted.variant != "" && wanted.rank(has) < 0 {
		return &PlatformError{[]string{has.String()}, fmt.Sprintf("image is for %s, not %s", platformName(has.arch, has.variant), platformName(wanted.arch, wanted.variant))}
	}
	return nil
}

// created returns the time of the image, which is zero if it is absent or invalid.
func (c *imageConfig) created() (t time.Time, err error) {
	text := string(c.Created)
	if text == "" || text == "null" {
		return t, nil
	}
	if json.Unmarshal(c.Created, &text) == nil {
		t, _ = time.Parse(time.RFC3339, text)
	}
	if t.IsZero() {
		err = fmt.Errorf("created: %.40q is not a time, using 1970-01-01", text)
	}
	return t, err
}

// config returns the config that a manifest names.
func (s *source) config(ctx context.Context, info types.BlobInfo) ([]byte, error) {
	if info.Digest == "" {
		return nil, errors.New("the manifest names none")
	}
	if err := checkDigest("digest", info.Digest); err != nil {
		return nil, err
	}
	raw, err := s.cached(info.Digest)
	if raw != nil || err != nil {
		return raw, err
	}
	r, err := s.blob(ctx, info.Digest, info.Size)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if raw, err = io.ReadAll(io.LimitReader(r, maxConfig+1)); err != nil {
		return nil, err
	}
	if info.Size >= 0 && int64(len(raw)) != info.Size {
		return nil, registry.Errorf(registry.ErrVerify, "%d bytes, the manifest says %d", len(raw), info.Size)
	}
	if _, err := checkBlob(raw, info.Digest, maxConfig); err != nil {
		return nil, err
	}
	return raw, nil
}

// descriptors joins manifest and config to descriptions of the layers. Layers after
// the final one, or all layers if there is none, are not part of a commit.
func descriptors(layers []manifest.LayerInfo, diffIDs []digest.Digest, final string) ([]Descriptor, error) {
	if len(layers) != len(diffIDs) {
		return nil, fmt.Errorf("%d layers, but %d diffIDs in the config", len(layers), len(diffIDs))
	}
	if len(layers) > maxLayers {
		return nil, fmt.Errorf("%d layers, limit is %d", len(layers), maxLayers)
	}
	last := slices.Index(diffIDs, digest.Digest(final))
	all := make([]Descriptor, len(layers))
	for i, l := range layers {
		all[i] = Descriptor{l.Digest, diffIDs[i], l.Size, l.MediaType, i > last}
		if err := all[i].check(); err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
	}
	return all, nil
}

// check refuses a layer that is not worth asking for.
func (d Descriptor) check() error {
	if d.Digest == "" || d.DiffID == "" {
		return errors.New("has no digest")
	}
	if err := checkDigest("digest", d.Digest); err != nil {
		return err
	}
	if err := checkDigest("diffID", d.DiffID); err != nil {
		return err
	}
	switch t := d.MediaType; {
	case d.Size < 0:
		return fmt.Errorf("size %d", d.Size)
	case strings.Contains(t, "encrypted"):
		return errors.New("encrypted layers are not supported")
	case strings.Contains(t, "foreign"), strings.Contains(t, "nondistributable"):
		return fmt.Errorf("layers outside the registry (%s) are not supported", t)
	case !strings.Contains(t, "tar"):
		return fmt.Errorf("type %q is not that of a layer", t)
	}
	return nil
}
