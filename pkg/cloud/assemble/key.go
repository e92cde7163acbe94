package assemble

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree/container"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/system"
)

// FormatVersion is part of every [Key]. It is increased by each change of the
// program that changes the bytes of an image for the same inputs. A test of
// cmd/ohp-assemble compares it with the digests of golden images.
const FormatVersion = 1

// keyInputs is the JSON text whose digest is a key. The order and names of its
// fields are fixed.
type keyInputs struct {
	Format      int      `json:"format"`    // FormatVersion
	Container   string   `json:"container"` // digest of the manifest
	Origin      string   `json:"origin"`    // empty for the default of a container that is not in a registry
	Name        string   `json:"name"`
	Merge       string   `json:"merge"`
	NoSELinux   bool     `json:"no_selinux"`
	Platforms   []string `json:"platforms"` // sorted
	Size        int64    `json:"size"`      // bytes, like boot and esp
	Boot        int64    `json:"boot"`
	ESP         int64    `json:"esp"`
	RootFS      string   `json:"rootfs"`
	Kargs       []string `json:"kargs"`
	Ignition    string   `json:"ignition"` // SHA-256 in hexadecimal; empty for no config
	Compression string   `json:"compression"`
	AsPublished bool     `json:"as_published"`
	Level       int      `json:"level"`
}

// Key returns a digest of everything that the files of a request depend on. Equal
// keys mean equal files, so that a result can be looked up before any layer is
// fetched. The reverse is not true: a request that spells a default out has
// another key.
//
// The reference is that of the pulled image, with a digest. It matters only if o
// names no origin, because the origin of updates is then derived from it. The
// order of platforms, and the place that asked for a size, do not matter.
//
// The key is the SHA-256 of a JSON object without spaces that has, in this order,
// "format" ([FormatVersion]), "container", "origin", "name", "merge", "no_selinux",
// "platforms", "size", "boot", "esp", "rootfs", "kargs", "ignition",
// "compression", "as_published" and "level".
func Key(reference string, container digest.Digest, o system.Options, r Request) digest.Digest {
	text, err := json.Marshal(inputs(reference, container, o, r))
	if err != nil {
		panic(err) // the struct has only strings, numbers and booleans
	}
	return digest.FromBytes(text)
}

func inputs(reference string, image digest.Digest, o system.Options, r Request) keyInputs {
	origin := o.Origin
	if origin == "" {
		origin, _ = system.RegistryOrigin(reference)
	}
	in := keyInputs{
		Format: FormatVersion, Container: image.String(),
		Origin: origin, Name: o.Name, Merge: cmp.Or(o.Merge, container.MergeOSTree), NoSELinux: o.NoSELinux,
		Platforms: []string{}, Size: r.Size, Boot: r.Boot.Bytes, ESP: r.ESP.Bytes, RootFS: r.RootFS,
		Kargs: append([]string{}, r.Kargs...), Compression: string(r.Compression), AsPublished: r.AsPublished, Level: r.Level,
	}
	for _, p := range r.Platforms {
		in.Platforms = append(in.Platforms, p.ID)
	}
	slices.Sort(in.Platforms)
	if r.Ignition != nil {
		sum := sha256.Sum256(r.Ignition)
		in.Ignition = hex.EncodeToString(sum[:])
	}
	return in
}
