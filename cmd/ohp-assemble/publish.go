package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/cmd/ohp-assemble/internal/cli"
	"github.com/ohp-assemble/ohp-assemble/cmd/ohp-assemble/internal/guard"
	"github.com/ohp-assemble/ohp-assemble/cmd/ohp-assemble/internal/progress"
	"github.com/ohp-assemble/ohp-assemble/manifests"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/usage"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/publish"
)

// publishFlags are the options of publish, except for those of [publish.Options].
type publishFlags struct {
	definition string
	cache      string
	registry   registryFlags
	format     form
}

func publishCommand() *cobra.Command {
	var o publishFlags
	var p publish.Options
	quiet := false
	cmd := &cobra.Command{
		Use:   "publish FOLDER REPOSITORY[:TAG] | publish FOLDER -m DEFINITION",
		Short: "Put the images of a build into a container registry",
		Long: `Publish the images of a build in a container registry: an artifact for each
image, an index of the images under the tag (by default VERSION-images), and the
documents in the folder. In the repository of the operating system's container,
clients also find the images as its referrers.

The digest of each image's manifest is recorded in images.json and in the image's
.upload.json, for tools that cannot read an index. For Ironic and Metal3 the
output has it as oci://REPOSITORY@sha256:...

A registry that rejects artifacts gets containers with the images in them. The
cache remembers the form that a registry accepts; --as artifact tries again.

A tag has all images of one version. If it has images that the folder lacks, such
as those of another architecture, publishing fails unless --replace drops them.
To keep them, publish a folder with the folders of all architectures.

Views are the same images in the forms that other tools expect, under tags of
their own:
` + viewHelp(),
		Example: `  ohp-assemble publish images registry.example/os:43-images
  ohp-assemble publish images registry.example/os:43-images --stream stable --view all --format json`,
		Args: cli.RangeArgs(1, 2, "a folder and a repository"),
		RunE: func(cmd *cobra.Command, args []string) error {
			args, err := o.destination(args, &p)
			if err != nil {
				return err
			}
			res, err := o.publish(cmd.Context(), progress.New(quiet), args[0], args[1], p)
			if err != nil {
				return err
			}
			if err := guard.Do(cmd.Context(), func() error { return res.Record(args[0]) }); err != nil { // not a failure: the images are published
				res.Notes = append(res.Notes, fmt.Sprintf("the digests are not recorded in %s: %v", args[0], err))
			}
			return o.format.print(cmd, res)
		},
	}
	f := cmd.Flags()
	definitionFlag(cmd, &o.definition, "image definition, a YAML `file` with the repository of its images")
	f.Var(&usage.Words{List: &p.Views}, "view", "`views` to publish as well, or all that apply")
	f.StringVar(&p.Stream, "stream", "", "`name` of the stream: its metadata, with this build as the current release, is published with the images")
	f.BoolVar(&p.Secrets, "allow-secret", false, "publish images that contain an Ignition config")
	f.BoolVar(&p.Replace, "replace", false, "drop images of the same version that the folder lacks from the tag")
	f.StringVar(&p.As, "as", "auto", "`form`: artifact, container, or auto for the one that the registry accepts")
	f.StringVar(&p.MountFrom, "mount-from", "", "`repository` in the same registry that may have the images already")
	cacheFlag(cmd, &o.cache)
	o.registry.flags(cmd)
	quietFlag(cmd, &quiet)
	o.format.flag(cmd)
	complete(cmd, "as", "auto", "artifact", "container")
	complete(cmd, "view", publish.ViewNames()...)
	return cmd
}

// destination returns the folder and the repository. A definition has defaults for
// the repository and the stream.
func (o *publishFlags) destination(args []string, p *publish.Options) ([]string, error) {
	if o.definition != "" {
		m, err := manifests.Load(o.definition)
		if err != nil {
			return nil, err
		}
		if len(args) == 1 && m.Spec.Publish.Repository != "" {
			args = append(args, m.Spec.Publish.Repository)
		}
		p.Stream = cmp.Or(p.Stream, m.Spec.Publish.Stream)
	}
	if len(args) != 2 {
		return nil, cli.Usage(errors.New("missing repository, want FOLDER REPOSITORY, or a definition with a repository"))
	}
	if cli.IsFolder(args[1]) && !cli.IsFolder(args[0]) {
		return nil, cli.Usage(fmt.Errorf("%s: want the folder first, then the repository", args[1]))
	}
	return args, nil
}

// viewHelp lists the views, one a line.
func viewHelp() (text string) {
	for _, v := range publish.Views {
		text += fmt.Sprintf("  %-16s %s\n", v.Name, v.For)
	}
	return text
}

// publish publishes the builds in a folder, and shows the digest of each plan.
func (o *publishFlags) publish(ctx context.Context, ui *progress.Display, dir, to string, p publish.Options) (*publish.Result, error) {
	var err error
	if o.cache, err = cli.CacheDir(o.cache); err != nil {
		return nil, err
	}
	if p.Registry, err = o.registry.options(); err != nil {
		return nil, err
	}
	if p.Stream == "" && cli.IsFolder(dir) { // otherwise a new one is made
		if p.Documents, err = publish.StreamDocument(dir); err != nil {
			return nil, cli.WithHint(err, "remove the document, or make it anew with --stream")
		}
	}
	p.Memory = filepath.Join(o.cache, "registries.json")
	defer ui.Wait()
	s := ui.Begin("publish", "publish "+to, 0)
	p.Progress = s
	last := ""
	p.Planned = func(plan *publish.Plan) {
		if plan.Result.Digest != last {
			ui.Say("will be %s, as %s", plan.Result.Reference, plan.Result.Form)
		}
		last = plan.Result.Digest
	}
	res, err := guard.Call(ctx, func() (*publish.Result, error) { return publish.Publish(ctx, dir, to, p) })
	s.End(err)
	return res, err
}
