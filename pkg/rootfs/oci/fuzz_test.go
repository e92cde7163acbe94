package oci

import (
	"encoding/json"
	"testing"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
)

// FuzzManifest: any index, manifest and config of a registry is rejected, or has layers with
// valid digests.
func FuzzManifest(f *testing.F) {
	m := newImage(tarball(file{"etc/a", "a"}))
	m.done()
	manifest, config := mustJSON(m.manifest), mustJSON(m.config)
	f.Add([]byte(nil), manifest, config)
	f.Add(mustJSON(imgspec.Index{Manifests: []imgspec.Descriptor{{Platform: &imgspec.Platform{OS: "linux", Architecture: "amd64"}}}}), manifest, config)
	f.Add([]byte(nil), []byte(`{"schemaVersion": 1, "fsLayers": []}`), config)
	f.Add([]byte(nil), []byte(`{"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json"}`), []byte(`{"rootfs": {"diff_ids": [""]}}`))
	f.Fuzz(func(t *testing.T, index, manifest, config []byte) {
		image := newImage()
		// Digests that are right lead deeper.
		var want imgspec.Manifest
		if json.Unmarshal(manifest, &want) == nil && want.Config.Digest != "" {
			want.Config = image.put(imgspec.MediaTypeImageConfig, config)
			manifest = mustJSON(want)
		}
		top := image.put(imgspec.MediaTypeImageManifest, manifest).Digest
		var list imgspec.Index
		if json.Unmarshal(index, &list) == nil && len(list.Manifests) > 0 {
			list.Manifests[0].Digest, list.Manifests[0].Size = top, int64(len(manifest))
			top = image.put(imgspec.MediaTypeImageIndex, mustJSON(list)).Digest
		}
		dir := image.layout(t, top)
		img, err := Pull(t.Context(), "oci:"+dir, Options{Cache: t.TempDir(), Arch: "amd64"})
		if err != nil {
			return
		}
		defer img.Close()
		for _, l := range img.Layers {
			if l.Digest.Validate() != nil || l.DiffID.Validate() != nil {
				t.Errorf("%+v", l)
			}
			indexOf(t, l)
		}
	})
}
