package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/cmd/ohp-assemble/internal/cli"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
)

func streamConfigMapCommand() *cobra.Command {
	var s sourceFlags
	var version, out string
	format := "yaml"
	cmd := &cobra.Command{
		Use:   "configmap STREAM...",
		Short: "Print streams as OpenShift's ConfigMap coreos-bootimages",
		Long: `Print streams as the ConfigMap coreos-bootimages, in which OpenShift's machine
config operator finds the images of new machines. The first stream is the default.`,
		Args: cli.AtLeast(1, "streams"),
		RunE: func(cmd *cobra.Command, args []string) error {
			docs, err := s.each(cmd, args)
			if err != nil {
				return err
			}
			c, err := stream.NewConfigMap(version, docs...)
			if err != nil {
				return err
			}
			text := stream.Marshal(c)
			if format == "yaml" {
				if text, err = c.YAML(); err != nil {
					return err
				}
			}
			return put(cmd, text, out)
		},
	}
	s.flags(cmd)
	outFlag(cmd, &out)
	cmd.Flags().StringVar(&version, "release-version", "0.0.1-snapshot", "`version` of the cluster's release; a release replaces the default by its own")
	choiceFlag(cmd, &format, "format", "`form` of the result: yaml or json", "yaml", "json")
	return cmd
}

func streamSchemaCommand() *cobra.Command {
	kinds := []string{"stream", "release", "releases", "meta"}
	return &cobra.Command{
		Use:       "schema stream|release|releases|meta",
		Short:     "Print the JSON Schema of a document",
		ValidArgs: kinds,
		Args:      cli.ExactArgs(1, "the name of a document"),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := stream.Schemas.ReadFile("schema/" + args[0] + ".json")
			if err != nil || !slices.Contains(kinds, args[0]) {
				return cli.Usage(fmt.Errorf("invalid document %q, must be one of: %s", args[0], strings.Join(kinds, ", ")))
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
}
