package inspect

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/tarindex"
)

// unwrap returns the disk in a file of any format, and the name of the format.
func unwrap(file *io.SectionReader) (rootfs.Blob, string, error) {
	if isTar(file) {
		return openArchive(file)
	}
	head := make([]byte, filetype.MagicSize)
	n, _ := file.ReadAt(head, 0)
	if c := filetype.Sniff(head[:n]); c != filetype.None {
		return nil, "", &CompressedError{c, c == filetype.Gzip && isTarGz(file)}
	}
	return openDisk(file)
}

const tarBlock = 512

// isTar reports whether a file is a tar archive, by its first header.
func isTar(file io.ReaderAt) bool {
	magic := make([]byte, 5)
	return rootfs.ReadFull(file, magic, 257) == nil && string(magic) == "ustar"
}

// isTarGz reports whether a gzip file has a tar archive in it.
func isTarGz(file *io.SectionReader) bool {
	inside, err := gzip.NewReader(io.NewSectionReader(file, 0, file.Size()))
	if err != nil {
		return false
	}
	head := make([]byte, tarBlock)
	_, err = io.ReadFull(inside, head)
	return err == nil && isTar(bytes.NewReader(head))
}

// openArchive returns the disk in an OVA, in Google's archive of a disk.raw, or
// in an OCI archive of a containerDisk.
func openArchive(file *io.SectionReader) (rootfs.Blob, string, error) {
	if isSparse(file) {
		d, err := openSparse(file)
		return d, "tar", err
	}
	var names []string // for the error
	for f, err := range tarindex.Files(file, file.Size()) {
		if err != nil {
			return nil, "", fmt.Errorf("tar: %w", err)
		}
		if len(names) < 100 {
			names = append(names, f.Name)
		}
		switch {
		case f.Name == sparseName:
			return f.Content, "tar", nil
		case strings.HasSuffix(f.Name, ".vmdk"):
			d, _, err := openDisk(f.Content)
			return d, "ova", err
		case strings.HasPrefix(f.Name, "blobs/") && isTar(f.Content):
			if d, err := openLayer(f.Content); d != nil || err != nil {
				return d, "ociarchive", err
			}
		}
	}
	return nil, "", archiveError(names)
}

// openLayer returns the disk in a layer of a containerDisk, or nil if the layer
// has none.
func openLayer(layer *io.SectionReader) (rootfs.Blob, error) {
	for f, err := range tarindex.Files(layer, layer.Size()) {
		if err != nil {
			return nil, fmt.Errorf("ociarchive: layer: %w", err)
		}
		if path.Dir(f.Name) == "disk" {
			d, _, err := openDisk(f.Content)
			return d, err
		}
	}
	return nil, nil
}

// archiveError is the error of a tar archive without a disk in it.
func archiveError(names []string) error {
	for _, form := range []struct{ file, transport string }{{"oci-layout", "oci-archive"}, {"manifest.json", "docker-archive"}} {
		if slices.Contains(names, form.file) {
			return disk.Unsupported("tar: this archive has a container in it, not a disk: use %s:FILE", form.transport)
		}
	}
	return disk.Unsupported("tar: no disk of an OVA or containerDisk, and no disk.raw, or only a compressed one")
}
