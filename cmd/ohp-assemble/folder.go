package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/build"
)

// A folder is the result of inspect and ls for the folder of a build.
type folder struct {
	Folder   string        `json:"folder"`
	Builds   []folderBuild `json:"builds"` // one for each architecture
	Problems []string      `json:"problems,omitempty"`
}

type folderBuild struct {
	Dir       string        `json:"folder"`
	Name      string        `json:"name"`
	Version   string        `json:"version"`
	Arch      string        `json:"arch"`
	Commit    string        `json:"ostree_commit"`
	Container string        `json:"container,omitempty"` // by digest
	Images    []folderImage `json:"images"`
}

type folderImage struct {
	Platform    string `json:"platform"`
	Format      string `json:"format"`      // of the file before compression
	Compression string `json:"compression"` // of the file, or none
	Path        string `json:"path"`
	Size        int64  `json:"size"`                   // of the file
	VirtualSize int64  `json:"virtual_size,omitempty"` // of the disk in it, if it is known
	SHA256      string `json:"sha256"`                 // of the file, from meta.json
	Ignition    bool   `json:"ignition"`               // a config is embedded
}

// readFolder lists the images of a folder from its meta.json, and compares the
// sizes of the files with it.
func readFolder(dir string) (*folder, error) {
	builds, err := build.Open(os.DirFS(dir))
	if errors.Is(err, build.ErrNoBuild) {
		return nil, folderError(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	found := &folder{Folder: dir}
	for _, b := range builds {
		one := folderBuild{
			Dir: filepath.Join(dir, b.Dir), Name: b.Name, Version: cmp.Or(b.OSTreeVersion, b.BuildID), Arch: b.BaseArch, Commit: b.OSTreeCommit, Images: []folderImage{},
		}
		if b.Container != nil {
			one.Container = b.Container.Image + "@" + b.Container.Digest
		}
		for _, f := range b.Files {
			i := folderImage{
				Platform: f.Platform, Format: string(f.Type.Format), Compression: f.Type.Compression.String(), Path: filepath.Join(one.Dir, f.Name),
				Size: f.Size, VirtualSize: f.VirtualSize, SHA256: f.SHA256, Ignition: f.Secret,
			}
			if info, err := os.Stat(i.Path); err != nil {
				found.Problems = append(found.Problems, err.Error())
			} else if info.Size() != f.Size {
				found.Problems = append(found.Problems, fmt.Sprintf("%s: %s, meta.json says %s", i.Path, rootfs.Bytes(info.Size()), rootfs.Bytes(f.Size)))
			}
			one.Images = append(one.Images, i)
		}
		found.Builds = append(found.Builds, one)
	}
	return found, nil
}

// showFolder prints the images of a build.
func showFolder(w io.Writer, format, dir string) error {
	found, err := readFolder(dir)
	if err != nil {
		return err
	}
	if err := show(w, format, found); err != nil {
		return err
	}
	if len(found.Problems) > 0 {
		return fmt.Errorf("%s: %w", dir, errProblems)
	}
	return nil
}

// print shows the images to a person.
func (f *folder) print(w io.Writer) {
	for i, b := range f.Builds {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "%s %s, %s, commit %s\n", oneLine(b.Name), oneLine(b.Version), oneLine(b.Arch), oneLine(b.Commit))
		if b.Container != "" {
			fmt.Fprintf(w, "of %s\n", oneLine(b.Container))
		}
		rows := [][]string{{"FILE", "PLATFORM", "FORMAT", "COMPRESSION", "SIZE", "VIRTUAL"}}
		for _, i := range b.Images {
			virtual := ""
			if i.VirtualSize > 0 {
				virtual = size(i.VirtualSize)
			}
			rows = append(rows, []string{i.Path, oneLine(i.Platform), oneLine(i.Format), i.Compression, size(i.Size), virtual})
		}
		table(w, rows)
	}
	for _, p := range f.Problems {
		fmt.Fprintf(w, "problem: %s\n", p)
	}
}

// notOneImage returns the error of a folder in place of an image.
func notOneImage(dir string) error {
	found, err := readFolder(dir)
	if err != nil {
		return err
	}
	var names []string
	for _, b := range found.Builds {
		for _, i := range b.Images {
			names = append(names, i.Path)
		}
	}
	return withHint(fmt.Errorf("%s: this is the folder of a build, not an image", dir), "choose one of its images: "+strings.Join(names, ", "))
}
