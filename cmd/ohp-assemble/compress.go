package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/compress"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/upload"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/raw"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
)

// A packing is what compress and decompress are asked for.
type packing struct {
	buildOptions // of which they take compress, level and format
	keep         bool
	quiet        bool
}

func (o *packing) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&o.keep, "keep", false, "leave the files that were read")
	cmd.Flags().BoolVarP(&o.quiet, "quiet", "q", false, "say nothing but the result and errors")
	formatFlag(cmd, &o.format)
}

func compressCommand() *cobra.Command {
	var o packing
	cmd := &cobra.Command{
		Use:   "compress FOLDER",
		Short: "Compress the images of a build, as they are published",
		Long: `compress takes the images that build has left in a folder, compresses those that
are not yet, and says in meta.json what they are now. What is published as it
is, such as an OVA, stays. Of several architectures, each has a folder in the
folder. It may be interrupted, and run again.`,
		Example: `  ohp-assemble build registry.example/os@sha256:... --platform all --out images
  ohp-assemble compress images`,
		Args: exactArgs(1, "the folder of a build"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.checkCompression(); err != nil {
				return usageError{err}
			}
			return o.repack(cmd, args[0], func(a stream.Artifact, platform string) compress.Kind {
				if a.Compression != "" || a.SkipCompression {
					return compress.Kind(a.Compression)
				}
				list, err := cloud.Lookup("", platform)
				if err != nil { // of another program, or of another time
					return compress.None
				}
				return o.compression(list[0])
			})
		},
	}
	o.flags(cmd)
	compressFlags(cmd, &o.buildOptions, asPublished)
	return cmd
}

func decompressCommand() *cobra.Command {
	var o packing
	cmd := &cobra.Command{
		Use:   "decompress FOLDER",
		Short: "Undo what compress did",
		Args:  exactArgs(1, "the folder of a build"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.repack(cmd, args[0], func(stream.Artifact, string) compress.Kind { return compress.None })
		},
	}
	o.flags(cmd)
	return cmd
}

// A repacked is what compress and decompress print.
type repacked struct {
	Images []imageResult `json:"images"`
}

func (r *repacked) print(w io.Writer) { (&result{Images: r.Images}).print(w) }

// repack makes each image of a build have the compression that is wanted of it.
func (o *packing) repack(cmd *cobra.Command, dir string, want func(stream.Artifact, string) compress.Kind) error {
	if err := checkFormat(o.format); err != nil {
		return err
	}
	builds, err := stream.ReadBuilds(os.DirFS(dir))
	if err != nil {
		return fmt.Errorf("%s: no build: %w", dir, err)
	}
	ui := newUI(o.quiet)
	defer ui.wait()
	res := &repacked{Images: []imageResult{}}
	for _, b := range builds {
		if err := o.repackBuild(cmd.Context(), ui, filepath.Join(dir, b.Dir), b.Meta, want, res); err != nil {
			return err
		}
	}
	ui.wait()
	return show(cmd.OutOrStdout(), o.format, res)
}

// repackBuild does that in the folder of one architecture, and adds to res
// what it made.
func (o *packing) repackBuild(ctx context.Context, ui *ui, dir string, m *stream.Meta, want func(stream.Artifact, string) compress.Kind, res *repacked) error {
	for _, platform := range m.Platforms() {
		old := m.Images[platform]
		kind := want(old, platform)
		if kind == "" {
			kind = compress.None
		}
		is := compress.Kind(old.Compression)
		if is == "" {
			is = compress.None
		}
		if is == kind {
			continue
		}
		a, allocated, err := o.repackOne(ctx, ui, dir, old, is, kind)
		if err != nil {
			return err
		}
		m.Images[platform] = a
		if err := writeMeta(dir, m); err != nil {
			return err
		}
		if err := rewriteUpload(dir, old, a); err != nil {
			return err
		}
		if !o.keep {
			if err := errors.Join(os.Remove(filepath.Join(dir, old.Path)), os.Remove(filepath.Join(dir, upload.FileName(old.Path)))); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		res.Images = append(res.Images, imageResult{
			Platform: platform, Format: a.Format, Compression: string(kind), Path: filepath.Join(dir, a.Path), Size: a.Size, Allocated: allocated,
			VirtualSize: a.VirtualSize, SectorSize: max(a.SectorSize, 512), SHA256: a.SHA256,
			UncompressedSize: max(a.UncompressedSize, old.UncompressedSize), UncompressedSHA256: plainSum(a),
		})
	}
	return nil
}

// rewriteUpload writes the upload document of an image's new file, if the old one
// had a document.
func rewriteUpload(dir string, old, now stream.Artifact) error {
	text, err := os.ReadFile(filepath.Join(dir, upload.FileName(old.Path)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	var was upload.Document
	if err := json.Unmarshal(text, &was); err != nil {
		return fmt.Errorf("%s: %w", upload.FileName(old.Path), err)
	}
	image := was.Image
	image.File, image.SHA256, image.Size = now.Path, now.SHA256, now.Size
	image.Compression, image.UncompressedSHA256, image.UncompressedSize = now.Compression, now.UncompressedSHA256, now.UncompressedSize
	image.Published = nil
	for _, p := range now.Published {
		image.Published = append(image.Published, upload.Published(p))
	}
	doc, err := upload.New(image)
	if err != nil {
		return err
	}
	if was.Snapshot != nil {
		if err := doc.Direct(was.Snapshot); err != nil {
			return err
		}
	}
	return writeDocument(filepath.Join(dir, now.Path), doc)
}

// plainSum is the digest of an image without compression.
func plainSum(a stream.Artifact) string {
	if a.UncompressedSHA256 != "" {
		return a.UncompressedSHA256
	}
	return a.SHA256
}

// repackOne writes the file of an image anew, and sees that what it read was
// what meta.json says.
func (o *packing) repackOne(ctx context.Context, ui *ui, dir string, old stream.Artifact, is, kind compress.Kind) (a stream.Artifact, allocated int64, err error) {
	in, err := os.Open(filepath.Join(dir, old.Path))
	if err != nil {
		return a, 0, err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return a, 0, err
	}
	s := ui.begin("compress", "write "+old.Path, info.Size())
	defer func() { s.end(err) }()

	a = old
	a.Published = nil // the old file was published
	a.Path = strings.TrimSuffix(old.Path, is.Suffix()) + kind.Suffix()
	read, plain, packed := newSink(ctx, s), newSink(ctx, nil), newSink(ctx, nil)
	_, allocated, err = writeFile(filepath.Join(dir, a.Path), info.Mode().Perm(), func(f *os.File) error {
		source := io.TeeReader(in, read)
		var from io.Reader = source
		if is != compress.None {
			z, _, err := compress.NewReader(source)
			if err != nil {
				return err
			}
			defer z.Close()
			from = z
		}
		var to io.WriteCloser
		if kind == compress.None {
			to = raw.NewWriter(f, 0)
		} else if to, err = compress.NewWriter(io.MultiWriter(f, packed), kind, compress.Options{
			Level: o.level, Name: strings.TrimSuffix(old.Path, is.Suffix()),
		}); err != nil {
			return err
		}
		_, err := io.CopyBuffer(io.MultiWriter(to, plain), struct{ io.Reader }{from}, make([]byte, 1<<20))
		if closed := to.Close(); err == nil {
			err = closed
		}
		if err == nil && is != compress.None {
			_, err = io.Copy(io.Discard, source) // what a decompressor does not look at has a digest, too
		}
		if err == nil && read.Sum() != old.SHA256 {
			err = fmt.Errorf("%s: SHA-256 is %s, meta.json says %s: %w", old.Path, read.Sum(), old.SHA256, registry.ErrVerify)
		}
		if err == nil && plain.Sum() != plainSum(old) {
			err = fmt.Errorf("%s: SHA-256 of what is in it is %s, meta.json says %s: %w", old.Path, plain.Sum(), plainSum(old), registry.ErrVerify)
		}
		return err
	})
	if err != nil {
		return a, 0, err
	}
	a.SHA256, a.Size, a.Compression, a.UncompressedSHA256, a.UncompressedSize = plain.Sum(), plain.n, "", "", 0
	if kind != compress.None {
		a.SHA256, a.Size, a.Compression, a.UncompressedSHA256, a.UncompressedSize = packed.Sum(), packed.n, string(kind), plain.Sum(), plain.n
	}
	return a, allocated, nil
}
