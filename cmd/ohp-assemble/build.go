package main

import (
	"cmp"
	"context"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/system"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/build"
)

// A result is the result of build.
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
	Format      string `json:"format"`      // of the file before compression
	Compression string `json:"compression"` // of the file, or none
	Path        string `json:"path"`
	Size        int64  `json:"size"`         // bytes of the file
	Allocated   int64  `json:"allocated"`    // bytes that the file takes on its disk
	VirtualSize int64  `json:"virtual_size"` // bytes of the disk in it
	SectorSize  int    `json:"sector_size"`
	SHA256      string `json:"sha256"` // of the file
	// Size and digest of the file before compression. The digest identifies the
	// image: it does not depend on the version of a compressor.
	UncompressedSize   int64  `json:"uncompressed_size"`
	UncompressedSHA256 string `json:"uncompressed_sha256"`
	Manifest           string `json:"manifest,omitempty"` // digest of the container that the file is an archive of
}

func newResult(s *system.System, files []build.Written) (*result, error) {
	images, err := newImageResults(files)
	return &result{
		Reference: s.Container.Reference, Digest: s.Container.Digest.String(), Arch: s.Arch,
		Version: s.Version, Commit: s.Commit.String(), Images: images,
	}, err
}

func newImageResults(files []build.Written) ([]imageResult, error) {
	all := []imageResult{}
	for _, f := range files {
		allocated, err := allocated(f.Path)
		if err != nil {
			return nil, err
		}
		all = append(all, imageResult{
			Platform: f.Platform, Format: string(f.Type.Format), Compression: f.Type.Compression.String(), Path: f.Path,
			Size: f.Size, Allocated: allocated, VirtualSize: f.VirtualSize, SectorSize: cmp.Or(f.SectorSize, 512), SHA256: f.SHA256,
			UncompressedSize: f.Plain.Size, UncompressedSHA256: f.Plain.SHA256, Manifest: f.Manifest,
		})
	}
	return all, nil
}

// print prints a result for people.
func (r *result) print(w io.Writer) { printImages(w, r.Images) }

func printImages(w io.Writer, images []imageResult) {
	rows := [][]string{{"FILE", "ON DISK", "VIRTUAL", "SHA256"}}
	for _, i := range images {
		rows = append(rows, []string{i.Path, size(i.Allocated), size(i.VirtualSize), i.SHA256})
	}
	table(w, rows)
}

func buildCommand() *cobra.Command {
	var o buildFlags
	out, quiet := ".", false
	cmd := &cobra.Command{
		Use:   "build REFERENCE | -m DEFINITION",
		Short: "Make images of an operating system container",
		Example: `  ohp-assemble build registry.example/os@sha256:... --platform qemu,metal
  ohp-assemble build oci:layout --ignition config.ign --karg quiet --out images
  ohp-assemble build -m manifests/my-os.yaml --arch amd64,arm64`,
		RunE: func(cmd *cobra.Command, args []string) error {
			requests, err := o.parse(cmd, args)
			if err != nil {
				return err
			}
			for _, r := range requests {
				dir := out
				if len(requests) > 1 {
					dir = filepath.Join(out, machine(r.arch))
				}
				ui := newUI(quiet)
				res, err := runBuild(cmd.Context(), ui, r, dir)
				ui.wait()
				if err != nil {
					return err
				}
				if err := show(cmd.OutOrStdout(), o.format, res); err != nil {
					return err
				}
			}
			return nil
		},
	}
	o.flags(cmd)
	cmd.Flags().StringVarP(&out, "out", "o", out, "`folder` for the images, with a folder for each architecture in it if there are several; created if missing")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print only the result and errors")
	return cmd
}

// runBuild makes the images of a request in the folder out.
func runBuild(ctx context.Context, ui *ui, r *request, out string) (*result, error) {
	if err := writable(out); err != nil {
		return nil, err
	}
	plan, image, err := load(ctx, ui, r)
	if err != nil {
		return nil, err
	}
	defer image.Close()
	var done *build.Result
	err = guarded(ctx, func() error {
		done, err = build.Write(ctx, out, plan, build.Options{Strict: r.strict, Begin: func(w build.Work) build.Step {
			return ui.begin("write "+w.Platform, "write "+filepath.Base(w.Path), w.Size)
		}})
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := ui.warn(done.Warnings, false); err != nil {
		return nil, err
	}
	return newResult(plan.System, done.Files)
}
