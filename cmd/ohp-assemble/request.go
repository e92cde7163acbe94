package main

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/cmd/ohp-assemble/internal/cli"
	"github.com/ohp-assemble/ohp-assemble/manifests"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/assemble"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/coreos"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ignition/butane"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree/container"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/system"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/usage"
)

// buildFlags are the options of build and plan. Flags and definitions fill them.
type buildFlags struct {
	pullFlags
	reference  string
	definition string // file of the image definition; options override it
	system     system.Options
	images     assemble.Request // without platforms and Ignition
	platforms  []string
	compress   string   // of images, for SetCompression
	ignition   []string // files
	filesDir   string   // of the files that Butane configs refer to
	strict     bool

	places map[string]string // place of each field that comes from the definition
}

// defaults returns the options of an empty command line.
func defaults() *buildFlags {
	o := &buildFlags{platforms: []string{"qemu"}}
	o.flags(&cobra.Command{})
	return o
}

// optionNames are the options that fill fields of [system.Options] and
// [assemble.Request], and of buildFlags.
var optionNames = map[string]string{
	"Name": "name", "Merge": "merge", "Origin": "origin", "NoSELinux": "no-selinux",
	"Arch": "arch", "Platforms": "platform", "Strict": "strict",
	"Size": "size", "Boot": "boot-size", "ESP": "esp-size", "RootFS": "root-fs",
	"Kargs": "karg", "Ignition": "ignition", "FilesDir": "files-dir", "Compression": "compress", "Level": "compress-level",
}

// flags declares the common options of build and plan.
func (o *buildFlags) flags(cmd *cobra.Command) {
	o.platforms, o.system.Merge, o.compress = []string{"qemu"}, container.MergeOSTree, filetype.None.String()
	o.pullFlags.flags(cmd)
	f := cmd.Flags()
	definitionFlag(cmd, &o.definition, "image definition, a YAML `file` with the other options")
	f.StringVar(&o.system.Name, "name", "", "first `part` of the images' file names (default: the operating system's name)")
	f.Var(&usage.Words{List: &o.platforms}, "platform", "`platforms` to make images for: "+strings.Join(cloud.IDs(), ", ")+", or all: those of Fedora CoreOS for the architecture")
	f.StringArrayVar(&o.ignition, "ignition", nil, "Ignition config, or Butane config (.bu), to embed: a `file`; several are merged, the last one wins")
	f.StringVar(&o.filesDir, "files-dir", "", "`folder` of the files that Butane configs refer to")
	f.StringArrayVar(&o.images.Kargs, "karg", nil, "additional kernel `argument`; may be repeated")
	choiceFlag(cmd, &o.images.RootFS, "root-fs", "root `file system`: xfs or ext4 (default: the container's choice, or xfs)", "xfs", "ext4")
	f.Var((*usage.Size)(&o.images.Size), "size", "`size` of the disk, a whole number such as 10GiB or 1536MiB (default: the container's for virtual machines, as small as possible for metal)")
	f.Var(coreos.SizeValue{Size: &o.images.Boot, By: "--boot-size"}, "boot-size", "`size` of the boot partition (default: the container's, or 384MiB)")
	f.Var(coreos.SizeValue{Size: &o.images.ESP, By: "--esp-size"}, "esp-size", "`size` of the EFI system partition; from 512MiB on it is FAT32 (default: the container's, or 127MiB)")
	choiceFlag(cmd, &o.system.Merge, "merge", "`rules` for merging layers on top of the base: ostree, as in the system's next upgrade, or oci, as in container runtimes", container.MergeOSTree, container.MergeOCI)
	f.BoolVar(&o.strict, "strict", false, "treat warnings as errors")
	f.BoolVar(&o.system.NoSELinux, "no-selinux", false, "accept a container without an SELinux policy, or with a disabled one; the files of the image get no labels")
	compressFlags(cmd, &o.compress, &o.images.Level)
	f.StringVar(&o.system.Origin, "origin", "", "source of the system's updates, in the form of ostree's `container-image-reference`")
	complete(cmd, "platform", append(cloud.IDs(), cloud.All)...)
}

// definitionFlag declares -m, --definition and its older name --manifest.
func definitionFlag(cmd *cobra.Command, name *string, help string) {
	cmd.Flags().StringVarP(name, "definition", "m", "", help)
	cmd.Flags().StringVar(name, "manifest", "", help)
	cmd.Flags().MarkHidden("manifest")
}

// A request has the checked options of one architecture.
type request struct {
	pullFlags
	reference string
	system    system.Options
	images    assemble.Request
	strict    bool
	sizeBy    string // the option of images.Size, or its place in the definition

	warnings []string // printed before the container is pulled
}

// parse returns the requests of a command line, one for each architecture.
func (o *buildFlags) parse(cmd *cobra.Command, args []string) ([]*request, error) {
	switch {
	case o.definition == "":
		if err := cli.ExactArgs(1, "one reference or a definition with -m")(cmd, args); err != nil {
			return nil, err
		}
		o.reference = args[0]
	case len(args) > 0:
		return nil, cli.Usage(errors.New("want a reference or a definition (-m), got both; a definition has its own reference"))
	default:
		if err := o.define(o.definition, cmd.Flags().Changed); err != nil {
			return nil, err
		}
	}
	return o.requests()
}

// define fills options from a definition, except for those given on the command line.
func (o *buildFlags) define(name string, given func(flag string) bool) error {
	m, err := manifests.Load(name)
	if err != nil {
		return err
	}
	o.places = map[string]string{}
	s := m.System()
	images, err := m.Request()
	if wrong := (usage.Error{}); errors.As(err, &wrong) {
		return cli.Usage(fmt.Errorf("%s: %w", m.Place(wrong.Field), wrong.Err))
	}
	d := defining{o, m, given}
	take(d, "Name", &o.system.Name, s.Name)
	take(d, "Merge", &o.system.Merge, s.Merge)
	take(d, "Origin", &o.system.Origin, s.Origin)
	take(d, "NoSELinux", &o.system.NoSELinux, s.NoSELinux)
	take(d, "Arch", &o.arch, strings.Join(m.Spec.Architectures, ","))
	take(d, "Platforms", &o.platforms, m.Spec.Platforms)
	take(d, "Size", &o.images.Size, images.Size)
	take(d, "Boot", &o.images.Boot, images.Boot)
	take(d, "ESP", &o.images.ESP, images.ESP)
	take(d, "RootFS", &o.images.RootFS, images.RootFS)
	take(d, "Kargs", &o.images.Kargs, images.Kargs)
	take(d, "Ignition", &o.ignition, m.Spec.Ignition)
	take(d, "FilesDir", &o.filesDir, m.Spec.FilesDir)
	take(d, "Compression", &o.compress, m.Spec.Compression)
	take(d, "Strict", &o.strict, m.Spec.Strict)
	o.reference = m.Spec.Source
	return nil
}

// defining is the state of define.
type defining struct {
	*buildFlags
	m     *manifests.Image
	given func(flag string) bool
}

// take sets a field to the value of a definition, unless the value is zero or the
// option was given.
func take[T any](d defining, field string, to *T, value T) {
	if !d.given(optionNames[field]) && !reflect.ValueOf(&value).Elem().IsZero() {
		*to, d.places[field] = value, d.m.Place(field)
	}
}

// place returns the place of a field: file, line and column, or the option.
func (o *buildFlags) place(field string) string {
	if at := o.places[field]; at != "" {
		return at
	}
	return "--" + optionNames[field]
}

// wrong replaces the field of a [usage.Error] by its place.
func (o *buildFlags) wrong(err error) error {
	var wrong usage.Error
	if !errors.As(err, &wrong) {
		return err
	}
	return cli.Usage(fmt.Errorf("%s: %w", o.place(wrong.Field), wrong.Err))
}

// machine returns the name of an architecture in uname -m, without its variant.
func machine(arch string) string {
	arch, _, _ = strings.Cut(arch, "/")
	return rootfs.MachineArch(arch)
}

// requests returns the requests of all architectures.
func (o *buildFlags) requests() (all []*request, err error) {
	if o.reference == "" {
		return nil, cli.Usage(errors.New("empty reference"))
	}
	seen := map[string]bool{}
	for arch := range strings.SplitSeq(o.arch, ",") {
		arch = strings.TrimSpace(arch)
		if seen[machine(arch)] {
			return nil, o.wrong(usage.Error{Field: "Arch", Err: fmt.Errorf("architecture %s is listed twice", arch)})
		}
		seen[machine(arch)] = true
		r, err := o.request(arch)
		if err != nil {
			return nil, o.wrong(err)
		}
		all = append(all, r)
	}
	return all, nil
}

// request returns the request of one architecture. It checks everything that does not
// depend on the container.
func (o *buildFlags) request(arch string) (*request, error) {
	r := &request{pullFlags: o.pullFlags, reference: o.reference, system: o.system, images: o.images, strict: o.strict, sizeBy: o.place("Size")}
	r.arch = arch
	var err error
	if r.images.Platforms, err = cloud.Lookup(machine(arch), o.platforms...); err != nil {
		return nil, usage.Error{Field: "Platforms", Err: cli.WithHint(err, cli.PlatformsHint(o.platforms))}
	}
	if err := r.images.SetCompression(o.compress); err != nil {
		return nil, usage.Error{Field: "Compression", Err: err}
	}
	said, err := r.images.Check(machine(arch))
	if err == nil {
		err = r.system.Check()
	}
	if err != nil {
		return nil, err
	}
	config, warnings, err := butane.Load(o.filesDir, o.ignition...)
	if err != nil {
		return nil, o.placedConfig(err)
	}
	r.images.Ignition, r.warnings = config, append(said.Warnings, warnings...)
	return r, nil
}

// placedConfig adds the place in the definition to an error of opening a config.
func (o *buildFlags) placedConfig(err error) error {
	if at := o.places["Ignition"]; at != "" && errors.As(err, new(*os.PathError)) {
		return fmt.Errorf("%s: %w", at, err)
	}
	return err
}
