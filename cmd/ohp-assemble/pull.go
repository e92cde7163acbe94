package main

import (
	"cmp"
	"context"
	"errors"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/cmd/ohp-assemble/internal/cli"
	"github.com/ohp-assemble/ohp-assemble/cmd/ohp-assemble/internal/guard"
	"github.com/ohp-assemble/ohp-assemble/cmd/ohp-assemble/internal/progress"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/pull"
)

type pullOptions struct {
	pull.Options
	registry registryFlags
	out      string
	format   form
	quiet    bool
}

func pullCommand() *cobra.Command {
	var o pullOptions
	cmd := &cobra.Command{
		Use:   "pull REFERENCE",
		Short: "Fetch a disk image from a registry",
		Long: `pull fetches one disk image from a registry: an image that publish has published,
one of Fedora's pipeline or of podman machine, a KubeVirt containerDisk, or an image
that belongs to the given operating system container. Every byte is verified against
the digests of the manifest. The file appears under its name when it is complete.

Kernel, initramfs and root file system for network boot have the platforms live-kernel
and so on; --platform metal --image-format kernel means the same.

An interrupted pull leaves a hidden file in the folder, named by the digest of its
content. The next pull of the same image to that folder resumes it.`,
		Example: `  ohp-assemble pull registry.example/os-images:stable --platform qemu --decompress
  ohp-assemble pull registry.example/os@sha256:... --platform metal --arch arm64 --out images`,
		Args: cli.ExactArgs(1, "one reference"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if o.Registry, err = o.registry.options(); err != nil {
				return err
			}
			ui := progress.New(o.quiet)
			defer ui.Wait()
			res, err := pullImage(cmd.Context(), ui, args[0], o)
			if err != nil {
				return err
			}
			ui.Wait()
			return o.format.print(cmd, res)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Platform, "platform", "", "`platform` of the image, if there are several")
	f.StringVar(&o.Arch, "arch", runtime.GOARCH, "`architecture` of the image, optionally with a variant: amd64/v3")
	f.StringVar(&o.Format, "image-format", "", "`format` of the image, if there are several: qcow2, raw, raw.gzip, tar.gz, ...")
	f.BoolVar(&o.Decompress, "decompress", false, "decompress the image: gzip, xz, zstd or zip")
	f.StringVarP(&o.out, "out", "o", ".", "`folder` for the image, made if missing")
	o.registry.flags(cmd)
	quietFlag(cmd, &o.quiet)
	o.format.flag(cmd)
	return cmd
}

// pullImage fetches an image into the folder of the options.
func pullImage(ctx context.Context, ui *progress.Display, reference string, o pullOptions) (_ *pull.Result, err error) {
	if err := cli.Writable(o.out); err != nil {
		return nil, err
	}
	step := ui.Begin("pull", "pull", 0)
	defer func() { step.End(err) }()
	o.Progress = step
	img, err := pull.Find(ctx, reference, o.Options)
	if err != nil {
		return nil, err
	}
	ui.Say("found %s: %s, %s", img.Reference, cmp.Or(img.Title, "a file in a container image"), rootfs.Size(img.Size))
	saved, err := save(ctx, ui, img, pull.SaveOptions{Dir: o.out})
	if err != nil {
		return nil, err
	}
	return pull.NewResult(img, saved), nil
}

// save saves an image, and shows when it waits and where a partial download is.
func save(ctx context.Context, ui *progress.Display, img *pull.Image, o pull.SaveOptions) (*pull.Saved, error) {
	try := func() (*pull.Saved, error) { return img.Save(ctx, o) }
	o.NoWait = true
	saved, err := guard.Call(ctx, try)
	if errors.Is(err, pull.ErrBusy) {
		ui.Say("waiting for another pull of the same image to this folder ...")
		o.NoWait = false
		saved, err = guard.Call(ctx, try)
	}
	var left *pull.PartialError
	if errors.As(err, &left) {
		ui.Say("%s of it are kept in %s, for the next pull to resume", rootfs.Size(left.Size), left.Path)
	}
	return saved, err
}
