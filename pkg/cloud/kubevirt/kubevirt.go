// Package kubevirt lays out a disk as a containerDisk of KubeVirt: a container
// image that has the disk as a file.
//
// The file is a tar archive of an OCI image layout with one image of one layer. The
// layer is a tar archive as well, without compression:
//
//	oci-layout
//	index.json
//	blobs/sha256/<config>
//	blobs/sha256/<manifest>
//	blobs/sha256/<layer>     disk/ | disk/<name>.qcow2
//
// The plan of the disk gives the size of the layer. The digest of the layer stands
// before it, as a name and in the manifest, and needs its content. So the layer is
// read and hashed when the beginning of the file is first read, unless the caller
// knows the digest. A spool would cost more: writing the layer and reading it again.
package kubevirt

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/archive"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/qcow2"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// Options describe the image.
type Options struct {
	Name    string        // of the file in /disk, with the suffix .qcow2
	Arch    string        // as in OCI: amd64
	Version string        // of the operating system
	Time    time.Time     // of creation; the epoch if zero
	Layer   digest.Digest // of the layer, see [Layer]; computed if empty
}

// User is the user and group of QEMU in KubeVirt.
const User = 107

// Format returns a file that holds the disk, itself an image.
func Format(img *disk.Image, o Options) (*disk.Image, error) {
	layer, err := Layer(img, o)
	if err != nil {
		return nil, err
	}
	head, err := beginning(digest.FromString(""), layer.Size(), o) // all digests have the same length
	if err != nil {
		return nil, fmt.Errorf("kubevirt: %w", err)
	}
	return join(int64(len(head)), layer, func() ([]byte, error) {
		layerDigest := o.Layer
		if layerDigest == "" {
			if layerDigest, err = sum(layer); err != nil {
				return nil, err
			}
		}
		return beginning(layerDigest, layer.Size(), o)
	})
}

// join returns a file of a beginning of size bytes and a layer.
func join(size int64, layer *disk.Image, beginning func() ([]byte, error)) (*disk.Image, error) {
	return disk.New(size+layer.Size()+archive.Tail(layer.Size()),
		disk.Extent{Blob: archive.Lazy(size, beginning)},
		disk.Extent{Off: size, Blob: layer})
}

// Layer returns the layer of the image, a tar archive: the blob that the manifest
// names. It is an image too.
func Layer(img *disk.Image, o Options) (*disk.Image, error) {
	switch {
	case o.Name != path.Base(o.Name) || !strings.HasSuffix(o.Name, ".qcow2"):
		return nil, fmt.Errorf("kubevirt: invalid file name %q, must end in .qcow2", o.Name)
	case o.Arch == "" || o.Version == "":
		return nil, errors.New("kubevirt: missing architecture or version")
	}
	file, err := qcow2.Format(img, qcow2.Options{})
	if err != nil {
		return nil, fmt.Errorf("kubevirt: %w", err)
	}
	layer, err := archive.Format(
		archive.File{Header: tar.Header{Typeflag: tar.TypeDir, Name: "disk/", Mode: 0o755, Uid: User, Gid: User, ModTime: modTime(o)}},
		archive.File{Header: tar.Header{Name: "disk/" + o.Name, Mode: 0o444, Uid: User, Gid: User, ModTime: modTime(o)}, Content: file})
	if err != nil {
		return nil, fmt.Errorf("kubevirt: %w", err)
	}
	return layer, nil
}

// sum returns the digest of a layer.
func sum(layer *disk.Image) (digest.Digest, error) {
	h := sha256.New()
	for _, err := range layer.Chunks(4096, 256<<10, h) {
		if err != nil {
			return "", err
		}
	}
	return digest.NewDigest(digest.SHA256, h), nil
}

// beginning returns the bytes of the file before the layer.
func beginning(layer digest.Digest, size int64, o Options) ([]byte, error) {
	hole, err := disk.New(size)
	if err != nil {
		return nil, err
	}
	var members []archive.File
	for _, f := range files(layer, size, o) {
		members = append(members, archive.File{Header: tar.Header{Name: f.name, Mode: 0o644, ModTime: modTime(o)}, Content: bytes.NewReader(f.content)})
	}
	members = append(members, archive.File{Header: tar.Header{Name: blobName(layer), Mode: 0o644, ModTime: modTime(o)}, Content: hole})
	whole, err := archive.Format(members...)
	if err != nil {
		return nil, err
	}
	head := make([]byte, whole.Size()-size-archive.Tail(size))
	return head, rootfs.ReadFull(whole, head, 0)
}

// Digest returns the digest of the image's manifest, from a file that [Format]
// laid out.
func Digest(r io.Reader) (string, error) {
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if err == nil && h.Name != ocispec.ImageIndexFile {
			continue
		}
		var index ocispec.Index
		if err == nil {
			err = json.NewDecoder(io.LimitReader(t, 1<<20)).Decode(&index)
		}
		if err == nil && len(index.Manifests) != 1 {
			err = fmt.Errorf("%d manifests, want 1", len(index.Manifests))
		}
		if err != nil {
			return "", fmt.Errorf("kubevirt: %s: %w", ocispec.ImageIndexFile, err)
		}
		return index.Manifests[0].Digest.String(), nil
	}
}

func modTime(o Options) time.Time {
	if o.Time.IsZero() {
		return time.Unix(0, 0)
	}
	return o.Time.Truncate(time.Second).UTC()
}

// A file is a member of the OCI image layout.
type file struct {
	name    string
	content []byte
}

func (f file) size() int64 { return int64(len(f.content)) }

// files returns the members before the layer, in the order of the archive.
func files(layer digest.Digest, size int64, o Options) []file {
	created := modTime(o)
	platform := ocispec.Platform{Architecture: o.Arch, OS: "linux"}
	config := blob(ocispec.MediaTypeImageConfig, ocispec.Image{
		Created:  &created,
		Platform: platform,
		Config: ocispec.ImageConfig{
			Entrypoint: []string{"no-entrypoint"}, // never run, but container engines require one
			Labels:     map[string]string{"version": o.Version},
		},
		RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{layer}}, // without compression, the same as its digest
	})
	manifest := blob(ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    ocispec.Descriptor{MediaType: config.mediaType, Digest: config.digest, Size: config.size()},
		Layers:    []ocispec.Descriptor{{MediaType: ocispec.MediaTypeImageLayer, Digest: layer, Size: size}},
	})
	index := encode(ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{{
			MediaType: manifest.mediaType, Digest: manifest.digest, Size: manifest.size(), Platform: &platform,
			Annotations: map[string]string{ocispec.AnnotationRefName: o.Version},
		}},
	})
	return []file{
		{ocispec.ImageLayoutFile, encode(ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion})},
		{ocispec.ImageIndexFile, index},
		config.file,
		manifest.file,
	}
}

func blobName(d digest.Digest) string {
	return path.Join(ocispec.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}

// A document is a blob of JSON.
type document struct {
	file
	mediaType string
	digest    digest.Digest
}

func blob(mediaType string, v any) document {
	b := encode(v)
	d := digest.FromBytes(b)
	return document{file{blobName(d), b}, mediaType, d}
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // an OCI type that JSON cannot represent
	}
	return b
}
