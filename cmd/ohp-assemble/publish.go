package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/manifests"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/build"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/publish"
)

// streamFile is the name of stream metadata in a folder of builds.
const streamFile = "stream.json"

// published is the output of publish.
type published struct{ *publish.Result }

// print prints the result for people.
func (r published) print(w io.Writer) {
	rows := [][]string{{"FILE", "ARCH", "SIZE", "DIGEST", "TRANSFER"}}
	for _, e := range r.Entries {
		rows = append(rows, []string{e.File, e.Arch, size(e.Size), e.Digest, string(e.Transfer)})
	}
	table(w, rows)
	fmt.Fprintln(w)
	rows = [][]string{{"TAG", "FOR", "DIGEST"}}
	for _, t := range r.Tags {
		rows = append(rows, []string{t.Tag, t.For, t.Digest})
	}
	table(w, rows)
	rows = [][]string{{"PLATFORM", "ARCH", "BY DIGEST"}}
	for _, e := range r.Entries {
		if e.Platform != "" {
			rows = append(rows, []string{e.Platform, e.Arch, cmp.Or(e.OCI, e.Reference)})
		}
	}
	fmt.Fprintln(w)
	table(w, rows)
	for _, n := range r.Notes {
		fmt.Fprintf(w, "note: %s\n", n)
	}
	fmt.Fprintf(w, "\n%s\nform: %s\n", r.Reference, r.Form)
}

// publishFlags are the options of publish that are not for package publish.
type publishFlags struct {
	definition string
	cache      string
	registry   registryFlags
	format     string
}

func publishCommand() *cobra.Command {
	var o publishFlags
	var p publish.Options
	quiet := false
	cmd := &cobra.Command{
		Use:   "publish FOLDER REPOSITORY[:TAG] | publish FOLDER -m DEFINITION",
		Short: "Put the images of a build into a container registry",
		Long: `Publish puts what build made into a container registry: an artifact for each
image, an index that lists them under the tag (VERSION-images if none is given),
and what else is in the folder to tell about them. Beside the operating system's
own container, in its repository, images are found as its referrers.

The digest of each image's own manifest is recorded in images.json and in the
image's .upload.json. Tools that cannot read an index need that digest; for Ironic
and Metal3 it is printed as oci://REPOSITORY@sha256:...

A registry that does not take artifacts gets containers with the images in them.
Which form it took is remembered in the cache; --as artifact tries again.

Images of one version belong together under a tag: if it has some that the folder
has not, such as those of another architecture, they are lost only with --replace.
Publish a folder with the folders of all architectures instead.

Views are the same images once more, for tools that look for them in their own
way; each has tags of its own:
` + viewHelp(),
		Example: `  ohp-assemble publish images registry.example/os:43-images
  ohp-assemble publish images registry.example/os:43-images --stream stable --view all --format json`,
		Args: rangeArgs(1, 2, "a folder and a repository"),
		RunE: func(cmd *cobra.Command, args []string) error {
			args, err := o.destination(args, &p)
			if err != nil {
				return err
			}
			res, err := o.publish(cmd.Context(), newUI(quiet), args[0], args[1], p)
			if err != nil {
				return err
			}
			if err := recordPublished(cmd.Context(), args[0], res); err != nil { // not a failure: the images are published
				res.Notes = append(res.Notes, fmt.Sprintf("the digests are not recorded in %s: %v", args[0], err))
			}
			return show(cmd.OutOrStdout(), o.format, published{res})
		},
	}
	f := cmd.Flags()
	definitionFlag(cmd, &o.definition, "image definition, a YAML `file` with the repository of its images")
	f.StringSliceVar(&p.Views, "view", nil, "`views` to publish as well, or all that apply")
	f.StringVar(&p.Stream, "stream", "", "`name` of the stream: its metadata, in which this is the current release, is published with the images")
	f.BoolVar(&p.Secrets, "allow-secret", false, "publish images that have an Ignition config in them")
	f.BoolVar(&p.Replace, "replace", false, "drop images of the same version from the tag that the folder has not")
	f.StringVar(&p.As, "as", "auto", "`form`: artifact, container, or auto for what the registry takes")
	f.StringVar(&p.MountFrom, "mount-from", "", "`repository` in the same registry that may have the images already")
	f.StringVar(&o.cache, "cache", "", "`folder` of the cache (default: ohp-assemble in the user's cache folder)")
	o.registry.flags(cmd)
	f.BoolVarP(&quiet, "quiet", "q", false, "say nothing but the result and errors")
	formatFlag(cmd, &o.format)
	cmd.RegisterFlagCompletionFunc("as", cobra.FixedCompletions([]string{"auto", "artifact", "container"}, cobra.ShellCompDirectiveNoFileComp))
	cmd.RegisterFlagCompletionFunc("view", cobra.FixedCompletions(viewNames(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// destination returns the folder and the repository, of which the definition
// says what the arguments do not.
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
		return nil, usageError{errors.New("where to? name a repository, or a definition that does")}
	}
	return args, nil
}

func viewHelp() string {
	var b strings.Builder
	for _, v := range publish.Views {
		fmt.Fprintf(&b, "  %-16s %s\n", v.Name, v.For)
	}
	return b.String()
}

func viewNames() []string {
	names := []string{"all"}
	for _, v := range publish.Views {
		names = append(names, v.Name)
	}
	return names
}

// publish publishes what is in a folder.
func (o *publishFlags) publish(ctx context.Context, ui *ui, dir, to string, p publish.Options) (_ *publish.Result, err error) {
	if err := checkFormat(o.format); err != nil {
		return nil, err
	}
	if o.cache, err = cacheDir(o.cache); err != nil {
		return nil, err
	}
	if p.Registry, err = o.registry.options(); err != nil {
		return nil, err
	}
	if p.Stream == "" { // or it is made anew
		if p.Documents, err = streamOf(dir); err != nil {
			return nil, err
		}
	}
	p.Memory = filepath.Join(o.cache, "registries.json")
	defer ui.wait()
	s := ui.begin("publish", "publish "+to, 0)
	p.Progress = s
	var res *publish.Result
	err = guarded(ctx, func() error {
		res, err = push(ctx, ui, dir, to, p)
		return err
	})
	s.End(err)
	return res, err
}

// push publishes a folder in the first form that the registry takes, and shows the digest
// of each plan.
func push(ctx context.Context, ui *ui, dir, to string, o publish.Options) (*publish.Result, error) {
	plan, err := publish.NewPlan(ctx, dir, to, o)
	last := ""
	for err == nil {
		if plan.Result.Digest != last {
			ui.say("will be %s, as %s", plan.Result.Reference, plan.Result.Form)
		}
		last = plan.Result.Digest
		var res *publish.Result
		if res, err = plan.Push(ctx); err == nil {
			return res, nil
		}
		plan, err = plan.Fallback(err)
	}
	return nil, err
}

// recordPublished records the places of published images in their folder.
func recordPublished(ctx context.Context, dir string, res *publish.Result) error {
	var all []build.Published
	for _, e := range res.Entries {
		if e.Platform == "" { // a document
			continue
		}
		repository, _, _ := strings.Cut(e.Reference, "@")
		all = append(all, build.Published{
			Arch: e.Arch, Platform: e.Platform, SHA256: e.SHA256, Place: cloud.Place{Repository: repository, Manifest: e.Digest},
		})
	}
	return guarded(ctx, func() error { return build.RecordPublished(dir, all) })
}

// streamOf returns the stream metadata in a folder, if there is some.
func streamOf(dir string) ([]publish.Document, error) {
	name := filepath.Join(dir, streamFile)
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	d, err := stream.Parse(name, text)
	if err == nil {
		err = d.Want(stream.KindStream)
	}
	var problems []string
	if err == nil {
		problems, err = stream.Check(d)
	}
	if len(problems) > 0 {
		err = fmt.Errorf("%s: %s", name, strings.Join(problems, "; "))
	}
	if err != nil {
		return nil, fmt.Errorf("%w: remove it, or make it anew with --stream", err)
	}
	return []publish.Document{{Title: streamFile, MediaType: stream.StreamType, Bytes: text}}, nil
}
