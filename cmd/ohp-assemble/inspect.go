package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/cmd/ohp-assemble/internal/cli"
	"github.com/ohp-assemble/ohp-assemble/cmd/ohp-assemble/internal/progress"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/inspect"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/oci"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/build"
)

func inspectCommand() *cobra.Command {
	var o pullFlags
	cmd := &cobra.Command{
		Use:   "inspect FILE|FOLDER|REFERENCE",
		Short: "Show the contents of an image (partitions, kernel arguments, commit, Ignition), of a build folder, or of a container",
		Args:  cli.ExactArgs(1, "one image or reference"),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch name := args[0]; {
			case cli.IsFolder(name):
				return o.format.printFolder(cmd, name)
			case cli.IsPath(name):
				return o.format.printImage(cmd, name)
			default:
				found, err := o.inspect(cmd.Context(), name)
				if err != nil {
					return cli.MissingFile(name, err)
				}
				return o.format.print(cmd, found)
			}
		},
	}
	o.flags(cmd)
	return cmd
}

// printFolder prints a listing of the images in the folder of a build. Problems
// fail the command after the listing is printed.
func (f form) printFolder(cmd *cobra.Command, dir string) error {
	list, err := listFolder(dir)
	if err != nil {
		return err
	}
	return problems(dir, list.Problems, f.print(cmd, list))
}

// printImage prints the report of an image file. Damage fails the command after
// the report is printed.
func (f form) printImage(cmd *cobra.Command, name string) error {
	report, err := inspect.ReportFile(name)
	if err != nil {
		return err
	}
	return problems(name, report.Problems, f.print(cmd, report))
}

// problems returns the error of printing, or one for the problems of a thing.
func problems(name string, all []string, err error) error {
	if err == nil && len(all) > 0 {
		err = fmt.Errorf("%s: %w", name, errProblems)
	}
	return err
}

// listFolder lists the images in the folder of a build.
func listFolder(dir string) (*build.Listing, error) {
	list, err := build.List(dir)
	if errors.Is(err, build.ErrNoBuild) {
		err = cli.FolderError(dir)
	}
	return list, err
}

// inspect describes the container of a reference.
func (o *pullFlags) inspect(ctx context.Context, name string) (*oci.Description, error) {
	ui := progress.New(false)
	defer ui.Wait()
	options, err := o.options()
	if err != nil {
		return nil, err
	}
	m, err := resolve(ctx, ui, name, options)
	if err != nil {
		return nil, err
	}
	m.Close()
	return m.Describe(), nil
}

// notOneImage returns the error of a folder in place of an image.
func notOneImage(dir string) error {
	list, err := listFolder(dir)
	if err != nil {
		return err
	}
	return cli.WithHint(fmt.Errorf("%s: this is the folder of a build, not an image", dir), "choose one of its images: "+strings.Join(list.Paths(), ", "))
}
