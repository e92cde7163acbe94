package pull

import (
	"io"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/plaintext"
)

// A Result describes a saved image, for a person or a program.
type Result struct {
	Reference    string `json:"reference"` // with the digest of the manifest
	Digest       string `json:"digest"`    // of the manifest
	Platform     string `json:"platform"`
	Arch         string `json:"arch"`
	Format       string `json:"format"`
	Path         string `json:"path"`
	Size         int64  `json:"size"`                          // of the file, in bytes
	Allocated    int64  `json:"allocated"`                     // bytes of the file that are not holes
	SHA256       string `json:"sha256"`                        // of the file
	Uncompressed string `json:"uncompressed_sha256,omitempty"` // if known
}

// NewResult describes an image that was saved to a file.
func NewResult(m *Image, s *Saved) *Result {
	return &Result{
		Reference: m.Reference, Digest: m.Manifest.String(), Platform: m.Platform, Arch: m.Arch, Format: s.Format,
		Path: s.Path, Size: s.Size, Allocated: s.Allocated, SHA256: s.SHA256, Uncompressed: s.Uncompressed,
	}
}

// WriteText writes the result for a person.
func (r *Result) WriteText(w io.Writer) error {
	var b plaintext.Builder
	b.Table([][]string{
		{"FILE", "PLATFORM", "ARCH", "FORMAT", "SIZE", "ON DISK", "SHA256"},
		{r.Path, r.Platform, r.Arch, r.Format, rootfs.Size(r.Size), rootfs.Size(r.Allocated), r.SHA256},
	})
	return b.Flush(w)
}
