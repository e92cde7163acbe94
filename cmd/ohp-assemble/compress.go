package main

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/assemble"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/build"
)

// compressOptions are the options of compress and decompress.
type compressOptions struct {
	compression filetype.Compression
	asPublished bool
	level       int
	format      string
	keep        bool
	quiet       bool
}

func (o *compressOptions) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&o.keep, "keep", false, "keep the input files")
	cmd.Flags().BoolVarP(&o.quiet, "quiet", "q", false, "print only the result and errors")
	formatFlag(cmd, &o.format)
}

func compressCommand() *cobra.Command {
	o := compressOptions{asPublished: true}
	cmd := &cobra.Command{
		Use:   "compress FOLDER",
		Short: "Compress the images of a build, as they are published",
		Long: `Compress the images in the folder of a build that are not yet compressed, and
record them in meta.json. Images whose format compresses, such as an OVA, do not
change. The folder may have one folder for each architecture. An interrupted run
can be repeated.`,
		Example: `  ohp-assemble build registry.example/os@sha256:... --platform all --out images
  ohp-assemble compress images`,
		Args: exactArgs(1, "the folder of a build"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := assemble.CheckLevel(o.compression, o.level); err != nil {
				return usageError{err}
			}
			return o.recompress(cmd, args[0], o.wanted)
		},
	}
	o.flags(cmd)
	compressFlags(cmd, &o.compression, &o.asPublished, &o.level)
	return cmd
}

// wanted returns the compression that compress gives to a file.
func (o *compressOptions) wanted(f cloud.File) filetype.Compression {
	if f.Type.Compression != filetype.None || f.SkipCompression {
		return f.Type.Compression
	}
	platforms, err := cloud.Lookup("", f.Platform)
	if err != nil { // a platform of another program, or of a later version
		return filetype.None
	}
	return platforms[0].FileCompression(o.compression, o.asPublished)
}

func decompressCommand() *cobra.Command {
	var o compressOptions
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

// compressResult is the result of compress and decompress.
type compressResult struct {
	Images []imageResult `json:"images"`
}

func (r *compressResult) print(w io.Writer) { printImages(w, r.Images) }

func (o *compressOptions) recompress(cmd *cobra.Command, dir string, want func(cloud.File) filetype.Compression) error {
	if err := checkFormat(o.format); err != nil {
		return err
	}
	ui := newUI(o.quiet)
	var files []build.Written
	err := guarded(cmd.Context(), func() (err error) {
		files, err = build.Recompress(cmd.Context(), dir, want, build.RecompressOptions{
			Level: o.level, Keep: o.keep,
			Begin: func(w build.Work) build.Step { return ui.begin("compress", "write "+filepath.Base(w.Path), w.Size) },
		})
		return err
	})
	ui.wait()
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	res := &compressResult{}
	if res.Images, err = newImageResults(files); err != nil {
		return err
	}
	return show(cmd.OutOrStdout(), o.format, res)
}
