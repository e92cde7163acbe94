// Package publish puts the images of a build into a container registry.
//
// One disk is one manifest with one layer, which is the file as it is, and has
// its name as title. An index lists them, and the documents of the build:
//
//	REPO:TAG           index, application/vnd.ohp.images.v1
//	  qemu, amd64        manifest, application/vnd.diskimage.qcow2
//	  metal, amd64       manifest, application/vnd.diskimage.raw.gzip
//	  ...
//	  kubevirt, amd64    the containerDisk of the build, as it is, behind all disks
//	  meta.x86_64.json   manifest, application/vnd.ohp.build.v1+json
//	  stream.json        manifest, application/vnd.ohp.stream.v1+json
//	  release.json       manifest, application/vnd.ohp.release.v1+json
//	REPO:TAG-pxe       index of kernel, initramfs and rootfs, where the build has them
//	REPO:TAG-VIEW...   the same blobs as others look for them, see [Views]
//
// Entries are in the order of architectures and then of platforms, with qemu
// first: who looks at nothing but the architecture takes the first that fits.
// Each has the platform {GOARCH, linux}, and these annotations, as its manifest has,
// but for the title:
//
//	disktype                           qemu, applehv or hyperv for those platforms, else the format
//	org.opencontainers.image.title     name of the file
//	org.opencontainers.image.version   of the operating system
//	org.opencontainers.image.created   of its commit: never when it was published
//	org.opencontainers.image.base.name, .base.digest    the operating system's container
//	dev.ohp.platform                   as in the file's name
//	dev.ohp.uncompressed-sha256        of the file when it is decompressed
//	dev.ohp.virtual-size, .sector-size of the disk in it, in bytes
//
// If the repository has the operating system's container too, that is the
// subject of all these manifests, so that they are found from there. A subject
// must be in the same repository; elsewhere the annotations alone tell.
//
// Not every registry takes all this. What one refuses is tried again in the next
// [Form], down to that of a plain container, and what it took is remembered. Such
// a container says in dev.ohp.file-type and dev.ohp.file-sha256 what its file is.
//
// A tag that has images of the same version which the build has not keeps them:
// that is refused, unless they are to be replaced.
//
// Digests are known, and told, before the first byte is sent. Files are checked
// against meta.json while they are sent. What the registry has is not sent
// again, so that a run that was interrupted is continued by the next.
package publish

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker/reference"
	"golang.org/x/sync/errgroup"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/oci"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/registry"
)

// Kinds of errors, for [errors.Is].
var (
	ErrFile    = errors.New("is not what meta.json says") // a file that was to be published
	ErrOptions = errors.New("not understood")             // what was asked for
	ErrLost    = errors.New("there are images that would be lost")
	ErrSecret  = errors.New("an Ignition config is embedded in it, which everybody could read who may pull it")
)

// Options say how a build is published.
type Options struct {
	Registry  registry.Options
	Views     []string   // names of [Views], or all: those that apply
	As        string     // artifact, container, or auto, which is the default: what the registry takes
	MountFrom string     // a repository in the same registry that may have some of the blobs
	Documents []Document // listed with the images
	Stream    string     // if it is not empty, stream and release metadata of that name are listed, too
	Secrets   bool       // images with an Ignition config in them are published
	Replace   bool       // images of the same version that this build has not are dropped from the tag
	Memory    string     // a file that remembers what registries take; default is none

	Progress oci.Progress         // may be nil
	Planned  func(result *Result) // is told all digests before anything is sent; may be nil
}

// A Document is a small file that tells about images.
type Document struct {
	Title     string // name of the file
	MediaType string
	Bytes     []byte
}

// A Result is what was published.
type Result struct {
	Reference string      `json:"reference"` // with the digest of the index
	Tag       string      `json:"tag"`
	Digest    string      `json:"digest"`
	Form      Form        `json:"form"`
	Rung      int         `json:"rung"` // of the ladder of forms, from 1
	Version   string      `json:"version"`
	Entries   []Entry     `json:"entries"`
	Tags      []TagResult `json:"tags"` // all of them
	Notes     []string    `json:"notes"`
}

// An Entry is what the index lists.
type Entry struct {
	Platform string `json:"platform,omitempty"` // empty for a document
	Arch     string `json:"arch,omitempty"`     // as Go calls it
	File     string `json:"file"`
	Type     string `json:"type"`
	Digest   string `json:"digest"`           // of its manifest
	Blob     string `json:"blob"`             // digest of its layer
	Size     int64  `json:"size"`             // of its layer
	SHA256   string `json:"sha256,omitempty"` // of the file, if it is an image's
	Subject  string `json:"subject,omitempty"`

	// REPOSITORY@DIGEST of the manifest, and, if Ironic takes the image in this
	// form, the same as its URL. Ironic does not read an index.
	Reference string `json:"reference"`
	OCI       string `json:"oci,omitempty"`

	Blobs string `json:"blob_was,omitempty"` // sent, there or mounted
}

// A TagResult is a name for something that was published.
type TagResult struct {
	Tag    string `json:"tag"`
	Digest string `json:"digest"`
	For    string `json:"for"` // images, pxe or a view
}

// Publish publishes what is in a folder: a build, or one for each architecture
// in folders below it. A reference without a tag gets one of the build's
// version: VERSION-images.
func Publish(ctx context.Context, dir, to string, o Options) (*Result, error) {
	named, err := parse(to)
	if err != nil {
		return nil, err
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	p := &publication{o: o, named: named, have: map[digest.Digest]string{}}
	if p.o.Progress == nil {
		p.o.Progress = silent{}
	}
	if err := p.read(dir); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	if err := p.open(ctx); err != nil {
		return nil, err
	}
	if err := p.climb(p.repo.Scoped(ctx)); err != nil {
		return nil, fmt.Errorf("%s: %w", p.named, err)
	}
	return p.result, nil
}

// open opens the repository where registries.conf says that it is. Mirrors are
// for readers.
func (p *publication) open(ctx context.Context) error {
	src, err := p.location(p.named)
	if err != nil {
		return err
	}
	p.at = reference.TrimNamed(src.Reference)
	if name := reference.TrimNamed(p.named); p.at.Name() != name.Name() {
		p.note("registries.conf places %s at %s: published there", name, p.at)
	}
	p.repo, err = registry.OpenSource(ctx, p.named, src, p.o.Registry)
	return err
}

// location returns the place of a repository that is no mirror.
func (p *publication) location(named reference.Named) (registry.Source, error) {
	sources, err := registry.Sources(named, p.o.Registry)
	if err != nil {
		return registry.Source{}, err
	}
	return sources[len(sources)-1], nil
}

// check refuses what is not understood before anything is done.
func (o *Options) check() error {
	for _, name := range o.Views {
		if name != allViews && !slices.ContainsFunc(Views, func(v View) bool { return v.Name == name }) {
			return fmt.Errorf("view %q: %w", name, ErrOptions)
		}
	}
	if !slices.Contains([]string{"", "auto", "artifact", "container"}, o.As) {
		return fmt.Errorf("form %q: %w: there are auto, artifact and container", o.As, ErrOptions)
	}
	return nil
}

type silent struct{}

func (silent) Expect(int64) {}
func (silent) Done(int64)   {}

// parse reads the name of a repository, with a tag or without one. A short name
// is refused: what is published must not end up where nobody thought of.
func parse(to string) (reference.Named, error) {
	to = strings.TrimPrefix(to, "docker://")
	named, err := reference.ParseNormalizedNamed(to)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", to, ErrOptions, err)
	}
	host, _, ok := strings.Cut(to, "/")
	if !ok || !strings.ContainsAny(host, ".:") && host != "localhost" {
		return nil, fmt.Errorf("%s: %w: names no registry: write %s if that is meant", to, ErrOptions, named)
	}
	if _, ok := named.(reference.Digested); ok {
		return nil, fmt.Errorf("%s: %w: a digest is what comes of it, name a tag", to, ErrOptions)
	}
	return named, nil
}

// A publication is one build on its way into a repository.
type publication struct {
	o      Options
	named  reference.Named // with the tag, once that is known
	at     reference.Named // the repository where registries.conf has it
	builds []*build        // in the order of their architectures
	items  []*item         // disks in the order of the index, then documents
	repo   *registry.Repo
	have   map[digest.Digest]string // blobs that are in the repository, and how they came there
	notes  []string
	probed bool // the registry was asked for referrers

	form   Form
	tops   []*top // what gets a tag; the index of all comes first
	result *Result
}

// A top is a manifest or index with a tag.
type top struct {
	manifest
	tag string
	use string // images, pxe or a view
}

func (p *publication) tag() string { return p.named.(reference.Tagged).Tag() }

// in publishes everything in one form.
func (p *publication) in(ctx context.Context, form Form) error {
	p.form = form
	if err := p.plan(ctx); err != nil {
		return err
	}
	if err := p.checkTags(ctx); err != nil {
		return err
	}
	last := p.result
	p.describe()
	if p.o.Planned != nil && (last == nil || last.Digest != p.result.Digest) {
		p.o.Planned(p.result)
	}
	// Documents go first: they are small, and tell whether the registry takes
	// the form before anything large is sent.
	for _, it := range p.items {
		if it.platform == "" {
			if err := p.send(ctx, it.blobs...); err != nil {
				return err
			}
			if err := p.push(ctx, it.manifest); err != nil {
				return err
			}
			if err := p.probe(ctx, it); err != nil {
				return err
			}
		}
	}
	var blobs []blob
	for _, it := range p.items {
		blobs = append(blobs, it.blobs...)
	}
	for _, t := range p.tops {
		blobs = append(blobs, t.blobs...)
	}
	if err := p.send(ctx, blobs...); err != nil {
		return err
	}
	for _, it := range p.items {
		if it.platform != "" {
			if err := p.push(ctx, it.manifest); err != nil {
				return err
			}
		}
	}
	for _, t := range p.tops {
		if err := p.push(ctx, t.manifest); err != nil {
			return err
		}
	}
	// Names come last: what has one is whole.
	for _, t := range p.tops {
		if err := p.setTag(ctx, t); err != nil {
			return err
		}
	}
	p.describe()
	return nil
}

// send sends blobs, several at once, and each only once.
func (p *publication) send(ctx context.Context, blobs ...blob) error {
	jobs := []blob{}
	for _, b := range blobs {
		if _, known := p.have[b.desc.Digest]; !known {
			p.have[b.desc.Digest] = ""
			jobs = append(jobs, b)
			p.o.Progress.Expect(b.desc.Size)
		}
	}
	how := make([]string, len(jobs))
	u := &uploader{repo: p.repo, from: p.mountFrom(), progress: p.o.Progress}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(2 * runtime.GOMAXPROCS(0))
	for i, b := range jobs {
		group.Go(func() (err error) {
			if how[i], err = u.put(ctx, b); err != nil {
				return registry.Explain(b.name, err)
			}
			return nil
		})
	}
	err := group.Wait()
	for i, b := range jobs {
		if p.have[b.desc.Digest] = how[i]; how[i] == "" {
			delete(p.have, b.desc.Digest)
		}
	}
	return err
}

// mountFrom returns the path of the repository that may have some of the blobs.
func (p *publication) mountFrom() string {
	if p.o.MountFrom != "" {
		if path := p.pathOf(p.o.MountFrom); path != "" {
			return path
		}
		return strings.TrimPrefix(p.o.MountFrom, reference.Domain(p.named)+"/")
	}
	for _, b := range p.builds {
		if c := b.meta.Container; c != nil {
			if path := p.pathOf(c.Image); path != "" && path != reference.Path(p.at) {
				return path
			}
		}
	}
	return ""
}

// pathOf returns the path of a repository in the registry that is published to,
// or "" if it is in another one.
func (p *publication) pathOf(name string) string {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return ""
	}
	src, err := p.location(named)
	if err != nil || reference.Domain(src.Reference) != reference.Domain(p.at) {
		return ""
	}
	return reference.Path(src.Reference)
}

// describe makes the result.
func (p *publication) describe() {
	r := &Result{
		Reference: reference.TrimNamed(p.named).String() + "@" + p.tops[0].desc.Digest.String(),
		Tag:       p.tag(), Digest: p.tops[0].desc.Digest.String(),
		Form: p.form, Rung: p.form.rung(), Version: p.builds[0].meta.OSTreeVersion,
		Entries: []Entry{}, Tags: []TagResult{}, Notes: append([]string{}, p.notes...),
	}
	for _, it := range p.items {
		layer := it.blobs[len(it.blobs)-1].desc
		e := Entry{
			Platform: it.platform, File: it.file.name, Type: it.mediaType,
			Digest: it.desc.Digest.String(), Blob: layer.Digest.String(), Size: layer.Size, Blobs: p.have[layer.Digest],
		}
		e.Reference = reference.TrimNamed(p.named).String() + "@" + e.Digest
		if it.build != nil {
			e.Arch = it.build.arch
		}
		if it.platform != "" {
			e.SHA256 = it.build.meta.Images[it.platform].SHA256
		}
		if it.platform != "" && !it.container && p.form.rung() <= ArtifactTag.rung() {
			e.OCI = "oci://" + p.at.Name() + "@" + e.Digest // Ironic reads no registries.conf
		}
		if s := p.subject(it); s != nil {
			e.Subject = s.Digest.String()
		}
		r.Entries = append(r.Entries, e)
	}
	for _, t := range p.tops {
		r.Tags = append(r.Tags, TagResult{t.tag, t.desc.Digest.String(), t.use})
	}
	p.result = r
}
