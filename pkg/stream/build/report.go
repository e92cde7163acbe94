package build

import (
	"cmp"
	"io"
	"os"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/raw"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/plaintext"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/system"
)

// A Report describes the written images of a system, for a person or a program.
type Report struct {
	Reference string `json:"reference"`
	Digest    string `json:"digest"`
	Arch      string `json:"arch"`
	Version   string `json:"version"`
	Commit    string `json:"ostree_commit"`
	ImagesReport
}

// An ImagesReport describes written images.
type ImagesReport struct {
	Images []ImageReport `json:"images"`
}

// An ImageReport describes a written image. Sizes are in bytes.
type ImageReport struct {
	Platform    string `json:"platform"`
	Format      string `json:"format"`      // of the file before compression
	Compression string `json:"compression"` // of the file, or none
	Path        string `json:"path"`
	Size        int64  `json:"size"`         // of the file
	Allocated   int64  `json:"allocated"`    // space that the file takes on its disk
	VirtualSize int64  `json:"virtual_size"` // of the disk in it
	SectorSize  int    `json:"sector_size"`
	SHA256      string `json:"sha256"` // of the file
	// Size and digest of the file before compression. The digest identifies the
	// image: it does not depend on the version of a compressor.
	UncompressedSize   int64  `json:"uncompressed_size"`
	UncompressedSHA256 string `json:"uncompressed_sha256"`
	Manifest           string `json:"manifest,omitempty"` // digest of the container that the file is an archive of
}

// NewReport describes the written images of a system.
func NewReport(s *system.System, files []Written) (*Report, error) {
	images, err := NewImagesReport(files)
	if err != nil {
		return nil, err
	}
	return &Report{
		Reference: s.Container.Reference, Digest: s.Container.Digest.String(), Arch: s.Arch,
		Version: s.Version, Commit: s.Commit.String(), ImagesReport: *images,
	}, nil
}

// NewImagesReport describes written images.
func NewImagesReport(files []Written) (*ImagesReport, error) {
	r := &ImagesReport{Images: []ImageReport{}}
	for _, f := range files {
		info, err := os.Stat(f.Path)
		if err != nil {
			return nil, err
		}
		r.Images = append(r.Images, ImageReport{
			Platform: f.Platform, Format: string(f.Type.Format), Compression: f.Type.Compression.String(), Path: f.Path,
			Size: f.Size, Allocated: raw.Allocated(info), VirtualSize: f.VirtualSize, SectorSize: cmp.Or(f.SectorSize, 512), SHA256: f.SHA256,
			UncompressedSize: f.Plain.Size, UncompressedSHA256: f.Plain.SHA256, Manifest: f.Manifest,
		})
	}
	return r, nil
}

// WriteText writes a table of the images for a person.
func (r *ImagesReport) WriteText(w io.Writer) error {
	rows := [][]string{{"FILE", "ON DISK", "VIRTUAL", "SHA256"}}
	for _, i := range r.Images {
		rows = append(rows, []string{i.Path, rootfs.Size(i.Allocated), rootfs.Size(i.VirtualSize), i.SHA256})
	}
	var b plaintext.Builder
	b.Table(rows)
	return b.Flush(w)
}
