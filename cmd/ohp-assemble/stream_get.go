package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
	"go.podman.io/image/v5/docker/reference"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/pull"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/source"
)

// A found is the result of stream get.
type found struct {
	stream.Entry
	Path string `json:"path,omitempty"`
	Size int64  `json:"size,omitempty"`
}

func (f *found) print(w io.Writer) {
	rows := [][]string{{"location", f.Location}, {"sha256", f.SHA256}}
	if f.UncompressedSHA256 != "" {
		rows = append(rows, []string{"uncompressed-sha256", f.UncompressedSHA256})
	}
	if f.OCI != nil {
		rows = append(rows, []string{"digest-ref", f.OCI.DigestRef})
	}
	if f.Path != "" {
		rows = append(rows, []string{"file", f.Path})
	}
	for _, row := range rows {
		row[1] = oneLine(row[1])
	}
	table(w, rows)
}

func streamGetCommand() *cobra.Command {
	var s sourceFlags
	var format, arch, out string
	cmd := &cobra.Command{
		Use:   "get STREAM PLATFORM [FORMAT [ARTIFACT]]",
		Short: "Find a file of a stream, or fetch it",
		Long: `Find a file of a stream by platform, format (qcow2.xz) and artifact (disk, kernel,
initramfs, rootfs). Format and artifact are optional if there is only one. With
--out the file is fetched, verified against its digest in the stream, and
written. A fetch from a registry resumes, like that of pull.`,
		Example: `  ohp-assemble stream get stable.json metal pxe kernel --arch aarch64
  ohp-assemble stream get registry.example/os:stable qemu -o disk.qcow2.xz`,
		Args: rangeArgs(2, 4, "a stream, a platform, a format and an artifact"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			from, err := s.source()
			if err != nil {
				return err
			}
			st, err := from.Stream(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			want := append(args[1:], "", "")
			e, err := st.Find(rootfs.MachineArch(arch), want[0], want[1], want[2])
			if err != nil {
				return fmt.Errorf("%s: %w", source.Public(args[0]), err)
			}
			f := &found{Entry: *e, Path: out}
			if out != "" {
				ui := newUI(false)
				f.Size, err = download(cmd.Context(), ui, from, e.Download, out)
				ui.wait()
				if err != nil {
					return err
				}
			}
			return show(cmd.OutOrStdout(), format, f)
		},
	}
	s.flags(cmd)
	formatFlag(cmd, &format)
	cmd.Flags().StringVar(&arch, "arch", runtime.GOARCH, "`architecture`")
	cmd.Flags().StringVarP(&out, "out", "o", "", "`file` to fetch to")
	return cmd
}

// download fetches a file of a stream.
func download(ctx context.Context, ui *ui, from *source.Source, d *stream.Download, out string) (size int64, err error) {
	if b, err := hex.DecodeString(d.SHA256); err != nil || len(b) != 32 {
		return 0, fmt.Errorf("sha256 %q: not a SHA-256 in hexadecimal", d.SHA256)
	}
	step := ui.begin("fetch", "fetch "+out, 0)
	defer func() { step.End(err) }()
	if d.OCI != nil {
		return pullFile(ctx, ui, from, step, d, out)
	}
	err = guarded(ctx, func() error {
		size, err = source.Download(ctx, d, out, step)
		return err
	})
	return size, err
}

// pullFile fetches a file of a stream from its registry.
func pullFile(ctx context.Context, ui *ui, from *source.Source, progress registry.Progress, d *stream.Download, out string) (int64, error) {
	named, err := reference.ParseNormalizedNamed(d.OCI.DigestRef)
	if err != nil {
		return 0, fmt.Errorf("digest-ref %q: %w", d.OCI.DigestRef, err)
	}
	o := from.Registry
	o.Progress = progress
	all, err := pull.List(ctx, named, o)
	if err != nil {
		return 0, err
	}
	want := strings.ToLower(d.SHA256)
	if len(all) != 1 || all[0].FileSHA256() != want && all[0].FileSHA256() != "" {
		return 0, fmt.Errorf("%w: %s is not the file with sha256 %s that the stream lists", registry.ErrVerify, d.OCI.DigestRef, want)
	}
	saved, err := save(ctx, ui, all[0], pull.SaveOptions{Dir: filepath.Dir(out), Name: filepath.Base(out), SHA256: want})
	if err != nil {
		return 0, err
	}
	return saved.Size, nil
}
