package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/inspect"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree/container"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/system"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/build"
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
		Args: exactArgs(2, "two images, references or folders of builds"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkFormat(o.format); err != nil {
				return err
			}
			d, err := o.diff(cmd.Context(), args[0], args[1])
			if err != nil {
				return err
			}
			if err := show(cmd.OutOrStdout(), o.format, difference{d}); err != nil {
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
	ui := newUI(false)
	defer ui.wait()
	if isFolder(a) != isFolder(b) {
		return nil, usageError{errors.New("the folder of a build can only be compared with another one")}
	}
	if isFolder(a) {
		return diffFolders(a, b)
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

// diffFolders compares the builds in two folders, and the images of one
// platform.
func diffFolders(a, b string) (*diff.Diff, error) {
	var builds [2][]build.Build
	for i, dir := range []string{a, b} {
		var err error
		if builds[i], err = build.Open(os.DirFS(dir)); err != nil {
			return nil, fmt.Errorf("%s: %w", dir, err)
		}
		for j := range builds[i] {
			builds[i][j].Dir = filepath.Join(dir, builds[i][j].Dir)
		}
	}
	d, err := diff.Builds(a, b, builds[0], builds[1])
	if err != nil {
		return nil, err
	}
	for _, pair := range d.Pairs() {
		inside, err := diffFiles(pair.A, pair.B)
		if errors.Is(err, inspect.ErrCompressed) {
			pair.Diff.Skip(fmt.Sprintf("%v; %s", err, hint(err, nil)))
			continue
		}
		if err != nil {
			return nil, err
		}
		pair.Diff.Add(inside)
	}
	return d, nil
}

// diffFiles compares two image files.
func diffFiles(a, b string) (*diff.Diff, error) {
	sideA, fileA, err := imageSide(a)
	if err != nil {
		return nil, err
	}
	defer fileA.Close()
	sideB, fileB, err := imageSide(b)
	if err != nil {
		return nil, err
	}
	defer fileB.Close()
	return diff.Compare(sideA, sideB)
}

// side opens an image or pulls a container. The caller closes it.
func (o *pullFlags) side(ctx context.Context, ui *ui, name string) (diff.Side, io.Closer, error) {
	if isPath(name) {
		return imageSide(name)
	}
	var err error
	if o.cache, err = cacheDir(o.cache); err != nil {
		return diff.Side{}, nil, err
	}
	options, err := o.options()
	if err != nil {
		return diff.Side{}, nil, err
	}
	image, err := fetch(ctx, ui, name, options)
	if err != nil {
		return diff.Side{}, nil, missingFile(name, err)
	}
	// Missing labels are a difference, not an error.
	s, err := system.New(image, system.Options{Merge: container.MergeOSTree, NoSELinux: true})
	if err != nil {
		image.Close()
		return diff.Side{}, nil, fmt.Errorf("%s: %w", name, err)
	}
	return diff.Side{Name: name, System: s}, image, nil
}

func imageSide(name string) (diff.Side, io.Closer, error) {
	f, d, err := openImage(name)
	if err != nil {
		return diff.Side{}, nil, err
	}
	side := diff.Side{Name: name, Disk: d}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return diff.Side{}, nil, err
	}
	side.File, side.Allocated = info.Size(), onDisk(info)
	return side, f, nil
}
