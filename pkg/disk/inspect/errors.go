package inspect

import (
	"errors"
	"io/fs"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/gpt"
)

var (
	// ErrDamaged matches the error of an image whose content contradicts its format.
	ErrDamaged = errors.New("damaged image")
	// ErrCompressed matches the error of a file that is compressed as a whole.
	ErrCompressed = errors.New("compressed image")
)

// A CompressedError is the error of a file that is compressed as a whole. It
// matches [ErrCompressed].
type CompressedError struct {
	Compression filetype.Compression
	Tar         bool // the file is a tar.gz archive with a disk in it
}

func (e *CompressedError) Error() string {
	if e.Tar {
		return "tar.gz: the disk in it is compressed"
	}
	return "compressed with " + e.Compression.String()
}

// Is reports whether target is [ErrCompressed].
func (e *CompressedError) Is(target error) bool { return target == ErrCompressed }

// A FormatError is the error of an intact file in a format, or with a feature
// of a format, that is not read. It matches [errors.ErrUnsupported].
type FormatError struct {
	Err    error
	Advice string // how to convert the file to a format that is read, or ""
}

func (e *FormatError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *FormatError) Unwrap() error { return e.Err }

// damaged marks an error as one of a damaged image.
type damaged struct{ error }

func (e damaged) Unwrap() []error { return []error{e.error, ErrDamaged} }

// damage marks an error as one of a damaged image, unless it is about a format
// or feature that is not read, or about the file that holds the image.
func damage(err error) error {
	for _, kind := range []error{errors.ErrUnsupported, gpt.ErrNoTable, ErrCompressed, ErrDamaged} {
		if errors.Is(err, kind) {
			return err
		}
	}
	if errors.As(err, new(*fs.PathError)) {
		return err
	}
	return damaged{err}
}
