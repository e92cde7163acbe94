package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/ext4"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/grub"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/layout"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/bls"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/coreos"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/oci"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree/container"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree/deploy"
)

// A system is a container that became an operating system, deployed.
type system struct {
	image         *oci.Image
	choices       *coreos.Choices
	loaders       *grub.Loaders // for EFI; nil if there are none
	deployment    *deploy.Deployment
	name, version string // as in file names
	arch          string // as the machine calls itself
	stateroot     string
	rootFS        string
	origin        string
	commit        ostree.Checksum                   // what is deployed
	ids           map[*rootfs.Inode]ostree.Checksum // of files of the deployment
	warnings      []string                          // about the container
	notes         []string                          // the same of what is no fault, and worth a look
}

func (s *system) Close() error { return s.image.Close() }

// pull pulls the container that the options name, if it is accepted.
func (o *buildOptions) pull(ctx context.Context, ui *ui, accept func(*oci.Image) error) (*oci.Image, error) {
	reg, err := o.registry.options()
	if err != nil {
		return nil, err
	}
	options := oci.Options{
		Cache: o.cache, Arch: o.arch, Policy: o.policy, Accept: accept,
		AuthFile: reg.AuthFile, Login: reg.Login, CertDir: reg.CertDir, TLSVerify: reg.TLSVerify,
	}
	options.Limits.Holes, _ = parseBytes(o.size) // which was checked, or is empty
	unfinished.RLock()
	defer unfinished.RUnlock()
	s := ui.begin("pull", "pull", 0)
	options.Progress = s
	image, err := oci.Pull(ctx, o.reference, options)
	s.end(err)
	if err == nil && !strings.Contains(o.reference, "@") {
		ui.say("resolved to %s", image.Reference)
	}
	return image, err
}

// importable is what pull accepts of who wants the operating system in it.
func importable(image *oci.Image) error { return container.Check(image.Config) }

// load pulls, imports and deploys the container of a request.
func load(ctx context.Context, ui *ui, r *request) (*system, error) {
	if err := ui.warn(r.warnings, r.strict); err != nil {
		return nil, err
	}
	image, err := r.pull(ctx, ui, importable)
	if err != nil {
		return nil, err
	}
	s, err := deployed(image, r)
	if err == nil {
		err = ui.warn(s.warnings, r.strict)
	}
	if err != nil {
		image.Close()
		return nil, err
	}
	for _, n := range slices.Concat(r.notes, s.notes) {
		ui.say("note: %s", n)
	}
	if want := s.choices.RootFS; want != "" && want != s.rootFS {
		ui.say("note: the container asks for %s as its root file system and gets %s", want, s.rootFS)
	}
	if r.origin == "" && strings.Contains(s.origin, "@") { // a digest is what never changes
		ui.say("note: the system will have no source of updates; --origin names one")
	}
	return s, nil
}

// deployed imports and deploys a pulled image. It is a function of the two.
func deployed(image *oci.Image, r *request) (*system, error) {
	s := &system{image: image, arch: rootfs.MachineArch(image.Arch)}
	pulled := &container.Image{Digest: image.Digest.String(), Manifest: image.Manifest, Config: image.Config, Cache: image.Imports()}
	for _, l := range image.Layers {
		pulled.Layers = append(pulled.Layers, container.Layer{
			Digest: l.Digest.String(), DiffID: l.DiffID.String(), Index: l.Index, Blob: l.Blob,
		})
	}
	reference, err := container.Reference(cmp.Or(r.origin, defaultOrigin(image)))
	if err != nil {
		return nil, usageError{fmt.Errorf("origin: %w", err)}
	}
	tree, err := container.Import(pulled, container.Options{Reference: reference, Merge: r.merge})
	if err != nil {
		return nil, err
	}
	var untrusted error
	if s.origin, untrusted = updateOrigin(r.origin, reference, tree.Root); untrusted != nil {
		s.warnings = append(s.warnings, fmt.Sprintf("origin %s: the system will refuse its updates: %v", s.origin, untrusted))
	}
	if !container.Bootable(image.Labels) {
		s.warnings = append(s.warnings, "the container has neither the label containers.bootc nor ostree.bootable: the system will refuse its updates")
	}
	if r.config != nil {
		s.warnings = append(s.warnings, ignitionWarnings(tree.Root, r.config)...)
	}
	if err := coreos.Preflight(tree.Root, image.Arch, r.noSELinux); err != nil {
		return nil, err
	}
	if s.choices, err = coreos.ReadChoices(tree.Root, image.Arch); err != nil {
		return nil, err
	}
	s.warnings = append(s.warnings, s.choices.Warnings...)
	if s.loaders = grub.ReadLoaders(tree.Root); s.loaders != nil {
		s.warnings = append(s.warnings, s.loaders.Warnings...)
	}
	if s.rootFS = cmp.Or(r.rootFS, s.choices.RootFS, "xfs"); s.rootFS != "xfs" && s.rootFS != "ext4" {
		return nil, fmt.Errorf("the container asks for %s as its root file system, which cannot be made: choose with --root-fs", s.rootFS)
	}
	if tree.ACL != "" && s.rootFS == "xfs" {
		s.warnings = append(s.warnings, fmt.Sprintf("%q has an access control list: ostree fsck reports such files on XFS as damaged; --root-fs ext4 avoids that", "/"+tree.ACL))
	}
	s.stateroot = cmp.Or(s.choices.Stateroot, image.Labels["com.coreos.osname"], coreos.DefaultStateroot)
	s.name = cmp.Or(r.name, fileName(image.Labels["com.coreos.osname"]), fileName(s.stateroot), "os")
	s.version = cmp.Or(fileName(image.Labels["org.opencontainers.image.version"]), fileName(image.Labels["version"]), image.Digest.Encoded()[:12])
	s.deployment, err = deploy.New(tree.Repo, deploy.Options{
		Commit: tree.Deployed, System: tree.Root, Composefs: tree.Composefs, Stateroot: s.stateroot, Origin: s.origin, BLSAppend: s.choices.BLSAppend, Time: s.created(),
		Aleph: deploy.Aleph{
			Ref: s.origin, Version: s.version, Commit: tree.Deployed.String(),
			Image: deploy.AlephImage{Name: reference, Digest: image.Digest.String(), Labels: image.Labels},
			Bootc: container.IsBootc(image.Labels), Created: image.Created,
		},
	})
	if err == nil && s.deployment.Policy == nil {
		s.warnings = append(s.warnings, "the container has no SELinux policy: no file of the image has a label")
	}
	s.commit, s.ids, s.notes = tree.Deployed, tree.Repo.IDs, slices.Concat(image.Notes, tree.Notes)
	if t := image.Created; !t.IsZero() && t.Unix() != s.created().Sec {
		s.notes = append(s.notes, fmt.Sprintf("the container's config: created: %s is before 1970 or too late for file systems: %s is taken",
			t.Format(time.RFC3339), time.Unix(s.created().Sec, 0).UTC().Format(time.RFC3339)))
	}
	for _, w := range tree.Warnings {
		s.warnings = append(s.warnings, w.String())
	}
	return s, err
}

// created is the time of everything new on the disk: that of the container, or the
// nearest one that every file system can store. ext4 has the smallest range.
func (s *system) created() rootfs.Time {
	if s.image.Created.IsZero() {
		return rootfs.Time{}
	}
	return rootfs.Time{Sec: min(max(s.image.Created.Unix(), 0), ext4.MaxTime)}
}

// fileName makes a label of a container fit for the name of a file.
func fileName(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < 0x80 && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._+-", r)) {
			return r
		}
		return '-'
	}, s)
	return strings.TrimLeft(s[:min(len(s), 64)], ".-")
}

// A plannedDisk is a disk for a platform.
type plannedDisk struct {
	platform cloud.Platform
	disk     *layout.Disk
	unfit    error // the rule of its cloud that it breaks
}

// prepare loads the system of a request and lays out its disks. Every check that
// needs no written image is made here, so that plan and build refuse the same.
func prepare(ctx context.Context, ui *ui, r *request) (_ *system, disks []plannedDisk, err error) {
	s, err := load(ctx, ui, r)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if disks, err = s.layOut(ui, r); err != nil {
		return nil, nil, err
	}
	var unfit []string
	for i := range disks {
		if disks[i].unfit, err = s.checkUpload(r, disks[i]); err != nil {
			return nil, nil, fmt.Errorf("platform %s: %w", disks[i].platform.ID, err)
		}
		if disks[i].unfit != nil {
			unfit = append(unfit, disks[i].unfit.Error())
		}
	}
	return s, disks, ui.warn(unfit, r.strict)
}

// plan lays out the disks of a request.
func (s *system) plan(r *request) ([]plannedDisk, error) {
	bases := map[layout.Options]*layout.Base{}
	var disks []plannedDisk
	for _, p := range r.targets {
		d, err := s.planDisk(p, r, bases)
		if err != nil {
			return nil, fmt.Errorf("platform %s: %w", p.ID, err)
		}
		disks = append(disks, plannedDisk{platform: p, disk: d})
	}
	return disks, nil
}

// layOut is plan that shows warnings and notes about the disks.
func (s *system) layOut(ui *ui, r *request) ([]plannedDisk, error) {
	disks, err := s.plan(r)
	if err != nil {
		return nil, err
	}
	var warnings, notes []string
	for _, d := range disks {
		for _, w := range d.disk.Warnings {
			if !slices.Contains(warnings, w) { // platforms share most of them
				warnings = append(warnings, w)
			}
		}
		for _, n := range d.disk.Notes {
			notes = append(notes, fmt.Sprintf("platform %s: %s", d.platform.ID, n))
		}
	}
	for _, n := range notes {
		ui.say("note: %s", n)
	}
	return disks, ui.warn(warnings, r.strict)
}

// planDisk lays out the disk for a platform. What it has in common with others
// is in bases, and goes there.
func (s *system) planDisk(p cloud.Platform, r *request, bases map[layout.Options]*layout.Base) (*layout.Disk, error) {
	o := layout.Options{
		Arch: s.arch, Sector: p.Sector, Size: r.bytes, RootFS: s.rootFS, ESP: r.esp, Boot: r.boot, Time: s.created(), Seed: s.seed(),
	}
	if r.bytes == 0 {
		o.Size, o.Grow = p.DiskSize(s.choices.Size), cmp.Or(p.Format.Unit, 1<<20)
	}
	base := bases[o]
	if base == nil {
		var err error
		if base, err = layout.New(s.deployment, s.choices, o); err != nil {
			return nil, s.deployment.Explain(err)
		}
		bases[o] = base
	}
	id := p.IgnitionID()
	d, err := base.Disk(layout.Variant{Kargs: s.choices.Kargs(id, r.kargs), Platform: s.choices.Platform(id), Ignition: r.config})
	if err != nil {
		return nil, s.deployment.Explain(err)
	}
	return d, p.Check(d.Size())
}

// seed is what everything derives from that must differ between systems.
func (s *system) seed() string { return s.image.Digest.String() + " " + s.origin }

// What plan prints.
type (
	planResult struct {
		Reference string         `json:"reference"`
		Digest    string         `json:"digest"`
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
		partition
		SizeBy    string `json:"size_chosen_by,omitempty"` // as of the disk; nothing for a fixed size
		Allocated int64  `json:"allocated"`
	}
)

func planCommand() *cobra.Command {
	var o buildOptions
	cmd := &cobra.Command{
		Use:   "plan REFERENCE | -m DEFINITION",
		Short: "Show what build would make: layout, sizes, kernel arguments, digests of the inputs",
		RunE: func(cmd *cobra.Command, args []string) error {
			requests, err := o.requests(cmd, args)
			if err != nil {
				return err
			}
			for _, r := range requests {
				ui := newUI(false)
				defer ui.wait()
				res, err := plan(cmd.Context(), ui, r)
				if err != nil {
					return err
				}
				ui.wait()
				if err := show(cmd.OutOrStdout(), o.format, res); err != nil {
					return err
				}
			}
			return nil
		},
	}
	o.flags(cmd)
	return cmd
}

// plan returns what build would make of a request.
func plan(ctx context.Context, ui *ui, r *request) (*planResult, error) {
	system, disks, err := prepare(ctx, ui, r)
	if err != nil {
		return nil, err
	}
	defer system.Close()
	return system.describe(r, disks), nil
}

func (s *system) describe(r *request, disks []plannedDisk) *planResult {
	res := &planResult{
		Reference: s.image.Reference, Digest: s.image.Digest.String(), Arch: s.arch, Version: s.version,
		Commit: s.commit.String(), Kernel: s.deployment.Kernel, Stateroot: s.stateroot, Origin: s.origin, RootFS: s.rootFS, RootFSBy: "default",
		Loaders: s.loaders,
	}
	switch {
	case r.rootFS != "":
		res.RootFSBy = "option"
	case s.choices.RootFS != "":
		res.RootFSBy = "container"
	}
	for _, l := range s.image.Layers {
		res.Layers = append(res.Layers, plannedLayer{l.Digest.String(), l.DiffID.String(), l.Size})
	}
	for _, d := range disks {
		img := plannedImage{
			Platform: d.platform.ID, File: d.platform.FileName(s.name, s.version, s.arch),
			VirtualSize: d.disk.Size(), SizeBy: s.sizeBy(r, d.platform, d.disk), Allocated: d.disk.Allocated(), Kargs: kargs(d.disk), Ignition: len(r.config),
		}
		for _, p := range d.disk.Partitions {
			img.Partitions = append(img.Partitions, planned{partition{
				Number: p.Number, Name: p.Name, Type: p.Type.String(), GUID: p.ID.String(),
				Start: p.Start, Size: p.Size, Filesystem: p.Filesystem, Label: p.Label,
			}, p.SizeBy, p.Allocated})
		}
		res.Images = append(res.Images, img)
	}
	return res
}

// sizeBy names the origin of the size of a platform's disk.
func (s *system) sizeBy(r *request, p cloud.Platform, d *layout.Disk) string {
	switch {
	case r.bytes != 0:
		return r.place("size")
	case p.Packed || len(d.Notes) > 0:
		return "the content"
	case p.Size != 0:
		return "the platform"
	}
	return cmp.Or(s.choices.SizeBy, "default")
}

// kargs reads the command line out of the boot entry that was laid out.
func kargs(d *layout.Disk) []string {
	text, err := rootfs.ReadAll(d.Boot.Lookup("loader.1/entries/ostree-1.conf").Content, readLimit)
	if err != nil {
		panic(err) // it is in memory
	}
	entry, err := bls.Parse(string(text))
	if err != nil {
		panic(err) // we made it
	}
	return entry.Options()
}

// print shows a plan to a person.
func (p *planResult) print(w io.Writer) {
	fmt.Fprintf(w, "reference  %s\nversion    %s, %s\ncommit     %s\nkernel     %s\nstateroot  %s\norigin     %s\nroot       %s, chosen by %s\n",
		p.Reference, p.Version, p.Arch, p.Commit, p.Kernel, p.Stateroot, p.Origin, p.RootFS, p.RootFSBy)
	if p.Loaders != nil {
		fmt.Fprintf(w, "loader     %s\n", p.Loaders)
	}
	fmt.Fprintf(w, "layers     %d\n", len(p.Layers))
	for _, l := range p.Layers {
		fmt.Fprintf(w, "  %s  %s\n", l.Digest, size(l.Size))
	}
	for _, img := range p.Images {
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
}
