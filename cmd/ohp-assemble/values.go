package main

import (
	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/assemble"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/usage"
)

// The flag values in this file reject wrong values when they are set.

// choiceFlag declares a flag whose value is one of several words. The variable must
// have the default value.
func choiceFlag[T ~string](cmd *cobra.Command, value *T, name, help string, words ...T) {
	cmd.Flags().Var(usage.Choice[T]{Value: value, Words: words}, name, help)
	complete(cmd, name, words...)
}

// complete declares the completions of a flag in shells.
func complete[T ~string](cmd *cobra.Command, name string, words ...T) {
	var texts []string
	for _, w := range words {
		texts = append(texts, string(w))
	}
	cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(texts, cobra.ShellCompDirectiveNoFileComp))
}

// compressFlags declares --compress and --compress-level. The name must have the default;
// it is for [assemble.Request.SetCompression].
func compressFlags(cmd *cobra.Command, name *string, level *int) {
	choiceFlag(cmd, name, "compress", "`compression` of the files: none, gzip, xz, zstd, zip, or platform for the usual one of each platform", assemble.CompressionNames()...)
	cmd.Flags().IntVar(level, "compress-level", 0, "compression `level`: 1 to 9, or 1 to 22 for zstd; 0 is the default of the compression")
}

// quietFlag declares the flag that silences progress.
func quietFlag(cmd *cobra.Command, quiet *bool) {
	cmd.Flags().BoolVarP(quiet, "quiet", "q", false, "print only the result and errors")
}

// cacheFlag declares the folder of the cache, see [cli.CacheDir].
func cacheFlag(cmd *cobra.Command, dir *string) {
	cmd.Flags().StringVar(dir, "cache", "", "`folder` of the cache (default: ohp-assemble in the user's cache folder)")
}
