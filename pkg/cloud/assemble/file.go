package assemble

import (
	"cmp"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/upload"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/layout"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/system"
)

// A File is a planned file. It is immutable: any number of goroutines can read and
// write it at once.
type File struct {
	Name     string // base name, with the suffix of the compression
	Type     filetype.Type
	Platform cloud.Platform
	Disk     *layout.Disk // the disk in the file
	SizeBy   string       // origin of the disk's size: option, file of the container, platform, content or default
	Secret   bool         // the disk has an Ignition config, which may hold secrets
	Unfit    error        // the rule of its cloud that the file breaks, as far as it is known before writing; nil for none

	level    int
	ignition int // size of the embedded config in bytes, 0 for none
	metadata cloud.Metadata
	system   upload.System
	plain    *disk.Image // the file before compression; nil if it must be compressed to be known
}

// newFile returns the file of a disk.
func newFile(s *system.System, p cloud.Platform, r Request, d *layout.Disk) (*File, error) {
	base := p.BaseName(s.Name, s.Version, s.Arch)
	kind := filetype.Type{Format: p.Format.Type(), Compression: r.compression(p)}
	f := &File{
		Name: base + kind.Suffix(), Type: kind, Platform: p, Disk: d,
		SizeBy: sizeBy(s, p, r, d), Secret: r.Ignition != nil, level: r.Level, ignition: len(r.Ignition),
		metadata: cloud.Metadata{ID: d.ID, Time: s.Time, Name: base, OS: s.Name, Version: s.Version, Arch: s.Arch, Cloud: s.Config.Cloud},
		system:   uploadSystem(s, d),
	}
	if p.Format.Plan != nil {
		var err error
		if f.plain, err = p.Format.Plan(d.Image, f.metadata); err != nil {
			return nil, err
		}
	}
	_, f.Unfit = f.Upload(f.expected())
	return f, nil
}

// sizeBy names the origin of the size of a platform's disk.
func sizeBy(s *system.System, p cloud.Platform, r Request, d *layout.Disk) string {
	switch {
	case r.Size != 0:
		return "option"
	case p.Minimal || len(d.Notes) > 0:
		return "the content"
	case p.Size != 0:
		return "the platform"
	}
	return cmp.Or(s.Config.SizeBy, "default")
}

// Image returns the file as a plan, which can be read at any offset without
// writing the file. It is not ok if the file must be compressed to be known.
func (f *File) Image() (img *disk.Image, ok bool) {
	if f.Type.Compression != filetype.None {
		return nil, false
	}
	return f.plain, f.plain != nil
}

// PlainName returns the name of the file before compression.
func (f *File) PlainName() string { return f.metadata.Name + f.Type.Format.Suffix() }

// Work returns the number of bytes to write, before compression. If it is not
// known before they are written, Work returns the size of the disk's content.
func (f *File) Work() int64 {
	if f.plain != nil {
		return f.plain.Size()
	}
	return f.Disk.Allocated()
}

// expected returns the record of the file as far as it is known before writing.
func (f *File) expected() cloud.File {
	record := cloud.File{
		Name: f.Name, Platform: f.Platform.ID, Type: f.Type,
		VirtualSize: f.Disk.Size(), SectorSize: f.Platform.Sector, Secret: f.Secret, SkipCompression: f.Platform.Compression == filetype.None,
	}
	if f.plain != nil {
		record.Size, record.Plain.Size = f.plain.Size(), f.plain.Size()
	}
	return record
}

// Upload returns the upload document of a written file. The error is the rule of
// the cloud that the file breaks.
func (f *File) Upload(written cloud.File) (*upload.Document, error) {
	return upload.New(written, f.system)
}

// uploadSystem returns the facts about a system that upload documents have.
func uploadSystem(s *system.System, d *layout.Disk) upload.System {
	c := s.Config.Cloud
	return upload.System{
		Arch: s.Arch, OS: s.Name, Version: s.Version, SecureBoot: d.SecureBoot,
		AWS: upload.AWS{VolumeType: c.AWSVolumeType, BootMode: c.AWSBootMode, IMDSv2Only: c.AWSIMDSv2Only},
	}
}
