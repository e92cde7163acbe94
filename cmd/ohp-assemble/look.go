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

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

const lookHelp = `
Paths are those of the system when it is booted: / is its deployment, /boot,
/boot/efi and /var are where it mounts them, and the root file system itself is
/sysroot. Nothing is mounted, and no privileges are needed.`

func lsCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:     "ls FILE [PATH] | ls FOLDER",
		Short:   "List a directory in an image, or the images of a build",
		Long:    "List a directory in an image, or show one file, or list the images in the folder\nof a build.\n" + lookHelp,
		Example: "  ohp-assemble ls my-os.qcow2 /boot/loader/entries",
		Args:    rangeArgs(1, 2, "an image and a path"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			if len(args) == 1 && isFolder(args[0]) {
				return showFolder(cmd.OutOrStdout(), format, args[0])
			}
			return lookInto(args[0], strings.Join(args[1:], ""), func(in *rootfs.Inode) error {
				return show(cmd.OutOrStdout(), format, list(path.Base(args[len(args)-1]), in))
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
		Long:    "Print a file that is in an image, as it is.\n" + lookHelp,
		Example: "  ohp-assemble cat my-os.qcow2 /etc/os-release",
		Args:    exactArgs(2, "an image and a path"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return lookInto(args[0], args[1], func(in *rootfs.Inode) error {
				if !in.IsFile() {
					return fmt.Errorf("%s: not a regular file", args[1])
				}
				// Not through the printer, which changes what is not text.
				_, err := io.Copy(os.Stdout, io.NewSectionReader(in.Content, 0, in.Size()))
				return err
			})
		},
	}
}

// lookInto finds a path in an image.
func lookInto(file, name string, look func(*rootfs.Inode) error) error {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) && strings.ContainsAny(file, ":@") {
		return withHint(err, "ls and cat take files of images; inspect shows a container")
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if isFolder(file) {
		return notOneImage(file)
	}
	d, _, err := openImage(f)
	if err != nil {
		return fmt.Errorf("%s: %w", file, damage(err))
	}
	root, broken, err := booted(d)
	if err != nil {
		return fmt.Errorf("%s: %w", file, damage(err))
	}
	in, err := broken.find(root, name)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return look(in)
}

// A listing is what ls prints.
type listing []listed

type listed struct {
	Name   string            `json:"name"`
	Mode   string            `json:"mode"`
	UID    uint32            `json:"uid"`
	GID    uint32            `json:"gid"`
	Size   int64             `json:"size"`
	MTime  time.Time         `json:"mtime"`
	Target string            `json:"target,omitempty"` // of a symbolic link
	Xattrs map[string]string `json:"xattrs,omitempty"`
}

// list returns what is in a directory, or anything else as itself.
func list(name string, in *rootfs.Inode) listing {
	if !in.IsDir() {
		return listing{newListed(name, in)}
	}
	l := listing{}
	for _, name := range in.Names() {
		l = append(l, newListed(name, in.Children[name]))
	}
	return l
}

func newListed(name string, in *rootfs.Inode) listed {
	return listed{name, modeString(in.Mode), in.UID, in.GID, in.Size(), time.Unix(in.MTime.Sec, int64(in.MTime.Nsec)).UTC(), in.Target, in.Xattrs}
}

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

// modeString is a mode as ls shows it.
func modeString(mode uint32) string {
	b := []byte("?rwxrwxrwx")
	switch mode & rootfs.ModeType {
	case rootfs.ModeFile:
		b[0] = '-'
	case rootfs.ModeDir:
		b[0] = 'd'
	case rootfs.ModeLink:
		b[0] = 'l'
	case rootfs.ModeChar:
		b[0] = 'c'
	case rootfs.ModeBlock:
		b[0] = 'b'
	case rootfs.ModeFIFO:
		b[0] = 'p'
	case rootfs.ModeSocket:
		b[0] = 's'
	}
	for i := range 9 {
		if mode&(1<<(8-i)) == 0 {
			b[1+i] = '-'
		}
	}
	for i, letter := range []byte("sst") { // setuid, setgid, sticky
		at := 3 + 3*i
		if mode&(0o4000>>i) == 0 {
			continue
		}
		if b[at] == '-' {
			letter -= 'a' - 'A'
		}
		b[at] = letter
	}
	return string(b)
}
