package main

import (
	"cmp"
	"context"
	"errors"
	"io"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/pkg/stream/pull"
)

// A pullResult is the output of pull.
type pullResult struct {
	Reference    string `json:"reference"` // with the digest of the manifest
	Digest       string `json:"digest"`    // of the manifest
	Platform     string `json:"platform"`
	Arch         string `json:"arch"`
	Format       string `json:"format"`
	Path         string `json:"path"`
	Size         int64  `json:"size"`                          // of the file
	Allocated    int64  `json:"allocated"`                     // bytes of it that are not holes
	SHA256       string `json:"sha256"`                        // of the file
	Uncompressed string `json:"uncompressed_sha256,omitempty"` // if known
}

// print prints the result for people.
func (r *pullResult) print(w io.Writer) {
	table(w, [][]string{
		{"FILE", "PLATFORM", "ARCH", "FORMAT", "SIZE", "ON DISK", "SHA256"},
		{r.Path, r.Platform, r.Arch, r.Format, size(r.Size), size(r.Allocated), r.SHA256},
	})
}

type pullOptions struct {
	pull.Options
	registry registryFlags
	out      string
	format   string
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
		Args: exactArgs(1, "one reference"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(); err != nil {
				return err
			}
			ui := newUI(o.quiet)
			defer ui.wait()
			res, err := pullImage(cmd.Context(), ui, args[0], o)
			if err != nil {
				return err
			}
			ui.wait()
			return show(cmd.OutOrStdout(), o.format, res)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Platform, "platform", "", "`platform` of the image, if there are several")
	f.StringVar(&o.Arch, "arch", runtime.GOARCH, "`architecture` of the image, optionally with a variant: amd64/v3")
	f.StringVar(&o.Format, "image-format", "", "`format` of the image, if there are several: qcow2, raw, raw.gzip, tar.gz, ...")
	f.BoolVar(&o.Decompress, "decompress", false, "decompress the image: gzip, xz, zstd or zip")
	f.StringVarP(&o.out, "out", "o", ".", "`folder` for the image, made if missing")
	o.registry.flags(cmd)
	f.BoolVarP(&o.quiet, "quiet", "q", false, "print only the result and errors")
	formatFlag(cmd, &o.format)
	return cmd
}

// check validates and completes the options.
func (o *pullOptions) check() (err error) {
	if err := checkFormat(o.format); err != nil {
		return err
	}
	o.Registry, err = o.registry.options()
	return err
}

// pullImage fetches an image into the folder of the options.
func pullImage(ctx context.Context, ui *ui, reference string, o pullOptions) (_ *pullResult, err error) {
	if err := writable(o.out); err != nil {
		return nil, err
	}
	step := ui.begin("pull", "pull", 0)
	defer func() { step.End(err) }()
	o.Progress = step
	img, err := pull.Find(ctx, reference, o.Options)
	if err != nil {
		return nil, err
	}
	ui.say("found %s: %s, %s", img.Reference, cmp.Or(img.Title, "a file in a container image"), size(img.Size))
	saved, err := save(ctx, ui, img, pull.SaveOptions{Dir: o.out})
	if err != nil {
		return nil, err
	}
	return &pullResult{
		Reference: img.Reference, Digest: img.Manifest.String(), Platform: img.Platform, Arch: img.Arch, Format: saved.Format,
		Path: saved.Path, Size: saved.Size, Allocated: saved.Allocated, SHA256: saved.SHA256, Uncompressed: saved.Uncompressed,
	}, nil
}

// save saves an image, and shows when it waits and where a partial download is.
func save(ctx context.Context, ui *ui, img *pull.Image, o pull.SaveOptions) (*pull.Saved, error) {
	var saved *pull.Saved
	try := func() (err error) {
		saved, err = img.Save(ctx, o)
		return err
	}
	o.NoWait = true
	err := guarded(ctx, try)
	if errors.Is(err, pull.ErrBusy) {
		ui.say("waiting for another pull of the same image to this folder ...")
		o.NoWait = false
		err = guarded(ctx, try)
	}
	var left *pull.PartialError
	if errors.As(err, &left) {
		ui.say("%s of it are kept in %s, for the next pull to resume", size(left.Size), left.Path)
	}
	return saved, err
}
