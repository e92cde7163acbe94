package stream

import (
	"io"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/plaintext"
)

// Entries are files of a stream.
type Entries []Entry

// WriteText writes a table of the files for a person.
func (all Entries) WriteText(w io.Writer) error {
	rows := [][]string{{"ARCH", "PLATFORM", "FORMAT", "ARTIFACT", "RELEASE", "LOCATION"}}
	for _, e := range all {
		row := []string{e.Arch, e.Platform, e.Format, e.Artifact, e.Release, e.Location}
		if e.OCI != nil {
			row[5] = e.OCI.DigestRef
		}
		rows = append(rows, row)
	}
	return writeTable(w, rows)
}

// A Found is a file of a stream, and the copy of it that was fetched.
type Found struct {
	Entry
	Path string `json:"path,omitempty"` // of the copy
	Size int64  `json:"size,omitempty"` // of the copy, in bytes
}

// WriteText writes the properties of the file for a person.
func (f *Found) WriteText(w io.Writer) error {
	rows := [][]string{{"location", f.Location}, {"sha256", f.SHA256}}
	if f.UncompressedSHA256 != "" {
		rows = append(rows, []string{"uncompressed-sha256", f.UncompressedSHA256})
	}
	if f.OCI != nil {
		rows = append(rows, []string{"digest-ref", f.OCI.DigestRef})
	}
	if f.Path != "" {
		rows = append(rows, []string{"file", f.Path})
	}
	return writeTable(w, rows)
}

// writeTable writes rows with one line for each.
func writeTable(w io.Writer, rows [][]string) error {
	for _, row := range rows {
		for i := range row {
			row[i] = plaintext.OneLine(row[i])
		}
	}
	var b plaintext.Builder
	b.Table(rows)
	return b.Flush(w)
}
