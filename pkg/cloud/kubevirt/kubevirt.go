// Package kubevirt writes a disk as KubeVirt takes it from a registry: a
// container image, called a containerDisk, in which the disk is a file.
//
// A file is a tar archive of an OCI image layout with one image of one layer,
// which is a tar archive itself and is not compressed:
//
//	oci-layout
//	index.json
//	blobs/sha256/<config>
//	blobs/sha256/<manifest>
//	blobs/sha256/<layer>     disk/ | disk/<name>.qcow2
//
// How large the layer is follows from the plan of the disk, but its digest,
// which is its name and stands before it, needs its content. So the disk is
// written twice: once into the hash and once into the file. That costs reading
// it again; a spool would cost writing it and reading it again.
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

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/qcow2"
)

// Options say what an image tells of itself.
type Options struct {
	Name    string    // of the file in /disk, which ends in .qcow2
	Arch    string    // as in OCI: amd64
	Version string    // of the operating system
	Time    time.Time // when it was made; the epoch if zero
}

// qemu is the user and group that KubeVirt runs QEMU as.
const qemu = 107

const (
	block     = 512 // of a tar archive
	endBlocks = 2   // of zeros, which end one
)

// Write writes an image with the disk to w from start to end.
func Write(w io.Writer, img *disk.Image, o Options) error {
	l, err := newLayer(img, o)
	if err != nil {
		return fmt.Errorf("kubevirt: %w", err)
	}
	h := sha256.New()
	if err := l.write(h, img); err != nil {
		return fmt.Errorf("kubevirt: %w", err)
	}
	t := tar.NewWriter(w)
	for _, f := range files(digest.NewDigest(digest.SHA256, h), l.size(), o) {
		if err := t.WriteHeader(&tar.Header{Name: f.name, Size: f.size, Mode: 0o644, ModTime: modTime(o)}); err != nil {
			return fmt.Errorf("kubevirt: %s: %w", f.name, err)
		}
		if f.content != nil {
			_, err = t.Write(f.content)
		} else {
			err = l.write(t, img)
		}
		if err != nil {
			return fmt.Errorf("kubevirt: %s: %w", f.name, err)
		}
	}
	if err := t.Close(); err != nil {
		return fmt.Errorf("kubevirt: %w", err)
	}
	return nil
}

// Digest returns the digest of the container's manifest, of an image that
// [Write] wrote.
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

// Size returns how many bytes Write writes.
func Size(img *disk.Image, o Options) (int64, error) {
	l, err := newLayer(img, o)
	if err != nil {
		return 0, fmt.Errorf("kubevirt: %w", err)
	}
	size := int64(endBlocks * block)
	for _, f := range files(digest.FromString(""), l.size(), o) { // any digest: all are of the same length
		var head bytes.Buffer
		if err := tar.NewWriter(&head).WriteHeader(&tar.Header{Name: f.name, Size: f.size}); err != nil {
			return 0, fmt.Errorf("kubevirt: %s: %w", f.name, err)
		}
		size += int64(head.Len()) + (f.size+block-1)&^(block-1)
	}
	return size, nil
}

func modTime(o Options) time.Time {
	if o.Time.IsZero() {
		return time.Unix(0, 0)
	}
	return o.Time.Truncate(time.Second).UTC()
}

// A layer is one of an image: the headers of its files, the disk, and zeros.
type layer struct {
	head  []byte
	qcow2 int64 // bytes of the disk
}

func newLayer(img *disk.Image, o Options) (*layer, error) {
	switch {
	case o.Name != path.Base(o.Name) || !strings.HasSuffix(o.Name, ".qcow2"):
		return nil, fmt.Errorf("%q is not the name of a file that ends in .qcow2", o.Name)
	case o.Arch == "" || o.Version == "":
		return nil, errors.New("an image needs an architecture and a version")
	}
	l := &layer{qcow2: qcow2.Size(img)}
	var head bytes.Buffer
	t := tar.NewWriter(&head)
	err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "disk/", Mode: 0o755, Uid: qemu, Gid: qemu, ModTime: modTime(o)})
	if err == nil {
		err = t.WriteHeader(&tar.Header{Name: "disk/" + o.Name, Size: l.qcow2, Mode: 0o444, Uid: qemu, Gid: qemu, ModTime: modTime(o)})
	}
	l.head = head.Bytes()
	return l, err
}

// padding returns how many zeros follow the disk.
func (l *layer) padding() int64 { return -l.qcow2&(block-1) + endBlocks*block }

func (l *layer) size() int64 { return int64(len(l.head)) + l.qcow2 + l.padding() }

func (l *layer) write(w io.Writer, img *disk.Image) error {
	if _, err := w.Write(l.head); err != nil {
		return err
	}
	if err := qcow2.Write(w, img, qcow2.Options{}); err != nil {
		return err
	}
	_, err := w.Write(make([]byte, l.padding()))
	return err
}

// A file is one of the layout. The layer's has no content here.
type file struct {
	name    string
	size    int64
	content []byte
}

// files returns the layout around a layer, in the order of the archive.
func files(layer digest.Digest, size int64, o Options) []file {
	created := modTime(o)
	platform := ocispec.Platform{Architecture: o.Arch, OS: "linux"}
	config := blob(ocispec.MediaTypeImageConfig, ocispec.Image{
		Created:  &created,
		Platform: platform,
		Config: ocispec.ImageConfig{
			Entrypoint: []string{"no-entrypoint"}, // nothing runs in it, but engines make no container without one
			Labels:     map[string]string{"version": o.Version},
		},
		RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{layer}}, // its digest as well: it is not compressed
	})
	manifest := blob(ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    ocispec.Descriptor{MediaType: config.mediaType, Digest: config.digest, Size: config.size},
		Layers:    []ocispec.Descriptor{{MediaType: ocispec.MediaTypeImageLayer, Digest: layer, Size: size}},
	})
	index := encode(ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{{
			MediaType: manifest.mediaType, Digest: manifest.digest, Size: manifest.size, Platform: &platform,
			Annotations: map[string]string{ocispec.AnnotationRefName: o.Version},
		}},
	})
	return []file{
		whole(ocispec.ImageLayoutFile, encode(ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion})),
		whole(ocispec.ImageIndexFile, index),
		config.file,
		manifest.file,
		{name: blobName(layer), size: size},
	}
}

func whole(name string, content []byte) file { return file{name, int64(len(content)), content} }

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
	return document{whole(blobName(d), b), mediaType, d}
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // a type of OCI that JSON has no form for
	}
	return b
}
