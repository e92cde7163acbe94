package main

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/cmd/ohp-assemble/internal/cli"
	"github.com/ohp-assemble/ohp-assemble/cmd/ohp-assemble/internal/guard"
	"github.com/ohp-assemble/ohp-assemble/cmd/ohp-assemble/internal/progress"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/pull"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/source"
)

func streamGetCommand() *cobra.Command {
	var s sourceFlags
	var format form
	var arch, out string
	cmd := &cobra.Command{
		Use:   "get STREAM PLATFORM [FORMAT [ARTIFACT]]",
		Short: "Find a file of a stream, or fetch it",
		Long: `Find a file of a stream by platform, format (qcow2.xz) and artifact (disk, kernel,
initramfs, rootfs). Format and artifact are optional if there is only one. With
--out the file is fetched, verified against its digest in the stream, and
written. A fetch from a registry resumes, like that of pull.`,
		Example: `  ohp-assemble stream get stable.json metal pxe kernel --arch aarch64
  ohp-assemble stream get registry.example/os:stable qemu -o disk.qcow2.xz`,
		Args: cli.RangeArgs(2, 4, "a stream, a platform, a format and an artifact"),
		RunE: func(cmd *cobra.Command, args []string) error {
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
			f := &stream.Found{Entry: *e, Path: out}
			if out != "" {
				ui := progress.New(false)
				f.Size, err = download(cmd.Context(), ui, from, e.Download, out)
				ui.Wait()
				if err != nil {
					return err
				}
			}
			return format.print(cmd, f)
		},
	}
	s.flags(cmd)
	format.flag(cmd)
	cmd.Flags().StringVar(&arch, "arch", runtime.GOARCH, "`architecture`")
	cmd.Flags().StringVarP(&out, "out", "o", "", "`file` to fetch to")
	return cmd
}

// download fetches a file of a stream, and returns its size in bytes.
func download(ctx context.Context, ui *progress.Display, from *source.Source, d *stream.Download, out string) (size int64, err error) {
	if err := source.CheckDigest(d); err != nil {
		return 0, err
	}
	step := ui.Begin("fetch", "fetch "+out, 0)
	defer func() { step.End(err) }()
	if d.OCI == nil {
		return guard.Call(ctx, func() (int64, error) { return source.Download(ctx, d, out, step) })
	}
	img, err := from.Image(ctx, d, step)
	if err != nil {
		return 0, err
	}
	saved, err := save(ctx, ui, img, pull.SaveOptions{Dir: filepath.Dir(out), Name: filepath.Base(out), SHA256: strings.ToLower(d.SHA256)})
	if err != nil {
		return 0, err
	}
	return saved.Size, nil
}
