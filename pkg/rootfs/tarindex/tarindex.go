// Package tarindex finds the files of an uncompressed tar archive, so that each
// can be read in place, at any offset. It reads the headers only.
package tarindex

import (
	"archive/tar"
	"fmt"
	"io"
	"iter"
	"path"
	"strings"
)

// MaxFiles is the number of entries after which [Files] fails: an archive made
// of headers alone must not keep the caller busy.
const MaxFiles = 100_000

// A File is a regular file whose bytes stand in the archive in one piece.
type File struct {
	Name    string            // cleaned: no leading "./"
	Content *io.SectionReader // of the archive
}

// Files yields the regular files of an archive in order. It skips sparse files:
// their bytes are not in one piece. An error ends the sequence.
func Files(r io.ReaderAt, size int64) iter.Seq2[File, error] {
	return func(yield func(File, error) bool) {
		in := io.NewSectionReader(r, 0, size)
		t := tar.NewReader(in)
		for n := 0; ; n++ {
			h, err := t.Next()
			if err == io.EOF {
				return
			}
			if err == nil && n == MaxFiles {
				err = fmt.Errorf("more than %d entries", MaxFiles)
			}
			if err != nil {
				yield(File{}, err)
				return
			}
			at, err := in.Seek(0, io.SeekCurrent) // the reader stops behind the header
			if err != nil {
				yield(File{}, err)
				return
			}
			if whole(h) && !yield(File{path.Clean(h.Name), io.NewSectionReader(r, at, h.Size)}, nil) {
				return
			}
		}
	}
}

// whole reports whether a header is that of a regular file without holes.
func whole(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return false
		}
	}
	return h.Typeflag == tar.TypeReg
}

// Index returns the files of an archive by name. The last one of a name counts,
// as it does when the archive is extracted.
func Index(r io.ReaderAt, size int64) (map[string]*io.SectionReader, error) {
	files := map[string]*io.SectionReader{}
	for f, err := range Files(r, size) {
		if err != nil {
			return nil, err
		}
		files[f.Name] = f.Content
	}
	return files, nil
}
