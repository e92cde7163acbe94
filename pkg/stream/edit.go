package stream

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// Edit changes the document in a file. The file is replaced by the changed
// document when that is complete, and keeps its permissions; a symbolic link
// stays. Edits of several processes in one folder wait for each other.
func Edit(name string, change func(*Document) error) error {
	name, err := filepath.EvalSymlinks(name)
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		return &fs.PathError{Op: "lock", Path: dir.Name(), Err: err}
	}
	d, perm, err := open(name)
	if err != nil {
		return err
	}
	if err := change(d); err != nil {
		return err
	}
	return WriteFile(name, d.Bytes(), perm)
}

// WriteFile writes a document, which appears under its name when it is complete.
func WriteFile(name string, text []byte, perm fs.FileMode) error {
	out, err := renameio.NewPendingFile(name, renameio.WithTempDir(filepath.Dir(name)), renameio.WithPermissions(perm))
	if err != nil {
		return err
	}
	defer out.Cleanup()
	if _, err := out.Write(text); err != nil {
		return err
	}
	return out.CloseAtomicallyReplace()
}

// open reads the document in a file, and returns the permissions of the file.
func open(name string) (*Document, fs.FileMode, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	text, err := Read(f)
	if err != nil {
		return nil, 0, err
	}
	d, err := Parse(name, text)
	return d, info.Mode().Perm(), err
}

// Read reads the text of a document. It reads at most one byte more than
// [MaxDocument], for which [Parse] then rejects the text.
func Read(r io.Reader) ([]byte, error) { return io.ReadAll(io.LimitReader(r, MaxDocument+1)) }
