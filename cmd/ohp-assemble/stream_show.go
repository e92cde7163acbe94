package main

import (
	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/cmd/ohp-assemble/internal/cli"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
)

func streamShowCommand() *cobra.Command {
	var s sourceFlags
	var format form
	cmd := &cobra.Command{
		Use:     "show STREAM",
		Short:   "List the files of a stream",
		Example: "  ohp-assemble stream show https://builds.coreos.fedoraproject.org/streams/stable.json",
		Args:    cli.ExactArgs(1, "one document"),
		RunE: func(cmd *cobra.Command, args []string) error {
			from, err := s.source()
			if err != nil {
				return err
			}
			st, err := from.Stream(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return format.print(cmd, st.Entries())
		},
	}
	s.flags(cmd)
	format.flag(cmd)
	return cmd
}

func streamMergeCommand() *cobra.Command {
	var s sourceFlags
	out := ""
	cmd := &cobra.Command{
		Use:   "merge DOCUMENT...",
		Short: "Merge documents of one kind: of architectures, of platforms, of releases",
		Long: `Merge documents of one kind. The result has everything that one of the documents
has, including unknown fields. Two documents that disagree are an error that
names both, except in metadata, where the later one wins.`,
		Example: `  ohp-assemble stream merge x86_64.json aarch64.json -o stable.json
  ohp-assemble stream merge releases.json new.json -o releases.json`,
		Args: cli.AtLeast(1, "documents"),
		RunE: func(cmd *cobra.Command, args []string) error {
			docs, err := s.each(cmd, args)
			if err != nil {
				return err
			}
			d, err := stream.Merge(docs...)
			if err != nil {
				return err
			}
			return put(cmd, d.Bytes(), out)
		},
	}
	s.flags(cmd)
	outFlag(cmd, &out)
	return cmd
}
