package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// IsPath distinguishes a file or folder from a reference.
func IsPath(name string) bool {
	_, err := os.Stat(name)
	return err == nil || strings.HasPrefix(name, "/") || strings.HasPrefix(name, ".")
}

// IsFolder reports whether a name is that of a folder.
func IsFolder(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

// MissingFile adds a hint to the error of a reference that looks like the name of
// an image file.
func MissingFile(reference string, err error) error {
	if isImageName(reference) {
		return WithHint(err, "there is no file "+reference)
	}
	return err
}

// isImageName reports whether a name ends like that of an image file.
func isImageName(name string) bool {
	ext := strings.TrimPrefix(filepath.Ext(name), ".")
	return slices.Contains([]string{"img", "iso", "ociarchive", "ova", "qcow2", "raw", "vdi", "vhd", "vhdx", "vmdk"}, ext)
}

// FolderError is the error of a folder in place of an image that is not the
// folder of a build.
func FolderError(dir string) error {
	has := func(name string) bool { _, err := os.Stat(filepath.Join(dir, name)); return err == nil }
	switch {
	case has("oci-layout"):
		return WithHint(fmt.Errorf("%s: a folder with a container in it", dir), DidYouMean("oci:"+dir))
	case has("version") && has("manifest.json"):
		return WithHint(fmt.Errorf("%s: a folder with a container in it", dir), DidYouMean("dir:"+dir))
	case has("Info.plist") && has("bands"):
		return WithHint(fmt.Errorf("%s: Apple sparse bundle: not supported", dir), "convert it to a raw disk first, with hdiutil on a Mac")
	}
	return fmt.Errorf("%s: not the folder of a build: no meta.json", dir)
}

// Writable returns an error if no file can be created in a folder, or the folder
// itself cannot be created.
func Writable(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && dir != filepath.Dir(dir):
		return Writable(filepath.Dir(dir))
	case err != nil:
		return err
	case !info.IsDir():
		return &fs.PathError{Op: "mkdir", Path: dir, Err: syscall.ENOTDIR}
	}
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return &fs.PathError{Op: "write to", Path: dir, Err: err}
	}
	return nil
}

// CacheDir returns the folder of the cache, by default in the user's cache folder.
func CacheDir(name string) (string, error) {
	if name != "" {
		return name, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", Usage(fmt.Errorf("no cache folder: %w; set one with --cache", err))
	}
	return filepath.Join(dir, "ohp-assemble"), nil
}
