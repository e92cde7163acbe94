package main

import (
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/cmd/ohp-assemble/internal/guard"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/pull"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/source"
)

func streamCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stream",
		Short: "Make, show, merge, check and edit stream and release metadata",
		Long: `Make, show, merge, check and edit stream.json, release.json and releases.json.
coreos-installer, openshift-install and other programs find images through
these documents.

A document is read from a file, from standard input (-), from an http or https
URL, or from a registry, by the reference that it is published under. A
ConfigMap coreos-bootimages is read as the stream in it.`,
	}
	cmd.AddCommand(streamMakeCommand(), streamShowCommand(), streamMergeCommand(), streamCheckCommand(),
		streamGetCommand(), streamSetImageCommand(), streamConfigMapCommand(), streamSchemaCommand())
	return cmd
}

// sourceFlags are the options for reading documents.
type sourceFlags struct{ registryFlags }

// registryTimeout is the longest time that a registry may send nothing.
const registryTimeout = time.Minute

func (s *sourceFlags) source() (*source.Source, error) {
	reg, err := s.registryFlags.options()
	reg.ReadTimeout = registryTimeout
	return &source.Source{Stdin: os.Stdin, Registry: pull.Options{Registry: reg}}, err
}

// each reads the documents that the arguments name.
func (s *sourceFlags) each(cmd *cobra.Command, args []string) ([]*stream.Document, error) {
	from, err := s.source()
	if err != nil {
		return nil, err
	}
	return from.Each(cmd.Context(), args)
}

// outFlag declares the file for a document.
func outFlag(cmd *cobra.Command, out *string) {
	cmd.Flags().StringVarP(out, "out", "o", "", "`file` for the document (default: standard output)")
}

// put writes a document to a file, or prints it.
func put(cmd *cobra.Command, text []byte, out string) error {
	if out == "" {
		_, err := cmd.OutOrStdout().Write(text)
		return err
	}
	return guard.Do(cmd.Context(), func() error { return stream.WriteFile(out, text, 0o666) })
}
