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
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/compress"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/upload"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/grub"
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
					dir = filepath.Join(out, r.machine())
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
	system, disks, err := prepare(ctx, ui, r)
	if err != nil {
		return nil, err
	}
	defer system.Close()
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
			if res.Images[i], err = writeImage(ctx, ui, r, system, d, out); err == nil {
				err = writeUpload(ui, r, system, d, res.Images[i])
			}
			return system.deployment.Explain(err)
		})
	}
	if err := workers.Wait(); err != nil {
		return nil, err
	}
	return res, writeMeta(out, system.meta(r, res))
}

// writeImage streams one disk to its file.
func writeImage(ctx context.Context, ui *ui, r *request, system *system, d plannedDisk, out string) (_ imageResult, err error) {
	p, img, kind := d.platform, d.disk.Image, r.compression(d.platform)
	base := p.FileName(system.name, system.version, system.arch)
	name := filepath.Join(out, base+kind.Suffix())
	perm := os.FileMode(0o666)
	if r.config != nil {
		perm = 0o600 // as secret as the config in it
	}
	facts, total := system.facts(d), img.Allocated()
	if p.Format.Plan != nil {
		file, err := p.Format.Plan(img, facts)
		if err != nil {
			return imageResult{}, err
		}
		total = file.Size()
	}
	s := ui.begin("write "+p.ID, "write "+filepath.Base(name), total)
	defer func() { s.end(err) }()
	plain, packed := newSink(ctx, s), newSink(ctx, nil)
	if p.Format.Plan == nil { // the content read is the progress
		plain.count = nil
		img = img.Watch(s.add)
	}
	manifest := ""
	size, allocated, err := writeFile(name, perm, func(f *os.File) error {
		spool, err := newSpool(out)
		if err != nil {
			return err
		}
		defer spool.Close()
		facts.Spool = spool
		err = p.Format.WriteFile(cloud.Output{File: f, Compression: kind, Level: r.level, Plain: plain, Packed: packed}, img, facts)
		if err == nil && p.Format.Manifest != nil && kind == compress.None {
			manifest, err = p.Format.Manifest(io.NewSectionReader(f, 0, 1<<20)) // its index is at the beginning
		}
		return err
	})
	if err != nil {
		return imageResult{}, err
	}
	if kind == compress.None {
		packed = plain
	}
	return imageResult{
		Platform: p.ID, Format: p.Format.Suffix, Compression: string(kind), Path: name,
		Size: size, Allocated: allocated, VirtualSize: img.Size(), SectorSize: cmp.Or(p.Sector, 512), SHA256: packed.Sum(),
		UncompressedSize: plain.n, UncompressedSHA256: plain.Sum(), Manifest: manifest,
		published: p.Published == "", unlisted: p.Emerging,
	}, nil
}

// facts returns the facts about a disk for its format.
func (s *system) facts(d plannedDisk) cloud.Facts {
	return cloud.Facts{
		ID: d.disk.Partitions[len(d.disk.Partitions)-1].ID, Time: s.created(),
		Name: strings.TrimSuffix(d.platform.FileName(s.name, s.version, s.arch), "."+d.platform.Format.Suffix),
		OS:   s.name, Version: s.version, Arch: s.arch, Cloud: s.choices.Cloud,
	}
}

// uploadImage describes an image for its upload document.
func (s *system) uploadImage(i imageResult) upload.Image {
	image := upload.Image{
		Platform: i.Platform, File: filepath.Base(i.Path), SHA256: i.SHA256, Size: i.Size, Format: i.Format, VirtualSize: i.VirtualSize,
		Arch: s.arch, OS: s.name, Version: s.version, Manifest: i.Manifest,
	}
	if i.Compression != string(compress.None) {
		image.Compression, image.UncompressedSHA256, image.UncompressedSize = i.Compression, i.UncompressedSHA256, i.UncompressedSize
	}
	if i.Platform == "aws" {
		c := s.choices.Cloud
		image.AWS = upload.AWS{VolumeType: c.AWSVolumeType, BootMode: c.AWSBootMode, IMDSv2Only: c.AWSIMDSv2Only}
	}
	return image
}

// checkUpload checks a disk against the rules of its cloud, as far as they can be
// checked before the image is written. Unfit names the rule that it breaks.
func (s *system) checkUpload(r *request, d plannedDisk) (unfit, err error) {
	file, kind := d.disk.Image, r.compression(d.platform)
	if d.platform.Format.Plan != nil {
		if file, err = d.platform.Format.Plan(file, s.facts(d)); err != nil {
			return nil, err
		}
	}
	_, unfit = upload.New(s.uploadImage(imageResult{
		Platform: d.platform.ID, Format: d.platform.Format.Suffix, Compression: string(kind),
		Path: d.platform.FileName(s.name, s.version, s.arch) + kind.Suffix(),
		Size: file.Size(), VirtualSize: d.disk.Size(), UncompressedSize: file.Size(),
	}))
	return unfit, nil
}

// writeUpload writes the upload document beside an image. If the image breaks a
// rule of its cloud, it removes the document of an earlier image instead.
func writeUpload(ui *ui, r *request, system *system, d plannedDisk, i imageResult) error {
	image := system.uploadImage(i)
	image.SecureBoot = system.hasShim()
	doc, err := upload.New(image)
	if err != nil {
		if err := os.Remove(upload.FileName(i.Path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if d.unfit != nil { // the warning was shown before
			return nil
		}
		return ui.warn([]string{err.Error()}, r.strict)
	}
	if i.Platform == "aws" {
		blocks, err := upload.Blocks(d.disk.Image)
		if err != nil {
			return err
		}
		if err := doc.Direct(blocks); err != nil {
			return err
		}
	}
	return writeDocument(i.Path, doc)
}

// writeDocument writes the document of an image, for those who may read the
// image: of AWS, it has digests of what is in there.
func writeDocument(image string, doc *upload.Document) error {
	info, err := os.Stat(image)
	if err != nil {
		return err
	}
	return writeText(upload.FileName(image), info.Mode().Perm(), doc.Marshal())
}

// hasShim reports whether the boot loader can be one that Secure Boot lets
// start.
func (s *system) hasShim() bool {
	esp, vendor, err := grub.ESP(s.deployment.System)
	if err != nil {
		return false
	}
	dir := esp.Lookup(vendor)
	return dir != nil && slices.ContainsFunc(dir.Names(), func(name string) bool { return strings.HasPrefix(name, "shim") })
}
