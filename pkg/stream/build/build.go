// Package build writes and reads the folder of a build: image files, and the
// documents that describe them.
//
//	<image>              one file for each platform
//	<image>.upload.json  how the image gets into its cloud, see package upload
//	meta.json            the build, in coreos-assembler's form: [stream.Meta]
//	images.json          facts about the images that meta.json has no field for
//
// A build of several architectures has one such folder for each of them, in one
// folder. [Write] makes a folder, [Open] reads one, [Recompress] changes the
// compression of its images, and [RecordPublished] adds the places of published images.
//
// Every file appears under its final name when it is complete. A function that
// returns, also because its context is done, leaves no temporary file. Several
// processes may write to a folder at the same time.
package build

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
)

// Names of the documents in a folder.
const (
	MetaFile   = "meta.json"
	ImagesFile = "images.json"
)

// A Build is the content of the folder of one architecture.
type Build struct {
	Dir string // "." or the name of the architecture's folder

	// Meta has an artifact for every image, also for those that meta.json does
	// not list because coreos-assembler does not know their platform.
	*stream.Meta
	Files []cloud.File // the images, by platform

	unlisted []string // platforms that meta.json does not list
}

// ErrNoBuild is the error of a folder that has no build.
var ErrNoBuild = errors.New("no " + MetaFile + " in the folder or in a folder in it")

// Open reads the documents of the builds in a folder: one in the folder itself, or
// one in each folder in it. It reads no image. It returns [ErrNoBuild] if there
// is no build.
func Open(dir fs.FS) ([]Build, error) {
	b, err := read(dir)
	if err == nil {
		b.Dir = "."
		return []Build{*b}, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	names, err := fs.Glob(dir, "*/"+MetaFile)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, ErrNoBuild
	}
	var all []Build
	for _, name := range names {
		b, err := readSub(dir, path.Dir(name))
		if err != nil {
			return nil, err
		}
		all = append(all, *b)
	}
	return all, nil
}

// readSub reads the build in a folder of dir.
func readSub(dir fs.FS, name string) (*Build, error) {
	sub, err := fs.Sub(dir, name)
	if err != nil {
		return nil, err
	}
	b, err := read(sub)
	if err != nil {
		return nil, fmt.Errorf("%s/%w", name, err)
	}
	b.Dir = name
	return b, nil
}

// read reads meta.json, and images.json if there is one.
func read(dir fs.FS) (*Build, error) {
	text, err := readFile(dir, MetaFile)
	if err != nil {
		return nil, err
	}
	m, err := stream.ParseMeta(MetaFile, text)
	if err != nil {
		return nil, err
	}
	images, err := readImages(dir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ImagesFile, err)
	}
	b := &Build{Meta: m}
	if b.unlisted, err = images.addTo(m); err != nil {
		return nil, fmt.Errorf("%s: %w", ImagesFile, err)
	}
	if err := m.Check(); err != nil {
		return nil, fmt.Errorf("%s: %w", MetaFile, err)
	}
	for _, platform := range m.Platforms() {
		b.Files = append(b.Files, images.file(platform, m.Images[platform]))
	}
	return b, nil
}

// readFile reads a document, or its first bytes if it is larger than
// [stream.MaxDocument], which parsers reject.
func readFile(dir fs.FS, name string) ([]byte, error) {
	f, err := dir.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, stream.MaxDocument+1))
}

// File returns the image of a platform, and whether there is one.
func (b *Build) File(platform string) (cloud.File, bool) {
	i, ok := b.find(platform)
	if !ok {
		return cloud.File{}, false
	}
	return b.Files[i], true
}

func (b *Build) find(platform string) (int, bool) {
	return slices.BinarySearchFunc(b.Files, platform, func(f cloud.File, p string) int { return strings.Compare(f.Platform, p) })
}

// set adds an image, or replaces that of the same platform.
func (b *Build) set(f cloud.File) {
	i, ok := b.find(f.Platform)
	if ok {
		b.Files[i] = f
	} else {
		b.Files = slices.Insert(b.Files, i, f)
	}
	if b.Images == nil {
		b.Images = map[string]stream.Artifact{}
	}
	b.Images[f.Platform] = artifact(f)
}
