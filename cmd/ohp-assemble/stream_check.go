package main

import (
	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/cmd/ohp-assemble/internal/cli"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/source"
)

func streamCheckCommand() *cobra.Command {
	var s sourceFlags
	var format form
	cmd := &cobra.Command{
		Use:   "check DOCUMENT...",
		Short: "Check documents against their schemas and the requirements of their readers",
		Long: `Check stream.json, release.json, releases.json or meta.json against its JSON
Schema and the requirements of its readers. The exit code is 3 if there is a
problem. A note counts the locations that no plain HTTP client can fetch;
pull and stream get can.`,
		Args: cli.AtLeast(1, "documents"),
		RunE: func(cmd *cobra.Command, args []string) error {
			from, err := s.source()
			if err != nil {
				return err
			}
			all := stream.Reports{}
			for _, arg := range args {
				text, err := from.Text(cmd.Context(), arg)
				if err != nil {
					return err
				}
				all = append(all, stream.CheckAll(source.Public(arg), text)...)
			}
			if err := format.print(cmd, all); err != nil {
				return err
			}
			if !all.OK() {
				return errProblems
			}
			return nil
		},
	}
	s.flags(cmd)
	format.flag(cmd)
	return cmd
}
