package main

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
)

// entries is the result of stream show.
type entries []stream.Entry

func (e entries) print(w io.Writer) {
	rows := [][]string{{"ARCH", "PLATFORM", "FORMAT", "ARTIFACT", "RELEASE", "LOCATION"}}
	for _, e := range e {
		row := []string{e.Arch, e.Platform, e.Format, e.Artifact, e.Release, e.Location}
		if e.OCI != nil {
			row[5] = e.OCI.DigestRef
		}
		for i := range row {
			row[i] = oneLine(row[i])
		}
		rows = append(rows, row)
	}
	table(w, rows)
}

func streamShowCommand() *cobra.Command {
	var s sourceFlags
	var format string
	cmd := &cobra.Command{
		Use:     "show STREAM",
		Short:   "List the files of a stream",
		Example: "  ohp-assemble stream show https://builds.coreos.fedoraproject.org/streams/stable.json",
		Args:    exactArgs(1, "one document"),
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
			return show(cmd.OutOrStdout(), format, append(entries{}, st.Entries()...))
		},
	}
	s.flags(cmd)
	formatFlag(cmd, &format)
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
		Args: atLeast(1, "documents"),
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
