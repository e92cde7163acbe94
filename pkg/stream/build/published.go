package build

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// Published is an image that is in a registry.
type Published struct {
	Arch     string // amd64, arm64, ...
	Platform string
	SHA256   string // of the file
	cloud.Place
}

// RecordPublished adds the places of published images to images.json and to the
// upload documents in a folder. It ignores images that are no longer in the
// folder, and builds of other programs, which have no images.json. meta.json does
// not change.
func RecordPublished(dir string, all []Published) error {
	builds, err := Open(os.DirFS(dir))
	if err != nil {
		return err
	}
	for _, b := range builds {
		sub := filepath.Join(dir, b.Dir)
		if _, err := os.Stat(filepath.Join(sub, ImagesFile)); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		err := update(sub, func(there *Build) (*Build, error) {
			if there == nil {
				return nil, ErrNoBuild
			}
			return there, there.record(sub, all)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// record adds places to the images of a build, and renews their upload documents.
func (b *Build) record(dir string, all []Published) error {
	for _, p := range all {
		old, ok := b.File(p.Platform)
		if !ok || p.Arch != rootfs.GoArch(b.BaseArch) || p.SHA256 != old.SHA256 {
			continue
		}
		now := old
		now.Publish(p.Place)
		if err := renewUpload(dir, old, now); err != nil {
			return err
		}
		b.set(now)
	}
	return nil
}
