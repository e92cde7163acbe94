package publish

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
)

// tarHeader is where the file begins in the layer of a container: after its own
// header and that of its folder.
const tarHeader = 2 * 512

// qemuUser is the user that KubeVirt runs virtual machines as.
const qemuUser = 107

// renderContainer makes an item a plain container of one layer, in which the
// file is /disk/NAME. KubeVirt takes disks from such a one, and every registry
// takes containers.
func (p *publication) renderContainer(it *item, annotations map[string]string) error {
	layer, err := wrapTar(it.file, annotations[imgspec.AnnotationCreated])
	if err != nil {
		return fmt.Errorf("%s: %w", it.file.name, err)
	}
	layer.desc.MediaType = imgspec.MediaTypeImageLayer
	arch := p.builds[0].arch
	if it.build != nil {
		arch = it.build.arch
	}
	image := imgspec.Image{
		Platform: imgspec.Platform{OS: "linux", Architecture: arch},
		Config:   imgspec.ImageConfig{Labels: annotations, Entrypoint: []string{"no-entrypoint"}},
		RootFS:   imgspec.RootFS{Type: "layers", DiffIDs: []digest.Digest{layer.desc.Digest}},
	}
	if t, err := time.Parse(time.RFC3339, annotations[imgspec.AnnotationCreated]); err == nil {
		image.Created = &t
	}
	config := bytesBlob(it.file.name+" (config)", newManifest("", image).raw)
	config.desc.MediaType = imgspec.MediaTypeImageConfig
	m := imgspec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspec.MediaTypeImageManifest,
		Config: config.desc, Layers: []imgspec.Descriptor{layer.desc}, Annotations: annotations,
	}
	it.manifest = newManifest(m.MediaType, m, config, layer)
	return nil
}

// wrapTar returns the tarball that a file is in. The file is read once for its
// digest, and checked on the way.
func wrapTar(file blob, created string) (blob, error) {
	var head bytes.Buffer
	when, _ := time.Parse(time.RFC3339, created)
	w := tar.NewWriter(&head)
	dir := tar.Header{Typeflag: tar.TypeDir, Name: "disk/", Mode: 0o555, Uid: qemuUser, Gid: qemuUser, ModTime: when}
	reg := tar.Header{Typeflag: tar.TypeReg, Name: "disk/" + file.name, Mode: 0o444, Size: file.desc.Size, Uid: qemuUser, Gid: qemuUser, ModTime: when}
	for _, h := range []*tar.Header{&dir, &reg} {
		if when.IsZero() {
			h.ModTime = time.Unix(0, 0)
		}
		if err := w.WriteHeader(h); err != nil {
			return blob{}, err
		}
	}
	if head.Len() != tarHeader {
		return blob{}, fmt.Errorf("the name does not fit into the header of a tarball")
	}
	end := (tarHeader + file.desc.Size + 511) &^ 511
	wrap, err := disk.New(end+2*512, disk.Extent{Blob: bytes.NewReader(head.Bytes())})
	if err != nil {
		return blob{}, err
	}
	layer := file
	layer.wrap = wrap
	content, err := layer.open()
	if err != nil {
		return blob{}, err
	}
	defer content.Close()
	whole, inner := sha256.New(), sha256.New()
	if _, err := io.Copy(whole, io.NewSectionReader(content, 0, tarHeader)); err != nil {
		return blob{}, err
	}
	if _, err := io.Copy(io.MultiWriter(whole, inner), io.NewSectionReader(content, tarHeader, file.desc.Size)); err != nil {
		return blob{}, err
	}
	if got := digest.NewDigest(digest.SHA256, inner); got != file.desc.Digest {
		return blob{}, fmt.Errorf("%w: it is %s", ErrFile, got)
	}
	rest := tarHeader + file.desc.Size
	if _, err := io.Copy(whole, io.NewSectionReader(content, rest, wrap.Size()-rest)); err != nil {
		return blob{}, err
	}
	layer.desc = imgspec.Descriptor{Digest: digest.NewDigest(digest.SHA256, whole), Size: wrap.Size()}
	return layer, nil
}
