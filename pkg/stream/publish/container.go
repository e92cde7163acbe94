package publish

import (
	"archive/tar"
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/kubevirt"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
)

// tarHeader is the offset of the file in the layer of a container: behind its header and
// that of its folder.
const tarHeader = 2 * 512

// renderContainer returns a plain container of one layer with the file /disk/NAME.
// KubeVirt reads disks from such containers, and every registry takes containers.
func (p *Plan) renderContainer(it *item, annotations map[string]string) (registry.Manifest, error) {
	created, _ := time.Parse(time.RFC3339, annotations[imgspec.AnnotationCreated])
	layer, err := wrapTar(it.file, created)
	if err != nil {
		return registry.Manifest{}, fmt.Errorf("%s: %w", it.file.Name, err)
	}
	image := imgspec.Image{
		Platform: imgspec.Platform{OS: "linux", Architecture: cmp.Or(it.build, p.pub.builds[0]).arch},
		Config:   imgspec.ImageConfig{Labels: annotations, Entrypoint: []string{"no-entrypoint"}},
		RootFS:   imgspec.RootFS{Type: "layers", DiffIDs: []digest.Digest{layer.Digest}},
	}
	if !created.IsZero() {
		image.Created = &created
	}
	config := registry.NewBlob(it.file.Name+" (config)", registry.NewManifest("", image).Raw)
	m := imgspec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspec.MediaTypeImageManifest,
		Config: config.Descriptor(imgspec.MediaTypeImageConfig), Layers: []imgspec.Descriptor{layer.Descriptor(imgspec.MediaTypeImageLayer)},
		Annotations: annotations,
	}
	return registry.NewManifest(m.MediaType, m, config, layer), nil
}

// wrapTar returns the tar archive of a file. It reads the file once, for the digest of the
// archive, and verifies it.
func wrapTar(file registry.Blob, created time.Time) (registry.Blob, error) {
	head, err := tarHeaders(file, created)
	if err != nil {
		return registry.Blob{}, err
	}
	end := (tarHeader + file.Size + 511) &^ 511
	frame, err := disk.New(end+2*512, disk.Extent{Blob: bytes.NewReader(head)})
	if err != nil {
		return registry.Blob{}, err
	}
	layer := registry.Blob{Name: file.Name, Size: frame.Size(), Source: tarSource{frame, file.Source, file.Size}}
	content, err := layer.Source.Open()
	if err != nil {
		return registry.Blob{}, err
	}
	defer content.Close()
	whole, inner := sha256.New(), sha256.New()
	rest := tarHeader + file.Size
	_, err = io.Copy(whole, io.NewSectionReader(content, 0, tarHeader))
	if err == nil {
		_, err = io.Copy(io.MultiWriter(whole, inner), io.NewSectionReader(content, tarHeader, file.Size))
	}
	if err == nil {
		_, err = io.Copy(whole, io.NewSectionReader(content, rest, layer.Size-rest))
	}
	if err != nil {
		return registry.Blob{}, err
	}
	if got := digest.NewDigest(digest.SHA256, inner); got != file.Digest {
		return registry.Blob{}, fmt.Errorf("%w: it is %s", ErrFile, got)
	}
	layer.Digest = digest.NewDigest(digest.SHA256, whole)
	return layer, nil
}

// tarHeaders returns the headers of the folder disk and of the file in it.
func tarHeaders(file registry.Blob, created time.Time) ([]byte, error) {
	if created.IsZero() {
		created = time.Unix(0, 0)
	}
	var head bytes.Buffer
	w := tar.NewWriter(&head)
	for _, h := range []tar.Header{
		{Typeflag: tar.TypeDir, Name: "disk/", Mode: 0o555},
		{Typeflag: tar.TypeReg, Name: "disk/" + file.Name, Mode: 0o444, Size: file.Size},
	} {
		h.Uid, h.Gid, h.ModTime = kubevirt.User, kubevirt.User, created
		if err := w.WriteHeader(&h); err != nil {
			return nil, err
		}
	}
	if head.Len() != tarHeader {
		return nil, errors.New("the name does not fit into a tar header")
	}
	return head.Bytes(), nil
}
