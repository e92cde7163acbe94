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
)

const (
	maxManifest = 4 << 20
	maxConfig   = 8 << 20
	maxLayers   = 4096
)

// A descriptor is a layer as the manifest and the config have it.
type descriptor struct {
	Digest, DiffID digest.Digest
	Size           int64
	MediaType      string
	Plain          bool // nothing in it is an object
}

// resolve finds the manifest and the config of an image, and says which layers
// it has.
//
// Until a policy, if there is one, allows the image, nothing of it is stored.
func resolve(ctx context.Context, src *source, wanted platform) (*Image, []descriptor, error) {
	allow, err := src.policy()
	if err != nil {
		return nil, nil, err
	}
	if d, err := src.inLayout(ctx, wanted); err != nil {
		return nil, nil, err
	} else if d != "" {
		src.ref.digest = d
	}
	raw, err := src.cached(src.ref.digest)
	if raw == nil && err == nil {
		raw, err = src.top(ctx)
	}
	if err != nil {
		return nil, nil, err
	}
	top, err := checkBlob(raw, src.ref.digest, maxManifest)
	if err != nil {
		return nil, nil, fmt.Errorf("manifest: %w", err)
	}
	r := src.ref
	r.digest = top
	named := document{raw, top}
	chosen, between := named, []document(nil)
	if manifest.MIMETypeIsMultiImage(named.mime()) {
		if chosen, between, err = src.choose(ctx, named, wanted); err != nil {
			return nil, nil, err
		}
	}
	img := &Image{Reference: r.String(), Digest: chosen.digest, Manifest: chosen.raw, Arch: wanted.arch}
	if err := allow(ctx, img, img.Digest != top); err != nil {
		return nil, nil, err
	}
	for _, m := range append(between, named, chosen) {
		if err := src.cache.putBlob(m.raw, m.digest); err != nil {
			return nil, nil, fmt.Errorf("manifest: %w", err)
		}
	}
	want, err := src.describe(ctx, img, wanted)
	if err != nil {
		return nil, nil, fmt.Errorf("manifest %s: %w", short(img.Digest), err)
	}
	return img, want, nil
}

// cached returns a manifest or config from the cache, or nil.
func (s *source) cached(d digest.Digest) ([]byte, error) {
	if d == "" {
		return nil, nil
	}
	return s.cache.blob(d)
}

// describe reads manifest and config.
func (s *source) describe(ctx context.Context, img *Image, wanted platform) ([]descriptor, error) {
	mime := manifest.GuessMIMEType(img.Manifest)
	switch mime {
	case imgspec.MediaTypeImageManifest, manifest.DockerV2Schema2MediaType:
	case manifest.DockerV2Schema1MediaType, manifest.DockerV2Schema1SignedMediaType:
		return nil, errors.New("docker schema 1 is not supported: convert the image with `skopeo copy --format oci`")
	default:
		return nil, fmt.Errorf("type %q is not that of an image", mime)
	}
	m, err := manifest.FromBlob(img.Manifest, mime)
	if err != nil {
		return nil, err
	}
	if err := s.enter(img.Digest); err != nil {
		return nil, err
	}
	if img.Config, err = s.config(ctx, m.ConfigInfo()); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	if err := s.cache.putBlob(img.Config, m.ConfigInfo().Digest); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	var config struct {
		imgspec.Image
		Created json.RawMessage `json:"created"`
	}
	if err := json.Unmarshal(img.Config, &config); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	if config.OS != "linux" {
		return nil, fmt.Errorf("image is for the operating system %q, not linux", config.OS)
	}
	has := newPlatform(config.OS, config.Architecture, config.Variant)
	if has.arch != wanted.arch || wanted.variant != "" && wanted.rank(has) < 0 {
		return nil, &PlatformError{[]string{has.String()}, fmt.Sprintf("image is for %s, not %s", platformName(has.arch, has.variant), platformName(wanted.arch, wanted.variant))}
	}
	img.Labels = config.Config.Labels
	if created := string(config.Created); created != "" && created != "null" {
		if json.Unmarshal(config.Created, &created) == nil {
			img.Created, _ = time.Parse(time.RFC3339, created)
		}
		if img.Created.IsZero() {
			img.Notes = append(img.Notes, fmt.Sprintf("the container's config: created: %.40q is not a time: 1970-01-01 is taken", created))
		}
	}
	layers := m.LayerInfos()
	if s.ref.transport == "containers-storage" {
		st, err := s.stored()
		if err != nil {
			return nil, err
		}
		layers = st.infos()
	}
	return descriptors(layers, config.RootFS.DiffIDs, img.Labels[layer.FinalDiffID])
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
		return nil, failf(ErrVerify, "%d bytes, the manifest says %d", len(raw), info.Size)
	}
	if _, err := checkBlob(raw, info.Digest, maxConfig); err != nil {
		return nil, err
	}
	return raw, nil
}

// descriptors joins manifest and config to descriptions of the layers. Layers after
// the final one, or all layers if there is none, are not part of a commit.
func descriptors(layers []manifest.LayerInfo, diffIDs []digest.Digest, final string) ([]descriptor, error) {
	if len(layers) != len(diffIDs) {
		return nil, fmt.Errorf("%d layers, but %d diffIDs in the config", len(layers), len(diffIDs))
	}
	if len(layers) > maxLayers {
		return nil, fmt.Errorf("%d layers, limit is %d", len(layers), maxLayers)
	}
	last := slices.Index(diffIDs, digest.Digest(final))
	all := make([]descriptor, len(layers))
	for i, l := range layers {
		all[i] = descriptor{l.Digest, diffIDs[i], l.Size, l.MediaType, i > last}
		if err := all[i].check(); err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
	}
	return all, nil
}

// check refuses a layer that is not worth asking for.
func (d descriptor) check() error {
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
