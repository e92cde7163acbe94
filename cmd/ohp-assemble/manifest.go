package main

import (
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/manifests"
)

func manifestCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "manifest",
		Short: "Check image definitions, and help to write them",
	}
	cmd.AddCommand(
		&cobra.Command{
			Use:   "validate FILE...",
			Short: "Check definitions, and the configs that they embed; nothing is fetched",
			Args:  atLeast(1, "files"),
			RunE: func(cmd *cobra.Command, args []string) error {
				for _, name := range args {
					if err := validate(name); err != nil {
						return err
					}
				}
				return nil
			},
		},
		&cobra.Command{
			Use:   "schema",
			Short: "Print the JSON Schema of a definition, with what each key means",
			Args:  exactArgs(0, "nothing"),
			RunE: func(cmd *cobra.Command, args []string) error {
				_, err := cmd.OutOrStdout().Write(manifests.Schema)
				return err
			},
		},
		&cobra.Command{
			Use:   "init FILE",
			Short: "Write a definition to begin with",
			Args:  exactArgs(1, "one file"),
			RunE: func(cmd *cobra.Command, args []string) error {
				f, err := os.OpenFile(args[0], os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
				if err != nil {
					return err
				}
				defer f.Close()
				if _, err := f.Write(manifests.Template); err != nil {
					return err
				}
				return f.Close()
			},
		},
	)
	return cmd
}

// validate asks of a definition all that build would before it fetches.
func validate(name string) error {
	var o buildOptions
	flags := &cobra.Command{}
	o.flags(flags)
	o.manifest = name
	requests, err := o.requests(flags, nil)
	if err != nil {
		return err
	}
	var warnings []string
	for _, r := range requests { // most are the same for each architecture
		for _, w := range r.warnings {
			if !slices.Contains(warnings, w) {
				warnings = append(warnings, w)
			}
		}
	}
	if err := newUI(false).warn(warnings, o.strict); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
