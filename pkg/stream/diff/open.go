package diff

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/inspect"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/raw"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/build"
)

// OpenImage opens an image file as a side. The caller closes the file when it no
// longer uses the side.
func OpenImage(name string) (Side, io.Closer, error) {
	f, d, err := inspect.OpenFile(name)
	if err != nil {
		return Side{}, nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return Side{}, nil, err
	}
	return Side{Name: name, Disk: d, File: info.Size(), Allocated: raw.Allocated(info)}, f, nil
}

// Folders compares the builds in two folders, and inside the images of one
// platform. An image that is compressed as a whole is in NotCompared.
func Folders(a, b string) (*Diff, error) {
	buildsA, err := openBuilds(a)
	if err != nil {
		return nil, err
	}
	buildsB, err := openBuilds(b)
	if err != nil {
		return nil, err
	}
	d, err := Builds(a, b, buildsA, buildsB)
	if err != nil {
		return nil, err
	}
	for _, pair := range d.Pairs() {
		inside, err := files(pair.A, pair.B)
		switch {
		case errors.Is(err, inspect.ErrCompressed):
			pair.Diff.Skip(err.Error())
			d.Compressed = append(d.Compressed, err)
		case err != nil:
			return nil, err
		default:
			pair.Diff.Add(inside)
		}
	}
	return d, nil
}

// openBuilds reads the documents of the builds in a folder. Dir of the builds
// includes the name of the folder.
func openBuilds(dir string) ([]build.Build, error) {
	builds, err := build.Open(os.DirFS(dir))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	for i := range builds {
		builds[i].Dir = filepath.Join(dir, builds[i].Dir)
	}
	return builds, nil
}

// files compares two image files.
func files(a, b string) (*Diff, error) {
	sideA, fileA, err := OpenImage(a)
	if err != nil {
		return nil, err
	}
	defer fileA.Close()
	sideB, fileB, err := OpenImage(b)
	if err != nil {
		return nil, err
	}
	defer fileB.Close()
	return Compare(sideA, sideB)
}
