// Package container imports an ostree-native container: a commit whose
// objects are spread over layers.
//
//	layers[0]       commit layer   the commit, its dirtrees and dirmetas, files
//	layers[1..n]    chunks         files; n is where label ostree.final-diffid is
//	layers[n+1..]   derived        what was built on top; not supported yet
//
// What comes out is a repository as a host of that container has it: a merge
// commit, which is what is deployed, on top of the commit of the container;
// for every chunk a commit that keeps its objects; and refs, by which the
// host knows at its next upgrade which layers it has.
//
// Of a base without derived layers the merge commit has the tree of the base,
// with labels as they were composed.
// See https://bootc-dev.github.io/bootc/ and ostree-ext.
package container

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/layer"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree"
)

// An Image is a container whose layers have been read and verified.
type Image struct {
	Digest   string // of the manifest
	Manifest []byte // as it was pulled
	Config   []byte
	Layers   []Layer
}

// A Layer is a layer of an Image.
type Layer struct {
	Digest string // of the blob
	DiffID string // of the tar in it
	Index  *layer.Index
	Blob   func(off, size int64) rootfs.Blob // a piece of the pack
}

// Options say what an image does not.
type Options struct {
	// Reference is where the host finds the image, as a transport and a name:
	// "docker://quay.io/fedora/fedora-coreos:stable". See [Reference].
	Reference string

	// Importer is the version that the merge commit says it was imported by;
	// empty means [Importer].
	Importer string
}

// Importer is what a merge commit says of who imported it. Hosts only show
// it, so it does not pretend to be a version of something else.
const Importer = "ohp-assemble"

// A Tree is an imported container.
type Tree struct {
	Repo     *ostree.Repo
	Root     *rootfs.Inode     // files of the deployed commit; see [ostree.Repo.Tree]
	Deployed ostree.Checksum   // the merge commit
	Base     ostree.Checksum   // the commit in the container
	Labels   map[string]string // of the container
}

// Labels of a container.
const labelFinalDiffID = "ostree.final-diffid"

// config is the part of an image config that an import reads.
type config struct {
	Created string
	Config  struct{ Labels map[string]string }
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
	t, err := doImport(img, o)
	if err != nil {
		return nil, fmt.Errorf("container %s: %w", img.Digest, err)
	}
	return t, nil
}

func doImport(img *Image, o Options) (*Tree, error) {
	imageRef, err := ref("ostree/container/image/", o.Reference)
	if err != nil {
		return nil, err
	}
	var c config
	if err := json.Unmarshal(img.Config, &c); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	if err := checkLayout(img, &c); err != nil {
		return nil, err
	}
	t := &Tree{Repo: ostree.NewRepo(), Labels: c.Config.Labels}
	for i := range img.Layers {
		if err := t.addLayer(i, &img.Layers[i]); err != nil {
			return nil, fmt.Errorf("layer %d (%s): %w", i, img.Layers[i].Digest, err)
		}
	}
	if t.Root, err = t.Repo.Tree(t.Base); err != nil {
		return nil, err
	}
	base, err := t.Repo.Commit(t.Base)
	if err != nil {
		return nil, err
	}
	merge, err := mergeCommit(img, o, &c)
	if err != nil {
		return nil, err
	}
	merge.Parent, merge.Tree, merge.Meta = t.Base, base.Tree, base.Meta
	t.Deployed = t.Repo.AddMetadata(ostree.CommitObject, merge.Bytes())
	t.Repo.Refs[imageRef] = t.Deployed
	return t, nil
}

// checkLayout finds out which layers are what, by their position: the last
// one of the commit is the one that the label names.
func checkLayout(img *Image, c *config) error {
	diffIDs := c.RootFS.DiffIDs
	if len(img.Layers) != len(diffIDs) {
		return fmt.Errorf("%d layers, but config has %d diff_ids", len(img.Layers), len(diffIDs))
	}
	for i, l := range img.Layers {
		if l.DiffID != diffIDs[i] {
			return fmt.Errorf("layer %d (%s): content is %s, config says %s", i, l.Digest, l.DiffID, diffIDs[i])
		}
	}
	final := c.Config.Labels[labelFinalDiffID]
	if final == "" {
		return fmt.Errorf("no label %s: plain containers are not supported yet", labelFinalDiffID)
	}
	last := slices.Index(diffIDs, final)
	if last < 0 {
		return fmt.Errorf("label %s is %s, and none of the %d layers: the image was squashed, and its commit is lost",
			labelFinalDiffID, final, len(diffIDs))
	}
	if last+1 < len(img.Layers) {
		return fmt.Errorf("layer %d (%s): derived layers are not supported yet: the commit ends with layer %d, which label %s names",
			last+1, img.Layers[last+1].Digest, last, labelFinalDiffID)
	}
	return nil
}

// addLayer adds the objects of a layer, and the commit and ref that keep them.
func (t *Tree) addLayer(i int, l *Layer) error {
	blobRef, err := ref("ostree/container/blob/", l.Digest)
	if err != nil {
		return err
	}
	objects := l.Index.Objects
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
			ostree.StringProperty("ostree.importer.version", importer),
			ostree.StringProperty("ostree.manifest", string(img.Manifest)),
			ostree.StringProperty("ostree.manifest-digest", img.Digest),
		},
		Timestamp: created(m.Annotations["org.opencontainers.image.created"], c.Created),
	}, nil
}

// created returns the first of some times that is one, in seconds. What is no
// time, or before the epoch, counts as none: it is 0 if there is no other.
func created(times ...string) uint64 {
	for _, s := range times {
		if t, err := time.Parse(time.RFC3339, s); err == nil && t.Unix() > 0 {
			return uint64(t.Unix())
		}
	}
	return 0
}
