package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/manifests"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/layout"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ignition"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ignition/butane"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree/container"
)

// buildOptions are what build and plan are asked for.
type buildOptions struct {
	reference string
	manifest  string // file of the image definition; the options that are given go before what it says
	name      string // of the images' files
	platforms []string
	arch      string
	ignition  []string // files
	filesDir  string   // what Butane configs may refer to
	kargs     []string
	rootFS    string
	size      string
	origin    string
	merge     string
	strict    bool
	cache     string
	authFile  string
	tlsVerify bool
	policy    string
	format    string
}

// pullFlags declares the options of every command that takes a reference.
func (o *buildOptions) pullFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.arch, "arch", runtime.GOARCH, "`architecture`, where the reference offers several")
	f.StringVar(&o.cache, "cache", "", "`folder` of inflated layers (default: ohp-assemble in the user's cache folder)")
	f.StringVar(&o.authFile, "authfile", "", "`file` of registry credentials")
	f.StringVar(&o.policy, "policy", "", "policy.json, a `file` that says whose signatures the container must have")
	f.BoolVar(&o.tlsVerify, "tls-verify", true, "require HTTPS and verify certificates")
	formatFlag(cmd, &o.format)
}

// flags declares the options that build and plan share.
func (o *buildOptions) flags(cmd *cobra.Command) {
	o.pullFlags(cmd)
	f := cmd.Flags()
	f.StringVarP(&o.manifest, "manifest", "m", "", "image definition, a `file` that says what else would be options")
	f.StringVar(&o.name, "name", "", "first `part` of the images' file names (default: the operating system's name)")
	f.StringSliceVar(&o.platforms, "platform", []string{"qemu"}, "`platforms` to make images for: "+strings.Join(platformIDs(), ", "))
	f.StringArrayVar(&o.ignition, "ignition", nil, "Ignition config, or Butane config (.bu), to embed: a `file`; several are merged, the last one wins")
	f.StringVar(&o.filesDir, "files-dir", "", "`folder` of the files that Butane configs refer to")
	f.StringArrayVar(&o.kargs, "karg", nil, "more kernel `argument`; may be repeated")
	f.StringVar(&o.rootFS, "root-fs", "", "root `file system`: xfs or ext4 (default: what the container asks for, or xfs)")
	f.StringVar(&o.size, "size", "", "`size` of the disk, as 10GiB (default: the container's for virtual machines, as small as can be for metal)")
	f.StringVar(&o.merge, "merge", container.MergeOSTree, "`how` layers on top of the base are merged: ostree, as the system will at its next upgrade, or oci, as their author saw them")
	f.BoolVar(&o.strict, "strict", false, "take warnings for errors")
	f.StringVar(&o.origin, "origin", "", "where the system takes its updates from, as in ostree's `container-image-reference`")
	cmd.RegisterFlagCompletionFunc("platform", cobra.FixedCompletions(platformIDs(), cobra.ShellCompDirectiveNoFileComp))
	cmd.RegisterFlagCompletionFunc("merge", cobra.FixedCompletions([]string{container.MergeOSTree, container.MergeOCI}, cobra.ShellCompDirectiveNoFileComp))
	cmd.RegisterFlagCompletionFunc("root-fs", cobra.FixedCompletions([]string{"xfs", "ext4"}, cobra.ShellCompDirectiveNoFileComp))
}

func formatFlag(cmd *cobra.Command, format *string) {
	cmd.Flags().StringVar(format, "format", "text", "`form` of the result: text or json")
	cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
}

func checkFormat(format string) error {
	if format != "text" && format != "json" {
		return usageError{fmt.Errorf("format %q: there are text and json", format)}
	}
	return nil
}

func platformIDs() (ids []string) {
	for _, p := range cloud.Platforms {
		ids = append(ids, p.ID)
	}
	return ids
}

// A request is buildOptions, checked, before anything is fetched.
type request struct {
	buildOptions
	targets  []cloud.Platform
	bytes    int64  // asked for; 0 is the platform's
	config   []byte // Ignition; nil for none
	warnings []string
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
	for arch := range strings.SplitSeq(o.arch, ",") {
		one := *o
		one.arch = arch
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
	for flag, values := range map[string][]string{
		"name": {m.Metadata.Name}, "merge": {spec.Merge}, "origin": {spec.Origin}, "arch": {strings.Join(spec.Architectures, ",")},
		"platform": spec.Platforms, "size": {spec.Disk.Size}, "root-fs": {spec.Disk.RootFilesystem}, "karg": spec.KernelArguments,
		"ignition": spec.Ignition, "files-dir": {spec.FilesDir}, "strict": {strconv.FormatBool(spec.Strict)},
	} {
		if cmd.Flags().Changed(flag) {
			continue
		}
		for _, v := range values {
			if v == "" {
				continue
			}
			if err := cmd.Flags().Set(flag, v); err != nil {
				return usageError{fmt.Errorf("%s: %w", o.manifest, err)}
			}
		}
	}
	o.reference = m.Spec.Source
	return nil
}

func (o buildOptions) check() (*request, error) {
	r := &request{buildOptions: o}
	if err := checkFormat(o.format); err != nil {
		return nil, err
	}
	if o.reference == "" {
		return nil, usageError{errors.New("the reference is empty")}
	}
	if err := layout.Supports(machine(o.arch)); err != nil {
		return nil, usageError{err}
	}
	seen := map[string]bool{}
	for _, id := range o.platforms {
		p, err := cloud.Lookup(id)
		if err != nil {
			return nil, usageError{err}
		}
		if !seen[id] {
			r.targets = append(r.targets, p)
		}
		seen[id] = true
	}
	if len(r.targets) == 0 {
		return nil, usageError{errors.New("no platform")}
	}
	if o.name != fileName(o.name) {
		return nil, usageError{fmt.Errorf("name %q does not fit into a file's name", o.name)}
	}
	if o.merge != container.MergeOSTree && o.merge != container.MergeOCI {
		return nil, usageError{fmt.Errorf("merge %q: there are ostree and oci", o.merge)}
	}
	if o.rootFS != "" && o.rootFS != "xfs" && o.rootFS != "ext4" {
		return nil, usageError{fmt.Errorf("root file system %q: there are xfs and ext4", o.rootFS)}
	}
	for _, k := range o.kargs {
		if strings.Contains(k, "$") {
			r.warn("--karg %s: GRUB replaces $NAME by its own variable of that name", k)
		}
		if strings.TrimSpace(k) == "" || strings.ContainsAny(k, "\n\r\x00") {
			return nil, usageError{fmt.Errorf("kernel argument %q does not fit on the command line", k)}
		}
		for word := range strings.FieldsSeq(k) {
			switch name, _, _ := strings.Cut(word, "="); name {
			case "ostree", "ignition.platform.id":
				return nil, usageError{fmt.Errorf("kernel argument %q: %s= is the image's own", k, name)}
			case "root", "boot":
				r.warn("--karg %s: with it the first boot keeps the file systems' UUIDs, which all machines then share", k)
			}
		}
	}
	var err error
	if o.size != "" {
		if r.bytes, err = parseBytes(o.size); err != nil {
			return nil, usageError{err}
		}
		if r.bytes%(1<<20) != 0 {
			return nil, usageError{fmt.Errorf("size %q: not a whole number of MiB", o.size)}
		}
	}
	if r.config, err = r.readConfigs(); err != nil {
		return nil, err
	}
	r.cache, err = cacheDir(o.cache)
	return r, err
}

// readConfigs returns the one Ignition config that all the files make, or nil.
func (r *request) readConfigs() ([]byte, error) {
	var configs [][]byte
	for _, name := range r.ignition {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
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
	if configs == nil {
		return nil, nil
	}
	return ignition.Merge(configs...)
}

func (r *request) warn(format string, args ...any) {
	r.warnings = append(r.warnings, fmt.Sprintf(format, args...))
}

// checkAuthFile sees that the file of credentials is there. The image library
// takes one that is missing for one that is empty.
func (o *buildOptions) checkAuthFile() error {
	if o.authFile == "" {
		return nil
	}
	if _, err := os.Stat(o.authFile); err != nil {
		return fmt.Errorf("authfile: %w", err)
	}
	return nil
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
