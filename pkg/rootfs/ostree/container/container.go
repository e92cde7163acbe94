// Package container imports operating systems from containers into an ostree
// repository. An ostree-native container has a commit whose objects are spread
// over layers, and may have derived layers on top. A plain container has only
// derived layers.
//
//	layers[0]       commit layer   the commit, its dirtrees and dirmetas, files
//	layers[1..n]    chunks         files; n is where label ostree.final-diffid is
//	layers[n+1..]   derived        files as in any container; all of them
//	                               in a container without that label
//
// The result is a repository as a host of that container has it: the deployed
// merge commit, on top of the commit of the container if there is one; for every
// chunk a commit that keeps its objects; for every derived layer a commit of its
// files; and refs, by which the host knows at its next upgrade which layers it
// has.
//
// Of a base without derived layers the merge commit has the tree of the base,
// with labels as they were composed. Otherwise
//
//	filter   files in /run and its like are dropped, /etc becomes usr/etc
//	build    each layer becomes a tree of its own, with parents and hard links
//	merge    the trees are laid on top of the base, with whiteouts
//	relabel  all gets the labels of the policy in the result, as do the layers
//
// In some of these steps ostree differs from container runtimes. The next upgrade
// of the system follows ostree, and so does this package, with a [Warning], unless
// [Options] say otherwise.
//
// A layer may change files of the base through the objects of the repository;
// see [changedObject]. Squashed images are left out.
// See https://bootc-dev.github.io/bootc/ and ostree-ext.
package container

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/layer"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree/composefs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/selinux"
)

// An Image is a container whose layers have been read and verified.
type Image struct {
	Digest   string // of the manifest
	Manifest []byte // as it was pulled
	Config   []byte
	Layers   []Layer
	Cache    Cache // keeps the results of imports; nil keeps none
}

// A Layer is a layer of an Image.
type Layer struct {
	Digest string                            // of the blob
	DiffID string                            // of the tar in it
	Index  func() (*layer.Index, error)      // reads the index, once for an import
	Blob   func(off, size int64) rootfs.Blob // a piece of the pack
}

// Options hold the inputs of an import besides the image.
type Options struct {
	// Reference is where the host finds the image, as a transport and a name:
	// "docker://quay.io/fedora/fedora-coreos:stable". See [Reference].
	Reference string

	// Merge says how derived layers are laid on top of each other:
	// [MergeOSTree], which is the default, or [MergeOCI].
	Merge Merge

	everywhere bool // for tests: layers may add to any directory, even if the base forbids it

	// Importer is the version that the merge commit says it was imported by;
	// empty means [Importer].
	Importer string
}

// Importer is the default name of the importer in a merge commit. Hosts only show
// it, so it does not pretend to be a version of something else.
const Importer = "ohp-assemble"

// A Merge is a rule for merging derived layers.
type Merge = string

// Ways to merge derived layers. They differ where there are warnings.
const (
	MergeOSTree = "ostree" // as the system does when it upgrades itself
	MergeOCI    = "oci"    // as container runtimes do
)

// A Tree is an imported container.
type Tree struct {
	Repo     *ostree.Repo
	Root     *rootfs.Inode     // files of the deployed commit; see [ostree.Repo.Tree]
	Deployed ostree.Checksum   // the merge commit
	Base     ostree.Checksum   // the commit in the container; zero in a plain one
	Labels   map[string]string // of the container
	Warnings []Warning         // by layer and path
	Notes    []string          // remarks that are no faults
	ACL      string            // the first file with an access control list; "" for none

	// Composefs is the composefs image of Root; nil if it has none because of an
	// error, which [composefs.Format] returns.
	Composefs rootfs.Blob
	composefs []byte // the same, as long as it is in memory
}

// Prefixes of refs, by their subject.
const (
	imageRefs = "ostree/container/image/"
	blobRefs  = "ostree/container/blob/"
)

// config is the part of an image config that an import reads.
type config struct {
	Created string
	Config  struct{ Labels map[string]string }
	History any
	RootFS  struct {
		DiffIDs []string `json:"diff_ids"`
	}
}

// manifest is the part of a manifest that an import reads.
type manifest struct {
	Annotations map[string]string
}

// Import makes the repository of an image.
func Import(img *Image, o Options) (*Tree, error) {
	t, err := cachedImport(img, o)
	if err != nil {
		return nil, fmt.Errorf("container %s: %w", img.Digest, err)
	}
	return t, nil
}

func doImport(img *Image, o Options) (*Tree, error) {
	imageRef, err := ref(imageRefs, o.Reference)
	if err != nil {
		return nil, err
	}
	c, err := readConfig(img)
	if err != nil {
		return nil, err
	}
	if o.Merge != "" && o.Merge != MergeOSTree && o.Merge != MergeOCI {
		return nil, fmt.Errorf("merge %q: neither %s nor %s", o.Merge, MergeOSTree, MergeOCI)
	}
	derived, err := checkLayout(img, c)
	if err != nil {
		return nil, err
	}
	t := &Tree{Repo: ostree.NewRepo(), Labels: c.Config.Labels}
	if history, _ := c.History.([]any); len(history) < len(img.Layers) {
		t.Warnings = append(t.Warnings, Warning{Layer: -1, What: fmt.Sprintf(
			"the container's config has a history of %d entries for %d layers: the system will refuse its updates (truncated history)", len(history), len(img.Layers))})
	}
	for i := range img.Layers[:derived] {
		if err := t.addLayer(i, &img.Layers[i]); err != nil {
			return nil, img.layerError(i, err)
		}
	}
	merged, err := mergeCommit(img, o, c)
	if err != nil {
		return nil, err
	}
	if derived > 0 {
		if err := t.addBase(merged); err != nil {
			return nil, err
		}
	}
	if derived < len(img.Layers) {
		if err := t.derive(img, derived, o, merged); err != nil {
			return nil, err
		}
	}
	t.Deployed = t.Repo.AddMetadata(ostree.CommitObject, merged.Bytes())
	t.Repo.Refs[imageRef] = t.Deployed
	if derived < len(img.Layers) {
		if t.Root, err = t.Repo.Tree(t.Deployed); err != nil {
			return nil, err
		}
	}
	if t.Repo.HasXattr(aclAccess) || t.Repo.HasXattr(aclDefault) {
		t.ACL = findACL(t.Root)
	}
	if image, err := composefs.Format(t.Root, composefs.Options{IDs: t.Repo.IDs()}); err == nil {
		t.composefs, t.Composefs = image, bytes.NewReader(image)
	}
	return t, nil
}

// Extended attributes that are access control lists.
const (
	aclAccess  = "system.posix_acl_access"
	aclDefault = "system.posix_acl_default"
)

// findACL returns the path of the first file with an access control list.
func findACL(root *rootfs.Inode) string {
	for name, n := range root.Walk() {
		if n.Xattrs[aclAccess] != "" || n.Xattrs[aclDefault] != "" {
			return name
		}
	}
	return ""
}

// readConfig returns the part of an image's config that an import reads.
func readConfig(img *Image) (*config, error) {
	c := &config{}
	if err := json.Unmarshal(img.Config, c); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	return c, nil
}

// layerError returns an error of a layer.
func (img *Image) layerError(i int, err error) error {
	return fmt.Errorf("layer %d (%s): %w", i, img.Layers[i].Digest, err)
}

// checkLayout tells the layers of the commit from derived ones by their position:
// a label names the last layer of the commit. It returns the number of the first
// derived one.
func checkLayout(img *Image, c *config) (derived int, err error) {
	diffIDs := c.RootFS.DiffIDs
	if len(img.Layers) != len(diffIDs) {
		return 0, fmt.Errorf("%d layers, but config has %d diff_ids", len(img.Layers), len(diffIDs))
	}
	if len(diffIDs) == 0 {
		return 0, errors.New("no layers")
	}
	for i, l := range img.Layers {
		if l.DiffID != diffIDs[i] {
			return 0, img.layerError(i, fmt.Errorf("content is %s, config says %s", l.DiffID, diffIDs[i]))
		}
	}
	last, err := c.finalLayer()
	return last + 1, err
}

// Check returns the error of [Import] that the config alone decides, so that no
// layer is fetched in vain.
func Check(imageConfig []byte) error {
	var c config
	if err := json.Unmarshal(imageConfig, &c); err != nil {
		return fmt.Errorf("config: %w", err)
	}
	_, err := c.finalLayer()
	return err
}

// finalLayer returns the number of the last layer of the commit, which a label
// names by its diffID, or -1 for an image without that label.
func (c *config) finalLayer() (int, error) {
	final := c.Config.Labels[layer.FinalDiffID]
	if final == "" {
		return -1, nil
	}
	last := slices.Index(c.RootFS.DiffIDs, final)
	if last < 0 {
		return -1, fmt.Errorf("label %s is %s, and none of the %d layers: the image was squashed, and its commit is lost; build it again without --squash-all (--squash is fine)",
			layer.FinalDiffID, final, len(c.RootFS.DiffIDs))
	}
	return last, nil
}

// Bootable reports whether hosts take an image with these labels for an
// operating system. Those that were booted from another one refuse it as an
// update.
func Bootable(labels map[string]string) bool {
	_, ok := labels["ostree.bootable"]
	return ok || IsBootc(labels)
}

// IsBootc reports whether an image with these labels says that bootc installs
// it.
func IsBootc(labels map[string]string) bool {
	_, ok := labels["containers.bootc"]
	return ok
}

// checkPlain refuses a first layer with a commit that no label names.
func checkPlain(x *layer.Index) error {
	if len(x.Objects) > 0 && x.Objects[0].Type == ostree.CommitObject {
		return fmt.Errorf("commit %s, but the container has no label %s: it was lost when the image was built; build it again with a tool that keeps the labels of its base", x.Objects[0].ID, layer.FinalDiffID)
	}
	return nil
}

// commitOf returns the name of the commit in a layer without objects, or "".
func commitOf(x *layer.Index) string {
	for _, e := range x.Entries {
		if strings.HasPrefix(e.Name, layer.RepoDir+"objects/") && strings.HasSuffix(e.Name, ".commit") && e.Mode&rootfs.ModeType == rootfs.ModeFile && !e.HardLink {
			return e.Name
		}
	}
	return ""
}

// addBase makes a commit one of the base and on top of it.
func (t *Tree) addBase(c *ostree.Commit) (err error) {
	if t.Root, err = t.Repo.Tree(t.Base); err != nil {
		return err
	}
	base, err := t.Repo.Commit(t.Base)
	if err != nil {
		return err
	}
	c.Parent, c.Tree, c.Meta = t.Base, base.Tree, base.Meta
	return nil
}

// derive puts derived layers on top of the base, gives the result to a commit,
// and adds commits of the layers. All that it takes from the base is named by
// its checksum, so the base remains.
func (t *Tree) derive(img *Image, first int, o Options, c *ostree.Commit) error {
	var warns warnings
	m := merge{root: t.Root, oci: o.Merge == MergeOCI, warns: &warns}
	f := filter{others: true}
	if m.root != nil && !o.everywhere { // without a base no one could say no
		var err error
		if f.others, err = writableRoot(m.root); err != nil {
			return err
		}
	}
	nodes := 0
	var layers []*layerTree
	system := first == 0 // so far layers make an operating system; from then on they change one
	for i := first; i < len(img.Layers); i++ {
		index, err := img.Layers[i].Index()
		if err == nil && i == 0 {
			err = checkPlain(index)
		}
		if err != nil {
			return img.layerError(i, err)
		}
		if name := commitOf(index); i == 0 && name != "" {
			warns.add(0, name, "a commit, and the container has no label %s: it was lost when the image was built. It is imported as any other container, "+
				"as a host does; file capabilities may be lost. Build it again with a tool that keeps the labels of its base", layer.FinalDiffID)
		}
		b := builder{number: i, index: index, blob: img.Layers[i].Blob, filter: f, oci: m.oci, lower: m.root, nodes: &nodes, warns: &warns}
		l, err := b.build()
		if err != nil {
			return img.layerError(i, err)
		}
		m.apply(i, l)
		layers = append(layers, l)
		system = system && (i == 0 || !m.changed && !isSystem(layers[0].root))
		l.changes = !system
	}
	m.cleanUp()
	for i, l := range layers {
		if l.changes {
			lint(first+i, l, m.root, &warns)
			if list := setIDs(first+i, l); list != "" {
				t.Notes = append(t.Notes, list)
			}
		}
	}
	t.Warnings = append(t.Warnings, warns.all()...)
	return t.commit(img, layers, m.root, c)
}

// commit labels and commits the layers, which are the last of the image, and
// the tree of the merge.
func (t *Tree) commit(img *Image, layers []*layerTree, root *rootfs.Inode, c *ostree.Commit) error {
	policy, err := selinux.Load(root)
	if err != nil {
		return err
	}
	if _, ok := policy.Lookup("/", rootfs.ModeDir); !ok && policy != nil {
		t.Warnings = slices.Insert(t.Warnings, 0, Warning{Layer: -1, What: "the SELinux policy has no label for /: the system will refuse its updates (failed to look up context of /)"})
	}
	w := newWriter(t.Repo, policy)
	w.base = t.basePolicy
	merged := w.plan(root, nil)
	plans := []*planned{merged}
	for _, l := range layers {
		plans = append(plans, w.plan(l.root, merged))
	}
	if err := w.prepare(plans...); err != nil {
		return err
	}
	if c.Tree, c.Meta, err = w.write(merged); err != nil {
		return err
	}
	first := len(img.Layers) - len(layers)
	for i, p := range plans[1:] {
		if err := t.commitLayer(w, p, &img.Layers[first+i], c); err != nil {
			return img.layerError(first+i, err)
		}
		plans[1+i] = nil
	}
	return nil
}

// basePolicy returns the policy of the base, or nil without one.
func (t *Tree) basePolicy() *selinux.Policy {
	if t.Base == (ostree.Checksum{}) {
		return nil
	}
	root, err := t.Repo.Tree(t.Base) // t.Root is merged by now
	if err != nil {
		return nil
	}
	policy, err := selinux.Load(root)
	if err != nil {
		return nil // the merged tree has another one, which counts
	}
	return policy
}

// commitLayer makes the commit of a derived layer. It has the time of the
// merge, because the one at which it was imported would not be the same twice.
func (t *Tree) commitLayer(w *writer, p *planned, l *Layer, merged *ostree.Commit) (err error) {
	blobRef, err := ref(blobRefs, l.Digest)
	if err != nil {
		return err
	}
	c := ostree.Commit{Metadata: []ostree.Property{importerOf(merged)}, Timestamp: merged.Timestamp}
	if c.Tree, c.Meta, err = w.write(p); err != nil {
		return err
	}
	t.Repo.Refs[blobRef] = t.Repo.AddMetadata(ostree.CommitObject, c.Bytes())
	return nil
}

// addLayer adds the objects of a layer, and the commit and ref that keep them.
func (t *Tree) addLayer(i int, l *Layer) error {
	blobRef, err := ref(blobRefs, l.Digest)
	if err != nil {
		return err
	}
	index, err := l.Index()
	if err != nil {
		return err
	}
	objects := index.Objects
	if err := checkObjects(i, objects); err != nil {
		return err
	}
	for _, obj := range objects {
		if err := t.addObject(obj, l.Blob(obj.Off, obj.Size)); err != nil {
			return fmt.Errorf("%s: %w", ostree.ObjectPath(obj.ID, obj.Type), err)
		}
	}
	if i > 0 {
		t.Repo.Refs[blobRef] = objectSet(t.Repo, objects)
		return nil
	}
	t.Base = objects[0].ID
	t.Repo.Refs[blobRef] = t.Base
	return nil
}

// checkObjects checks which objects are in a layer: in the first one exactly
// one commit, before all else, in the others only files.
func checkObjects(index int, objects []layer.Object) error {
	seen := make(map[ostree.ObjectName]bool, len(objects))
	for i, obj := range objects {
		name := ostree.ObjectName{ID: obj.ID, Type: obj.Type}
		if seen[name] {
			return fmt.Errorf("%s: twice in the layer", name)
		}
		seen[name] = true
		switch {
		case obj.Type == ostree.FileObject:
		case index > 0:
			return fmt.Errorf("%s: a chunk has files only", name)
		case obj.Type == ostree.CommitObject && i > 0:
			return fmt.Errorf("%s: a commit that is not the first object", name)
		case obj.Type == ostree.CommitMetaObject && (i != 1 || obj.ID != objects[0].ID):
			return fmt.Errorf("%s: metadata of a commit that is not before it", name)
		}
	}
	if index == 0 && (len(objects) == 0 || objects[0].Type != ostree.CommitObject) {
		return fmt.Errorf("first object is not a commit")
	}
	return nil
}

func (t *Tree) addObject(obj layer.Object, content rootfs.Blob) error {
	if obj.Type == ostree.FileObject {
		return t.Repo.AddFile(obj.ID, obj.UID, obj.GID, obj.Mode, obj.Target, obj.Xattrs, content)
	}
	b, err := rootfs.ReadAll(content, ostree.MaxMetadata)
	if err != nil {
		return err
	}
	switch obj.Type {
	case ostree.CommitObject, ostree.DirTreeObject, ostree.DirMetaObject:
		if got := ostree.Sum(b); got != obj.ID {
			return fmt.Errorf("checksum is %s", got)
		}
	case ostree.CommitMetaObject: // named by its commit
	default:
		return fmt.Errorf("not an object of a commit")
	}
	t.Repo.Metadata[ostree.ObjectName{ID: obj.ID, Type: obj.Type}] = b
	return nil
}

// objectSet makes the commit that keeps the files of a chunk: a directory in
// which each is called by its checksum. It depends on nothing else.
func objectSet(r *ostree.Repo, objects []layer.Object) ostree.Checksum {
	var files ostree.Tree
	for _, obj := range objects {
		files.Files = append(files.Files, ostree.TreeFile{Name: obj.ID.String(), ID: obj.ID})
	}
	slices.SortFunc(files.Files, func(a, b ostree.TreeFile) int { return strings.Compare(a.Name, b.Name) })
	meta := ostree.Meta{Mode: rootfs.ModeDir | 0o755}
	c := ostree.Commit{
		Tree: r.AddMetadata(ostree.DirTreeObject, files.Bytes()),
		Meta: r.AddMetadata(ostree.DirMetaObject, meta.Bytes()),
	}
	return r.AddMetadata(ostree.CommitObject, c.Bytes())
}

// mergeCommit returns the commit that is deployed, without its tree. It has
// the container's manifest and config as they were pulled, so that they can be
// compared with their digests; hosts read the image of a deployment from here.
func mergeCommit(img *Image, o Options, c *config) (*ostree.Commit, error) {
	importer := o.Importer
	if importer == "" {
		importer = Importer
	}
	for name, text := range map[string]string{"manifest": string(img.Manifest), "config": string(img.Config), "importer": importer} {
		if !utf8.ValidString(text) || strings.Contains(text, "\x00") {
			return nil, fmt.Errorf("%s: not UTF-8 without NUL", name)
		}
	}
	var m manifest
	if err := json.Unmarshal(img.Manifest, &m); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	return &ostree.Commit{
		Metadata: []ostree.Property{ // by key
			ostree.StringProperty("ostree.container.image-config", string(img.Config)),
			ostree.StringProperty(keyImporter, importer),
			ostree.StringProperty("ostree.manifest", string(img.Manifest)),
			ostree.StringProperty("ostree.manifest-digest", img.Digest),
		},
		Timestamp: created(m.Annotations["org.opencontainers.image.created"], c.Created),
	}, nil
}

// keyImporter is the metadata key of a commit's importer.
const keyImporter = "ostree.importer.version"

// importerOf returns the importer of a merge commit.
func importerOf(c *ostree.Commit) ostree.Property {
	i := slices.IndexFunc(c.Metadata, func(p ostree.Property) bool { return p.Key == keyImporter })
	return c.Metadata[i]
}

// created returns the first valid time in seconds, 0 if there is none. A time
// before the epoch is not valid.
func created(times ...string) uint64 {
	for _, s := range times {
		if t, err := time.Parse(time.RFC3339, s); err == nil && t.Unix() > 0 {
			return uint64(t.Unix())
		}
	}
	return 0
}
