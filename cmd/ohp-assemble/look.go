package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/inspect"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

const lookHelp = `
Paths are those of the booted system: / is its deployment, /boot, /boot/efi and
/var are at their mount points, and the root file system itself is /sysroot. A
file that is one file system, such as an ISO 9660 image, has the paths of that
file system. Nothing is mounted, and no privileges are needed.`

func lsCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:     "ls FILE [PATH] | ls FOLDER",
		Short:   "List a directory in an image, or the images of a build",
		Long:    "List a directory in an image, or show one file, or list the images in the folder\nof a build.\n" + lookHelp,
		Example: "  ohp-assemble ls my-os.qcow2 /boot/loader/entries\n  ohp-assemble ls my-os-live.iso /images",
		Args:    rangeArgs(1, 2, "an image and a path"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			if len(args) == 1 && isFolder(args[0]) {
				return showFolder(cmd.OutOrStdout(), format, args[0])
			}
			return lookInto(args[0], strings.Join(args[1:], ""), func(in *rootfs.Inode) error {
				return show(cmd.OutOrStdout(), format, listing(inspect.List(path.Base(args[len(args)-1]), in)))
			})
		},
	}
	formatFlag(cmd, &format)
	return cmd
}

func catCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "cat FILE PATH",
		Short:   "Print a file that is in an image",
		Long:    "Print a file that is in an image, unchanged.\n" + lookHelp,
		Example: "  ohp-assemble cat my-os.qcow2 /etc/os-release",
		Args:    exactArgs(2, "an image and a path"),
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
	if isFolder(file) {
		return notOneImage(file)
	}
	f, d, err := openImage(file)
	if errors.Is(err, fs.ErrNotExist) && strings.ContainsAny(file, ":@") {
		return withHint(err, "ls and cat take image files; inspect shows a container")
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

// A listing is the result of ls for an image.
type listing []inspect.File

func (l listing) print(w io.Writer) {
	var rows [][]string
	for _, e := range l {
		name := e.Name
		if e.Target != "" {
			name += " -> " + e.Target
		}
		rows = append(rows, []string{e.Mode, fmt.Sprint(e.UID), fmt.Sprint(e.GID), fmt.Sprint(e.Size), e.MTime.Format(time.RFC3339), oneLine(name)})
	}
	table(w, rows)
}
