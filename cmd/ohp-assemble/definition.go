package main

import (
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/cmd/ohp-assemble/internal/cli"
	"github.com/ohp-assemble/ohp-assemble/cmd/ohp-assemble/internal/progress"
	"github.com/ohp-assemble/ohp-assemble/manifests"
)

// definitionCommand returns the commands about image definitions.
func definitionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "definition",
		Short: "Validate image definitions, and help write them",
	}
	cmd.AddCommand(validateCommand(), schemaCommand(), initCommand())
	return cmd
}

// manifestCommand is the older name of definitionCommand.
func manifestCommand() *cobra.Command {
	cmd := definitionCommand()
	cmd.Use, cmd.Hidden = "manifest", true
	return cmd
}

func validateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "validate FILE...",
		Short: "Run every check that build runs before it downloads anything",
		Args:  cli.AtLeast(1, "files"),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, name := range args {
				if err := validate(name); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of definitions, with a description of each key",
		Args:  cli.ExactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, err := cmd.OutOrStdout().Write(manifests.Schema)
			return err
		},
	}
}

func initCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "init FILE",
		Short: "Write a definition to start from",
		Args:  cli.ExactArgs(1, "one file"),
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
	}
}

// validate checks a definition and the configs that it embeds.
func validate(name string) error {
	o := defaults()
	if err := o.define(name, func(string) bool { return false }); err != nil {
		return err
	}
	requests, err := o.requests()
	if err != nil {
		return err
	}
	var warnings []string
	for _, r := range requests { // architectures share most warnings
		for _, w := range r.warnings {
			if !slices.Contains(warnings, w) {
				warnings = append(warnings, w)
			}
		}
	}
	if err := progress.New(false).Warn(warnings, o.strict); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
