// Package publish stores the images of a build in a container registry.
//
//	plan, err := publish.NewPlan(ctx, dir, "registry.example/os:43-images", publish.Options{})
//	fmt.Println(plan.Result.Reference) // all digests are known before anything is sent
//	res, err := plan.Push(ctx)
//
// One disk is one manifest with one layer. The layer is the unchanged file, and its
// title is the file's name. An index lists the disks and the documents of the build:
//
//	REPO:TAG           index, application/vnd.ohp.images.v1
//	  qemu, amd64        manifest, application/vnd.diskimage.qcow2
//	  metal, amd64       manifest, application/vnd.diskimage.raw.gzip
//	  ...
//	  kubevirt, amd64    the unchanged containerDisk of the build, behind all disks
//	  meta.x86_64.json   manifest, application/vnd.ohp.build.v1+json
//	  stream.json        manifest, application/vnd.ohp.stream.v1+json
//	  release.json       manifest, application/vnd.ohp.release.v1+json
//	REPO:TAG-pxe       index of kernel, initramfs and rootfs, if the build has them
//	REPO:TAG-VIEW...   the same blobs in the shape that another program expects, see [Views]
//
// Entries are sorted by architecture and then by platform, with qemu first, because a
// client that compares only the architecture takes the first match. Each entry has the
// platform {GOARCH, linux} and the following annotations, which its manifest has too:
//
//	disktype                           qemu, applehv or hyperv for those platforms, else the format
//	org.opencontainers.image.title     name of the file; only in the manifest
//	org.opencontainers.image.version   of the operating system
//	org.opencontainers.image.created   time of its commit, never of the publication
//	org.opencontainers.image.base.name, .base.digest    the operating system's container
//	dev.ohp.platform                   as in the file's name
//	dev.ohp.uncompressed-sha256        of the decompressed file
//	dev.ohp.virtual-size, .sector-size of the disk in it, in bytes
//
// If the repository also contains the operating system's container, that is the subject
// of all these manifests, so that clients find them as its referrers. A subject must be in
// the same repository; elsewhere only the annotations name the container.
//
// Some registries reject a part of this. [Plan.Fallback] plans the same images in the
// next [Form], down to plain containers, and [Options.Memory] remembers the form that a
// registry takes. A plain container has the annotations dev.ohp.file-type and
// dev.ohp.file-sha256 of its file.
//
// If the tag has images of the same version that the build lacks, publishing fails,
// unless they are to be replaced.
//
// Files are verified against meta.json while they are sent. Blobs that the registry has
// are not sent, so that the next run continues an interrupted one.
package publish

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
)

// Kinds of errors, for [errors.Is].
var (
	ErrFile    = errors.New("does not match meta.json") // a file to publish
	ErrOptions = errors.New("invalid option")
	ErrLost    = errors.New("images would be lost")
	ErrSecret  = errors.New("contains an Ignition config, which everybody with access to the repository could read")
)

// Options say how to publish a build. The zero value is useful.
type Options struct {
	Registry  registry.Options
	Views     []string   // names of [Views], or "all" for those that apply
	As        string     // "artifact", "container", or "auto" for the form that the registry takes, which is the default
	MountFrom string     // a repository in the same registry that may have some of the blobs
	Documents []Document // listed with the images
	Stream    string     // name of a stream, whose metadata is made and listed; default is none
	Secrets   bool       // publish images that contain an Ignition config
	Replace   bool       // drop images of the same version that this build lacks
	Memory    string     // file that remembers the forms that registries take; default is none

	Progress registry.Progress // of blobs; nil is silent
	Planned  func(*Plan)       // called before each push of [Publish]; may be nil
}

// A Document is a small file about images.
type Document struct {
	Title     string // name of the file
	MediaType string
	Bytes     []byte
}

// A Result describes published images.
type Result struct {
	Reference string      `json:"reference"` // with the digest of the index
	Tag       string      `json:"tag"`
	Digest    string      `json:"digest"` // of the index
	Form      Form        `json:"form"`
	Version   string      `json:"version"` // of the operating system
	Entries   []Entry     `json:"entries"` // of the index
	Tags      []TagResult `json:"tags"`    // all tags, that of the index first
	Notes     []string    `json:"notes"`
}

// An Entry is an entry of the index.
type Entry struct {
	Platform string `json:"platform,omitempty"` // empty for a document
	Arch     string `json:"arch,omitempty"`     // as Go names it
	File     string `json:"file"`
	Type     string `json:"type"`             // media type of the file
	Digest   string `json:"digest"`           // of its manifest
	Blob     string `json:"blob"`             // digest of its layer
	Size     int64  `json:"size"`             // of its layer, in bytes
	SHA256   string `json:"sha256,omitempty"` // of the file, for images
	Subject  string `json:"subject,omitempty"`

	// Reference is REPOSITORY@DIGEST of the manifest. OCI is the same as a URL for
	// Ironic, which does not read an index; it is empty if Ironic does not support
	// the form.
	Reference string `json:"reference"`
	OCI       string `json:"oci,omitempty"`

	Transfer registry.Transfer `json:"transfer,omitempty"` // of the blob; empty before it
}

// A TagResult is a tag of the repository.
type TagResult struct {
	Tag    string `json:"tag"`
	Digest string `json:"digest"`
	For    string `json:"for"` // images, pxe or the name of a view
}

// Publish publishes the builds in a folder: one build, or one for each architecture in
// folders below it. A reference without a tag gets one of the build's version:
// VERSION-images. It is a [NewPlan], whose [Plan.Push] is repeated in other forms while
// the registry rejects it.
func Publish(ctx context.Context, dir, to string, o Options) (*Result, error) {
	plan, err := NewPlan(ctx, dir, to, o)
	for err == nil {
		if o.Planned != nil {
			o.Planned(plan)
		}
		var res *Result
		if res, err = plan.Push(ctx); err == nil {
			return res, nil
		}
		plan, err = plan.Fallback(err)
	}
	return nil, err
}

// check rejects invalid options.
func (o *Options) check() error {
	for _, name := range o.Views {
		if !slices.Contains(ViewNames(), name) {
			return fmt.Errorf("view %q: %w", name, ErrOptions)
		}
	}
	if !slices.Contains([]string{"", "auto", "artifact", "container"}, o.As) {
		return fmt.Errorf(`form %q: %w, must be "auto", "artifact" or "container"`, o.As, ErrOptions)
	}
	return nil
}
