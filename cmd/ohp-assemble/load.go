package main

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/cmd/ohp-assemble/internal/cli"
	"github.com/ohp-assemble/ohp-assemble/cmd/ohp-assemble/internal/guard"
	"github.com/ohp-assemble/ohp-assemble/cmd/ohp-assemble/internal/progress"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/assemble"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/oci"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree/container"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/system"
)

// pullFlags are the options of every command that takes a reference.
type pullFlags struct {
	arch     string
	cache    string
	policy   string
	registry registryFlags
	format   form
}

func (o *pullFlags) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.arch, "arch", runtime.GOARCH, "`architecture`, if the reference has several; a variant may follow: amd64/v3")
	f.StringVar(&o.cache, "cache", "", "`folder` of inflated layers (default: ohp-assemble in the user's cache folder)")
	f.StringVar(&o.policy, "policy", "", "policy.json, a `file` with rules for the signatures of the container")
	o.registry.flags(cmd)
	o.format.flag(cmd)
}

// options returns the options for pulling a container.
func (o *pullFlags) options() (oci.Options, error) {
	cache, err := cli.CacheDir(o.cache)
	if err != nil {
		return oci.Options{}, err
	}
	reg, err := o.registry.options()
	return oci.Options{Cache: cache, Arch: o.arch, Policy: o.policy, Registry: reg}, err
}

// resolve resolves a reference. It reads no layer. The caller closes the manifest, or
// fetches and closes the image.
func resolve(ctx context.Context, ui *progress.Display, reference string, o oci.Options) (*oci.Manifest, error) {
	m, err := guard.Call(ctx, func() (*oci.Manifest, error) { return oci.Resolve(ctx, reference, o) })
	if err == nil && !strings.Contains(reference, "@") {
		ui.Say("resolved to %s", m.Reference)
	}
	return m, err
}

// fetch pulls a container with an operating system, and shows the progress.
func fetch(ctx context.Context, ui *progress.Display, reference string, o oci.Options) (image *oci.Image, err error) {
	s := ui.Begin("pull", "pull", 0)
	defer func() { s.End(err) }()
	o.Progress = s
	m, err := resolve(ctx, ui, reference, o)
	if err != nil {
		return nil, err
	}
	if err := container.Check(m.Config); err != nil {
		m.Close()
		return nil, fmt.Errorf("%s: %w", reference, err)
	}
	return guard.Call(ctx, func() (*oci.Image, error) { return m.Fetch(ctx) })
}

// load pulls the container of a request, plans the images, and prints warnings and
// notes. The caller closes the container after writing the images.
func load(ctx context.Context, ui *progress.Display, r *request) (_ *assemble.Plan, _ *oci.Image, err error) {
	if err := ui.Warn(r.warnings, r.strict); err != nil {
		return nil, nil, err
	}
	o, err := r.options()
	if err != nil {
		return nil, nil, err
	}
	o.Limits.Holes = r.images.Size
	image, err := fetch(ctx, ui, r.reference, o)
	if err != nil {
		return nil, nil, err
	}
	plan, err := planImages(ui, image, r)
	if err != nil {
		image.Close()
		return nil, nil, err
	}
	return plan, image, nil
}

// planImages plans the images of a request from a pulled container.
func planImages(ui *progress.Display, image *oci.Image, r *request) (*assemble.Plan, error) {
	s, err := system.New(image, r.system)
	if err != nil {
		return nil, err
	}
	if err := ui.Warn(cli.WithOptions(s.Warnings), r.strict); err != nil {
		return nil, err
	}
	plan, err := assemble.New(s, r.images)
	if err != nil {
		return nil, err
	}
	for _, n := range cli.WithOptions(slices.Concat(s.Notes, plan.Notes)) {
		ui.Say("note: %s", n)
	}
	added := slices.DeleteFunc(slices.Clone(plan.Warnings), func(w string) bool { return slices.Contains(r.warnings, w) })
	return plan, ui.Warn(cli.WithOptions(added), r.strict)
}
