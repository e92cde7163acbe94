// Package assemble plans the image files of an operating system and writes them.
//
//	system.System ┐
//	              ├─ New ──> Plan ── one File for each platform ── Image, Write, WriteTo
//	Request ──────┘
//
// [New] lays out a disk for every platform. It is a pure function: it reads only
// the metadata of the system, and the same inputs give the same bytes. The plan of
// the root file system is shared by all platforms that allow it. [Key] is a digest
// of the inputs, to look a result up by before any work is done.
package assemble

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/grub"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/layout"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ignition"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/system"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/usage"
)

// A Plan is the planned files of a request.
type Plan struct {
	System   *system.System
	Key      digest.Digest // of the inputs, see [Key]
	RootFS   string        // type of the root file system: xfs or ext4
	RootFSBy string        // origin of the choice: option, container or default
	Loaders  *grub.Loaders // boot loaders for UEFI; nil if the container has none
	Files    []*File       // in the order of the request's platforms

	Warnings []string // about faults of the request or the disks that do not prevent an image
	Notes    []string // about unusual properties of the request or the disks
}

// New plans the files of a request. It fails with a [usage.Error] if a field of
// the request is wrong.
func New(s *system.System, r Request) (*Plan, error) {
	checked, err := r.Check(s.Arch)
	if err != nil {
		return nil, err
	}
	p := &Plan{System: s, Loaders: grub.ReadLoaders(s.Deployment.System), Warnings: checked.Warnings, Notes: checked.Notes}
	p.Key = Key(s.Container.Reference, s.Container.Digest, s.Options, r)
	if err := p.chooseRootFS(r); err != nil {
		return nil, err
	}
	if err := grub.Missing(s.Deployment.System, s.Arch); err != nil {
		return nil, err
	}
	p.checkSystem(r)
	bases := map[layout.Options]*layout.Base{}
	for _, platform := range r.Platforms {
		f, err := p.plan(platform, r, bases)
		if err != nil {
			return nil, fmt.Errorf("platform %s: %w", platform.ID, s.Deployment.Explain(err))
		}
		p.Files = append(p.Files, f)
	}
	p.collect()
	return p, nil
}

// chooseRootFS chooses the type of the root file system.
func (p *Plan) chooseRootFS(r Request) error {
	p.RootFSBy = "default"
	asked := p.System.Config.RootFS
	switch {
	case r.RootFS != "":
		p.RootFSBy = "option"
	case asked != "":
		p.RootFSBy = "container"
	}
	p.RootFS = cmp.Or(r.RootFS, asked, layout.RootFSTypes[0])
	if !slices.Contains(layout.RootFSTypes, p.RootFS) {
		return usage.Avoidable{Field: "RootFS", Err: fmt.Errorf("the container asks for the root file system %s, which is not supported", p.RootFS)}
	}
	if asked != "" && asked != p.RootFS {
		p.Notes = append(p.Notes, fmt.Sprintf("the container asks for %s as its root file system and gets %s", asked, p.RootFS))
	}
	return nil
}

// checkSystem adds warnings about a system in the light of a request.
func (p *Plan) checkSystem(r Request) {
	if r.Ignition != nil {
		p.Warnings = append(p.Warnings, ignition.Warnings(p.System.Deployment.System, r.Ignition)...)
	}
	if p.Loaders != nil {
		p.Warnings = append(p.Warnings, p.Loaders.Warnings...)
	}
	if p.System.ACL != "" && p.RootFS == "xfs" {
		p.Warnings = append(p.Warnings, fmt.Sprintf("%q has an access control list: ostree fsck reports such files on XFS as damaged", "/"+p.System.ACL))
	}
}

// plan plans the file of a platform. Bases has the layouts that platforms share.
func (p *Plan) plan(platform cloud.Platform, r Request, bases map[layout.Options]*layout.Base) (*File, error) {
	base, err := p.base(platform, r, bases)
	if err != nil {
		return nil, err
	}
	id, config := platform.IgnitionID(), p.System.Config
	disk, err := base.Disk(layout.Variant{Kargs: config.Kargs(id, r.Kargs), Platform: config.Platform(id), Ignition: r.Ignition})
	if err != nil {
		return nil, err
	}
	if err := platform.Check(disk.Size()); err != nil {
		return nil, err
	}
	return newFile(p.System, platform, r, disk)
}

// base returns the layout that a platform's disk shares with others.
func (p *Plan) base(platform cloud.Platform, r Request, bases map[layout.Options]*layout.Base) (*layout.Base, error) {
	s := p.System
	o := layout.Options{
		Arch: s.Arch, Sector: platform.Sector, Size: r.Size, RootFS: p.RootFS, ESP: r.ESP, Boot: r.Boot, Time: s.Time,
		Seed: s.Container.Digest.String() + " " + s.Origin,
	}
	if r.Size == 0 {
		o.Size, o.Grow = platform.DiskSize(s.Config.Size), cmp.Or(platform.Format.Unit, 1<<20)
	}
	if bases[o] == nil {
		base, err := layout.New(s.Deployment, s.Config, o)
		if err != nil {
			return nil, err
		}
		bases[o] = base
	}
	return bases[o], nil
}

// collect adds the warnings and notes about single files. Platforms share most
// warnings, so each is added once.
func (p *Plan) collect() {
	for _, f := range p.Files {
		for _, w := range f.Disk.Warnings {
			if !slices.Contains(p.Warnings, w) {
				p.Warnings = append(p.Warnings, w)
			}
		}
		for _, n := range f.Disk.Notes {
			p.Notes = append(p.Notes, fmt.Sprintf("platform %s: %s", f.Platform.ID, n))
		}
	}
	for _, f := range p.Files {
		if f.Unfit != nil {
			p.Warnings = append(p.Warnings, f.Unfit.Error())
		}
	}
}
