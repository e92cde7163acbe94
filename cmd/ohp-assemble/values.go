package main

import (
	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/assemble"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/usage"
)

// The flag values of this file reject a wrong value when it is set.

// choiceFlag declares a flag with one of several words as its value. The variable
// has the default already.
func choiceFlag[T ~string](cmd *cobra.Command, value *T, name, help string, words ...T) {
	cmd.Flags().Var(usage.Choice[T]{Value: value, Words: words}, name, help)
	complete(cmd, name, words...)
}

func complete[T ~string](cmd *cobra.Command, name string, words ...T) {
	var texts []string
	for _, w := range words {
		texts = append(texts, string(w))
	}
	cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(texts, cobra.ShellCompDirectiveNoFileComp))
}

// compressFlags declares the compression of files. The name has the default already;
// it is for [assemble.Request.SetCompression].
func compressFlags(cmd *cobra.Command, name *string, level *int) {
	choiceFlag(cmd, name, "compress", "`compression` of the files: none, gzip, xz, zstd, zip, or platform for that of the published files of each platform", assemble.CompressionNames()...)
	cmd.Flags().IntVar(level, "compress-level", 0, "`level` of the compression, 1 to 9, for zstd to 22; 0 is its own default")
}

// quietFlag declares the flag that silences progress.
func quietFlag(cmd *cobra.Command, quiet *bool) {
	cmd.Flags().BoolVarP(quiet, "quiet", "q", false, "print only the result and errors")
}

// cacheFlag declares the folder of the cache, see [cli.CacheDir].
func cacheFlag(cmd *cobra.Command, dir *string) {
	cmd.Flags().StringVar(dir, "cache", "", "`folder` of the cache (default: ohp-assemble in the user's cache folder)")
}
