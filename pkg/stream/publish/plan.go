package publish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
)

const maxEntries = 1000 // of an index, to stay below registry.MaxManifest

// A Plan is everything that a publication sends, in one form: manifests, blobs and
// tags, with their digests. It changes nothing in the registry before [Plan.Push].
type Plan struct {
	Result Result // before the push, so without transfers

	pub     *publication
	form    Form
	rest    []Form // the forms to try when the registry rejects this one
	proven  Form   // the first form that the registry has not rejected for certain
	entries []*entry
	tags    []tag // that of the index comes first
	notes   []string
}

// An entry is an item in the form of a plan.
type entry struct {
	*item
	registry.Manifest
}

// layer returns the descriptor of the file's layer.
func (e *entry) layer() imgspec.Descriptor {
	b := e.Blobs[len(e.Blobs)-1]
	return b.Descriptor("")
}

// A tag is a tag with its purpose: images, pxe or the name of a view.
type tag struct {
	registry.Tag
	use string
}

// NewPlan reads the builds in a folder and plans their publication, see [Publish] for the
// arguments. It reads the repository, but sends nothing.
func NewPlan(ctx context.Context, dir, to string, o Options) (*Plan, error) {
	named, err := parse(to)
	if err != nil {
		return nil, err
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	p := &publication{o: o, named: named}
	if err := p.read(dir); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	if err := p.open(ctx); err != nil {
		return nil, err
	}
	if err := p.findSystems(p.repo.Writable(ctx)); err != nil {
		return nil, fmt.Errorf("%s: %w", p.named, err)
	}
	candidates := o.candidates(p.remembered())
	return p.plan(candidates, candidates[0], p.notes)
}

// Fallback plans the same images in the next form, if the error of [Plan.Push] says that
// the registry does not take this one. Otherwise it returns that error.
func (p *Plan) Fallback(err error) (*Plan, error) {
	var no rejection
	if !errors.As(err, &no) || len(p.rest) == 0 {
		return nil, err
	}
	proven := p.proven
	if proven == p.form && !registry.Temporary(err) {
		proven = p.rest[0]
	}
	notes := append(slices.Clone(p.pub.notes), p.rejections()...)
	notes = append(notes, fmt.Sprintf(rejectionNote+"%q: %v", p.form, no))
	return p.pub.plan(p.rest, proven, notes)
}

const rejectionNote = "the registry does not take the form "

// rejections returns the notes about earlier forms.
func (p *Plan) rejections() []string {
	return slices.DeleteFunc(slices.Clone(p.notes), func(s string) bool { return !strings.HasPrefix(s, rejectionNote) })
}

// plan plans the first of some forms.
func (p *publication) plan(candidates []Form, proven Form, notes []string) (*Plan, error) {
	plan := &Plan{pub: p, form: candidates[0], rest: candidates[1:], proven: proven, notes: slices.Clone(notes)}
	if err := plan.make(); err != nil {
		return nil, fmt.Errorf("%s: %w", p.named, err)
	}
	plan.Result = *plan.result()
	return plan, nil
}

// make makes all manifests and tags.
func (p *Plan) make() error {
	for _, it := range p.pub.items {
		if err := p.add(it); err != nil {
			return err
		}
	}
	p.addPXE()
	if err := p.addViews(); err != nil {
		return err
	}
	if p.pub.o.Stream != "" {
		docs, err := p.metadata()
		if err != nil {
			return err
		}
		for _, d := range docs {
			if err := p.add(newDocument(nil, d)); err != nil {
				return err
			}
		}
	}
	if len(p.entries) > maxEntries {
		return fmt.Errorf("%d images, limit is %d", len(p.entries), maxEntries)
	}
	all := make([]imgspec.Descriptor, 0, len(p.entries))
	for _, e := range p.entries {
		all = append(all, e.Descriptor)
	}
	index := tag{registry.Tag{Name: p.pub.tag(), Manifest: p.index(stream.IndexType, all)}, "images"}
	p.tags = slices.Insert(p.tags, 0, index)
	return nil
}

// Push sends the plan to the registry: first the documents, which are small and show
// whether the registry takes the form, then blobs, manifests and tags. It fails with
// [ErrLost] before anything is sent if the tag has other images of the version.
func (p *Plan) Push(ctx context.Context) (*Result, error) {
	ctx = p.pub.repo.Writable(ctx)
	if err := p.push(ctx); err != nil {
		if errors.Is(err, registry.ErrSource) {
			err = registry.WithKind(ErrFile, err)
		}
		return nil, fmt.Errorf("%s: %w", p.pub.named, asRejection(err))
	}
	if err := p.remember(); err != nil {
		p.notes = append(p.notes, fmt.Sprintf("the form that the registry takes is not remembered: %v", err))
	}
	return p.result(), nil
}

func (p *Plan) push(ctx context.Context) error {
	p.pub.repo.SetReferrers(p.form == Artifact)
	if err := p.checkTags(ctx); err != nil {
		return err
	}
	var rest registry.Graph
	for _, e := range p.entries {
		if e.platform != "" {
			rest.Manifests = append(rest.Manifests, e.Manifest)
			continue
		}
		if err := p.pub.pusher.Push(ctx, registry.Graph{Manifests: []registry.Manifest{e.Manifest}}); err != nil {
			return err
		}
		if err := p.probe(ctx, e); err != nil {
			return err
		}
	}
	for _, t := range p.tags {
		rest.Tags = append(rest.Tags, t.Tag)
	}
	return p.pub.pusher.Push(ctx, rest)
}

// probes reports whether a push asks the registry for the referrers of an entry.
func (p *Plan) probes(e *entry) bool {
	return p.form == Artifact && e.platform == "" && p.subject(e.item) != nil
}

// probe checks that the registry lists a manifest as a referrer. Its header
// OCI-Subject is no proof: ECR sends it and has no such list.
func (p *Plan) probe(ctx context.Context, e *entry) error {
	if !p.probes(e) {
		return nil
	}
	all, err := p.pub.repo.Referrers(ctx, *p.subject(e.item))
	if err == nil && !slices.ContainsFunc(all, func(d imgspec.Descriptor) bool { return d.Digest == e.Descriptor.Digest }) {
		err = errors.New("referrers: the registry lists none")
	}
	if err != nil && ctx.Err() == nil {
		return rejection{err}
	}
	return err
}

// checkTags fails if a tag names something that this package has not published: in the
// operating system's own repository that would be a container.
func (p *Plan) checkTags(ctx context.Context) error {
	for i, t := range p.tags {
		raw, mediaType, err := p.pub.repo.RawManifest(ctx, t.Name)
		if errors.Is(err, registry.ErrNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("tag %s: %w", t.Name, err)
		}
		var x imgspec.Index
		_ = json.Unmarshal(raw, &x) // without annotations it is not ours
		if d := digest.FromBytes(raw); x.Annotations[stream.AnnotationForm] == "" && d != t.Manifest.Descriptor.Digest {
			return fmt.Errorf("tag %s names something else there, %s %s: choose another tag", t.Name, mediaType, d)
		}
		if lost := p.lost(x); i == 0 && len(lost) > 0 && !p.pub.o.Replace {
			return fmt.Errorf("tag %s: %w: %s of version %s, which are not in this run", t.Name, ErrLost, strings.Join(lost, ", "), p.pub.version())
		}
	}
	return nil
}

// lost lists the images in an index of the same version that the plan lacks.
func (p *Plan) lost(there imgspec.Index) (all []string) {
	if there.Annotations[imgspec.AnnotationVersion] != p.pub.version() {
		return nil
	}
	for _, d := range there.Manifests {
		platform := d.Annotations[stream.AnnotationPlatform]
		if platform == "" || d.Platform == nil {
			continue
		}
		if !slices.ContainsFunc(p.entries, func(e *entry) bool { return e.platform == platform && e.build.arch == d.Platform.Architecture }) {
			all = append(all, platform+"/"+d.Platform.Architecture)
		}
	}
	return all
}

// remembered returns the form that the registry took last time.
func (p *publication) remembered() Form {
	return readMemory(p.o.Memory).Registries[reference.Domain(p.at)]
}

// remember records the proven form. It records nothing if the form was chosen by an
// option, or if the support of the referrers API was not probed.
func (p *Plan) remember() error {
	file, known := p.pub.o.Memory, p.pub.remembered()
	if file == "" || p.pub.o.As == "container" || known == p.proven {
		return nil
	}
	if known == ArtifactTag && p.proven == Artifact && !slices.ContainsFunc(p.entries, p.probes) {
		return nil
	}
	return remember(file, reference.Domain(p.pub.at), p.proven)
}

// result describes the plan, and the transfers so far.
func (p *Plan) result() *Result {
	index := p.tags[0].Manifest.Descriptor.Digest.String()
	r := &Result{
		Reference: p.pub.repository() + "@" + index, Tag: p.pub.tag(), Digest: index,
		Form: p.form, Version: p.pub.version(),
		Entries: []Entry{}, Tags: []TagResult{}, Notes: append([]string{}, p.notes...),
	}
	transfers := p.pub.pusher.Transfers()
	for _, e := range p.entries {
		res := p.describe(e)
		res.Transfer = transfers[e.layer().Digest]
		r.Entries = append(r.Entries, res)
	}
	for _, t := range p.tags {
		r.Tags = append(r.Tags, TagResult{t.Name, t.Manifest.Descriptor.Digest.String(), t.use})
	}
	return r
}

func (p *Plan) describe(e *entry) Entry {
	layer, id := e.layer(), e.Descriptor.Digest.String()
	res := Entry{
		Platform: e.platform, File: e.file.Name, Type: e.mediaType,
		Digest: id, Blob: layer.Digest.String(), Size: layer.Size, Reference: p.pub.repository() + "@" + id,
	}
	if e.build != nil {
		res.Arch = e.build.arch
	}
	if e.platform != "" {
		res.SHA256 = e.build.file(e.platform).SHA256
	}
	if e.platform != "" && !e.isContainer() && p.form.isArtifact() {
		res.OCI = "oci://" + p.pub.at.Name() + "@" + id // Ironic does not read registries.conf
	}
	if s := p.subject(e.item); s != nil {
		res.Subject = s.Digest.String()
	}
	return res
}
