package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/gpt"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/bls"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ignition"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/oci"
)

// An inspection is what is found in an image.
type inspection struct {
	File        string       `json:"file"`
	Format      string       `json:"format"`
	VirtualSize int64        `json:"virtual_size"`
	SectorSize  int          `json:"sector_size"`
	DiskGUID    string       `json:"disk_guid"`
	Partitions  []partition  `json:"partitions"`
	Entries     []bootEntry  `json:"boot_entries"`
	FirstBoot   bool         `json:"first_boot"` // the stamp is there: the next boot runs Ignition
	Ignition    int64        `json:"ignition"`   // bytes of the embedded config, 0 for none
	Deployments []deployment `json:"deployments"`
	Problems    []string     `json:"problems,omitempty"`
	Notes       []string     `json:"notes,omitempty"` // parts that are not read or missing, without being damaged
}

type partition struct {
	Number     int    `json:"number"`
	Name       string `json:"name"`
	Type       string `json:"type"`
	GUID       string `json:"guid"`
	Start      int64  `json:"start"`
	Size       int64  `json:"size"`
	Filesystem string `json:"filesystem,omitempty"`
	Label      string `json:"label,omitempty"`
	UUID       string `json:"uuid,omitempty"`
}

type bootEntry struct {
	File    string      `json:"file"`
	Title   string      `json:"title"`
	Linux   string      `json:"linux"`
	Initrd  []string    `json:"initrd"`
	Options string      `json:"options"`
	Other   []bls.Field `json:"other,omitempty"` // lines with any other key, in order
}

// newBootEntry returns the parts of a boot entry that inspect shows.
func newBootEntry(file string, e bls.Entry) bootEntry {
	b := bootEntry{File: file, Title: e.Get("title"), Linux: e.Get("linux"), Initrd: e.Values("initrd"), Options: e.Options().String()}
	for i, f := range e {
		shown := f.Key == "initrd" || f.Key == "options"
		if f.Key == "title" || f.Key == "linux" { // the first one counts
			shown = len(e[:i].Values(f.Key)) == 0
		}
		if !shown {
			b.Other = append(b.Other, f)
		}
	}
	return b
}

type deployment struct {
	Stateroot string `json:"stateroot"`
	Commit    string `json:"ostree_commit"`
	Origin    string `json:"origin"`
}

func inspectCommand() *cobra.Command {
	var o buildOptions
	cmd := &cobra.Command{
		Use:   "inspect FILE|FOLDER|REFERENCE",
		Short: "Show the contents of an image (partitions, kernel arguments, commit, Ignition), of a build folder, or of a container",
		Args:  exactArgs(1, "one image or reference"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkFormat(o.format); err != nil {
				return err
			}
			o.reference = args[0]
			if isFolder(o.reference) {
				return showFolder(cmd.OutOrStdout(), o.format, o.reference)
			}
			found, err := o.inspect(cmd.Context())
			if err != nil {
				return err
			}
			err = show(cmd.OutOrStdout(), o.format, found)
			if image, ok := found.(*inspection); ok && err == nil && len(image.Problems) > 0 {
				err = fmt.Errorf("%s: %w", o.reference, errProblems)
			}
			return err
		},
	}
	o.pullFlags(cmd)
	return cmd
}

// inspect looks into a file if there is one of that name, and otherwise into the
// container of that reference.
func (o *buildOptions) inspect(ctx context.Context) (shown, error) {
	if isPath(o.reference) {
		return inspect(o.reference)
	}
	var err error
	if o.cache, err = cacheDir(o.cache); err != nil {
		return nil, err
	}
	ui := newUI(false)
	defer ui.wait()
	unfinished.RLock()
	defer unfinished.RUnlock()
	m, err := o.resolve(ctx, ui, nil)
	if err != nil {
		return nil, missingFile(o.reference, err)
	}
	m.Close()
	return inspectContainer(m), nil
}

// isPath tells a file or folder from a reference.
func isPath(name string) bool {
	_, err := os.Stat(name)
	return err == nil || strings.HasPrefix(name, "/") || strings.HasPrefix(name, ".")
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

// A containerInspection is what is found in a container.
type containerInspection struct {
	Reference string            `json:"reference"`
	Digest    string            `json:"digest"`
	Arch      string            `json:"arch"`
	Created   time.Time         `json:"created"`
	Labels    map[string]string `json:"labels"`
	Layers    []plannedLayer    `json:"layers"`
}

// print shows a container to a person.
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

// oneLine returns s, or s in quotes if it would not stay on its line.
func oneLine(s string) string {
	if strings.ContainsAny(s, "\r\n") {
		return strconv.Quote(s)
	}
	return s
}

// inspect looks into an image without mounting it.
func inspect(name string) (*inspection, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	image, format, err := openImage(f)
	var found *inspection
	if err == nil {
		found, err = inspectDisk(name, image, format)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, damage(err))
	}
	return found, nil
}

// damaged is an error of a damaged image.
type damaged struct{ error }

func (e damaged) Unwrap() []error { return []error{e.error, errProblems} }

// damage marks an error as one of a damaged image, unless it is about a format
// or feature that is not read, or about the file of the image.
func damage(err error) error {
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, gpt.ErrNoTable) || errors.Is(err, errPacked) || errors.As(err, new(*fs.PathError)) {
		return err
	}
	return damaged{err}
}

// inspectDisk looks into the disk in a file of the given name.
func inspectDisk(name string, image rootfs.Blob, format string) (*inspection, error) {
	table, err := readTable(image)
	if err != nil {
		return nil, err
	}
	found := &inspection{
		File: name, Format: format, VirtualSize: image.Size(), SectorSize: table.SectorSize, DiskGUID: table.DiskGUID.String(),
		Entries: []bootEntry{}, Deployments: []deployment{},
	}
	found.problem("primary partition table", table.PrimaryErr)
	found.problem("backup partition table", table.BackupErr)
	for _, e := range table.Partitions {
		content := io.NewSectionReader(image, e.Start, e.Size)
		p := partition{Number: e.Number, Name: e.Name, Type: e.Type.String(), GUID: e.ID.String(), Start: e.Start, Size: e.Size}
		p.Filesystem, p.Label, p.UUID = identify(content)
		found.Partitions = append(found.Partitions, p)
		for _, name := range []string{p.Label, p.Name} { // what is damaged may have lost its label
			if into := found.into(name); into != nil {
				found.problem(name+" file system", look(content, into))
				break
			}
		}
	}
	return found, nil
}

// into returns what looks into the file system of a label, nil if it is none of
// the system's.
func (found *inspection) into(label string) func(*rootfs.Inode) error {
	switch label {
	case "EFI-SYSTEM":
		return func(*rootfs.Inode) error { return nil } // to be read is all that is asked of it
	case "boot":
		return found.boot
	case "root":
		return found.root
	}
	return nil
}

// look reads a file system and looks into it.
func look(content *io.SectionReader, into func(*rootfs.Inode) error) error {
	root, err := readTree(content)
	if err != nil {
		return err
	}
	return into(root)
}

func (found *inspection) problem(where string, err error) {
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		found.Notes = append(found.Notes, fmt.Sprintf("%s: %v", where, err))
	case err != nil:
		found.Problems = append(found.Problems, fmt.Sprintf("%s: %v", where, err))
	}
}

// boot looks into the boot file system.
func (found *inspection) boot(root *rootfs.Inode) error {
	const dir = "loader/entries"
	if entries := root.Resolve(dir); entries != nil {
		for _, base := range entries.Names() {
			name := path.Join(dir, base)
			text, err := readFile(root, name)
			if err != nil {
				return err
			}
			e, err := bls.Parse(string(text))
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			found.Entries = append(found.Entries, newBootEntry(name, e))
		}
	}
	if len(found.Entries) == 0 {
		return disk.Unsupported("no boot entries")
	}
	found.FirstBoot = root.Lookup("ignition.firstboot") != nil
	if config := root.Lookup(ignition.Path); config != nil {
		found.Ignition = config.Size()
	}
	return nil
}

// root looks into the root file system.
func (found *inspection) root(root *rootfs.Inode) error {
	stateroots := root.Lookup("ostree/deploy")
	if stateroots == nil {
		return disk.Unsupported("no ostree/deploy: this is not a system that ostree has deployed")
	}
	for _, stateroot := range stateroots.Names() {
		dir := stateroots.Lookup(path.Join(stateroot, "deploy"))
		if dir == nil {
			continue
		}
		for _, name := range dir.Names() {
			if !dir.Children[name].IsDir() {
				continue
			}
			text, err := readFile(dir, name+".origin")
			if err != nil {
				return err
			}
			commit, _, _ := strings.Cut(name, ".")
			_, origin, _ := strings.Cut(string(text), "container-image-reference=")
			origin, _, _ = strings.Cut(origin, "\n")
			found.Deployments = append(found.Deployments, deployment{stateroot, commit, origin})
		}
	}
	return nil
}

// print shows an inspection to a person.
func (found *inspection) print(w io.Writer) {
	fmt.Fprintf(w, "%s: %s, %s, %d-byte sectors, disk GUID %s\n\n", found.File, found.Format, size(found.VirtualSize), found.SectorSize, found.DiskGUID)
	rows := [][]string{{"#", "NAME", "START", "SIZE", "FILE SYSTEM", "LABEL", "UUID"}}
	for _, p := range found.Partitions {
		rows = append(rows, []string{fmt.Sprint(p.Number), p.Name, size(p.Start), size(p.Size), p.Filesystem, p.Label, p.UUID})
	}
	table(w, rows)
	for _, e := range found.Entries {
		fmt.Fprintf(w, "\n%s\n  title   %s\n  linux   %s\n  initrd  %s\n  options %s\n", e.File, e.Title, e.Linux, strings.Join(e.Initrd, " "), e.Options)
		for _, f := range e.Other {
			fmt.Fprintf(w, "  %-7s %s\n", f.Key, f.Value)
		}
	}
	for _, d := range found.Deployments {
		fmt.Fprintf(w, "\ndeployment of %s\n  commit  %s\n  origin  %s\n", d.Stateroot, d.Commit, d.Origin)
	}
	fmt.Fprintf(w, "\nfirst boot    %s\nIgnition      %s\n",
		map[bool]string{true: "still to come", false: "over"}[found.FirstBoot],
		map[bool]string{true: "embedded, " + rootfs.Bytes(found.Ignition), false: "not embedded"}[found.Ignition > 0])
	for _, p := range found.Problems {
		fmt.Fprintf(w, "problem: %s\n", p)
	}
	for _, n := range found.Notes {
		fmt.Fprintf(w, "note: %s\n", n)
	}
}
