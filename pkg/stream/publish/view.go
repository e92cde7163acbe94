package publish

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
)

// A View lists the same blobs in the shape that one other program expects, under tags of
// its own.
type View struct {
	Name string // the tag is TAG-NAME
	For  string // the program

	// tags returns the tags of the view, or the reason why it has none.
	tags func(p *Plan) ([]tag, error)
}

// Views is the table of all views. A plan has those that the options name.
var Views = []View{
	{"podman-machine", "podman machine init --image docker://...", (*Plan).podmanMachine},
	{"fcos", "cosa import", (*Plan).fcos},
	{containerDisk, "KubeVirt and CDI; made for every build with the platform kubevirt", (*Plan).containerDisk},
	{"ironic", "Ironic, oci:// as image_source", (*Plan).ironic},
	{"tink", "Tinkerbell's oci2disk: TAG-tink-ARCH with a suffix for the compression", (*Plan).tink},
}

// containerDisk is the view that every build for KubeVirt has.
const containerDisk = "containerdisk"

// allViews is the name of all views that apply.
const allViews = "all"

// ViewNames returns the valid words of [Options.Views].
func ViewNames() []string {
	names := []string{allViews}
	for _, v := range Views {
		names = append(names, v.Name)
	}
	return names
}

// addViews adds the tags of the views that the options name.
func (p *Plan) addViews() error {
	all := slices.Contains(p.pub.o.Views, allViews)
	for _, v := range Views {
		named := slices.Contains(p.pub.o.Views, v.Name)
		if !named && !all {
			if v.Name != containerDisk || !slices.ContainsFunc(p.entries, func(e *entry) bool { return e.isContainer() }) {
				continue
			}
			p.note("the image for kubevirt is a container: there is a view for it, %s-%s", p.pub.tag(), v.Name)
		}
		tags, err := v.tags(p)
		if err == nil && len(tags) == 0 {
			err = errors.New("the build has no image for it")
		}
		if err != nil && named {
			return fmt.Errorf("view %s: %w", v.Name, err)
		}
		if err != nil {
			p.note("no view %s: %v", v.Name, err)
		}
		for _, t := range tags {
			t.use = v.Name
			p.tags = append(p.tags, t)
		}
	}
	return nil
}

func (p *Plan) note(format string, args ...any) {
	p.notes = append(p.notes, fmt.Sprintf(format, args...))
}

var (
	errNoType = errors.New("the registry does not take artifactType, which the view needs to distinguish disks from containers")
	errInTar  = errors.New("in this registry the files are in containers")
)

// newTag returns the tag TAG-NAME.
func (p *Plan) newTag(name string, m registry.Manifest) tag {
	return tag{Tag: registry.Tag{Name: p.pub.tag() + "-" + name, Manifest: m}}
}

// list returns the tag of an index, or nothing for an empty list.
func (p *Plan) list(name, artifactType string, list []imgspec.Descriptor) []tag {
	if len(list) == 0 {
		return nil
	}
	return []tag{p.newTag(name, p.index(artifactType, list))}
}

// viewEntry returns the descriptor of an image for the index of a view.
func viewEntry(e *entry, os, arch, diskType string) imgspec.Descriptor {
	d := e.Descriptor
	d.Platform = &imgspec.Platform{OS: os, Architecture: arch}
	d.Annotations = maps.Clone(d.Annotations)
	d.Annotations[stream.AnnotationDiskType] = diskType
	return d
}

// find returns the image of a build for a platform.
func (p *Plan) find(b *build, platform string) *entry {
	for _, e := range p.entries {
		if e.build == b && e.platform == platform {
			return e
		}
	}
	return nil
}

// addPXE adds the tag of the files that a machine boots from the network.
func (p *Plan) addPXE() {
	var list []imgspec.Descriptor
	for _, b := range p.pub.builds {
		kernel, initramfs, rootfs := p.find(b, "live-kernel"), p.find(b, "live-initramfs"), p.find(b, "live-rootfs")
		if kernel != nil && initramfs != nil && rootfs != nil {
			list = append(list, kernel.Descriptor, initramfs.Descriptor, rootfs.Descriptor)
		}
	}
	for _, t := range p.list("pxe", stream.PXEType, list) {
		t.use = "pxe"
		p.tags = append(p.tags, t)
	}
}

// podmanMachine has the architectures of uname(1).
func (p *Plan) podmanMachine() ([]tag, error) {
	if p.form == Container {
		return nil, errInTar
	}
	var list []imgspec.Descriptor
	for _, it := range p.entries {
		if slices.Contains(machines, it.platform) {
			list = append(list, viewEntry(it, "linux", it.build.meta.BaseArch, it.platform))
		}
	}
	return p.list("podman-machine", "", list), nil
}

// fcos has the operating systems' containers, and disks with platform.os set to the
// platform.
func (p *Plan) fcos() ([]tag, error) {
	if !p.form.isArtifact() {
		return nil, errNoType
	}
	var list []imgspec.Descriptor
	for _, b := range p.pub.builds {
		if b.system == nil {
			return nil, errors.New("the view lists the operating system's container, which is not in this repository")
		}
		d := *b.system
		d.Platform = &imgspec.Platform{OS: "linux", Architecture: b.arch}
		list = append(list, d)
	}
	for _, it := range p.entries {
		if it.platform != "" && !it.isContainer() {
			list = append(list, viewEntry(it, it.platform, it.build.arch, it.annotations[stream.AnnotationDiskType]))
		}
	}
	return p.list("fcos", "", list), nil
}

// ironic has one image of each type: the one for OpenStack, or else for QEMU, and the one
// for metal.
func (p *Plan) ironic() ([]tag, error) {
	if !p.form.isArtifact() {
		return nil, errNoType
	}
	var list []imgspec.Descriptor
	for _, b := range p.pub.builds {
		if it := cmp.Or(p.find(b, "openstack"), p.find(b, "qemu")); it != nil && it.mediaType == (filetype.Type{Format: filetype.QCOW2}).MediaType() {
			list = append(list, viewEntry(it, "linux", b.arch, "qcow2"))
		}
		if it := p.find(b, "metal"); it != nil && (it.mediaType == rawType(filetype.None) || it.mediaType == rawType(filetype.Gzip)) {
			list = append(list, viewEntry(it, "linux", b.arch, "raw"))
		}
	}
	return p.list("ironic", "", list), nil
}

// tinkSuffixes are the suffixes of references by which oci2disk recognizes compressions.
var tinkSuffixes = map[string]string{
	rawType(filetype.None): "", rawType(filetype.Gzip): ".gz", rawType(filetype.Xz): ".xz", rawType(filetype.Zstd): ".zs",
}

// rawType returns the media type of a raw disk.
func rawType(c filetype.Compression) string {
	return filetype.Type{Format: filetype.Raw, Compression: c}.MediaType()
}

// tink has a manifest for each architecture, because oci2disk writes all layers below a
// reference to the disk.
func (p *Plan) tink() (tags []tag, err error) {
	if p.form == Container {
		return nil, errInTar
	}
	for _, b := range p.pub.builds {
		it := p.find(b, "metal")
		if it == nil {
			continue
		}
		suffix, known := tinkSuffixes[it.mediaType]
		if !known {
			continue
		}
		annotations := p.pub.annotations(it.item)
		annotations[stream.AnnotationForm] = p.form.mark()
		m := oneFile(imgspec.Manifest{Annotations: annotations}, emptyConfig, imgspec.MediaTypeImageConfig, it.file, imgspec.MediaTypeImageLayer)
		tags = append(tags, p.newTag("tink-"+b.arch+suffix, m))
	}
	return tags, nil
}

// containerDisk has the containers of the builds for KubeVirt.
func (p *Plan) containerDisk() ([]tag, error) {
	var list []imgspec.Descriptor
	for _, it := range p.entries {
		if it.isContainer() {
			d := it.Descriptor
			d.Annotations = nil
			list = append(list, d)
		}
	}
	return p.list(containerDisk, "", list), nil
}
