package build

import (
	"fmt"
	"io/fs"
	"path"

	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
)

// Releases returns a release.json for each build in a folder. name is the name of
// the folder in the documents' names, and where tells the locations of images.
func Releases(dir fs.FS, name, streamName string, where stream.Projection) (all []*stream.Document, err error) {
	builds, err := Open(dir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	for _, b := range builds {
		file := path.Join(name, b.Dir, MetaFile)
		r, err := stream.NewRelease(b.Meta, streamName, where)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		d, err := stream.NewDocument(file, r)
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
}
