package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/cmd/ohp-assemble/internal/cli"
	"github.com/ohp-assemble/ohp-assemble/cmd/ohp-assemble/internal/guard"
	"github.com/ohp-assemble/ohp-assemble/cmd/ohp-assemble/internal/progress"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/assemble"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/build"
)

// compressOptions are the options of compress and decompress.
type compressOptions struct {
	compression string
	request     assemble.Request // Compression, AsPublished and Level
	format      form
	keep        bool
	quiet       bool
}

func (o *compressOptions) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&o.keep, "keep", false, "keep the input files")
	quietFlag(cmd, &o.quiet)
	o.format.flag(cmd)
}

func compressCommand() *cobra.Command {
	o := compressOptions{compression: assemble.AsPublished}
	cmd := &cobra.Command{
		Use:   "compress FOLDER",
		Short: "Compress the images of a build, as they are published",
		Long: `Compress the images in the folder of a build that are not yet compressed, and
record them in meta.json. Images whose format compresses, such as an OVA, do not
change. The folder may have one folder for each architecture. An interrupted run
can be repeated.`,
		Example: `  ohp-assemble build registry.example/os@sha256:... --platform all --out images
  ohp-assemble compress images`,
		Args: cli.ExactArgs(1, "the folder of a build"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.request.SetCompression(o.compression); err != nil {
				return cli.Usage(err)
			}
			if err := assemble.CheckLevel(o.request.Compression, o.request.Level); err != nil {
				return cli.Usage(err)
			}
			return o.recompress(cmd, args[0], build.Compressed(o.request))
		},
	}
	o.flags(cmd)
	compressFlags(cmd, &o.compression, &o.request.Level)
	return cmd
}

func decompressCommand() *cobra.Command {
	var o compressOptions
	cmd := &cobra.Command{
		Use:   "decompress FOLDER",
		Short: "Decompress the images of a build",
		Args:  cli.ExactArgs(1, "the folder of a build"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.recompress(cmd, args[0], build.Uncompressed)
		},
	}
	o.flags(cmd)
	return cmd
}

func (o *compressOptions) recompress(cmd *cobra.Command, dir string, want build.Target) error {
	ui := progress.New(o.quiet)
	begin := func(w build.Work) build.Step { return ui.Begin("compress", "write "+filepath.Base(w.Path), w.Size) }
	files, err := guard.Call(cmd.Context(), func() ([]build.Written, error) {
		return build.Recompress(cmd.Context(), dir, want, build.RecompressOptions{Level: o.request.Level, Keep: o.keep, Begin: begin})
	})
	ui.Wait()
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	res, err := build.NewImagesReport(files)
	if err != nil {
		return err
	}
	return o.format.print(cmd, res)
}
