package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/assemble"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/grub"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/inspect"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

func planCommand() *cobra.Command {
	var o buildFlags
	cmd := &cobra.Command{
		Use:   "plan REFERENCE | -m DEFINITION",
		Short: "Show the images that build would make: layout, sizes, kernel arguments, and a key of all inputs",
		RunE: func(cmd *cobra.Command, args []string) error {
			requests, err := o.parse(cmd, args)
			if err != nil {
				return err
			}
			for _, r := range requests {
				ui := newUI(false)
				defer ui.wait()
				plan, image, err := load(cmd.Context(), ui, r)
				if err != nil {
					return err
				}
				image.Close() // the layout is known
				ui.wait()
				if err := show(cmd.OutOrStdout(), o.format, newPlanResult(r, plan)); err != nil {
					return err
				}
			}
			return nil
		},
	}
	o.flags(cmd)
	return cmd
}

// The result of plan.
type (
	planResult struct {
		Reference string         `json:"reference"`
		Digest    string         `json:"digest"`
		Key       string         `json:"key"` // of all inputs, see assemble.Key
		Arch      string         `json:"arch"`
		Version   string         `json:"version"`
		Commit    string         `json:"ostree_commit"`
		Kernel    string         `json:"kernel"`
		Stateroot string         `json:"stateroot"`
		Origin    string         `json:"origin"`
		RootFS    string         `json:"root_filesystem"`
		RootFSBy  string         `json:"root_filesystem_chosen_by"` // option, container or default
		Loaders   *grub.Loaders  `json:"boot_loader,omitempty"`
		Layers    []plannedLayer `json:"layers"`
		Images    []plannedImage `json:"images"`
	}
	plannedLayer struct {
		Digest string `json:"digest"`
		DiffID string `json:"diff_id"`
		Size   int64  `json:"size"`
	}
	plannedImage struct {
		Platform    string    `json:"platform"`
		File        string    `json:"file"`
		VirtualSize int64     `json:"virtual_size"`
		SizeBy      string    `json:"size_chosen_by"` // option, place in the definition, file of the container, platform, content or default
		Allocated   int64     `json:"allocated"`
		Kargs       []string  `json:"kernel_arguments"`
		Ignition    int       `json:"ignition"` // bytes embedded
		Partitions  []planned `json:"partitions"`
	}
	planned struct {
		inspect.Partition
		SizeBy    string `json:"size_chosen_by,omitempty"` // like that of the disk; absent for a fixed size
		Allocated int64  `json:"allocated"`
	}
)

func newPlanResult(r *request, plan *assemble.Plan) *planResult {
	s := plan.System
	res := &planResult{
		Reference: s.Container.Reference, Digest: s.Container.Digest.String(), Key: plan.Key.String(), Arch: s.Arch, Version: s.Version,
		Commit: s.Commit.String(), Kernel: s.Deployment.Kernel, Stateroot: s.Stateroot, Origin: s.Origin,
		RootFS: plan.RootFS, RootFSBy: plan.RootFSBy, Loaders: plan.Loaders,
	}
	for _, l := range s.Container.Layers {
		res.Layers = append(res.Layers, plannedLayer{l.Digest.String(), l.DiffID.String(), l.Size})
	}
	for _, f := range plan.Files {
		res.Images = append(res.Images, newPlannedImage(r, f))
	}
	return res
}

func newPlannedImage(r *request, f *assemble.File) plannedImage {
	img := plannedImage{
		Platform: f.Platform.ID, File: f.PlainName(), VirtualSize: f.Disk.Size(), SizeBy: f.SizeBy,
		Allocated: f.Disk.Allocated(), Kargs: f.Disk.Entry.Options(), Ignition: len(r.images.Ignition),
	}
	if r.images.Size != 0 {
		img.SizeBy = r.sizeBy
	}
	for _, p := range f.Disk.Partitions {
		img.Partitions = append(img.Partitions, planned{inspect.Partition{
			Number: p.Number, Name: p.Name, Type: p.Type.String(), GUID: p.ID.String(),
			Start: p.Start, Size: p.Size, Volume: inspect.Volume{Filesystem: p.Filesystem, Label: p.Label},
		}, p.SizeBy, p.Allocated})
	}
	return img
}

// print shows a plan to a person.
func (p *planResult) print(w io.Writer) {
	fmt.Fprintf(w, "reference  %s\nkey        %s\nversion    %s, %s\ncommit     %s\nkernel     %s\nstateroot  %s\norigin     %s\nroot       %s, chosen by %s\n",
		p.Reference, p.Key, p.Version, p.Arch, p.Commit, p.Kernel, p.Stateroot, p.Origin, p.RootFS, p.RootFSBy)
	if p.Loaders != nil {
		fmt.Fprintf(w, "loader     %s\n", p.Loaders)
	}
	fmt.Fprintf(w, "layers     %d\n", len(p.Layers))
	for _, l := range p.Layers {
		fmt.Fprintf(w, "  %s  %s\n", l.Digest, size(l.Size))
	}
	for _, img := range p.Images {
		img.print(w)
	}
}

func (img plannedImage) print(w io.Writer) {
	fmt.Fprintf(w, "\n%s: %s, of which %s are content\n", img.File, size(img.VirtualSize), size(img.Allocated))
	rows := [][]string{{"#", "NAME", "START", "SIZE", "CONTENT", "FILE SYSTEM", "LABEL"}}
	for _, p := range img.Partitions {
		rows = append(rows, []string{fmt.Sprint(p.Number), p.Name, size(p.Start), size(p.Size), size(p.Allocated), p.Filesystem, p.Label})
	}
	table(w, rows)
	fmt.Fprintf(w, "sizes: disk %s, chosen by %s", size(img.VirtualSize), img.SizeBy)
	for _, p := range img.Partitions {
		if p.SizeBy != "" {
			fmt.Fprintf(w, "; %s %s, chosen by %s", p.Name, size(p.Size), p.SizeBy)
		}
	}
	fmt.Fprintf(w, "\nkernel arguments: %s\n", strings.Join(img.Kargs, " "))
	if img.Ignition > 0 {
		fmt.Fprintf(w, "Ignition: %s embedded\n", rootfs.Bytes(img.Ignition))
	} else {
		fmt.Fprintln(w, "Ignition: not embedded, the platform is asked")
	}
}
