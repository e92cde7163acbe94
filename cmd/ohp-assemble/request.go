package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/manifests"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/compress"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/layout"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/coreos"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ignition"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ignition/butane"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree/container"
)

// buildOptions are what build and plan are asked for.
type buildOptions struct {
	reference string
	manifest  string            // file of the image definition; the options that are given go before what it says
	places    map[string]string // where in it the options stand that are its own
	name      string            // of the images' files
	platforms []string
	arch      string
	ignition  []string // files
	filesDir  string   // what Butane configs may refer to
	kargs     []string
	rootFS    string
	size      string
	bootSize  string
	espSize   string
	origin    string
	merge     string
	strict    bool
	noSELinux bool
	cache     string
	registry  registryFlags
	policy    string
	compress  string
	level     int
	format    string
}

// pullFlags declares the options of every command that takes a reference.
func (o *buildOptions) pullFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.arch, "arch", runtime.GOARCH, "`architecture`, where the reference offers several; a variant may follow, as amd64/v3")
	f.StringVar(&o.cache, "cache", "", "`folder` of inflated layers (default: ohp-assemble in the user's cache folder)")
	f.StringVar(&o.policy, "policy", "", "policy.json, a `file` that says whose signatures the container must have")
	o.registry.flags(cmd)
	formatFlag(cmd, &o.format)
}

// flags declares the options that build and plan share.
func (o *buildOptions) flags(cmd *cobra.Command) {
	o.pullFlags(cmd)
	f := cmd.Flags()
	f.StringVarP(&o.manifest, "manifest", "m", "", "image definition, a `file` that says what else would be options")
	f.StringVar(&o.name, "name", "", "first `part` of the images' file names (default: the operating system's name)")
	f.StringSliceVar(&o.platforms, "platform", []string{"qemu"}, "`platforms` to make images for: "+strings.Join(cloud.IDs(), ", ")+", or all that Fedora CoreOS has on the architecture")
	f.StringArrayVar(&o.ignition, "ignition", nil, "Ignition config, or Butane config (.bu), to embed: a `file`; several are merged, the last one wins")
	f.StringVar(&o.filesDir, "files-dir", "", "`folder` of the files that Butane configs refer to")
	f.StringArrayVar(&o.kargs, "karg", nil, "more kernel `argument`; may be repeated")
	f.StringVar(&o.rootFS, "root-fs", "", "root `file system`: xfs or ext4 (default: what the container asks for, or xfs)")
	f.StringVar(&o.size, "size", "", "`size` of the disk, a whole number as 10GiB or 1536MiB (default: the container's for virtual machines, as small as can be for metal)")
	f.StringVar(&o.bootSize, "boot-size", "", "`size` of the boot partition (default: the container's, or 384MiB)")
	f.StringVar(&o.espSize, "esp-size", "", "`size` of the EFI system partition; from 512MiB on it is FAT32 (default: the container's, or 127MiB)")
	f.StringVar(&o.merge, "merge", container.MergeOSTree, "`how` layers on top of the base are merged: ostree, as the system will at its next upgrade, or oci, as their author saw them")
	f.BoolVar(&o.strict, "strict", false, "take warnings for errors")
	f.BoolVar(&o.noSELinux, "no-selinux", false, "take a container without an SELinux policy, or with one that is disabled: no file of the image gets a label")
	compressFlags(cmd, o, compress.None.String())
	f.StringVar(&o.origin, "origin", "", "where the system takes its updates from, as in ostree's `container-image-reference`")
	cmd.RegisterFlagCompletionFunc("platform", cobra.FixedCompletions(append(cloud.IDs(), cloud.All), cobra.ShellCompDirectiveNoFileComp))
	cmd.RegisterFlagCompletionFunc("merge", cobra.FixedCompletions([]string{container.MergeOSTree, container.MergeOCI}, cobra.ShellCompDirectiveNoFileComp))
	cmd.RegisterFlagCompletionFunc("root-fs", cobra.FixedCompletions([]string{"xfs", "ext4"}, cobra.ShellCompDirectiveNoFileComp))
}

// compressFlags declares how files are compressed.
func compressFlags(cmd *cobra.Command, o *buildOptions, usual string) {
	cmd.Flags().StringVar(&o.compress, "compress", usual, "`how` the files are compressed: none, gzip, xz, zstd, zip, or platform, which is as the images of each platform are published")
	cmd.Flags().IntVar(&o.level, "compress-level", 0, "`level` of the compression, 1 to 9, of zstd to 22; 0 is its own default")
	cmd.RegisterFlagCompletionFunc("compress", cobra.FixedCompletions([]string{"none", "gzip", "xz", "zstd", "zip", asPublished}, cobra.ShellCompDirectiveNoFileComp))
}

func formatFlag(cmd *cobra.Command, format *string) {
	cmd.Flags().StringVar(format, "format", "text", "`form` of the result: text or json")
	cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
}

func checkFormat(format string) error {
	if format != "text" && format != "json" {
		return usageError{withHint(fmt.Errorf("format %q: there are text and json", format), formatHint(format))}
	}
	return nil
}

// A request is buildOptions, checked, before anything is fetched.
type request struct {
	buildOptions
	targets  []cloud.Platform
	bytes    int64 // of the disk; 0 for the platform's
	boot     coreos.Size
	esp      coreos.Size
	config   []byte // Ignition; nil for none
	warnings []string
	notes    []string
}

// machine returns the architecture, as a machine calls it, without its variant.
func (o *buildOptions) machine() string {
	arch, _, _ := strings.Cut(o.arch, "/")
	return rootfs.MachineArch(arch)
}

// requests are what build and plan are asked for, one for each architecture.
func (o *buildOptions) requests(cmd *cobra.Command, args []string) (all []*request, err error) {
	if o.manifest != "" && len(args) == 0 {
		err = o.define(cmd)
	} else if err = exactArgs(1, "one reference or a definition with -m")(cmd, args); err == nil && o.manifest != "" {
		err = usageError{errors.New("a definition names its container: give a reference or -m")}
	} else if err == nil {
		o.reference = args[0]
	}
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for arch := range strings.SplitSeq(o.arch, ",") {
		arch = strings.TrimSpace(arch)
		one := *o
		one.arch = arch
		if seen[one.machine()] {
			return nil, o.wrong("arch", fmt.Errorf("architecture %s is there twice", arch))
		}
		seen[one.machine()] = true
		r, err := one.check()
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

// define takes from the image definition what no option says.
func (o *buildOptions) define(cmd *cobra.Command) error {
	text, err := os.ReadFile(o.manifest)
	if err != nil {
		return err
	}
	m, err := manifests.Parse(text, o.manifest)
	if err != nil {
		return err
	}
	spec := &m.Spec
	o.places = map[string]string{}
	for _, d := range []struct {
		flag, key string
		values    []string
	}{
		{"name", "metadata.name", []string{m.Metadata.Name}},
		{"merge", "spec.merge", []string{spec.Merge}},
		{"origin", "spec.origin", []string{spec.Origin}},
		{"arch", "spec.architectures", []string{strings.Join(spec.Architectures, ",")}},
		{"platform", "spec.platforms", spec.Platforms},
		{"size", "spec.disk.size", []string{spec.Disk.Size}},
		{"boot-size", "spec.disk.bootSize", []string{spec.Disk.BootSize}},
		{"esp-size", "spec.disk.espSize", []string{spec.Disk.ESPSize}},
		{"root-fs", "spec.disk.rootFilesystem", []string{spec.Disk.RootFilesystem}},
		{"karg", "spec.kernelArguments", spec.KernelArguments},
		{"ignition", "spec.ignition", spec.Ignition},
		{"files-dir", "spec.filesDir", []string{spec.FilesDir}},
		{"compress", "spec.compression", []string{spec.Compression}},
		{"strict", "spec.strict", []string{strconv.FormatBool(spec.Strict)}},
		{"no-selinux", "spec.noSELinux", []string{strconv.FormatBool(spec.NoSELinux)}},
	} {
		if cmd.Flags().Changed(d.flag) {
			continue
		}
		o.places[d.flag] = m.At(d.key)
		for _, v := range d.values {
			if v == "" {
				continue
			}
			if err := cmd.Flags().Set(d.flag, v); err != nil {
				return o.wrong(d.flag, err)
			}
		}
	}
	o.reference = m.Spec.Source
	return nil
}

// placed is the error of an option, with its place if it is the definition's.
func (o *buildOptions) placed(flag string, err error) error {
	if at := o.places[flag]; at != "" {
		err = fmt.Errorf("%s: %w", at, err)
	}
	return err
}

// wrong is that of one that makes no sense.
func (o *buildOptions) wrong(flag string, err error) error { return usageError{o.placed(flag, err)} }

func (o buildOptions) check() (*request, error) {
	r := &request{buildOptions: o}
	if err := checkFormat(o.format); err != nil {
		return nil, err
	}
	if o.reference == "" {
		return nil, usageError{errors.New("the reference is empty")}
	}
	if err := layout.Supports(o.machine()); err != nil {
		return nil, o.wrong("arch", err)
	}
	var err error
	if r.targets, err = cloud.Lookup(o.machine(), o.platforms...); err != nil {
		return nil, o.wrong("platform", withHint(err, platformsHint(o.platforms)))
	}
	if len(r.targets) == 0 {
		return nil, o.wrong("platform", errors.New("no platform"))
	}
	for _, p := range r.targets {
		arches := strings.Join(strings.Fields(p.Arches), " and ")
		switch has := p.Has(o.machine()); {
		case p.Emerging && has:
			r.notes = append(r.notes, fmt.Sprintf("platform %s: Fedora CoreOS has no images for it; this one follows the platform's documentation", p.ID))
		case p.Emerging:
			r.warn("platform %s: it has machines of %s only", p.ID, arches)
		case !has:
			r.warn("platform %s: Fedora CoreOS has images for it on %s only", p.ID, arches)
		}
	}
	if err := o.checkCompression(); err != nil {
		return nil, o.wrong("compress", err)
	}
	if o.name != fileName(o.name) {
		return nil, o.wrong("name", fmt.Errorf("name %q does not fit into a file's name", o.name))
	}
	if o.merge != container.MergeOSTree && o.merge != container.MergeOCI {
		return nil, o.wrong("merge", fmt.Errorf("merge %q: there are ostree and oci", o.merge))
	}
	if o.rootFS != "" && o.rootFS != "xfs" && o.rootFS != "ext4" {
		return nil, o.wrong("root-fs", fmt.Errorf("root file system %q: there are xfs and ext4", o.rootFS))
	}
	for _, k := range o.kargs {
		warnings, err := coreos.CheckArg(k)
		if err != nil {
			return nil, o.wrong("karg", err)
		}
		for _, w := range warnings {
			r.warn("--karg %s: %s", k, w)
		}
	}
	if o.size != "" {
		if r.bytes, err = parseBytes(o.size); err != nil {
			return nil, o.wrong("size", err)
		}
		if r.bytes%(1<<20) != 0 {
			return nil, o.wrong("size", fmt.Errorf("size %q: not a whole number of MiB", o.size))
		}
		for _, p := range r.targets {
			if err := p.Check(r.bytes); err != nil {
				return nil, o.wrong("size", fmt.Errorf("platform %s: %w", p.ID, err))
			}
		}
	}
	if r.boot, err = o.partitionSize("boot-size", o.bootSize, layout.CheckBoot); err != nil {
		return nil, usageError{err}
	}
	checkESP := func(s coreos.Size) error { return layout.CheckESP(o.machine(), s) }
	if r.esp, err = o.partitionSize("esp-size", o.espSize, checkESP); err != nil {
		return nil, usageError{err}
	}
	if r.config, err = r.readConfigs(); err != nil {
		return nil, err
	}
	r.cache, err = cacheDir(o.cache)
	return r, err
}

// partitionSize reads the size of a partition from an option; the zero Size is
// no option.
func (o *buildOptions) partitionSize(flag, text string, check func(coreos.Size) error) (s coreos.Size, err error) {
	if text == "" {
		return s, nil
	}
	s.By = o.place(flag)
	if s.Bytes, err = parseBytes(text); err != nil {
		return s, fmt.Errorf("%s: %w", s.By, err)
	}
	return s, check(s)
}

// place returns the place of an option: in a definition, or on the command line.
func (o *buildOptions) place(flag string) string { return cmp.Or(o.places[flag], "--"+flag) }

// asPublished says that each platform's files are compressed as they are
// published.
const asPublished = "platform"

func (o *buildOptions) checkCompression() error {
	if o.level < 0 || o.level > 22 || o.level > 9 && o.compress != string(compress.Zstd) {
		return fmt.Errorf("compression level %d: there are 1 to 9, of zstd to 22", o.level)
	}
	if o.compress == asPublished {
		return nil
	}
	_, err := compress.Parse(o.compress)
	return err
}

// compression returns how a platform's file is compressed. What is published
// as it is has its compression inside.
func (o *buildOptions) compression(p cloud.Platform) compress.Kind {
	switch {
	case p.Published == "":
		return compress.None
	case o.compress == asPublished:
		return p.Published
	}
	kind, _ := compress.Parse(o.compress) // checked
	return kind
}

// readConfigs returns the one Ignition config that all the files make, or nil.
func (r *request) readConfigs() ([]byte, error) {
	var configs [][]byte
	for _, name := range r.ignition {
		text, err := readConfig(name)
		if err != nil {
			return nil, r.placed("ignition", err)
		}
		if strings.HasSuffix(name, ".bu") {
			var warnings []string
			if text, warnings, err = butane.Translate(text, butane.Options{Name: name, FilesDir: r.filesDir}); err != nil {
				return nil, err
			}
			r.warnings = append(r.warnings, warnings...)
		} else {
			warnings, err := ignition.Validate(text)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			for _, w := range warnings {
				r.warn("%s: %s", name, w)
			}
		}
		configs = append(configs, text)
	}
	switch len(configs) {
	case 0:
		return nil, nil
	case 1:
		return configs[0], nil // checked
	}
	return ignition.Merge(configs...)
}

// readConfig reads a file that may be a pipe, up to the size of a config.
func readConfig(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, ignition.MaxSize+1))
	if err == nil && len(text) > ignition.MaxSize {
		err = fmt.Errorf("%s: config is larger than %d MiB", name, ignition.MaxSize>>20)
	}
	return text, err
}

func (r *request) warn(format string, args ...any) {
	r.warnings = append(r.warnings, fmt.Sprintf(format, args...))
}

// cacheDir returns the folder of the cache: the one that was named, or the user's.
func cacheDir(name string) (string, error) {
	if name != "" {
		return name, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", usageError{fmt.Errorf("no cache folder: %w; name one with --cache", err)}
	}
	return filepath.Join(dir, "ohp-assemble"), nil
}
