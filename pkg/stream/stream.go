// Package stream has the documents that list the images of an operating system.
// Each is made from the one above it:
//
//	meta.json       one build of one architecture [Meta]
//	  └ release.json    one version, all architectures [Release]: [NewRelease], [Merge]
//	      ├ stream.json     the current release [Stream]: [Release.Current], [Merge]
//	      │   └ ConfigMap       stream.json in the form for OpenShift [ConfigMap]
//	      └ releases.json   all past releases [Index]: [Release.Index], [Merge]
//
// [Make] does all steps from release.json on. The JSON is that of coreos-assembler
// (meta.json) and of stream-metadata-go (the rest), so the readers of their
// documents read these. The Go names are upstream's too, with two exceptions:
// types that only release.json has begin with Release, and upstream's Artifact is
// [Download]. The types are written here because the Go module proxy does not
// serve stream-metadata-go.
//
// [Document] is for editing: it keeps fields that this package does not know.
// [Check] finds the problems of a document.
//
// # Two projections
//
// A [Projection] decides the locations of the files of a build.
//
// [HTTP] is for files on a web server, and for coreos-installer. A location is an
// absolute URL without credentials; its last segment is the name of the file. There
// is always a signature, because coreos-installer requires one even when it is told
// to ignore signatures.
//
// [OCI] is for files in a registry. A file is published as the only layer of a
// manifest. The artifact has an additional field, which other parsers ignore,
//
//	"oci": {"image": "registry/repository", "digest-ref": "registry/repository@sha256:..."}
//
// with the digest of that manifest. The digest of the layer is the sha256 of the
// artifact. For other parsers, the location is the URL of the layer in the
// registry's protocol: a plain GET fetches it if the registry allows anonymous
// access without a token. A file downloaded from it is named by its digest.
//
// In a registry that accepts only containers, the file is inside one, and the
// location is docker:// followed by the digest-ref. A plain GET cannot fetch it;
// [Notes] mentions that.
package stream

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Stream is stream.json: the current images. Architectures have the names that uname
// -m prints: x86_64.
type Stream struct {
	Stream        string          `json:"stream" jsonschema:"required,minLength=1"`
	Metadata      Metadata        `json:"metadata" jsonschema:"required"`
	Architectures map[string]Arch `json:"architectures" jsonschema:"required"`
}

// Metadata is about a document itself.
type Metadata struct {
	LastModified string `json:"last-modified" jsonschema:"required,format=date-time"`
	Generator    string `json:"generator,omitempty"` // program that made the document
}

// Arch is the part of a stream for one architecture.
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

// ImageFormat is an image in one format: a disk, or the files of a network boot.
type ImageFormat struct {
	Disk      *Download `json:"disk,omitempty"`
	Kernel    *Download `json:"kernel,omitempty"`
	Initramfs *Download `json:"initramfs,omitempty"`
	Rootfs    *Download `json:"rootfs,omitempty"`
}

// A Download is a file that can be fetched. The digests are hexadecimal.
type Download struct {
	Location           string  `json:"location" jsonschema:"required,pattern=^(https?|docker)://"`
	Signature          string  `json:"signature"` // URL of a detached signature, which coreos-installer requires
	SHA256             string  `json:"sha256" jsonschema:"required,pattern=^[0-9a-f]{64}$"`
	UncompressedSHA256 string  `json:"uncompressed-sha256,omitempty" jsonschema:"pattern=^[0-9a-f]{64}$"`
	OCI                *OCIRef `json:"oci,omitempty"` // not upstream's, see the two projections
}

// An OCIRef is a file in a registry.
type OCIRef struct {
	Image     string `json:"image" jsonschema:"required,minLength=1"`                           // the repository
	DigestRef string `json:"digest-ref" jsonschema:"required,pattern=^.+@sha256:[0-9a-f]{64}$"` // of the manifest; the file is its only layer, or in it
}

// Images are the images that clouds have.
type Images struct {
	Aliyun   *ReplicatedImage  `json:"aliyun,omitempty"`
	Aws      *ReplicatedImage  `json:"aws,omitempty"`
	Gcp      *GcpImage         `json:"gcp,omitempty"`
	Ibmcloud *ReplicatedObject `json:"ibmcloud,omitempty"`
	KubeVirt *ContainerImage   `json:"kubevirt,omitempty"`
	PowerVS  *ReplicatedObject `json:"powervs,omitempty"`
}

// A ReplicatedImage is an image with a copy in each region.
type ReplicatedImage struct {
	Regions map[string]SingleImage `json:"regions,omitempty"`
}

// A SingleImage is the copy of an image in a region.
type SingleImage struct {
	Release string `json:"release" jsonschema:"required"`
	Image   string `json:"image" jsonschema:"required,minLength=1"`
}

// A ReplicatedObject is an object with a copy in each region's object storage.
type ReplicatedObject struct {
	Regions map[string]SingleObject `json:"regions,omitempty"`
}

// A SingleObject is the copy of an object in a region.
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
	Release   string `json:"release,omitempty"`                                                 // not in release.json, which is about one release
	Image     string `json:"image" jsonschema:"required,minLength=1"`                           // by tag, to follow
	DigestRef string `json:"digest-ref" jsonschema:"required,pattern=^.+@sha256:[0-9a-f]{64}$"` // by digest, to pin
}

// Extensions has the images that only Red Hat's CoreOS has.
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

// AzureMarketplace has the offers in Azure's market, by purchase plan.
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

// artifactNames are the names of an image's files, in the order of [ImageFormat].
var artifactNames = []string{"disk", "kernel", "initramfs", "rootfs"}

// artifacts returns the files in the order of [artifactNames]. Some are nil.
func (f ImageFormat) artifacts() []*Download {
	return []*Download{f.Disk, f.Kernel, f.Initramfs, f.Rootfs}
}

// An Entry is a file of a stream with its place in the stream.
type Entry struct {
	Arch     string `json:"architecture"`
	Platform string `json:"platform"`
	Format   string `json:"format"`
	Artifact string `json:"artifact"`
	Release  string `json:"release"`
	*Download
}

// Entries returns every file of the stream, in order.
func (s *Stream) Entries() Entries {
	all := Entries{}
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

// Find returns a file of the stream. An empty format or artifact means the only
// one.
func (s *Stream) Find(arch, platform, format, artifact string) (*Entry, error) {
	found := s.Entries()
	for _, step := range []struct {
		name, want string
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
			return nil, fmt.Errorf("%s %q: must be one of: %s", step.name, step.want, strings.Join(there, ", "))
		}
		found = slices.DeleteFunc(found, func(e Entry) bool { return step.of(e) != step.want })
	}
	return &found[0], nil
}
