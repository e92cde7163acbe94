package main

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/assemble"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/upload"
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
	Format      string `json:"format"`      // of the file before compression
	Compression string `json:"compression"` // of the file, or none
	Path        string `json:"path"`
	Size        int64  `json:"size"`         // of the file
	Allocated   int64  `json:"allocated"`    // that the file takes on its disk
	VirtualSize int64  `json:"virtual_size"` // of the disk in it
	SectorSize  int    `json:"sector_size"`
	SHA256      string `json:"sha256"` // of the file
	// What the file is before compression: the identity of the image, which no
	// other version of a compressor changes.
	UncompressedSize   int64  `json:"uncompressed_size"`
	UncompressedSHA256 string `json:"uncompressed_sha256"`
	// The digest of the container that the file is an archive of.
	Manifest string `json:"manifest,omitempty"`

	published bool // as it is, without compression
	unlisted  bool // in meta.json
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
	plan, image, err := load(ctx, ui, r)
	if err != nil {
		return nil, err
	}
	defer image.Close()
	if err := os.MkdirAll(out, 0o777); err != nil {
		return nil, err
	}
	s := plan.System
	res := &result{
		Reference: s.Container.Reference, Digest: s.Container.Digest.String(), Arch: s.Arch,
		Version: s.Version, Commit: s.Commit.String(), Images: make([]imageResult, len(plan.Files)),
	}
	workers, ctx := errgroup.WithContext(ctx)
	workers.SetLimit(runtime.GOMAXPROCS(0))
	for i, f := range plan.Files {
		workers.Go(func() (err error) {
			var file cloud.File
			if res.Images[i], file, err = writeImage(ctx, ui, f, out); err == nil {
				err = writeUpload(ui, r, f, file, res.Images[i].Path)
			}
			return s.Deployment.Explain(err)
		})
	}
	if err := workers.Wait(); err != nil {
		return nil, err
	}
	return res, writeMeta(out, metaOf(s, r, res))
}

// writeImage writes a file of a plan.
func writeImage(ctx context.Context, ui *ui, f *assemble.File, out string) (_ imageResult, file cloud.File, err error) {
	path, p := filepath.Join(out, f.Name), f.Platform
	s := ui.begin("write "+p.ID, "write "+f.Name, f.Work())
	defer func() { s.end(err) }()
	perm := os.FileMode(0o666)
	if f.Secret {
		perm = 0o600
	}
	size, allocated, err := writeFile(path, perm, func(to *os.File) error {
		spool, err := newSpool(out)
		if err != nil {
			return err
		}
		defer spool.Close()
		file, err = f.WriteFile(ctx, to, assemble.WriteOptions{Spool: spool, Progress: s})
		return err
	})
	if err != nil {
		return imageResult{}, file, err
	}
	return imageResult{
		Platform: p.ID, Format: string(f.Type.Format), Compression: f.Type.Compression.String(), Path: path,
		Size: size, Allocated: allocated, VirtualSize: file.VirtualSize, SectorSize: cmp.Or(file.SectorSize, 512), SHA256: file.SHA256,
		UncompressedSize: file.Plain.Size, UncompressedSHA256: file.Plain.SHA256, Manifest: file.Manifest,
		published: p.Compression == filetype.None, unlisted: p.Emerging,
	}, file, nil
}

// writeUpload writes the upload document beside an image. If the image breaks a
// rule of its cloud, it removes the document of an earlier image instead.
func writeUpload(ui *ui, r *request, f *assemble.File, file cloud.File, path string) error {
	doc, err := f.Upload(file)
	if err != nil {
		if err := os.Remove(upload.FileName(path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if f.Unfit != nil { // the warning was shown before
			return nil
		}
		return ui.warn([]string{err.Error()}, r.strict)
	}
	if f.Platform.ID == "aws" {
		blocks, err := upload.Blocks(f.Disk.Image)
		if err != nil {
			return err
		}
		if err := doc.Direct(blocks); err != nil {
			return err
		}
	}
	return writeDocument(path, doc)
}

// writeDocument writes the document of an image with the permissions of the image:
// the document for AWS has digests of the image's content.
func writeDocument(image string, doc *upload.Document) error {
	info, err := os.Stat(image)
	if err != nil {
		return err
	}
	return writeText(upload.FileName(image), info.Mode().Perm(), doc.Marshal())
}
