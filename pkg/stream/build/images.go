package build

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
)

// images is images.json: the facts that meta.json has no field for, by file name.
// Builds of coreos-assembler have none.
type images map[string]image

// An image has the facts about one file. For a file that meta.json does not
// list, it has the platform and the artifact.
type image struct {
	Format      filetype.Format      `json:"format"`                // of the uncompressed file
	Compression filetype.Compression `json:"compression,omitempty"` // of the whole file
	VirtualSize int64                `json:"virtual-size"`          // bytes of the disk in it
	SectorSize  int                  `json:"sector-size,omitempty"` // bytes; zero means 512
	Ignition    bool                 `json:"ignition,omitempty"`    // a config is embedded
	Manifest    string               `json:"manifest,omitempty"`    // digest of the container in it
	Published   []place              `json:"published,omitempty"`   // one for each repository
	Platform    string               `json:"platform,omitempty"`
	Artifact    *stream.Artifact     `json:"artifact,omitempty"`
}

// A place is a [cloud.Place].
type place struct {
	Repository string `json:"repository"`
	Manifest   string `json:"manifest"`
}

// readImages reads images.json, if there is one.
func readImages(dir fs.FS) (images, error) {
	all := images{}
	text, err := readFile(dir, ImagesFile)
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	return all, err
}

// addTo adds the artifacts that meta.json does not list, and returns their platforms.
func (all images) addTo(m *stream.Meta) (unlisted []string, err error) {
	for _, file := range slices.Sorted(maps.Keys(all)) {
		i := all[file]
		if i.Artifact == nil {
			continue
		}
		if m.Images == nil {
			m.Images = map[string]stream.Artifact{}
		}
		if _, listed := m.Images[i.Platform]; listed || i.Platform == "" || i.Artifact.Path != file {
			return nil, fmt.Errorf("%s: invalid platform %q or path %q", file, i.Platform, i.Artifact.Path)
		}
		m.Images[i.Platform] = *i.Artifact
		unlisted = append(unlisted, i.Platform)
	}
	return unlisted, nil
}

// file returns the record of an image. Its name tells its type if images.json
// does not.
func (all images) file(platform string, a stream.Artifact) cloud.File {
	i := all[a.Path]
	f := cloud.File{
		Name: a.Path, Platform: platform, Type: filetype.Type{Format: i.Format, Compression: i.Compression},
		Content:     cloud.Content{Size: a.Size, SHA256: a.SHA256},
		VirtualSize: i.VirtualSize, SectorSize: i.SectorSize, Secret: i.Ignition, SkipCompression: a.SkipCompression, Manifest: i.Manifest,
	}
	if f.Type.Format == "" {
		f.Type = typeOf(platform, a.Path)
	}
	if f.Plain = f.Content; a.UncompressedSHA256 != "" {
		f.Plain = cloud.Content{Size: a.UncompressedSize, SHA256: a.UncompressedSHA256}
	}
	for _, p := range i.Published {
		f.Published = append(f.Published, cloud.Place(p))
	}
	return f
}

// live has the types of the parts of a live system. Their names do not tell them.
var live = map[string]filetype.Format{
	"live-kernel": filetype.Kernel, "live-initramfs": filetype.Initramfs, "live-rootfs": filetype.RootFS,
}

// typeOf returns the type that the name of a platform's file tells.
func typeOf(platform, name string) filetype.Type {
	if part, ok := live[platform]; ok {
		return filetype.Type{Format: part}
	}
	return filetype.ParseName(name)
}

// imagesOf returns images.json of a build.
func imagesOf(b *Build) images {
	all := images{}
	for _, f := range b.Files {
		i := image{
			Format: f.Type.Format, Compression: f.Type.Compression, VirtualSize: f.VirtualSize, SectorSize: f.SectorSize,
			Ignition: f.Secret, Manifest: f.Manifest,
		}
		for _, p := range f.Published {
			i.Published = append(i.Published, place(p))
		}
		if slices.Contains(b.unlisted, f.Platform) {
			a := b.Images[f.Platform]
			i.Platform, i.Artifact = f.Platform, &a
		}
		all[f.Name] = i
	}
	return all
}

// artifact returns the artifact of a file in meta.json.
func artifact(f cloud.File) stream.Artifact {
	a := stream.Artifact{Path: f.Name, SHA256: f.SHA256, Size: f.Size, SkipCompression: f.SkipCompression}
	if f.Plain != f.Content {
		a.UncompressedSHA256, a.UncompressedSize = f.Plain.SHA256, f.Plain.Size
	}
	return a
}
