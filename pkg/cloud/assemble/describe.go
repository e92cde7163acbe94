package assemble

import (
	"fmt"
	"io"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/grub"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/oci"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/plaintext"
)

// A Description describes a plan for a person or a program. Sizes are in bytes.
type Description struct {
	Reference string                 `json:"reference"`
	Digest    string                 `json:"digest"`
	Key       string                 `json:"key"` // of all inputs, see [Key]
	Arch      string                 `json:"arch"`
	Version   string                 `json:"version"`
	Commit    string                 `json:"ostree_commit"`
	Kernel    string                 `json:"kernel"`
	Stateroot string                 `json:"stateroot"`
	Origin    string                 `json:"origin"`
	RootFS    string                 `json:"root_filesystem"`
	RootFSBy  string                 `json:"root_filesystem_chosen_by"` // option, container or default
	Loaders   *grub.Loaders          `json:"boot_loader,omitempty"`
	Layers    []oci.LayerDescription `json:"layers"`
	Images    []ImageDescription     `json:"images"`
}

// An ImageDescription describes a planned image.
type ImageDescription struct {
	Platform    string                 `json:"platform"`
	File        string                 `json:"file"` // name before compression
	VirtualSize int64                  `json:"virtual_size"`
	SizeBy      string                 `json:"size_chosen_by"` // see [File]; a command may replace "option" by the name of its option
	Allocated   int64                  `json:"allocated"`      // content of the disk
	Kargs       []string               `json:"kernel_arguments"`
	Ignition    int                    `json:"ignition"` // size of the embedded config
	Partitions  []PartitionDescription `json:"partitions"`
}

// A PartitionDescription describes a planned partition.
type PartitionDescription struct {
	Number     int    `json:"number"`
	Name       string `json:"name"`
	Type       string `json:"type"`  // GUID
	GUID       string `json:"guid"`  // of the partition itself
	Start      int64  `json:"start"` // on the disk
	Size       int64  `json:"size"`
	Filesystem string `json:"filesystem,omitempty"`
	Label      string `json:"label,omitempty"`
	SizeBy     string `json:"size_chosen_by,omitempty"` // like that of the disk; absent for a fixed size
	Allocated  int64  `json:"allocated"`                // content of the partition
}

// Describe describes the plan.
func (p *Plan) Describe() *Description {
	s := p.System
	d := &Description{
		Reference: s.Container.Reference, Digest: s.Container.Digest.String(), Key: p.Key.String(), Arch: s.Arch, Version: s.Version,
		Commit: s.Commit.String(), Kernel: s.Deployment.Kernel, Stateroot: s.Stateroot, Origin: s.Origin,
		RootFS: p.RootFS, RootFSBy: p.RootFSBy, Loaders: p.Loaders,
	}
	for _, l := range s.Container.Layers {
		d.Layers = append(d.Layers, oci.LayerDescription{Digest: l.Digest.String(), DiffID: l.DiffID.String(), Size: l.Size})
	}
	for _, f := range p.Files {
		d.Images = append(d.Images, f.describe())
	}
	return d
}

func (f *File) describe() ImageDescription {
	d := ImageDescription{
		Platform: f.Platform.ID, File: f.PlainName(), VirtualSize: f.Disk.Size(), SizeBy: f.SizeBy,
		Allocated: f.Disk.Allocated(), Kargs: f.Disk.Entry.Options(), Ignition: f.ignition,
	}
	for _, p := range f.Disk.Partitions {
		d.Partitions = append(d.Partitions, PartitionDescription{
			Number: p.Number, Name: p.Name, Type: p.Type.String(), GUID: p.ID.String(), Start: p.Start, Size: p.Size,
			Filesystem: p.Filesystem, Label: p.Label, SizeBy: p.SizeBy, Allocated: p.Allocated,
		})
	}
	return d
}

// WriteText writes the description for a person.
func (d *Description) WriteText(w io.Writer) error {
	var b plaintext.Builder
	b.Printf("reference  %s\nkey        %s\nversion    %s, %s\ncommit     %s\nkernel     %s\nstateroot  %s\norigin     %s\nroot       %s, chosen by %s\n",
		d.Reference, d.Key, d.Version, d.Arch, d.Commit, d.Kernel, d.Stateroot, d.Origin, d.RootFS, d.RootFSBy)
	if d.Loaders != nil {
		b.Printf("loader     %s\n", d.Loaders)
	}
	oci.AddLayers(&b, "layers     ", d.Layers)
	for _, i := range d.Images {
		i.add(&b)
	}
	return b.Flush(w)
}

// add adds the description of an image to a text.
func (d ImageDescription) add(b *plaintext.Builder) {
	b.Printf("\n%s: %s, of which %s are content\n", d.File, rootfs.Size(d.VirtualSize), rootfs.Size(d.Allocated))
	rows := [][]string{{"#", "NAME", "START", "SIZE", "CONTENT", "FILE SYSTEM", "LABEL"}}
	origins := ""
	for _, p := range d.Partitions {
		rows = append(rows, []string{fmt.Sprint(p.Number), p.Name, rootfs.Size(p.Start), rootfs.Size(p.Size), rootfs.Size(p.Allocated), p.Filesystem, p.Label})
		if p.SizeBy != "" {
			origins += fmt.Sprintf("; %s %s, chosen by %s", p.Name, rootfs.Size(p.Size), p.SizeBy)
		}
	}
	b.Table(rows)
	b.Printf("sizes: disk %s, chosen by %s%s\n", rootfs.Size(d.VirtualSize), d.SizeBy, origins)
	b.Printf("kernel arguments: %s\n", strings.Join(d.Kargs, " "))
	if d.Ignition > 0 {
		b.Printf("Ignition: %s embedded\n", rootfs.Bytes(d.Ignition))
	} else {
		b.Printf("Ignition: not embedded, the platform is asked\n")
	}
}
