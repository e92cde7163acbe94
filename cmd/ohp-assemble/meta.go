package main

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/distribution/reference"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/compress"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/publish"
)

// meta is what meta.json says of a build.
func (s *system) meta(r *request, res *result) *stream.Meta {
	m := &stream.Meta{
		BuildID: s.version, Name: s.name, OSTreeCommit: s.commit.String(), OSTreeVersion: s.version,
		OSTreeTimestamp: time.Unix(s.created().Sec, 0).UTC().Format(time.RFC3339), BaseArch: s.arch, Imported: true,
		Container: s.container(),
		Images:    map[string]stream.Artifact{},
	}
	for _, i := range res.Images {
		a := stream.Artifact{
			Path: filepath.Base(i.Path), SHA256: i.SHA256, Size: i.Size, SkipCompression: i.published, Unlisted: i.unlisted,
			Detail: stream.Detail{Format: i.Format, VirtualSize: i.VirtualSize, Ignition: r.config != nil, Manifest: i.Manifest},
		}
		if i.Compression != compress.None.String() {
			a.Compression, a.UncompressedSHA256, a.UncompressedSize = i.Compression, i.UncompressedSHA256, i.UncompressedSize
		}
		if i.SectorSize != 512 {
			a.SectorSize = i.SectorSize
		}
		m.Images[i.Platform] = a
	}
	return m
}

// container names the operating system's container, by the registry that it is
// in or will be: an archive or a folder of this machine has no name elsewhere.
func (s *system) container() *stream.Container {
	name, isRegistry := strings.CutPrefix(s.image.Reference, "docker://")
	if _, after, ok := strings.Cut(s.origin, "-registry:"); ok && !isRegistry {
		name = after
	}
	c := &stream.Container{Image: name, Digest: s.image.Digest.String()}
	if named, err := reference.ParseNormalizedNamed(name); err == nil {
		c.Image = reference.TrimNamed(named).String()
		if tagged, ok := reference.TagNameOnly(named).(reference.Tagged); ok && !reference.IsNameOnly(named) {
			c.Tags = []string{tagged.Tag()}
		}
	} else if repository, _, ok := strings.Cut(name, "@"); ok {
		c.Image = repository
	}
	return c
}

// writeMeta writes meta.json and images.json. Images that an earlier run made of
// the same operating system stay in them, as long as their files are there.
func writeMeta(dir string, m *stream.Meta) error {
	lock, err := lockFolder(dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	old, err := stream.ReadMeta(os.DirFS(dir))
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case old.BuildID == m.BuildID && old.Name == m.Name && old.OSTreeCommit == m.OSTreeCommit && old.BaseArch == m.BaseArch:
		for platform, a := range old.Images {
			if _, err := os.Stat(filepath.Join(dir, a.Path)); err != nil {
				delete(old.Images, platform)
			}
		}
		maps.Copy(old.Images, m.Images)
		m.Images = old.Images
	}
	if err := writeText(filepath.Join(dir, stream.DetailsFile), 0o666, stream.Marshal(m.Details())); err != nil {
		return err
	}
	return writeText(filepath.Join(dir, stream.MetaFile), 0o666, stream.Marshal(m.Listed()))
}

// lockFolder locks a folder against other runs until the lock is closed.
func lockFolder(dir string) (io.Closer, error) {
	lock, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		lock.Close()
		return nil, &fs.PathError{Op: "lock", Path: dir, Err: err}
	}
	return lock, nil
}

// recordPublished records in images.json and the upload documents of a folder
// where its images were published. It skips builds of other programs, which have
// no images.json.
func recordPublished(dir string, res *publish.Result) error {
	builds, err := stream.ReadBuilds(os.DirFS(dir))
	if err != nil {
		return err
	}
	for _, b := range builds {
		if err := recordBuild(filepath.Join(dir, b.Dir), rootfs.GoArch(b.BaseArch), res); err != nil {
			return err
		}
	}
	return nil
}

func recordBuild(dir, arch string, res *publish.Result) error {
	details := filepath.Join(dir, stream.DetailsFile)
	if _, err := os.Stat(details); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	lock, err := lockFolder(dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	m, err := stream.ReadMeta(os.DirFS(dir))
	if err != nil {
		return err
	}
	for _, e := range res.Entries {
		old := m.Images[e.Platform]
		if e.Platform == "" || e.Arch != arch || e.SHA256 != old.SHA256 { // another run has replaced it
			continue
		}
		now := old
		repository, _, _ := strings.Cut(e.Reference, "@")
		now.Publish(stream.Place{Repository: repository, Manifest: e.Digest})
		m.Images[e.Platform] = now
		if err := rewriteUpload(dir, old, now); err != nil {
			return err
		}
	}
	return writeText(details, 0o666, stream.Marshal(m.Details()))
}
