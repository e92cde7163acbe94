package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/manifests"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/coreos"
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

// platformsValue is a list of platforms. The first value replaces the default.
type platformsValue struct {
	ids *[]string
	set bool
}

func (v *platformsValue) Set(list string) error {
	var ids []string
	for id := range strings.SplitSeq(list, ",") {
		if id = strings.TrimSpace(id); id == "" {
			return fmt.Errorf("invalid value %q, it has an empty word", list)
		}
		ids = append(ids, id)
	}
	if err := checkPlatforms(ids); err != nil {
		return err
	}
	if v.set {
		ids = slices.Concat(*v.ids, ids)
	}
	*v.ids, v.set = ids, true
	return nil
}

func (v *platformsValue) String() string {
	if v.ids == nil {
		return ""
	}
	return strings.Join(*v.ids, ",")
}

func (v *platformsValue) Type() string { return "platforms" }

// checkPlatforms returns an error with a hint for an unknown platform.
func checkPlatforms(ids []string) error {
	_, err := cloud.Lookup("", ids...)
	if err != nil {
		err = withHint(err, platformsHint(ids))
	}
	return err
}

// partitionValue is the size of a partition.
type partitionValue struct {
	size *coreos.Size
	by   string // the option
}

func (v partitionValue) Set(text string) error {
	n, err := usage.ParseSize(text)
	if err == nil {
		*v.size = coreos.Size{Bytes: n, By: v.by}
	}
	return err
}

func (v partitionValue) String() string {
	if v.size == nil {
		return ""
	}
	return (*usage.Size)(&v.size.Bytes).String()
}

func (v partitionValue) Type() string { return "size" }

// compressionValue is a compression, or "platform" for the usual compression of each
// platform.
type compressionValue struct {
	kind      *filetype.Compression
	published *bool
}

func (v compressionValue) Set(name string) (err error) {
	if name == manifests.AsPublished {
		*v.kind, *v.published = filetype.None, true
		return nil
	}
	if err := usage.Check(name, compressionNames()...); err != nil {
		return err
	}
	*v.published = false
	*v.kind, err = filetype.ParseCompression(name)
	return err
}

func (v compressionValue) String() string {
	switch {
	case v.kind == nil:
		return ""
	case *v.published:
		return manifests.AsPublished
	}
	return v.kind.String()
}

func (v compressionValue) Type() string { return "compression" }

// compressionNames are the values of --compress.
func compressionNames() []string {
	names := []string{filetype.None.String()}
	for _, c := range filetype.Compressions() {
		names = append(names, c.String())
	}
	return append(names, manifests.AsPublished)
}

// compressFlags declares --compress and --compress-level. The variables must have the
// default values.
func compressFlags(cmd *cobra.Command, kind *filetype.Compression, published *bool, level *int) {
	cmd.Flags().Var(compressionValue{kind, published}, "compress", "`compression` of the files: none, gzip, xz, zstd, zip, or platform for the usual one of each platform")
	cmd.Flags().IntVar(level, "compress-level", 0, "compression `level`: 1 to 9, or 1 to 22 for zstd; 0 is the default of the compression")
	complete(cmd, "compress", compressionNames()...)
}

// formatFlag declares --format.
func formatFlag(cmd *cobra.Command, format *string) {
	cmd.Flags().StringVar(format, "format", "text", "output `format`: text or json")
	complete(cmd, "format", "text", "json")
}

// checkFormat checks the value of --format.
func checkFormat(format string) error {
	if err := usage.Check(format, "text", "json"); err != nil {
		return usageError{withHint(fmt.Errorf("--format: %w", err), formatHint(format))}
	}
	return nil
}
