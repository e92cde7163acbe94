package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/cmd/ohp-assemble/internal/cli"
)

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
		return cli.WithHint(err, "there is no file "+reference)
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
		return cli.WithHint(fmt.Errorf("%s: a folder with a container in it", dir), cli.DidYouMean("oci:"+dir))
	case has("version") && has("manifest.json"):
		return cli.WithHint(fmt.Errorf("%s: a folder with a container in it", dir), cli.DidYouMean("dir:"+dir))
	case has("Info.plist") && has("bands"):
		return cli.WithHint(fmt.Errorf("%s: Apple sparse bundle: not supported", dir), "convert it to a raw disk first, with hdiutil on a Mac")
	}
	return fmt.Errorf("%s: not the folder of a build: no meta.json", dir)
}

// notOneImage returns the error of a folder in place of an image.
func notOneImage(dir string) error {
	list, err := listFolder(dir)
	if err != nil {
		return err
	}
	return cli.WithHint(fmt.Errorf("%s: this is the folder of a build, not an image", dir), "choose one of its images: "+strings.Join(list.Paths(), ", "))
}
