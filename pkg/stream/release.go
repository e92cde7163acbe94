package stream

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Release is release.json: the images of one version for all architectures.
type Release struct {
	Release       string                 `json:"release" jsonschema:"required,minLength=1"`
	Stream        string                 `json:"stream" jsonschema:"required,minLength=1"`
	Metadata      Metadata               `json:"metadata,omitzero"` // coreos-assembler leaves it out
	Architectures map[string]ReleaseArch `json:"architectures" jsonschema:"required"`
}

// ReleaseArch is the part of a release for one architecture.
type ReleaseArch struct {
	Commit               string             `json:"commit,omitempty" jsonschema:"pattern=^[0-9a-f]{64}$"` // of ostree
	OciImage             *ContainerImage    `json:"oci-image,omitempty"`                                  // the operating system
	Media                map[string]Media   `json:"media" jsonschema:"required"`                          // by platform
	RHELCoreOSExtensions *ReleaseExtensions `json:"rhel-coreos-extensions,omitempty"`
}

// Media is the part of a release for one platform. Upstream has a type for each
// platform; the types differ in the form of the images.
type Media struct {
	Artifacts map[string]ImageFormat `json:"artifacts,omitempty"` // by format
	Images    map[string]CloudImage  `json:"images,omitempty"`    // of aliyun, aws, ibmcloud and powervs, by region
	Image     *MediaImage            `json:"image,omitempty"`     // of gcp and kubevirt
}

// A CloudImage is an image in a region, or an object in its storage.
type CloudImage struct {
	Image  string `json:"image,omitempty"` // aliyun and aws
	Object string `json:"object,omitempty"`
	Bucket string `json:"bucket,omitempty"`
	Url    string `json:"url,omitempty"`
}

// A MediaImage is the only image of a platform.
type MediaImage struct {
	Project   string `json:"project,omitempty"` // gcp
	Family    string `json:"family,omitempty"`
	Name      string `json:"name,omitempty"`
	Image     string `json:"image,omitempty"` // kubevirt
	DigestRef string `json:"digest-ref,omitempty" jsonschema:"pattern=^.+@sha256:[0-9a-f]{64}$"`
}

// ReleaseExtensions has the images that only Red Hat's CoreOS has.
type ReleaseExtensions struct {
	AwsWinLi  *ReleaseWinLi `json:"aws-winli,omitempty"`
	AzureDisk *AzureDisk    `json:"azure-disk,omitempty"`
}

// ReleaseWinLi has the images with a Windows license.
type ReleaseWinLi struct {
	Images map[string]CloudImage `json:"images" jsonschema:"required"` // by region
}

// Index is releases.json: the releases of a stream, the newest one last.
type Index struct {
	Note     string         `json:"note"` // for human readers
	Releases []IndexRelease `json:"releases" jsonschema:"required"`
	Metadata Metadata       `json:"metadata" jsonschema:"required"`
	Stream   string         `json:"stream" jsonschema:"required,minLength=1"`
}

// IndexRelease is one release.
type IndexRelease struct {
	Commits     []IndexReleaseCommit   `json:"commits,omitempty"`
	OciImages   []IndexReleaseOciImage `json:"oci-images,omitempty"`
	Version     string                 `json:"version" jsonschema:"required,minLength=1"`
	MetadataURL string                 `json:"metadata" jsonschema:"required,pattern=^https?://"` // its release.json
}

// IndexReleaseCommit is the commit of an architecture.
type IndexReleaseCommit struct {
	Architecture string `json:"architecture" jsonschema:"required,minLength=1"`
	Checksum     string `json:"checksum" jsonschema:"required,pattern=^[0-9a-f]{64}$"`
}

// IndexReleaseOciImage is the operating system of an architecture.
type IndexReleaseOciImage struct {
	Architecture string `json:"architecture" jsonschema:"required,minLength=1"`
	Image        string `json:"image" jsonschema:"required,minLength=1"`
	DigestRef    string `json:"digest-ref" jsonschema:"required,pattern=^.+@sha256:[0-9a-f]{64}$"`
}

const (
	generator = "ohp-assemble"
	indexNote = "An index of releases for tools that follow them. Images are found through stream metadata."
)

// NewRelease returns release.json of one build. [Merge] joins the documents of
// several builds of a release.
func NewRelease(m *Meta, stream string, where Projection) (*Release, error) {
	arch := ReleaseArch{Media: map[string]Media{}}
	for _, platform := range m.Platforms() {
		if slices.Contains(notMedia, platform) {
			continue
		}
		if err := arch.add(m, stream, platform, where); err != nil {
			return nil, fmt.Errorf("images.%s: %w", platform, err)
		}
	}
	if !m.Imported || m.Container == nil {
		arch.Commit = m.OSTreeCommit // otherwise the system updates from the container
	}
	if m.Container != nil {
		arch.OciImage = &ContainerImage{Image: m.Container.tagged(m.BuildID), DigestRef: m.Container.pinned()}
	}
	arch.addClouds(m)
	return &Release{m.BuildID, stream, Metadata{LastModified: m.OSTreeTimestamp}, map[string]ReleaseArch{m.BaseArch: arch}}, nil
}

// notMedia lists the files of a build that belong to no platform.
var notMedia = []string{"ostree", "oci-manifest", "extensions-container", "legacy-oscontainer", "ignition-gpg-key", "dasd"}

// metalParts has the place in the platform metal of its files other than the disk.
var metalParts = map[string]struct{ format, artifact string }{
	"metal4k":        {"", "disk"}, // the format is 4k. and the suffix of the name
	"iso":            {"installer.iso", "disk"},
	"kernel":         {"installer-pxe", "kernel"},
	"initramfs":      {"installer-pxe", "initramfs"},
	"live-iso":       {"iso", "disk"},
	"live-kernel":    {"pxe", "kernel"},
	"live-initramfs": {"pxe", "initramfs"},
	"live-rootfs":    {"pxe", "rootfs"},
}

// add adds a file of the build.
func (r *ReleaseArch) add(m *Meta, stream, key string, where Projection) (err error) {
	file := m.Images[key]
	at, ok := metalParts[key]
	platform := "metal"
	if !ok {
		platform, at.artifact = key, "disk"
	}
	if at.format == "" {
		if at.format, err = formatOf(file.Path, key, m.BaseArch); err != nil {
			return err
		}
	}
	if key == "metal4k" {
		at.format = "4k." + at.format
	}
	d, err := where(m, stream, file)
	if err != nil {
		return err
	}
	media := r.Media[platform]
	if media.Artifacts == nil {
		media.Artifacts = map[string]ImageFormat{}
	}
	f := media.Artifacts[at.format]
	switch at.artifact {
	case "disk":
		f.Disk = d
	case "kernel":
		f.Kernel = d
	case "initramfs":
		f.Initramfs = d
	case "rootfs":
		f.Rootfs = d
	}
	media.Artifacts[at.format] = f
	r.Media[platform] = media
	return nil
}

// formatOf returns the part of a file name after platform and architecture:
// qcow2.xz, tar.gz, ociarchive.
func formatOf(file, platform, arch string) (string, error) {
	sep := platform + "." + arch + "."
	at := strings.LastIndex(file, sep)
	if at < 0 || at+len(sep) == len(file) {
		return "", fmt.Errorf("%q: unknown format, the name has no %s", file, sep)
	}
	return file[at+len(sep):], nil
}

// addClouds adds the images of a build that are in clouds.
func (r *ReleaseArch) addClouds(m *Meta) {
	for platform, uploads := range map[string][]CloudUpload{"aws": m.Amis, "aliyun": m.Aliyun, "ibmcloud": m.Ibmcloud, "powervs": m.PowerVS} {
		if len(uploads) == 0 {
			continue
		}
		media := r.Media[platform]
		media.Images = regions(uploads)
		r.Media[platform] = media
	}
	if m.Gcp != nil {
		media := r.Media["gcp"]
		media.Image = &MediaImage{Project: m.Gcp.Project, Family: m.Gcp.Family, Name: m.Gcp.Image}
		r.Media["gcp"] = media
	}
	if m.KubeVirt != nil {
		media := r.Media["kubevirt"]
		media.Image = &MediaImage{Image: m.KubeVirt.tagged(m.BuildID), DigestRef: m.KubeVirt.pinned()}
		r.Media["kubevirt"] = media
	}
	if m.Azure != nil || len(m.AwsWinLi) > 0 {
		r.RHELCoreOSExtensions = &ReleaseExtensions{}
	}
	if m.Azure != nil {
		r.RHELCoreOSExtensions.AzureDisk = &AzureDisk{URL: m.Azure.URL}
	}
	if len(m.AwsWinLi) > 0 {
		r.RHELCoreOSExtensions.AwsWinLi = &ReleaseWinLi{regions(m.AwsWinLi)}
	}
}

func regions(uploads []CloudUpload) map[string]CloudImage {
	all := map[string]CloudImage{}
	for _, u := range uploads {
		all[u.Name+u.Region] = CloudImage{u.HVM + u.ID, u.Object, u.Bucket, u.URL} // one of each pair is empty
	}
	return all
}

// Current returns a stream with this release as its current one.
func (r *Release) Current() *Stream {
	s := &Stream{r.Stream, r.Metadata, map[string]Arch{}}
	s.Metadata.Generator = generator
	for name, arch := range r.Architectures {
		s.Architectures[name] = arch.current(r.Release)
	}
	return s
}

// current returns the architecture's part of a stream.
func (r ReleaseArch) current(release string) Arch {
	a := Arch{Artifacts: map[string]PlatformArtifacts{}}
	for platform, media := range r.Media {
		if len(media.Artifacts) > 0 {
			a.Artifacts[platform] = PlatformArtifacts{release, media.Artifacts}
		}
	}
	a.Images = Images{
		Aliyun:   replicated(r.Media["aliyun"].Images, release),
		Aws:      replicated(r.Media["aws"].Images, release),
		Ibmcloud: objects(r.Media["ibmcloud"].Images, release),
		PowerVS:  objects(r.Media["powervs"].Images, release),
	}
	if i := r.Media["gcp"].Image; i != nil {
		a.Images.Gcp = &GcpImage{release, i.Project, i.Family, i.Name}
	}
	if i := r.Media["kubevirt"].Image; i != nil {
		a.Images.KubeVirt = &ContainerImage{release, i.Image, i.DigestRef}
	}
	if x := r.RHELCoreOSExtensions; x != nil {
		a.RHELCoreOSExtensions = &Extensions{}
		if x.AwsWinLi != nil {
			a.RHELCoreOSExtensions.AwsWinLi = replicated(x.AwsWinLi.Images, release)
		}
		if x.AzureDisk != nil {
			a.RHELCoreOSExtensions.AzureDisk = &AzureDisk{release, x.AzureDisk.URL}
		}
	}
	return a
}

func replicated(images map[string]CloudImage, release string) *ReplicatedImage {
	if images == nil {
		return nil
	}
	r := &ReplicatedImage{map[string]SingleImage{}}
	for region, i := range images {
		r.Regions[region] = SingleImage{release, i.Image}
	}
	return r
}

func objects(images map[string]CloudImage, release string) *ReplicatedObject {
	if images == nil {
		return nil
	}
	r := &ReplicatedObject{map[string]SingleObject{}}
	for region, i := range images {
		r.Regions[region] = SingleObject{release, i.Object, i.Bucket, i.Url}
	}
	return r
}

// Index returns an index with only this release. url is the location of release.json.
func (r *Release) Index(url string) *Index {
	e := IndexRelease{Version: r.Release, MetadataURL: url}
	for _, name := range slices.Sorted(maps.Keys(r.Architectures)) {
		arch := r.Architectures[name]
		if arch.Commit != "" {
			e.Commits = append(e.Commits, IndexReleaseCommit{name, arch.Commit})
		}
		if i := arch.OciImage; i != nil {
			e.OciImages = append(e.OciImages, IndexReleaseOciImage{name, i.Image, i.DigestRef})
		}
	}
	return &Index{indexNote, []IndexRelease{e}, r.Metadata, r.Stream}
}
