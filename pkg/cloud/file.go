package cloud

import (
	"io/fs"
	"slices"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"
)

// A File is the record of a finished image file. meta.json, images.json, upload
// documents and the registry have its facts, each in a form of its own.
type File struct {
	Name     string // base name
	Platform string // ID of the platform
	Type     filetype.Type
	Content          // size and digest of the file
	Plain    Content // size and digest before compression; equal to Content if the file is not compressed

	VirtualSize     int64   // bytes of the disk in the file; zero if it is unknown
	SectorSize      int     // bytes of a sector of the disk; zero means 512
	Secret          bool    // the disk has an Ignition config, which may hold secrets
	SkipCompression bool    // the file is published as it is: its format compresses
	Manifest        string  // digest ("sha256:...") of the container in the file, if there is one
	Published       []Place // one for each repository that the file was published in
}

// Content identifies the bytes of a file.
type Content struct {
	Size   int64  // bytes
	SHA256 string // hexadecimal
}

// A Place is where a file is in a registry.
type Place struct {
	Repository string // without tag and digest
	Manifest   string // digest of the manifest that lists this file alone
}

// Publish records the place of a published file. It replaces an earlier place in the
// same repository.
func (f *File) Publish(p Place) {
	others := slices.DeleteFunc(slices.Clone(f.Published), func(q Place) bool { return q.Repository == p.Repository })
	f.Published = append(others, p)
}

// PlainName returns the name of the file before compression.
func (f *File) PlainName() string {
	return strings.TrimSuffix(f.Name, f.Type.Compression.Suffix())
}

// Perm returns the permissions to create the file with: only the owner may read
// a secret file.
func (f *File) Perm() fs.FileMode {
	if f.Secret {
		return 0o600
	}
	return 0o666
}
