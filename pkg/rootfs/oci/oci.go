// Package oci resolves references of containers and fetches their layers into a
// cache, which offers their content at any offset.
//
//	m, err := oci.Resolve(ctx, reference, oci.Options{Cache: dir}) // manifest and config
//	img, err := m.Fetch(ctx)                                       // layers
//	defer img.Close()
//
// The package in files:
//
//	manifest.go, resolve.go, platform.go   Resolve: from a reference to one manifest
//	image.go, layers.go, fetch.go, pipe.go Fetch: layers into the cache
//	cache.go, imports.go, prune.go         the cache
//	blob.go, index.go                      content and indexes of layers
//	reference.go, source.go, explain.go    references and access, through containers/image
//	storage.go, tarsplit.go                the stores of podman
//	policy.go, verify.go                   signature policies
//
// # References
//
// References have the syntax of skopeo:
//
//	[docker://]HOST/NAME[:TAG][@DIGEST]
//	oci:DIR[:TAG][@DIGEST]
//	oci-archive:FILE[:TAG][@DIGEST]
//	dir:DIR[@DIGEST]
//	docker-archive:FILE[:NAME[:TAG]|:@NUMBER][@DIGEST]
//	containers-storage:[[DRIVER@ROOT]]NAME[:TAG][@DIGEST]
//
// A NAME without HOST and without docker:// is a short name: registries.conf must
// define it. containers-storage holds the images of podman and buildah on this
// machine; NAME can be an ID there. DIGEST is that of a manifest or of an index of
// several architectures, and is verified. From an index, and the indexes in it,
// Resolve takes the image of the architecture whose variant is the nearest one that
// is not above the wanted variant. It skips attestations and other artifacts.
// Registries, credentials and certificates are configured as for containers/image.
//
// # Verification
//
// Every byte is verified before its use: manifests, configs and blobs against
// their digests and sizes, inflated layers against the diffIDs of the config, and
// the entries of layers as package layer describes. Docker schema 1, encrypted
// layers, layers outside of the registry, and digests other than SHA-256 are
// rejected.
//
// With a policy, an image must be signed as containers-policy.json(5) demands, before
// anything but its manifest is fetched and anything is stored. The verdict is that of
// podman's own code, which needs the build tag containers_image_openpgp; a program
// that was built without it rejects every image if there is a policy. Signatures are
// not kept, so a policy that demands them needs the network. Without a policy the
// digest in the reference is the only check.
//
// # The cache
//
// A layer is inflated once and kept as a pack and an index; the compressed blob is
// not kept.
//
//	CACHE/v1/blobs/HEX          manifests and configs, by digest
//	CACHE/v1/layers/HEX.pack    content of a layer, by the digest of its blob
//	CACHE/v1/layers/HEX.index   the rest of the layer; without it the pack is ignored
//	CACHE/v1/layers/HEX.lock    locked (flock) while a process fetches the layer, never removed
//	CACHE/v1/layers/HEX.*.tmp   files of the process that holds this lock
//	CACHE/v1/diffs/HEX          by diffID: the digest of a blob that inflates to it
//	CACHE/v1/imports/KEY        results of imports, by a digest of all inputs, with a checksum
//	CACHE/v1/tmp/               unpacked archives, incomplete small files, and an unlinked
//	                            file with the indexes of an image, and with its small packs
//	                            if it has more than 64 layers
//	CACHE/v1/lock               locked, shared, by every process that uses the cache; a process
//	                            that locks it alone removes the files of killed processes
//
// A file gets its name when it is complete, so a process may be killed at any time.
// Each pull compares cached content with its checksum and fetches damaged files again.
// The time of an index, manifest, config or import is that of its last use. The packs of an open
// image are locked, shared, against pruning. Nothing is synced to the disk: after a
// crash of the machine a file may be damaged. The cache can be deleted at any time, in
// whole or in part.
package oci

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/layer"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
)

// Options say where to find an image and which one to take. Only Cache is required.
type Options struct {
	Cache string // directory, made if missing
	Arch  string // as Go or uname(1) name it, optionally with a variant: amd64/v3; default is the host's

	Registry    registry.Options  // for references to registries
	RegistriesD string            // directory with the locations of signatures; default as in containers-registries.d(5)
	StorageConf string            // a storage.conf, for containers-storage; default is the user's or the system's
	Policy      string            // a policy.json that the image must satisfy; default is no check
	Limits      layer.Limits      // of each layer
	Progress    registry.Progress // of layers; nil is silent
}

// Pull resolves a reference and fetches its image. Cached content is not fetched
// again. A reference with a digest needs no network if everything is cached, unless
// a policy demands signatures.
func Pull(ctx context.Context, reference string, o Options) (*Image, error) {
	m, err := Resolve(ctx, reference, o)
	if err != nil {
		return nil, err
	}
	return m.Fetch(ctx)
}

// short returns a digest in the form for people.
func short(d digest.Digest) string {
	const most = len("sha256:") + 12
	if s := d.String(); len(s) > most {
		return s[:most] + "…"
	}
	return d.String()
}
