package publish

import (
	"archive/tar"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
)

// newContainerDisk returns the image for KubeVirt, which is a container in an OCI archive.
// Its manifest stays unchanged; the entry in the index has the annotations.
func newContainerDisk(b *build, platform string) (*item, error) {
	f := b.file(platform)
	m, err := readArchive(filepath.Join(b.dir, f.Name), f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name, err)
	}
	return &item{
		build: b, platform: platform, mediaType: m.Descriptor.MediaType, container: &m, file: registry.Blob{Name: f.Name},
		annotations: map[string]string{stream.AnnotationPlatform: platform},
	}, nil
}

// readArchive returns the only image of an OCI archive.
func readArchive(path string, want cloud.File) (m registry.Manifest, err error) {
	f, err := os.Open(path)
	if err != nil {
		return m, err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return m, err
	}
	if hex.EncodeToString(sum.Sum(nil)) != strings.ToLower(want.SHA256) {
		return m, fmt.Errorf("%w: its SHA-256 is %x", ErrFile, sum.Sum(nil))
	}
	files, err := indexTar(f)
	if err != nil {
		return m, err
	}
	var index imgspec.Index
	if _, err := files.readJSON(imgspec.ImageIndexFile, &index); err != nil {
		return m, err
	}
	if len(index.Manifests) != 1 {
		return m, fmt.Errorf("%d images, want one", len(index.Manifests))
	}
	return files.manifest(index.Manifests[0].Digest, path, want.Name)
}

// tarFiles are the regular files of a tar archive, by name.
type tarFiles map[string]*io.SectionReader

// manifest returns a manifest, whose blobs stay in the archive.
func (t tarFiles) manifest(d digest.Digest, path, name string) (registry.Manifest, error) {
	var m imgspec.Manifest
	text, err := t.readJSON(blobName(d), &m)
	if err != nil {
		return registry.Manifest{}, err
	}
	if got := digest.FromBytes(text); got != d {
		return registry.Manifest{}, fmt.Errorf("%w: manifest %s is %s", ErrFile, d, got)
	}
	var blobs []registry.Blob
	for _, d := range append([]imgspec.Descriptor{m.Config}, m.Layers...) {
		part, ok := t[blobName(d.Digest)]
		if !ok || part.Size() != d.Size {
			return registry.Manifest{}, fmt.Errorf("blob %s is missing or has the wrong size", d.Digest)
		}
		_, off, _ := part.Outer()
		blobs = append(blobs, registry.Blob{Name: name, Digest: d.Digest, Size: d.Size, Source: fileSource{path, off, d.Size}})
	}
	desc := imgspec.Descriptor{MediaType: cmp.Or(m.MediaType, imgspec.MediaTypeImageManifest), Digest: d, Size: int64(len(text))}
	return registry.Manifest{Descriptor: desc, Raw: text, Blobs: blobs}, nil
}

// readJSON reads a small file.
func (t tarFiles) readJSON(name string, v any) ([]byte, error) {
	part, ok := t[name]
	if !ok || part.Size() > registry.MaxManifest {
		return nil, fmt.Errorf("%s is missing or larger than %d bytes", name, registry.MaxManifest)
	}
	text, err := io.ReadAll(part)
	if err == nil {
		err = json.Unmarshal(text, v)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return text, nil
}

func blobName(d digest.Digest) string { return "blobs/" + strings.Replace(d.String(), ":", "/", 1) }

// maxArchived is the largest number of files in an archive.
const maxArchived = 10000

// indexTar finds the files of a tar archive.
func indexTar(f *os.File) (tarFiles, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	files := tarFiles{}
	r := tar.NewReader(f)
	for {
		h, err := r.Next()
		if err == io.EOF {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		at, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		if len(files) >= maxArchived {
			return nil, fmt.Errorf("more than %d files", maxArchived)
		}
		if h.Typeflag == tar.TypeReg {
			files[strings.TrimPrefix(h.Name, "./")] = io.NewSectionReader(f, at, h.Size)
		}
	}
}
