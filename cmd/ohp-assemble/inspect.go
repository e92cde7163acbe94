package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/inspect"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/oci"
)

func inspectCommand() *cobra.Command {
	var o pullFlags
	cmd := &cobra.Command{
		Use:   "inspect FILE|FOLDER|REFERENCE",
		Short: "Show the contents of an image (partitions, kernel arguments, commit, Ignition), of a build folder, or of a container",
		Args:  exactArgs(1, "one image or reference"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkFormat(o.format); err != nil {
				return err
			}
			switch name := args[0]; {
			case isFolder(name):
				return showFolder(cmd.OutOrStdout(), o.format, name)
			case isPath(name):
				return showImage(cmd.OutOrStdout(), o.format, name)
			default:
				found, err := o.inspect(cmd.Context(), name)
				if err != nil {
					return missingFile(name, err)
				}
				return show(cmd.OutOrStdout(), o.format, found)
			}
		},
	}
	o.flags(cmd)
	return cmd
}

// showImage describes an image file. Damage fails the command after the rest is
// shown.
func showImage(w io.Writer, format, name string) error {
	found, err := inspectImage(name)
	if err != nil {
		return err
	}
	if err := show(w, format, found); err != nil {
		return err
	}
	if len(found.Problems) > 0 {
		return fmt.Errorf("%s: %w", name, errProblems)
	}
	return nil
}

func inspectImage(name string) (*inspection, error) {
	f, d, err := openImage(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return &inspection{name, d.Report()}, nil
}

// inspect describes the container of a reference.
func (o *pullFlags) inspect(ctx context.Context, name string) (*containerInspection, error) {
	var err error
	if o.cache, err = cacheDir(o.cache); err != nil {
		return nil, err
	}
	ui := newUI(false)
	defer ui.wait()
	options, err := o.options()
	if err != nil {
		return nil, err
	}
	m, err := resolve(ctx, ui, name, options)
	if err != nil {
		return nil, err
	}
	m.Close()
	return inspectContainer(m), nil
}

func inspectContainer(image *oci.Manifest) *containerInspection {
	found := &containerInspection{
		Reference: image.Reference, Digest: image.Digest.String(), Arch: image.Arch, Created: image.Created, Labels: image.Labels,
	}
	for _, l := range image.Layers {
		found.Layers = append(found.Layers, plannedLayer{l.Digest.String(), l.DiffID.String(), l.Size})
	}
	return found
}

// A containerInspection is the result of inspect for a container.
type containerInspection struct {
	Reference string            `json:"reference"`
	Digest    string            `json:"digest"`
	Arch      string            `json:"arch"`
	Created   time.Time         `json:"created"`
	Labels    map[string]string `json:"labels"`
	Layers    []plannedLayer    `json:"layers"`
}

func (found *containerInspection) print(w io.Writer) {
	fmt.Fprintf(w, "%s\ndigest   %s\narch     %s\ncreated  %s\nlayers   %d\n", found.Reference, found.Digest, found.Arch, found.Created.Format(time.RFC3339), len(found.Layers))
	for _, l := range found.Layers {
		fmt.Fprintf(w, "  %s  %s\n", l.Digest, size(l.Size))
	}
	fmt.Fprintln(w, "labels")
	for _, name := range slices.Sorted(maps.Keys(found.Labels)) {
		fmt.Fprintf(w, "  %s=%s\n", oneLine(name), oneLine(found.Labels[name]))
	}
}

// oneLine returns s, or s in quotes if it has line breaks.
func oneLine(s string) string {
	if strings.ContainsAny(s, "\r\n") {
		return strconv.Quote(s)
	}
	return s
}

// An inspection is the result of inspect for an image file.
type inspection struct {
	File string `json:"file"`
	*inspect.Report
}

func (found *inspection) print(w io.Writer) {
	found.printDisk(w)
	for _, e := range found.Entries {
		fmt.Fprintf(w, "\n%s\n  title   %s\n  linux   %s\n  initrd  %s\n  options %s\n", e.File, e.Title, e.Linux, strings.Join(e.Initrd, " "), e.Options)
		for _, f := range e.Other {
			fmt.Fprintf(w, "  %-7s %s\n", f.Key, f.Value)
		}
	}
	for _, d := range found.Deployments {
		fmt.Fprintf(w, "\ndeployment of %s\n  commit  %s\n  origin  %s\n", d.Stateroot, d.Commit, d.Origin)
	}
	if len(found.Partitions) > 0 {
		fmt.Fprintf(w, "\nfirst boot    %s\nIgnition      %s\n",
			map[bool]string{true: "still to come", false: "over"}[found.FirstBoot],
			map[bool]string{true: "embedded, " + rootfs.Bytes(found.Ignition), false: "not embedded"}[found.Ignition > 0])
	}
	for _, p := range found.Problems {
		fmt.Fprintf(w, "problem: %s\n", p)
	}
	for _, n := range found.Notes {
		fmt.Fprintf(w, "note: %s\n", n)
	}
}

// printDisk shows the format, the file system of the whole disk and the
// partitions.
func (found *inspection) printDisk(w io.Writer) {
	fmt.Fprintf(w, "%s: %s, %s", found.File, found.Format, size(found.VirtualSize))
	if found.DiskGUID != "" {
		fmt.Fprintf(w, ", %d-byte sectors, disk GUID %s", found.SectorSize, found.DiskGUID)
	}
	fmt.Fprintln(w)
	if v := found.Volume; v != nil {
		fmt.Fprintf(w, "file system %s, label %s, UUID %s\n", v.Filesystem, v.Label, v.UUID)
	}
	if len(found.Partitions) == 0 {
		return
	}
	rows := [][]string{{"#", "NAME", "START", "SIZE", "FILE SYSTEM", "LABEL", "UUID"}}
	for _, p := range found.Partitions {
		rows = append(rows, []string{fmt.Sprint(p.Number), p.Name, size(p.Start), size(p.Size), p.Filesystem, p.Label, p.UUID})
	}
	fmt.Fprintln(w)
	table(w, rows)
}
