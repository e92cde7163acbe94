package publish

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
	folder "github.com/ohp-assemble/ohp-assemble/pkg/stream/build"
)

// A build is the folder of a build for one architecture.
type build struct {
	dir    string
	meta   *stream.Meta
	files  folder.Build        // records of the images
	arch   string              // as Go names it
	system *imgspec.Descriptor // the operating system's container, if the repository has it

	repository string // the name of that repository
}

// file returns the record of the image of a platform.
func (b *build) file(platform string) cloud.File {
	f, _ := b.files.File(platform)
	return f
}

// version returns the version of the operating system.
func (p *publication) version() string { return p.builds[0].meta.OSTreeVersion }

// An item is one file with a manifest of its own: an image or a document.
type item struct {
	build     *build // nil for a document of all builds
	platform  string // empty for a document
	mediaType string
	title     string             // name of the file; empty for a container, whose layer has it
	file      registry.Blob      // without content for a container
	container *registry.Manifest // of an image that is a container in every form

	annotations map[string]string // its own, see publication.annotations
}

func (it *item) isContainer() bool { return it.container != nil }

// notDisks are entries of meta.json that are not disk images.
var notDisks = []string{"ostree", "oci-manifest", "ignition-gpg-key"}

// kubevirtPlatform is the platform whose image is a container in an OCI archive.
const kubevirtPlatform = "kubevirt"

// read reads the builds in a folder.
func (p *publication) read(dir string) error {
	builds, err := folder.Open(os.DirFS(dir))
	if errors.Is(err, folder.ErrNoBuild) {
		err = fmt.Errorf("%w: not the output folder of build", err)
	}
	if err != nil {
		return err
	}
	for _, b := range builds {
		p.builds = append(p.builds, &build{dir: filepath.Join(dir, b.Dir), meta: b.Meta, files: b, arch: rootfs.GoArch(b.BaseArch)})
	}
	if err := p.sortBuilds(); err != nil {
		return err
	}
	if err := p.readItems(); err != nil {
		return err
	}
	if err := p.checkSecrets(); err != nil {
		return err
	}
	return p.name()
}

// sortBuilds sorts the builds by architecture. They must be of one version.
func (p *publication) sortBuilds() error {
	slices.SortStableFunc(p.builds, func(a, b *build) int { return cmp.Compare(a.arch, b.arch) })
	for i, b := range p.builds[1:] {
		if a := p.builds[i]; a.arch == b.arch {
			return fmt.Errorf("%s and %s have the same architecture, %s", a.dir, b.dir, b.arch)
		} else if a.meta.OSTreeVersion != b.meta.OSTreeVersion {
			return fmt.Errorf("%s is version %q, %s is %q", a.dir, a.meta.OSTreeVersion, b.dir, b.meta.OSTreeVersion)
		}
	}
	return nil
}

func (p *publication) readItems() error {
	for _, b := range p.builds {
		if err := p.disks(b); err != nil {
			return err
		}
	}
	if len(p.items) == 0 {
		return errors.New("contains no disk images")
	}
	for _, b := range p.builds {
		text, err := os.ReadFile(filepath.Join(b.dir, folder.MetaFile))
		if err != nil {
			return err
		}
		p.items = append(p.items, newDocument(b, Document{"meta." + b.meta.BaseArch + ".json", stream.MetaType, text}))
	}
	for _, d := range p.o.Documents {
		p.items = append(p.items, newDocument(nil, d))
	}
	return nil
}

// checkSecrets rejects images with an embedded Ignition config, unless the options allow
// them: everybody who can read the repository can read the config.
func (p *publication) checkSecrets() error {
	for _, it := range p.items {
		if it.platform != "" && it.build.file(it.platform).Secret && !p.o.Secrets {
			return fmt.Errorf("%s: %w", it.file.Name, ErrSecret)
		}
	}
	return nil
}

// name chooses a tag, if the reference has none.
func (p *publication) name() (err error) {
	if reference.IsNameOnly(p.named) {
		p.named, err = reference.WithTag(p.named, tagName(p.builds[0].meta.OSTreeVersion+"-images"))
	}
	return err
}

// tagName replaces the characters that tags do not allow.
func tagName(s string) string {
	return strings.TrimLeft(strings.Map(func(r rune) rune {
		if r < 0x80 && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r)) {
			return r
		}
		return '_'
	}, s), ".-")
}

// disks adds the images of a build.
func (p *publication) disks(b *build) error {
	platforms := b.meta.Platforms()
	slices.SortStableFunc(platforms, func(x, y string) int { return -cmp.Compare(count(x == "qemu"), count(y == "qemu")) })
	for _, platform := range platforms {
		if slices.Contains(notDisks, platform) {
			continue
		}
		add := newDisk
		if platform == kubevirtPlatform {
			add = newContainerDisk
		}
		it, err := add(b, platform)
		if err != nil {
			return fmt.Errorf("%s: %w", platform, err)
		}
		p.items = append(p.items, it)
	}
	// A client that compares only the architecture should find a disk first.
	slices.SortStableFunc(p.items, func(x, y *item) int { return cmp.Compare(count(x.isContainer()), count(y.isContainer())) })
	return nil
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// newDisk returns the image for one platform.
func newDisk(b *build, platform string) (*item, error) {
	record := b.file(platform)
	path := filepath.Join(b.dir, record.Name)
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if info.Size() != record.Size {
		return nil, fmt.Errorf("%s: %w: has %s, want %s", path, ErrFile, rootfs.Bytes(info.Size()), rootfs.Bytes(record.Size))
	}
	if err := checkMagic(f, record.Type); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", path, ErrFile, err)
	}
	it := &item{
		build: b, platform: platform, mediaType: record.Type.MediaType(), title: record.Name,
		file: registry.Blob{
			Name: record.Name, Size: record.Size, Source: fileSource{path, 0, record.Size},
			Digest: digest.NewDigestFromEncoded(digest.SHA256, strings.ToLower(record.SHA256)),
		},
	}
	it.describe(record)
	return it, nil
}

// describe sets the annotations of a disk image.
func (it *item) describe(f cloud.File) {
	it.annotations = map[string]string{stream.AnnotationPlatform: it.platform}
	it.annotations[stream.AnnotationUncompressed] = strings.ToLower(f.Plain.SHA256)
	it.annotations[stream.AnnotationDiskType] = string(f.Type.Format)
	if slices.Contains(machines, it.platform) {
		it.annotations[stream.AnnotationDiskType] = it.platform
	}
	if f.VirtualSize > 0 {
		it.annotations[stream.AnnotationVirtualSize] = strconv.FormatInt(f.VirtualSize, 10)
		it.annotations[stream.AnnotationSectorSize] = strconv.Itoa(cmp.Or(f.SectorSize, 512))
	}
}

// machines are the platforms of podman machine.
var machines = []string{"qemu", "applehv", "hyperv"}

// annotations returns the annotations of an item, or with an empty item those of an
// index. A document of all builds has those that the builds have in common.
func (p *publication) annotations(it *item) map[string]string {
	a := cmp.Or(it.build, p.builds[0]).annotations()
	if it.title != "" {
		a[imgspec.AnnotationTitle] = it.title
	}
	if it.build == nil && len(p.builds) > 1 {
		delete(a, imgspec.AnnotationBaseImageDigest)
	}
	maps.Copy(a, it.annotations)
	return a
}

// annotations returns the annotations of everything of a build.
func (b *build) annotations() map[string]string {
	a := map[string]string{imgspec.AnnotationVersion: b.meta.OSTreeVersion}
	set := func(key, value string) {
		if value != "" {
			a[key] = value
		}
	}
	set(imgspec.AnnotationCreated, b.meta.OSTreeTimestamp)
	if c := b.meta.Container; c != nil {
		set(imgspec.AnnotationBaseImageDigest, c.Digest)
		// The name of a container outside of a registry means nothing on other machines.
		name := cmp.Or(b.repository, c.Image)
		if _, err := reference.ParseNormalizedNamed(name); err == nil {
			set(imgspec.AnnotationBaseImageName, name)
		}
	}
	return a
}

// newDocument returns a document of one build, or with nil of all builds.
func newDocument(b *build, d Document) *item {
	return &item{build: b, mediaType: d.MediaType, title: d.Title, file: registry.NewBlob(d.Title, d.Bytes)}
}

// checkMagic compares the beginning of a file with its type, because readers rely on the
// media type.
func checkMagic(r io.ReaderAt, t filetype.Type) error {
	if t == (filetype.Type{}) {
		return errors.New("unknown format: meta.json lacks it, and the name of the file has no known suffix")
	}
	want := t.Magic()
	head := make([]byte, len(want))
	if n, _ := r.ReadAt(head, 0); n < len(head) || string(head) != want {
		return fmt.Errorf("does not begin with the magic number of %s", t)
	}
	return nil
}
