package publish

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
	folder "github.com/ohp-assemble/ohp-assemble/pkg/stream/build"
)

// StreamDocument returns the stream metadata in a folder of builds, or nothing if the
// folder has no stream.json.
func StreamDocument(dir string) ([]Document, error) {
	name := filepath.Join(dir, streamTitle)
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = checkStream(name, text)
	}
	if err != nil {
		return nil, err
	}
	return []Document{{Title: streamTitle, MediaType: stream.StreamType, Bytes: text}}, nil
}

// checkStream returns an error unless a text is valid stream metadata.
func checkStream(name string, text []byte) error {
	d, err := stream.Parse(name, text)
	if err != nil {
		return err
	}
	if err := d.Want(stream.KindStream); err != nil {
		return err
	}
	problems, err := stream.Check(d)
	if len(problems) > 0 {
		return fmt.Errorf("%s: %s", name, strings.Join(problems, "; "))
	}
	return err
}

// Record records the places of the published images in their folder, see
// [folder.RecordPublished].
func (r *Result) Record(dir string) error {
	var all []folder.Published
	for _, e := range r.Entries {
		if e.Platform == "" { // a document
			continue
		}
		repository, _, _ := strings.Cut(e.Reference, "@")
		all = append(all, folder.Published{
			Arch: e.Arch, Platform: e.Platform, SHA256: e.SHA256, Place: cloud.Place{Repository: repository, Manifest: e.Digest},
		})
	}
	return folder.RecordPublished(dir, all)
}
