package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/cmd/ohp-assemble/internal/cli"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/inspect"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

const lookHelp = `
Paths are those of the booted system: / is its deployment, /boot, /boot/efi and
/var are at their mount points, and the root file system itself is /sysroot. A
file that is one file system, such as an ISO 9660 image, has the paths of that
file system. Nothing is mounted, and no privileges are needed.`

func lsCommand() *cobra.Command {
	var format form
	cmd := &cobra.Command{
		Use:     "ls FILE [PATH] | ls FOLDER",
		Short:   "List a directory in an image, or the images of a build",
		Long:    "List a directory in an image, or show one file, or list the images in the folder\nof a build.\n" + lookHelp,
		Example: "  ohp-assemble ls my-os.qcow2 /boot/loader/entries\n  ohp-assemble ls my-os-live.iso /images",
		Args:    cli.RangeArgs(1, 2, "an image and a path"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && cli.IsFolder(args[0]) {
				return format.printFolder(cmd, args[0])
			}
			return lookInto(args[0], strings.Join(args[1:], ""), func(in *rootfs.Inode) error {
				return format.print(cmd, inspect.List(path.Base(args[len(args)-1]), in))
			})
		},
	}
	format.flag(cmd)
	return cmd
}

func catCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "cat FILE PATH",
		Short:   "Print a file that is in an image",
		Long:    "Print a file that is in an image, unchanged.\n" + lookHelp,
		Example: "  ohp-assemble cat my-os.qcow2 /etc/os-release",
		Args:    cli.ExactArgs(2, "an image and a path"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return lookInto(args[0], args[1], func(in *rootfs.Inode) error {
				if !in.IsFile() {
					return fmt.Errorf("%s: not a regular file", args[1])
				}
				// The command's own printer changes control characters.
				_, err := io.Copy(os.Stdout, io.NewSectionReader(in.Content, 0, in.Size()))
				return err
			})
		},
	}
}

// lookInto calls look with the inode at a path in an image.
func lookInto(file, name string, look func(*rootfs.Inode) error) error {
	if cli.IsFolder(file) {
		return notOneImage(file)
	}
	f, d, err := inspect.OpenFile(file)
	if errors.Is(err, fs.ErrNotExist) && strings.ContainsAny(file, ":@") {
		return cli.WithHint(err, "ls and cat take image files; inspect shows a container")
	}
	if err != nil {
		return err
	}
	defer f.Close()
	tree, err := d.Booted()
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	in, err := tree.Find(name)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return look(in)
}
