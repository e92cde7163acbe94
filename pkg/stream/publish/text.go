package publish

import (
	"cmp"
	"io"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/plaintext"
)

// WriteText writes the result for a person: the files, the tags, and the reference
// of each image by digest.
func (r *Result) WriteText(w io.Writer) error {
	files := [][]string{{"FILE", "ARCH", "SIZE", "DIGEST", "TRANSFER"}}
	platforms := [][]string{{"PLATFORM", "ARCH", "BY DIGEST"}}
	for _, e := range r.Entries {
		files = append(files, []string{e.File, e.Arch, rootfs.Size(e.Size), e.Digest, string(e.Transfer)})
		if e.Platform != "" {
			platforms = append(platforms, []string{e.Platform, e.Arch, cmp.Or(e.OCI, e.Reference)})
		}
	}
	tags := [][]string{{"TAG", "FOR", "DIGEST"}}
	for _, t := range r.Tags {
		tags = append(tags, []string{t.Tag, t.For, t.Digest})
	}
	var b plaintext.Builder
	b.Table(files)
	b.Printf("\n")
	b.Table(tags)
	b.Printf("\n")
	b.Table(platforms)
	b.List("note: ", r.Notes)
	b.Printf("\n%s\nform: %s\n", r.Reference, r.Form)
	return b.Flush(w)
}
