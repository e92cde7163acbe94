package main

import (
	"context"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/cmd/ohp-assemble/internal/cli"
	"github.com/ohp-assemble/ohp-assemble/cmd/ohp-assemble/internal/guard"
	"github.com/ohp-assemble/ohp-assemble/cmd/ohp-assemble/internal/progress"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/build"
)

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
				ui := progress.New(quiet)
				res, err := runBuild(cmd.Context(), ui, r, dir)
				ui.Wait()
				if err != nil {
					return err
				}
				if err := o.format.print(cmd, res); err != nil {
					return err
				}
			}
			return nil
		},
	}
	o.flags(cmd)
	cmd.Flags().StringVarP(&out, "out", "o", out, "`folder` for the images, with a folder for each architecture in it if there are several; created if missing")
	quietFlag(cmd, &quiet)
	return cmd
}

// runBuild makes the images of a request in the folder out.
func runBuild(ctx context.Context, ui *progress.Display, r *request, out string) (*build.Report, error) {
	if err := cli.Writable(out); err != nil {
		return nil, err
	}
	plan, image, err := load(ctx, ui, r)
	if err != nil {
		return nil, err
	}
	defer image.Close()
	begin := func(w build.Work) build.Step {
		return ui.Begin("write "+w.Platform, "write "+filepath.Base(w.Path), w.Size)
	}
	done, err := guard.Call(ctx, func() (*build.Result, error) {
		return build.Write(ctx, out, plan, build.Options{Strict: r.strict, Begin: begin})
	})
	if err != nil {
		return nil, err
	}
	if err := ui.Warn(done.Warnings, false); err != nil {
		return nil, err
	}
	return build.NewReport(plan.System, done.Files)
}
