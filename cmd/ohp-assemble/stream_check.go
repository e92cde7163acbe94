package main

import (
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/source"
)

// A checked is the result of stream check for one document.
type checked struct {
	Document string      `json:"document"`
	Kind     stream.Kind `json:"kind,omitempty"`
	Problems []string    `json:"problems"`
	Notes    []string    `json:"notes,omitempty"`
}

type checkedAll []checked

func (all checkedAll) print(w io.Writer) {
	for _, c := range all {
		if len(c.Problems) == 0 {
			fmt.Fprintf(w, "%s: %s: no problems\n", oneLine(c.Document), c.Kind)
		}
		for _, p := range c.Problems {
			fmt.Fprintf(w, "%s: %s\n", oneLine(c.Document), oneLine(p))
		}
		for _, n := range c.Notes {
			fmt.Fprintf(w, "%s: note: %s\n", oneLine(c.Document), n)
		}
	}
}

func streamCheckCommand() *cobra.Command {
	var s sourceFlags
	var format string
	cmd := &cobra.Command{
		Use:   "check DOCUMENT...",
		Short: "Check documents against their schemas and the requirements of their readers",
		Long: `Check stream.json, release.json, releases.json or meta.json against its JSON
Schema and the requirements of its readers. The exit code is 3 if there is a
problem. A note lists locations that no plain HTTP client can fetch.`,
		Args: atLeast(1, "documents"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			from, err := s.source()
			if err != nil {
				return err
			}
			all := checkedAll{}
			for _, arg := range args {
				text, err := from.Text(cmd.Context(), arg)
				if err != nil {
					return err
				}
				all = append(all, check(source.Public(arg), text)...)
			}
			if err := show(cmd.OutOrStdout(), format, all); err != nil {
				return err
			}
			if slices.ContainsFunc(all, func(c checked) bool { return len(c.Problems) > 0 }) {
				return errProblems
			}
			return nil
		},
	}
	s.flags(cmd)
	formatFlag(cmd, &format)
	return cmd
}

// check checks every document in a text.
func check(name string, text []byte) (all []checked) {
	docs, err := stream.ParseAll(name, text)
	if err != nil {
		return []checked{{Document: name, Problems: []string{err.Error()}}}
	}
	for _, d := range docs {
		kind, _ := d.Kind()
		problems, err := stream.Check(d)
		if err != nil {
			problems = append(problems, err.Error())
		}
		all = append(all, checked{d.Name, kind, append([]string{}, problems...), stream.Notes(d)})
	}
	return all
}
