package diff

import (
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/build"
)

// An ImageChange is an image file of two builds that differs, is new, or is
// gone.
type ImageChange struct {
	Platform string `json:"platform"`
	A        *Image `json:"a"` // null if it is missing
	B        *Image `json:"b"`
}

// An Image is the record of an image file. Its JSON is that of meta.json.
type Image struct {
	stream.Artifact
	File cloud.File `json:"-"`
}

// Builds compares the records of two folders of builds. If both have one build,
// the two are compared, whatever their architectures. Otherwise each
// architecture that both have is compared with itself, in Arches.
//
// The folders that Dir of the builds names are part of the result. Builds reads
// no image: [Diff.Pairs] returns the images that are to be compared
// inside.
func Builds(nameA, nameB string, a, b []build.Build) (*Diff, error) {
	byArchA, err := byArch(a)
	if err != nil {
		return nil, err
	}
	byArchB, err := byArch(b)
	if err != nil {
		return nil, err
	}
	d := New(nameA, nameB)
	if len(a) == 1 && len(b) == 1 {
		d.builds(a[0], b[0])
		d.judge()
		return d, nil
	}
	d.about("architectures", strings.Join(union(byArchA, nil), " "), strings.Join(union(byArchB, nil), " "))
	for _, arch := range union(byArchA, byArchB) {
		buildA, inA := byArchA[arch]
		buildB, inB := byArchB[arch]
		if !inA || !inB {
			continue
		}
		one := New(buildA.Dir, buildB.Dir)
		one.Arch = arch
		one.builds(buildA, buildB)
		one.judge()
		d.Arches = append(d.Arches, one)
	}
	d.judge()
	return d, nil
}

// byArch returns the builds by architecture.
func byArch(builds []build.Build) (map[string]build.Build, error) {
	all := map[string]build.Build{}
	for _, b := range builds {
		if other, ok := all[b.BaseArch]; ok {
			return nil, fmt.Errorf("%s and %s are both builds of %s: compare one of them", other.Dir, b.Dir, b.BaseArch)
		}
		all[b.BaseArch] = b
	}
	return all, nil
}

// builds compares the records of two builds. It sets Platform to the one whose
// images are to be compared inside: qemu if possible, and one that is not
// compressed if there is one.
func (d *Diff) builds(a, b build.Build) {
	d.about("build", a.BuildID, b.BuildID)
	d.about("name", a.Name, b.Name)
	d.about("architecture", a.BaseArch, b.BaseArch)
	d.about("version", a.OSTreeVersion, b.OSTreeVersion)
	d.about("commit", a.OSTreeCommit, b.OSTreeCommit)
	d.about("commit time", a.OSTreeTimestamp, b.OSTreeTimestamp)
	d.dirA, d.dirB = a.Dir, b.Dir
	imageA, digestA := containerOf(a)
	imageB, digestB := containerOf(b)
	d.about("container", imageA, imageB)
	d.about("container digest", digestA, digestB)
	common := d.images(a, b)
	d.same(len(d.Images), "images", len(common))
	if len(common) == 0 {
		return
	}
	if slices.Contains(common, "qemu") {
		common = slices.Insert(common, 0, "qemu")
	}
	readable := func(platform string) bool { return isReadable(a, platform) && isReadable(b, platform) }
	d.Platform = common[max(0, slices.IndexFunc(common, readable))]
}

func containerOf(b build.Build) (image, digest string) {
	if b.Container == nil {
		return "", ""
	}
	return b.Container.Image, b.Container.Digest
}

// isReadable reports whether the image of a platform can be read at any offset.
func isReadable(b build.Build, platform string) bool {
	f, _ := b.File(platform)
	return f.Type.Compression == filetype.None && f.Type.Format != filetype.TarGz
}

// images compares the records of image files. It returns the platforms that both
// builds have images of.
func (d *Diff) images(a, b build.Build) (common []string) {
	for _, platform := range union(a.Images, b.Images) {
		c := ImageChange{platform, imageOf(a, platform), imageOf(b, platform)}
		if c.A != nil && c.B != nil {
			common = append(common, platform)
			if reflect.DeepEqual(c.A, c.B) {
				continue
			}
		}
		d.Images = append(d.Images, c)
	}
	return common
}

// imageOf returns the record of the image of a platform, or nil. The places
// where it was published do not make it another image.
func imageOf(b build.Build, platform string) *Image {
	artifact, ok := b.Images[platform]
	if !ok {
		return nil
	}
	f, _ := b.File(platform)
	f.Published = nil
	return &Image{artifact, f}
}

// A Pair is two images of a platform that differ, and the Diff of their builds,
// to which [Diff.Add] adds the differences inside.
type Pair struct {
	Diff *Diff
	A, B string // names of the files, in the folders of the builds
}

// Pairs returns the images that are to be compared inside, one pair for each
// architecture: those of d.Platform, unless their digests are the same.
func (d *Diff) Pairs() (pairs []Pair) {
	for _, one := range append([]*Diff{d}, d.Arches...) {
		i := slices.IndexFunc(one.Images, func(c ImageChange) bool { return c.Platform == one.Platform })
		if i < 0 || one.Images[i].A.SHA256 == one.Images[i].B.SHA256 {
			continue
		}
		c := one.Images[i]
		pairs = append(pairs, Pair{one, path.Join(one.dirA, c.A.Path), path.Join(one.dirB, c.B.Path)})
	}
	return pairs
}
