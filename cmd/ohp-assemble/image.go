package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/inspect"
)

// openImage opens the disk in an image file. The caller closes the file when it
// no longer uses the disk.
func openImage(name string) (*os.File, *inspect.Disk, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, nil, err
	}
	d, err := openDisk(f)
	if err != nil {
		f.Close()
		return nil, nil, fmt.Errorf("%s: %w", name, withHint(err, imageHint(name, err)))
	}
	return f, d, nil
}

func openDisk(f *os.File) (*inspect.Disk, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, disk.Unsupported("not a regular file")
	}
	return inspect.Open(f, info.Size())
}

// imageHint returns advice about an error of [inspect.Open], or "".
func imageHint(name string, err error) string {
	var compressed *inspect.CompressedError
	var format *inspect.FormatError
	switch {
	case errors.As(err, &format):
		return format.Advice
	case !errors.As(err, &compressed):
		return ""
	case compressed.Tar:
		return "extract it first: tar --sparse -xzf " + name + ", and name the disk.raw"
	}
	return fmt.Sprintf("decompress it first: %s %s, or ohp-assemble decompress FOLDER for a build", compressed.Compression.Command(), name)
}

// isPath tells a file or folder from a reference.
func isPath(name string) bool {
	_, err := os.Stat(name)
	return err == nil || strings.HasPrefix(name, "/") || strings.HasPrefix(name, ".")
}

func isFolder(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

// missingFile adds a hint to the error of a reference that looks like the name of
// an image file.
func missingFile(reference string, err error) error {
	if isImageName(reference) {
		return withHint(err, "there is no file "+reference)
	}
	return err
}

// isImageName reports whether a name ends like that of an image file.
func isImageName(name string) bool {
	ext := strings.TrimPrefix(filepath.Ext(name), ".")
	return slices.Contains([]string{"img", "iso", "ociarchive", "ova", "qcow2", "raw", "vdi", "vhd", "vhdx", "vmdk"}, ext)
}

// folderError is the error of a folder in place of an image that is not the
// folder of a build.
func folderError(dir string) error {
	has := func(name string) bool { _, err := os.Stat(filepath.Join(dir, name)); return err == nil }
	switch {
	case has("oci-layout"):
		return withHint(fmt.Errorf("%s: a folder with a container in it", dir), didYouMean("oci:"+dir))
	case has("version") && has("manifest.json"):
		return withHint(fmt.Errorf("%s: a folder with a container in it", dir), didYouMean("dir:"+dir))
	case has("Info.plist") && has("bands"):
		return withHint(fmt.Errorf("%s: Apple sparse bundle: not supported", dir), "convert it to a raw disk first, with hdiutil on a Mac")
	}
	return fmt.Errorf("%s: not the folder of a build: no meta.json", dir)
}
