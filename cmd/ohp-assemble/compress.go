package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/build"
)

// recompressOptions are the options of compress and decompress.
type recompressOptions struct {
	buildOptions // only compress, level and format
	keep, quiet  bool
}

func (o *recompressOptions) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&o.keep, "keep", false, "keep the input files")
	cmd.Flags().BoolVarP(&o.quiet, "quiet", "q", false, "print only the result and errors")
	formatFlag(cmd, &o.format)
}

func compressCommand() *cobra.Command {
	var o recompressOptions
	cmd := &cobra.Command{
		Use:   "compress FOLDER",
		Short: "Compress the images of a build, as they are published",
		Long: `Compress the images in the folder of a build that are not yet compressed, and
record them in meta.json. Images whose format compresses, such as an OVA, are
not changed. The folder may have one folder for each architecture. An
interrupted run can be repeated.`,
		Example: `  ohp-assemble build registry.example/os@sha256:... --platform all --out images
  ohp-assemble compress images`,
		Args: exactArgs(1, "the folder of a build"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.checkCompression(); err != nil {
				return usageError{err}
			}
			return o.recompress(cmd, args[0], func(f cloud.File) filetype.Compression {
				if f.Type.Compression != filetype.None || f.SkipCompression {
					return f.Type.Compression
				}
				list, err := cloud.Lookup("", f.Platform)
				if err != nil { // a platform of another program, or of a later version
					return filetype.None
				}
				return o.compression(list[0])
			})
		},
	}
	o.flags(cmd)
	compressFlags(cmd, &o.buildOptions, asPublished)
	return cmd
}

func decompressCommand() *cobra.Command {
	var o recompressOptions
	cmd := &cobra.Command{
		Use:   "decompress FOLDER",
		Short: "Decompress the images of a build",
		Args:  exactArgs(1, "the folder of a build"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.recompress(cmd, args[0], func(cloud.File) filetype.Compression { return filetype.None })
		},
	}
	o.flags(cmd)
	return cmd
}

// recompressed is the result of compress and decompress.
type recompressed struct {
	Images []imageResult `json:"images"`
}

func (r *recompressed) print(w io.Writer) { (&result{Images: r.Images}).print(w) }

func (o *recompressOptions) recompress(cmd *cobra.Command, dir string, want func(cloud.File) filetype.Compression) error {
	if err := checkFormat(o.format); err != nil {
		return err
	}
	ui := newUI(o.quiet)
	defer ui.wait()
	files, err := build.Recompress(cmd.Context(), dir, want, build.RecompressOptions{
		Level: o.level, Keep: o.keep,
		Begin: func(path string, total int64) build.Step { return ui.begin("compress", "write "+filepath.Base(path), total) },
	})
	if errors.Is(err, build.ErrNoBuild) {
		err = fmt.Errorf("%s: %w", dir, err)
	}
	if err != nil {
		return err
	}
	ui.wait()
	res := &recompressed{Images: []imageResult{}}
	for _, f := range files {
		res.Images = append(res.Images, newImageResult(f))
	}
	return show(cmd.OutOrStdout(), o.format, res)
}
