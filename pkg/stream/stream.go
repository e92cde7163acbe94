// Package stream holds the documents that say which images there are of an
// operating system, and what is made of what:
//
//	meta.json       one build of one architecture [Meta]
//	  └ release.json    one version, all architectures [Release]: [NewRelease], [Merge]
//	      ├ stream.json     what is current [Stream]: [Release.Current], [Merge]
//	      │   └ ConfigMap       stream.json where OpenShift looks for it [ConfigMap]
//	      └ releases.json   all versions there were [Index]: [Release.Index], [Merge]
//
// Their JSON is that of coreos-assembler (meta.json) and of stream-metadata-go
// (the rest), so whatever reads those reads these. The Go names are upstream's
// as well, where one package can have them all: what release.json has of its
// own kind begins with Release, and upstream's Artifact is [Download].
//
// # Two projections
//
// Where the files of a build can be had is a matter of a [Projection].
//
// [HTTP] is for files behind a web server, and what coreos-installer takes: a
// location is an absolute URL without credentials whose last segment is the
// file's name, and there is always a signature, which that program insists on
// even where it is told not to look at it.
//
// [OCI] is for files in a registry. A file is published there as the one layer
// of a manifest. The artifact has a field of its own,
//
//	"oci": {"image": "registry/repository", "digest-ref": "registry/repository@sha256:..."}
//
// with the digest of that manifest; the layer's is sha256: with the sha256
// beside it. The parsers that there are leave fields out that they do not know.
// For them the location is the layer's address by the registry's own protocol:
// a plain GET is all it takes where the registry serves strangers without a
// token. Its last segment is a digest, so a file that is downloaded from it has
// that for a name. Where a registry takes nothing but containers, the file is
// in one, and the location is docker:// with the digest-ref: no plain GET can
// fetch it, and [Notes] says so.
//
// Whoever edits a document edits a [Document], which keeps what it does not
// know; [Check] says what is wrong with one.
package stream

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Stream is stream.json: what there is at the moment. Architectures are named
// as the machines call themselves: x86_64.
type Stream struct {
	Stream        string          `json:"stream" jsonschema:"required,minLength=1"`
	Metadata      Metadata        `json:"metadata" jsonschema:"required"`
	Architectures map[string]Arch `json:"architectures" jsonschema:"required"`
}

// Metadata is about a document itself.
type Metadata struct {
	LastModified string `json:"last-modified" jsonschema:"required,format=date-time"`
	Generator    string `json:"generator,omitempty"` // what made it
}

// Arch is what a stream has for one architecture.
type Arch struct {
	Artifacts            map[string]PlatformArtifacts `json:"artifacts" jsonschema:"required"` // by platform
	Images               Images                       `json:"images,omitzero"`
	RHELCoreOSExtensions *Extensions                  `json:"rhel-coreos-extensions,omitempty"`
}

// PlatformArtifacts are the files for a platform.
type PlatformArtifacts struct {
	Release string                 `json:"release" jsonschema:"required,minLength=1"`
	Formats map[string]ImageFormat `json:"formats" jsonschema:"required"` // by extension, see [formatOf]
}

// ImageFormat is an image in one format: a disk, or what boots over a network.
type ImageFormat struct {
	Disk      *Download `json:"disk,omitempty"`
	Kernel    *Download `json:"kernel,omitempty"`
	Initramfs *Download `json:"initramfs,omitempty"`
	Rootfs    *Download `json:"rootfs,omitempty"`
}

// A Download is a file that can be fetched. The digests are hexadecimal.
type Download struct {
	Location           string  `json:"location" jsonschema:"required,pattern=^(https?|docker)://"`
	Signature          string  `json:"signature"` // the address of a detached one; coreos-installer cannot do without
	SHA256             string  `json:"sha256" jsonschema:"required,pattern=^[0-9a-f]{64}$"`
	UncompressedSHA256 string  `json:"uncompressed-sha256,omitempty" jsonschema:"pattern=^[0-9a-f]{64}$"`
	OCI                *OCIRef `json:"oci,omitempty"` // not upstream's, see the two projections
}

// An OCIRef is a file in a registry.
type OCIRef struct {
	Image     string `json:"image" jsonschema:"required,minLength=1"`                           // the repository
	DigestRef string `json:"digest-ref" jsonschema:"required,pattern=^.+@sha256:[0-9a-f]{64}$"` // of the manifest whose one layer the file is, or is in
}

// Images are the images that a cloud has itself.
type Images struct {
	Aliyun   *ReplicatedImage  `json:"aliyun,omitempty"`
	Aws      *ReplicatedImage  `json:"aws,omitempty"`
	Gcp      *GcpImage         `json:"gcp,omitempty"`
	Ibmcloud *ReplicatedObject `json:"ibmcloud,omitempty"`
	KubeVirt *ContainerImage   `json:"kubevirt,omitempty"`
	PowerVS  *ReplicatedObject `json:"powervs,omitempty"`
}

// A ReplicatedImage is one that each region has a copy of.
type ReplicatedImage struct {
	Regions map[string]SingleImage `json:"regions,omitempty"`
}

// A SingleImage is one in a region.
type SingleImage struct {
	Release string `json:"release" jsonschema:"required"`
	Image   string `json:"image" jsonschema:"required,minLength=1"`
}

// A ReplicatedObject is one that each region's object storage has a copy of.
type ReplicatedObject struct {
	Regions map[string]SingleObject `json:"regions,omitempty"`
}

// A SingleObject is one in a region's object storage.
type SingleObject struct {
	Release string `json:"release" jsonschema:"required"`
	Object  string `json:"object" jsonschema:"required,minLength=1"`
	Bucket  string `json:"bucket" jsonschema:"required,minLength=1"`
	Url     string `json:"url" jsonschema:"required,minLength=1"`
}

// GcpImage is an image of Google's cloud.
type GcpImage struct {
	Release string `json:"release" jsonschema:"required"`
	Project string `json:"project" jsonschema:"required"`
	Family  string `json:"family,omitempty"`
	Name    string `json:"name" jsonschema:"required,minLength=1"`
}

// A ContainerImage is a container in a registry.
type ContainerImage struct {
	Release   string `json:"release,omitempty"`                                                 // not in release.json, which is about one
	Image     string `json:"image" jsonschema:"required,minLength=1"`                           // by tag, to follow
	DigestRef string `json:"digest-ref" jsonschema:"required,pattern=^.+@sha256:[0-9a-f]{64}$"` // by digest, to pin
}

// Extensions is what only Red Hat's CoreOS has.
type Extensions struct {
	AwsWinLi    *ReplicatedImage `json:"aws-winli,omitempty"` // with a Windows license
	AzureDisk   *AzureDisk       `json:"azure-disk,omitempty"`
	Marketplace *Marketplace     `json:"marketplace,omitempty"`
}

// AzureDisk is a disk image in Azure's storage, to make an image of.
type AzureDisk struct {
	Release string `json:"release,omitempty"` // not in release.json
	URL     string `json:"url,omitempty"`
}

// Marketplace has the offers in the markets of clouds.
type Marketplace struct {
	Azure *AzureMarketplace `json:"azure,omitempty"`
}

// AzureMarketplace has the offers in Azure's, by what is paid for.
type AzureMarketplace struct {
	NoPurchasePlan *AzureMarketplaceImages `json:"no-purchase-plan,omitempty"`
	OCP            *AzureMarketplaceImages `json:"ocp,omitempty"`
	OPP            *AzureMarketplaceImages `json:"opp,omitempty"`
	OKE            *AzureMarketplaceImages `json:"oke,omitempty"`
	OCPEMEA        *AzureMarketplaceImages `json:"ocp-emea,omitempty"`
	OPPEMEA        *AzureMarketplaceImages `json:"opp-emea,omitempty"`
	OKEEMEA        *AzureMarketplaceImages `json:"oke-emea,omitempty"`
}

// AzureMarketplaceImages is one offer for both generations of machines.
type AzureMarketplaceImages struct {
	Gen1 *AzureMarketplaceImage `json:"hyperVGen1,omitempty"`
	Gen2 *AzureMarketplaceImage `json:"hyperVGen2,omitempty"`
}

// AzureMarketplaceImage names an offer.
type AzureMarketplaceImage struct {
	Publisher string `json:"publisher" jsonschema:"required"`
	Offer     string `json:"offer" jsonschema:"required"`
	SKU       string `json:"sku" jsonschema:"required"`
	Version   string `json:"version" jsonschema:"required"`
}

// The names of an image's files, in the order of [ImageFormat].
var artifactNames = []string{"disk", "kernel", "initramfs", "rootfs"}

// artifacts are the files in the order of [artifactNames]; some are nil.
func (f ImageFormat) artifacts() []*Download {
	return []*Download{f.Disk, f.Kernel, f.Initramfs, f.Rootfs}
}

// An Entry is a file of a stream, and what it is.
type Entry struct {
	Arch     string `json:"architecture"`
	Platform string `json:"platform"`
	Format   string `json:"format"`
	Artifact string `json:"artifact"`
	Release  string `json:"release"`
	*Download
}

// Entries returns every file of the stream, in order.
func (s *Stream) Entries() (all []Entry) {
	for _, arch := range slices.Sorted(maps.Keys(s.Architectures)) {
		platforms := s.Architectures[arch].Artifacts
		for _, platform := range slices.Sorted(maps.Keys(platforms)) {
			p := platforms[platform]
			for _, format := range slices.Sorted(maps.Keys(p.Formats)) {
				for i, a := range p.Formats[format].artifacts() {
					if a != nil {
						all = append(all, Entry{arch, platform, format, artifactNames[i], p.Release, a})
					}
				}
			}
		}
	}
	return all
}

// Find returns a file of the stream. A format or artifact that is not given is
// the one that there is, if there is only one.
func (s *Stream) Find(arch, platform, format, artifact string) (*Entry, error) {
	found := s.Entries()
	for _, step := range []struct {
		what, want string
		of         func(Entry) string
	}{
		{"architecture", arch, func(e Entry) string { return e.Arch }},
		{"platform", platform, func(e Entry) string { return e.Platform }},
		{"format", format, func(e Entry) string { return e.Format }},
		{"artifact", artifact, func(e Entry) string { return e.Artifact }},
	} {
		var there []string
		for _, e := range found {
			if !slices.Contains(there, step.of(e)) {
				there = append(there, step.of(e))
			}
		}
		if step.want == "" && len(there) == 1 {
			step.want = there[0]
		}
		if !slices.Contains(there, step.want) {
			return nil, fmt.Errorf("%s %q: there are %s", step.what, step.want, strings.Join(there, ", "))
		}
		found = slices.DeleteFunc(found, func(e Entry) bool { return step.of(e) != step.want })
	}
	return &found[0], nil
}
