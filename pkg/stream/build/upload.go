package build

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/upload"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
)

// uploadName returns the name of the upload document of an image.
func uploadName(f cloud.File) string { return upload.FileName(f.Name) }

// writeUpload writes the upload document of an image with the permissions of
// the image: that of AWS has digests of the disk's content.
func writeUpload(dir string, f cloud.File, doc *upload.Document) error {
	info, err := os.Stat(filepath.Join(dir, f.Name))
	if err != nil {
		return err
	}
	return stream.WriteFile(filepath.Join(dir, uploadName(f)), doc.Marshal(), info.Mode().Perm())
}

// renewUpload writes the upload document of a changed image, if the old image has
// one.
func renewUpload(dir string, old, now cloud.File) error {
	text, err := os.ReadFile(filepath.Join(dir, uploadName(old)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	var was upload.Document
	if err := json.Unmarshal(text, &was); err != nil {
		return fmt.Errorf("%s: %w", uploadName(old), err)
	}
	doc, err := upload.New(now, was.Image.System)
	if err == nil && was.Snapshot != nil {
		err = doc.Direct(was.Snapshot)
	}
	if err != nil {
		return err
	}
	return writeUpload(dir, now, doc)
}
