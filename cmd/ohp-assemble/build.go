package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

// A result is what build prints.
type result struct {
	Reference string        `json:"reference"`
	Digest    string        `json:"digest"`
	Arch      string        `json:"arch"`
	Version   string        `json:"version"`
	Commit    string        `json:"ostree_commit"`
	Images    []imageResult `json:"images"`
}

type imageResult struct {
	Platform    string `json:"platform"`
	Format      string `json:"format"`
	Path        string `json:"path"`
	Size        int64  `json:"size"`         // of the file
	Allocated   int64  `json:"allocated"`    // that the file takes on its disk
	VirtualSize int64  `json:"virtual_size"` // of the disk in it
	SHA256      string `json:"sha256"`       // of the file
}

// print shows what was built to a person.
func (r *result) print(w io.Writer) {
	rows := [][]string{{"FILE", "ON DISK", "VIRTUAL", "SHA256"}}
	for _, i := range r.Images {
		rows = append(rows, []string{i.Path, size(i.Allocated), size(i.VirtualSize), i.SHA256})
	}
	table(w, rows)
}

func buildCommand() *cobra.Command {
	var o buildOptions
	out, quiet := ".", false
	cmd := &cobra.Command{
		Use:   "build REFERENCE | -m DEFINITION",
		Short: "Make images of an operating system container",
		Example: `  ohp-assemble build registry.example/os@sha256:... --platform qemu,metal
  ohp-assemble build oci:layout --ignition config.ign --karg quiet --out images
  ohp-assemble build -m manifests/my-os.yaml --arch amd64,arm64`,
		RunE: func(cmd *cobra.Command, args []string) error {
			requests, err := o.requests(cmd, args)
			if err != nil {
				return err
			}
			for _, r := range requests {
				dir := out
				if len(requests) > 1 {
					dir = filepath.Join(out, machine(r.arch))
				}
				ui := newUI(quiet)
				defer ui.wait()
				res, err := build(cmd.Context(), ui, r, dir)
				if err != nil {
					return err
				}
				ui.wait()
				if err := show(cmd.OutOrStdout(), o.format, res); err != nil {
					return err
				}
			}
			return nil
		},
	}
	o.flags(cmd)
	cmd.Flags().StringVarP(&out, "out", "o", out, "`folder` for the images, with one for each architecture in it if there are several; it is made if missing")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "say nothing but the result and errors")
	return cmd
}

// build makes the images of a request in the folder out.
func build(ctx context.Context, ui *ui, r *request, out string) (*result, error) {
	if err := writable(out); err != nil {
		return nil, err
	}
	system, err := load(ctx, ui, r)
	if err != nil {
		return nil, err
	}
	defer system.Close()
	disks, err := system.plan(r)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(out, 0o777); err != nil {
		return nil, err
	}
	res := &result{
		Reference: system.image.Reference, Digest: system.image.Digest.String(), Arch: system.arch,
		Version: system.version, Commit: system.commit.String(), Images: make([]imageResult, len(disks)),
	}
	workers, ctx := errgroup.WithContext(ctx)
	workers.SetLimit(runtime.GOMAXPROCS(0))
	for i, d := range disks {
		workers.Go(func() (err error) {
			res.Images[i], err = writeImage(ctx, ui, r, system, d, out)
			return err
		})
	}
	return res, workers.Wait()
}

// writeImage streams one disk to its file.
func writeImage(ctx context.Context, ui *ui, r *request, system *system, d plannedDisk, out string) (_ imageResult, err error) {
	name := filepath.Join(out, d.platform.FileName(system.name, system.version, system.arch))
	perm := os.FileMode(0o666)
	if r.config != nil {
		perm = 0o600 // as secret as the config in it
	}
	s := ui.begin("write "+d.platform.ID, "write "+filepath.Base(name), d.platform.Size(d.disk.Image))
	defer func() { s.end(err) }()
	tap := newSink(ctx, s)
	size, allocated, err := writeFile(name, perm, func(f *os.File) error {
		return d.platform.Write(f, d.disk.Image, tap)
	})
	if err != nil {
		return imageResult{}, err
	}
	return imageResult{d.platform.ID, d.platform.Suffix, name, size, allocated, d.disk.Size(), tap.Sum()}, nil
}
