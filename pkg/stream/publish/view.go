package publish

import (
	"archive/tar"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
)

// A View is the same blobs as one consumer looks for them, under tags of its own.
type View struct {
	Name string // the tag is TAG-NAME
	For  string // who reads it

	// make returns what gets a tag, or why there is nothing.
	make func(p *publication) ([]*top, error)
}

// Views is the table of all views. None is made unless it is asked for.
var Views = []View{
	{"podman-machine", "podman machine init --image docker://...", (*publication).podmanMachine},
	{"fcos", "cosa import", (*publication).fcos},
	{containerDisk, "KubeVirt and CDI; made of every build for kubevirt", (*publication).containerDisk},
	{"ironic", "Ironic, oci:// as image_source", (*publication).ironic},
	{"tink", "Tinkerbell's oci2disk: TAG-tink-ARCH, and the ending that it knows compression by", (*publication).tink},
}

// containerDisk is the view that a build for KubeVirt has without being asked.
const containerDisk = "containerdisk"

// allViews is the name of all that apply.
const allViews = "all"

// views adds the views that are wanted.
func (p *publication) views() error {
	all := slices.Contains(p.o.Views, allViews)
	for _, v := range Views {
		named := slices.Contains(p.o.Views, v.Name)
		if !named && !all {
			if v.Name != containerDisk || !slices.ContainsFunc(p.items, func(it *item) bool { return it.container }) {
				continue
			}
			p.note("the image for kubevirt is a container: there is a view for it, %s-%s", p.tag(), v.Name)
		}
		tops, err := v.make(p)
		if err == nil && len(tops) == 0 {
			err = errors.New("the build has nothing for it")
		}
		if err != nil && named {
			return fmt.Errorf("view %s: %w", v.Name, err)
		}
		if err != nil {
			p.note("no view %s: %v", v.Name, err)
		}
		for _, t := range tops {
			t.use = v.Name
			p.tops = append(p.tops, t)
		}
	}
	return nil
}

var (
	errNoType = errors.New("the registry takes no artifactType, which tells it from a container")
	errInTar  = errors.New("in this registry the files are in containers")
)

// list returns an index under TAG-NAME, or nothing.
func (p *publication) list(name, artifactType string, list []imgspec.Descriptor) []*top {
	if len(list) == 0 {
		return nil
	}
	return []*top{{tag: p.tag() + "-" + name, manifest: p.index(artifactType, list)}}
}

// entry returns an item's entry in the index of a view.
func entry(it *item, os, arch, diskType string) imgspec.Descriptor {
	d := it.desc
	d.Platform = &imgspec.Platform{OS: os, Architecture: arch}
	d.Annotations = maps.Clone(d.Annotations)
	d.Annotations[stream.AnnotationDiskType] = diskType
	return d
}

// find returns the image of a build for a platform.
func (p *publication) find(b *build, platform string) *item {
	for _, it := range p.items {
		if it.build == b && it.platform == platform {
			return it
		}
	}
	return nil
}

// pxe lists what a machine boots from the network.
func (p *publication) pxe() error {
	var list []imgspec.Descriptor
	for _, b := range p.builds {
		kernel, initramfs, rootfs := p.find(b, "live-kernel"), p.find(b, "live-initramfs"), p.find(b, "live-rootfs")
		if kernel != nil && initramfs != nil && rootfs != nil {
			list = append(list, kernel.desc, initramfs.desc, rootfs.desc)
		}
	}
	for _, t := range p.list("pxe", stream.PXEType, list) {
		t.use = "pxe"
		p.tops = append(p.tops, t)
	}
	return nil
}

// podmanMachine calls architectures as uname(1) does.
func (p *publication) podmanMachine() ([]*top, error) {
	if p.form == Container {
		return nil, errInTar
	}
	var list []imgspec.Descriptor
	for _, it := range p.items {
		if slices.Contains(machines, it.platform) {
			list = append(list, entry(it, "linux", it.build.meta.BaseArch, it.platform))
		}
	}
	return p.list("podman-machine", "", list), nil
}

// fcos has the operating system's containers, and disks whose platform.os is the
// platform.
func (p *publication) fcos() ([]*top, error) {
	if p.form.rung() > ArtifactTag.rung() {
		return nil, errNoType
	}
	var list []imgspec.Descriptor
	for _, b := range p.builds {
		if b.system == nil {
			return nil, errors.New("it lists the operating system's container, which is not in this repository")
		}
		d := *b.system
		d.Platform = &imgspec.Platform{OS: "linux", Architecture: b.arch}
		list = append(list, d)
	}
	for _, it := range p.items {
		if it.platform != "" && !it.container {
			list = append(list, entry(it, it.platform, it.build.arch, it.annotations[stream.AnnotationDiskType]))
		}
	}
	return p.list("fcos", "", list), nil
}

// ironic has one image of each type: what it is to take for OpenStack, or else
// for QEMU, and the one for metal.
func (p *publication) ironic() ([]*top, error) {
	if p.form.rung() > ArtifactTag.rung() {
		return nil, errNoType
	}
	var list []imgspec.Descriptor
	for _, b := range p.builds {
		if it := cmp.Or(p.find(b, "openstack"), p.find(b, "qemu")); it != nil && it.mediaType == stream.MediaType("qcow2", "") {
			list = append(list, entry(it, "linux", b.arch, "qcow2"))
		}
		if it := p.find(b, "metal"); it != nil && (it.mediaType == stream.MediaType("raw", "") || it.mediaType == stream.MediaType("raw", "gzip")) {
			list = append(list, entry(it, "linux", b.arch, "raw"))
		}
	}
	return p.list("ironic", "", list), nil
}

// tinkEndings are how oci2disk tells compressions apart: by the reference.
var tinkEndings = map[string]string{
	stream.MediaType("raw", ""): "", stream.MediaType("raw", "gzip"): ".gz",
	stream.MediaType("raw", "xz"): ".xz", stream.MediaType("raw", "zstd"): ".zs",
}

// tink has a manifest for each architecture: all layers that are below what a
// reference names are written to the disk.
func (p *publication) tink() (tops []*top, err error) {
	if p.form == Container {
		return nil, errInTar
	}
	for _, b := range p.builds {
		it := p.find(b, "metal")
		if it == nil {
			continue
		}
		ending, known := tinkEndings[it.mediaType]
		if !known {
			continue
		}
		layer, config := it.file, emptyConfig
		layer.desc.MediaType, config.desc.MediaType = imgspec.MediaTypeImageLayer, imgspec.MediaTypeImageConfig
		layer.desc.Annotations = map[string]string{imgspec.AnnotationTitle: it.file.name}
		annotations := maps.Clone(it.annotations)
		annotations[stream.AnnotationForm] = p.form.mark()
		m := imgspec.Manifest{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspec.MediaTypeImageManifest,
			Config: config.desc, Layers: []imgspec.Descriptor{layer.desc}, Annotations: annotations,
		}
		tops = append(tops, &top{tag: p.tag() + "-tink-" + b.arch + ending, manifest: newManifest(m.MediaType, m, config, layer)})
	}
	return tops, nil
}

// containerDisk lists the containers that builds have for KubeVirt.
func (p *publication) containerDisk() ([]*top, error) {
	var list []imgspec.Descriptor
	for _, it := range p.items {
		if it.container {
			d := it.desc
			d.Annotations = nil
			list = append(list, d)
		}
	}
	return p.list(containerDisk, "", list), nil
}

// newContainerDisk returns the container that a build has for KubeVirt. Its
// manifest stays as it is; the entry in the index says what it is for.
func newContainerDisk(b *build, platform string) (*item, error) {
	a := b.meta.Images[platform]
	m, err := readArchive(filepath.Join(b.dir, a.Path), a)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a.Path, err)
	}
	it := &item{
		build: b, platform: platform, mediaType: m.desc.MediaType, container: true, manifest: m,
		file: blob{name: a.Path}, annotations: common(b, ""),
	}
	delete(it.annotations, imgspec.AnnotationTitle) // the layer knows the name of the file
	it.annotations[stream.AnnotationPlatform] = platform
	return it, nil
}

// readArchive returns the one image of an OCI archive.
func readArchive(path string, a stream.Artifact) (manifest, error) {
	f, err := os.Open(path)
	if err != nil {
		return manifest{}, err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return manifest{}, err
	}
	if hex.EncodeToString(sum.Sum(nil)) != strings.ToLower(a.SHA256) {
		return manifest{}, fmt.Errorf("%w: its SHA-256 is %x", ErrFile, sum.Sum(nil))
	}
	files, err := archived(f)
	if err != nil {
		return manifest{}, err
	}
	read := func(name string, v any) ([]byte, error) {
		part, ok := files[name]
		if !ok || part.Size() > maxManifest {
			return nil, fmt.Errorf("has no %s, or a very large one", name)
		}
		text, err := io.ReadAll(part)
		if err == nil {
			err = json.Unmarshal(text, v)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return text, nil
	}
	var index imgspec.Index
	if _, err := read(imgspec.ImageIndexFile, &index); err != nil {
		return manifest{}, err
	}
	if len(index.Manifests) != 1 {
		return manifest{}, fmt.Errorf("%d images, not one", len(index.Manifests))
	}
	var m imgspec.Manifest
	text, err := read(blobName(index.Manifests[0].Digest), &m)
	if err != nil {
		return manifest{}, err
	}
	if got := digest.FromBytes(text); got != index.Manifests[0].Digest {
		return manifest{}, fmt.Errorf("%w: manifest %s is %s", ErrFile, index.Manifests[0].Digest, got)
	}
	var blobs []blob
	for _, d := range append([]imgspec.Descriptor{m.Config}, m.Layers...) {
		part, ok := files[blobName(d.Digest)]
		if !ok || part.Size() != d.Size {
			return manifest{}, fmt.Errorf("blob %s is missing, or has not its size", d.Digest)
		}
		_, from, _ := part.Outer()
		blobs = append(blobs, blob{name: a.Path, path: path, from: from, desc: imgspec.Descriptor{Digest: d.Digest, Size: d.Size}})
	}
	desc := imgspec.Descriptor{MediaType: cmp.Or(m.MediaType, imgspec.MediaTypeImageManifest), Digest: index.Manifests[0].Digest, Size: int64(len(text))}
	return manifest{desc, text, blobs}, nil
}

func blobName(d digest.Digest) string { return "blobs/" + strings.Replace(d.String(), ":", "/", 1) }

// maxArchived bounds how many files an archive may have.
const maxArchived = 10000

// archived returns where the files of a tarball are in it.
func archived(f *os.File) (map[string]*io.SectionReader, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	files := map[string]*io.SectionReader{}
	r := tar.NewReader(f)
	for {
		h, err := r.Next()
		if err == io.EOF {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		at, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		if len(files) >= maxArchived {
			return nil, fmt.Errorf("more than %d files", maxArchived)
		}
		if h.Typeflag == tar.TypeReg {
			files[strings.TrimPrefix(h.Name, "./")] = io.NewSectionReader(f, at, h.Size)
		}
	}
}
