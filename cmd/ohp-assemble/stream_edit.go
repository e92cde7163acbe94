package main

import (
	"fmt"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/cmd/ohp-assemble/internal/cli"
	"github.com/ohp-assemble/ohp-assemble/cmd/ohp-assemble/internal/guard"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
)

func streamSetImageCommand() *cobra.Command {
	var arch, release string
	cmd := &cobra.Command{
		Use:   "set-image FILE CLOUD VALUE...",
		Short: "Record in a stream the image that a cloud has",
		Long: `Record in a stream the image that a cloud has. The rest of the file does not
change. The values are

` + cloudHelp(),
		Example: "  ohp-assemble stream set-image stable.json aws us-east-1 ami-0123456789abcdef0",
		Args:    cli.RangeArgs(3, 6, "a file, a cloud and its values"),
		RunE: func(cmd *cobra.Command, args []string) error {
			image, err := stream.NewImage(args[1], args[2:]...)
			if err != nil {
				return cli.Usage(err)
			}
			return guard.Do(cmd.Context(), func() error {
				return stream.Edit(args[0], func(d *stream.Document) error { return d.SetImage(rootfs.MachineArch(arch), release, image) })
			})
		},
	}
	cmd.Flags().StringVar(&arch, "arch", runtime.GOARCH, "`architecture`")
	cmd.Flags().StringVar(&release, "release", "", "`version` of the image (default: that of the stream's files for the platform)")
	return cmd
}

// cloudHelp lists the values of each cloud.
func cloudHelp() string {
	var b strings.Builder
	for _, cloud := range stream.Clouds() {
		fmt.Fprintf(&b, "  %-9s %s\n", cloud.Name, strings.ToUpper(strings.Join(cloud.Values, " ")))
	}
	return b.String()
}
