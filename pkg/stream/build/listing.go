package build

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/plaintext"
)

// A Listing lists the images in the folder of a build, for a person or a program.
type Listing struct {
	Folder   string        `json:"folder"`
	Builds   []ListedBuild `json:"builds"`             // one for each architecture
	Problems []string      `json:"problems,omitempty"` // files that are missing or have another size
}

// A ListedBuild is the build of one architecture.
type ListedBuild struct {
	Dir       string        `json:"folder"`
	Name      string        `json:"name"`
	Version   string        `json:"version"`
	Arch      string        `json:"arch"`
	Commit    string        `json:"ostree_commit"`
	Container string        `json:"container,omitempty"` // by digest
	Images    []ListedImage `json:"images"`
}

// A ListedImage is an image as meta.json and images.json record it. Sizes are in
// bytes.
type ListedImage struct {
	Platform    string `json:"platform"`
	Format      string `json:"format"`      // of the file before compression
	Compression string `json:"compression"` // of the file, or none
	Path        string `json:"path"`
	Size        int64  `json:"size"`                   // of the file
	VirtualSize int64  `json:"virtual_size,omitempty"` // of the disk in it, if it is known
	SHA256      string `json:"sha256"`                 // of the file
	Ignition    bool   `json:"ignition"`               // a config is embedded
}

// List lists the images in a folder and compares the sizes of the files with
// meta.json. It returns [ErrNoBuild] if the folder has no build.
func List(dir string) (*Listing, error) {
	builds, err := Open(os.DirFS(dir))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	l := &Listing{Folder: dir}
	for _, b := range builds {
		one := ListedBuild{
			Dir: filepath.Join(dir, b.Dir), Name: b.Name, Version: cmp.Or(b.OSTreeVersion, b.BuildID), Arch: b.BaseArch, Commit: b.OSTreeCommit, Images: []ListedImage{},
		}
		if b.Container != nil {
			one.Container = b.Container.Image + "@" + b.Container.Digest
		}
		for _, f := range b.Files {
			path := filepath.Join(one.Dir, f.Name)
			if problem := checkSize(path, f); problem != "" {
				l.Problems = append(l.Problems, problem)
			}
			one.Images = append(one.Images, ListedImage{
				Platform: f.Platform, Format: string(f.Type.Format), Compression: f.Type.Compression.String(), Path: path,
				Size: f.Size, VirtualSize: f.VirtualSize, SHA256: f.SHA256, Ignition: f.Secret,
			})
		}
		l.Builds = append(l.Builds, one)
	}
	return l, nil
}

// checkSize returns the problem of a file that is missing or has another size than
// its record, or "".
func checkSize(path string, f cloud.File) string {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err.Error()
	case info.Size() != f.Size:
		return fmt.Sprintf("%s: %s, meta.json says %s", path, rootfs.Bytes(info.Size()), rootfs.Bytes(f.Size))
	}
	return ""
}

// Paths returns the paths of all images.
func (l *Listing) Paths() (paths []string) {
	for _, b := range l.Builds {
		for _, i := range b.Images {
			paths = append(paths, i.Path)
		}
	}
	return paths
}

// WriteText writes the listing for a person.
func (l *Listing) WriteText(w io.Writer) error {
	var text plaintext.Builder
	for i, b := range l.Builds {
		if i > 0 {
			text.Printf("\n")
		}
		b.add(&text)
	}
	text.List("problem: ", l.Problems)
	return text.Flush(w)
}

// add adds the listing of a build to a text.
func (b ListedBuild) add(text *plaintext.Builder) {
	line := plaintext.OneLine
	text.Printf("%s %s, %s, commit %s\n", line(b.Name), line(b.Version), line(b.Arch), line(b.Commit))
	if b.Container != "" {
		text.Printf("of %s\n", line(b.Container))
	}
	rows := [][]string{{"FILE", "PLATFORM", "FORMAT", "COMPRESSION", "SIZE", "VIRTUAL"}}
	for _, i := range b.Images {
		virtual := ""
		if i.VirtualSize > 0 {
			virtual = rootfs.Size(i.VirtualSize)
		}
		rows = append(rows, []string{i.Path, line(i.Platform), line(i.Format), i.Compression, rootfs.Size(i.Size), virtual})
	}
	text.Table(rows)
}
