package publish

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
)

// A build is a folder that build has made.
type build struct {
	dir    string
	meta   *stream.Meta
	arch   string              // as Go calls it
	system *imgspec.Descriptor // the operating system's manifest, if it is in the repository

	repository string // the name of that repository
}

// An item is one file with a manifest of its own: a disk, or a document.
type item struct {
	build     *build // nil for a document of all builds
	platform  string // empty for a document
	mediaType string
	file      blob
	made      bool // for the form that the publication is in
	container bool // the manifest is that of the archive, in every form

	annotations map[string]string
	manifest    // as the form has it
}

// notDisks are entries of meta.json that are not an image of a disk.
var notDisks = []string{"ostree", "oci-manifest", "ignition-gpg-key"}

// kubevirt is the platform whose image is a container, in an archive.
const kubevirt = "kubevirt"

// read reads what is to be published.
func (p *publication) read(dir string) error {
	builds, err := stream.ReadBuilds(os.DirFS(dir))
	if errors.Is(err, stream.ErrNoBuild) {
		err = fmt.Errorf("%w: it is no output of build", err)
	}
	if err != nil {
		return err
	}
	for _, b := range builds {
		p.builds = append(p.builds, &build{dir: filepath.Join(dir, b.Dir), meta: b.Meta, arch: rootfs.GoArch(b.BaseArch)})
	}
	slices.SortStableFunc(p.builds, func(a, b *build) int { return cmp.Compare(a.arch, b.arch) })
	for i, b := range p.builds[1:] {
		if a := p.builds[i]; a.arch == b.arch {
			return fmt.Errorf("%s and %s are of one architecture, %s", a.dir, b.dir, b.arch)
		} else if a.meta.OSTreeVersion != b.meta.OSTreeVersion {
			return fmt.Errorf("%s is version %q, %s is %q", a.dir, a.meta.OSTreeVersion, b.dir, b.meta.OSTreeVersion)
		}
	}
	for _, b := range p.builds {
		if err := p.disks(b); err != nil {
			return err
		}
	}
	if len(p.items) == 0 {
		return errors.New("there are no images of disks in it")
	}
	for _, b := range p.builds {
		text, err := os.ReadFile(filepath.Join(b.dir, stream.MetaFile))
		if err != nil {
			return err
		}
		p.document(b, Document{"meta." + b.meta.BaseArch + ".json", stream.MetaType, text})
	}
	for _, d := range p.o.Documents {
		p.document(nil, d)
	}
	if err := p.checkSecrets(); err != nil {
		return err
	}
	return p.name()
}

// checkSecrets refuses images with a config in them, unless that is what is
// wanted: whoever may read the repository would read the config, too.
func (p *publication) checkSecrets() error {
	for _, it := range p.items {
		if it.platform != "" && it.build.meta.Images[it.platform].Ignition && !p.o.Secrets {
			return fmt.Errorf("%s: %w", it.file.name, ErrSecret)
		}
	}
	return nil
}

// name gives what is published a tag, if it has none.
func (p *publication) name() (err error) {
	if reference.IsNameOnly(p.named) {
		p.named, err = reference.WithTag(p.named, tagName(p.builds[0].meta.OSTreeVersion+"-images"))
	}
	return err
}

// tagName makes a version a tag.
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
		if platform == kubevirt {
			add = newContainerDisk
		}
		it, err := add(b, platform)
		if err != nil {
			return fmt.Errorf("%s: %w", platform, err)
		}
		p.items = append(p.items, it)
	}
	// Who looks at nothing but the architecture should not find it first.
	slices.SortStableFunc(p.items, func(x, y *item) int { return cmp.Compare(count(x.container), count(y.container)) })
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
	a := b.meta.Images[platform]
	format, compression := a.Format, a.Compression
	path := filepath.Join(b.dir, a.Path)
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if info.Size() != a.Size {
		return nil, fmt.Errorf("%s: %w: it has %s, not %s", path, ErrFile, rootfs.Bytes(info.Size()), rootfs.Bytes(a.Size))
	}
	if err := checkMagic(f, cmp.Or(compression, format)); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", path, ErrFile, err)
	}
	it := &item{
		build: b, platform: platform, mediaType: stream.MediaType(format, compression),
		annotations: common(b, a.Path),
		file: blob{name: a.Path, path: path, desc: imgspec.Descriptor{
			Digest: digest.NewDigestFromEncoded(digest.SHA256, strings.ToLower(a.SHA256)), Size: a.Size,
		}},
	}
	it.annotations[stream.AnnotationPlatform] = platform
	it.annotations[stream.AnnotationUncompressed] = strings.ToLower(cmp.Or(a.UncompressedSHA256, a.SHA256))
	it.annotations[stream.AnnotationDiskType] = format
	if slices.Contains(machines, platform) {
		it.annotations[stream.AnnotationDiskType] = platform
	}
	if a.VirtualSize > 0 {
		it.annotations[stream.AnnotationVirtualSize] = strconv.FormatInt(a.VirtualSize, 10)
		it.annotations[stream.AnnotationSectorSize] = strconv.Itoa(cmp.Or(a.SectorSize, 512))
	}
	return it, nil
}

// machines are the platforms that podman machine knows.
var machines = []string{"qemu", "applehv", "hyperv"}

// common returns the annotations that everything has.
func common(b *build, title string) map[string]string {
	a := map[string]string{imgspec.AnnotationTitle: title, imgspec.AnnotationVersion: b.meta.OSTreeVersion}
	set := func(key, value string) {
		if value != "" {
			a[key] = value
		}
	}
	set(imgspec.AnnotationCreated, b.meta.OSTreeTimestamp)
	if c := b.meta.Container; c != nil {
		set(imgspec.AnnotationBaseImageDigest, c.Digest)
		// What is not in a registry has a name that means nothing elsewhere.
		name := cmp.Or(b.repository, c.Image)
		if _, err := reference.ParseNormalizedNamed(name); err == nil {
			set(imgspec.AnnotationBaseImageName, name)
		}
	}
	return a
}

// document adds a small file. One of all builds has what they have in common.
func (p *publication) document(b *build, d Document) *item {
	annotations := common(cmp.Or(b, p.builds[0]), d.Title)
	if b == nil && len(p.builds) > 1 {
		delete(annotations, imgspec.AnnotationBaseImageDigest)
	}
	it := &item{
		build: b, mediaType: d.MediaType, annotations: annotations,
		file: bytesBlob(d.Title, d.Bytes),
	}
	p.items = append(p.items, it)
	return it
}

// magics are what files of some formats begin with.
var magics = map[string]string{
	"gzip": "\x1f\x8b", "xz": "\xfd7zXZ\x00", "zstd": "\x28\xb5\x2f\xfd", "zip": "PK\x03\x04",
	"tar.gz": "\x1f\x8b", "qcow2": "QFI\xfb", "vmdk": "KDMV", "vhdx": "vhdxfile",
}

// checkMagic sees that a file is what its media type will say. Readers go by that.
func checkMagic(r io.ReaderAt, format string) error {
	if format == "" {
		return errors.New("neither meta.json nor the file's name tells a format")
	}
	want := magics[format]
	head := make([]byte, len(want))
	if n, _ := r.ReadAt(head, 0); n < len(head) || !bytes.Equal(head, []byte(want)) {
		return fmt.Errorf("it does not begin as %s does", format)
	}
	return nil
}
