package inspect

import (
	"errors"
	"fmt"
	"os"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
)

// OpenFile opens the disk in a named image file. The caller closes the file when
// it no longer uses the disk. The error is an [*OpenError] if the file is read,
// but is not a disk image that [Open] reads.
func OpenFile(name string) (*os.File, *Disk, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, nil, err
	}
	d, err := openRegular(f)
	if err != nil {
		f.Close()
		return nil, nil, &OpenError{name, err}
	}
	return f, d, nil
}

// openRegular opens the disk in a regular file.
func openRegular(f *os.File) (*Disk, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, disk.Unsupported("not a regular file")
	}
	return Open(f, info.Size())
}

// ReportFile describes the disk in a named image file.
func ReportFile(name string) (*FileReport, error) {
	f, d, err := OpenFile(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return &FileReport{name, d.Report()}, nil
}

// An OpenError is the error of [Open] for a named file.
type OpenError struct {
	Path string
	Err  error
}

func (e *OpenError) Error() string { return e.Path + ": " + e.Err.Error() }

// Unwrap returns the error of [Open].
func (e *OpenError) Unwrap() error { return e.Err }

// Advice returns the way to convert the file to one that is read, or "".
func (e *OpenError) Advice() string {
	var compressed *CompressedError
	var format *FormatError
	switch {
	case errors.As(e.Err, &format):
		return format.Advice
	case !errors.As(e.Err, &compressed):
		return ""
	case compressed.Tar:
		return "extract it first: tar --sparse -xzf " + e.Path + ", and name the disk.raw"
	}
	return fmt.Sprintf("decompress it first: %s %s", compressed.Compression.Command(), e.Path)
}
