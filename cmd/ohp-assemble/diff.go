package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/cmd/ohp-assemble/internal/cli"
	"github.com/ohp-assemble/ohp-assemble/cmd/ohp-assemble/internal/progress"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree/container"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/system"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/diff"
)

const diffHelp = `Show the differences between two images, two containers, an image and a
container, or the folders of two builds: partitions, kernel arguments, packages
(dpkg and rpm), files, the Ignition config and sizes. Timestamps and hard links
are ignored.

The systems on two images are compared as they are when they are booted, with
/boot and /boot/efi, but without /sysroot/ostree, which holds the same files
again. A container is compared as the system that it would be on a disk. Two
builds are compared by their meta.json, and inside the images of one platform.
If a folder has builds of several architectures, each is compared with itself.

Images that are compressed as a whole (.xz, Google's tar.gz) must be
decompressed first.

The space that a file takes on the disk of this machine is shown, but is not a
difference. The exit code is 0 whether or not there are differences. With
--exit-code: 0 equal, 3 different, 1 error.`

func diffCommand() *cobra.Command {
	var o pullFlags
	exitCode := false
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Show the differences between two images, containers or builds",
		Long:  diffHelp,
		Example: `  ohp-assemble diff old.qcow2 new.qcow2
  ohp-assemble diff registry.example/os:43 registry.example/os:44 --format json
  ohp-assemble diff my-os.vmdk registry.example/os@sha256:... --exit-code`,
		Args: cli.ExactArgs(2, "two images, references or folders of builds"),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := o.diff(cmd.Context(), args[0], args[1])
			if err != nil {
				return err
			}
			for _, err := range d.Compressed {
				fmt.Fprintf(cmd.ErrOrStderr(), "hint: %s\n", visible(cli.ErrorHint(err, cmd)))
			}
			if err := o.format.print(cmd, d); err != nil {
				return err
			}
			if exitCode && !d.Equal {
				return fmt.Errorf("%s and %s: %w", args[0], args[1], errDiffer)
			}
			return nil
		},
	}
	o.flags(cmd)
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "exit with 3 if there are differences")
	return cmd
}

// diff compares two images, containers or folders of builds.
func (o *pullFlags) diff(ctx context.Context, a, b string) (*diff.Diff, error) {
	ui := progress.New(false)
	defer ui.Wait()
	if cli.IsFolder(a) != cli.IsFolder(b) {
		return nil, cli.Usage(errors.New("the folder of a build can only be compared with another one"))
	}
	if cli.IsFolder(a) {
		return diff.Folders(a, b)
	}
	sides := [2]diff.Side{}
	for i, name := range []string{a, b} {
		side, c, err := o.side(ctx, ui, name)
		if err != nil {
			return nil, err
		}
		defer c.Close()
		sides[i] = side
	}
	return diff.Compare(sides[0], sides[1])
}

// side opens an image or pulls a container. The caller closes it.
func (o *pullFlags) side(ctx context.Context, ui *progress.Display, name string) (diff.Side, io.Closer, error) {
	if cli.IsPath(name) {
		return diff.OpenImage(name)
	}
	options, err := o.options()
	if err != nil {
		return diff.Side{}, nil, err
	}
	image, err := fetch(ctx, ui, name, options)
	if err != nil {
		return diff.Side{}, nil, cli.MissingFile(name, err)
	}
	// Missing labels are a difference, not an error.
	s, err := system.New(image, system.Options{Merge: container.MergeOSTree, NoSELinux: true})
	if err != nil {
		image.Close()
		return diff.Side{}, nil, fmt.Errorf("%s: %w", name, err)
	}
	return diff.Side{Name: name, System: s}, image, nil
}
