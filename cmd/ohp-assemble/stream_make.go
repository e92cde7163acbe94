package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/cmd/ohp-assemble/internal/cli"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/usage"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/source"
)

// makeFlags are the options of stream make.
type makeFlags struct {
	sourceFlags
	stream, baseURL, repository, document string
	options                               stream.MakeOptions
}

func streamMakeCommand() *cobra.Command {
	o := makeFlags{document: "stream"}
	out := ""
	cmd := &cobra.Command{
		Use:   "make BUILD...",
		Short: "Make stream.json, release.json or releases.json of builds",
		Long: `Make stream.json, release.json or releases.json of builds. A build is a folder
with meta.json, a folder with one such folder for each architecture, or the
release.json of an earlier build.

The images are on a web server (--base-url) or in a registry (--repository). In a
registry they must have been published; the reference is that of the index that
lists them.`,
		Example: `  ohp-assemble stream make images --stream stable --base-url 'https://example.org/{stream}/builds/{version}/{arch}'
  ohp-assemble stream make images --stream stable --repository registry.example/os:41-images -o stable.json
  ohp-assemble stream make images --stream stable --base-url https://example.org/{arch} --document releases --release-url https://example.org/release.json`,
		Args: cli.AtLeast(1, "builds"),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := o.make(cmd.Context(), args)
			if err != nil {
				return err
			}
			return put(cmd, d.Bytes(), out)
		},
	}
	o.sourceFlags.flags(cmd)
	outFlag(cmd, &out)
	f := cmd.Flags()
	f.StringVar(&o.stream, "stream", "", "`name` of the stream")
	f.StringVar(&o.baseURL, "base-url", "", "base `URL` of the images on a web server; {stream}, {version} and {arch} are replaced")
	f.StringVar(&o.repository, "repository", "", "`reference` of the images in a registry")
	choiceFlag(cmd, &o.document, "document", "`document` to make: stream, release or releases", "stream", "release", "releases")
	f.StringVar(&o.options.ReleaseURL, "release-url", "", "`URL` of release.json, for releases.json; {stream} and {version} are replaced")
	f.StringVar(&o.options.LastModified, "last-modified", "", "modification `time` of the document (default: the creation time of the builds' containers)")
	return cmd
}

// make makes a document of the builds that the arguments name.
func (o *makeFlags) make(ctx context.Context, args []string) (*stream.Document, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	from, err := o.source()
	if err != nil {
		return nil, err
	}
	var where stream.Projection
	if slices.ContainsFunc(args, cli.IsFolder) {
		if where, err = o.projection(ctx, from); err != nil {
			return nil, err
		}
	}
	releases, err := from.Releases(ctx, args, o.stream, where)
	if err != nil {
		return nil, err
	}
	return stream.Make(releases, o.options)
}

func (o *makeFlags) check() error {
	if o.baseURL != "" && o.repository != "" {
		return cli.Usage(errors.New("--base-url and --repository exclude each other"))
	}
	o.options.Kind = stream.Kind(o.document + ".json")
	err := o.options.Check()
	if wrong := (usage.Error{}); errors.As(err, &wrong) {
		flag := map[string]string{"ReleaseURL": "--release-url", "LastModified": "--last-modified"}[wrong.Field]
		return cli.Usage(fmt.Errorf("%s: %w", flag, wrong.Err))
	}
	return err
}

// projection returns the locations of the images of builds.
func (o *makeFlags) projection(ctx context.Context, from *source.Source) (stream.Projection, error) {
	switch {
	case o.stream == "":
		return nil, cli.Usage(errors.New("missing --stream, the name of the builds' stream"))
	case o.baseURL != "":
		where, err := stream.HTTP(o.baseURL)
		if err != nil {
			return nil, cli.Usage(err)
		}
		return where, nil
	case o.repository == "":
		return nil, cli.Usage(errors.New("missing --base-url or --repository, the location of the images"))
	}
	where, err := from.Projection(ctx, o.repository)
	if errors.Is(err, source.ErrReference) {
		err = cli.Usage(err)
	}
	return where, err
}
