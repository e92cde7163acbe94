package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/oci"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/usage"
)

func cacheCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "List and prune the cache",
	}
	cmd.PersistentFlags().StringVar(&dir, "cache", "", "`folder` of the cache (default: ohp-assemble in the user's cache folder)")
	cmd.AddCommand(cacheListCommand(&dir), cachePruneCommand(&dir))
	return cmd
}

// A cacheEntry is an entry in the output of "cache ls".
type cacheEntry struct {
	Digest string    `json:"digest"`
	Kind   string    `json:"kind"`
	Size   int64     `json:"size"`
	Used   time.Time `json:"used"`
}

func cacheListCommand(dir *string) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List the cache entries, the most recently used first",
		Args:  exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			name, err := cacheDir(*dir)
			if err != nil {
				return err
			}
			all, err := oci.Usage(name)
			if err != nil {
				return err
			}
			entries, total := []cacheEntry{}, int64(0)
			rows := [][]string{{"USED", "SIZE", "KIND", "DIGEST"}}
			for _, e := range all {
				entries = append(entries, cacheEntry{e.Digest.String(), e.Kind, e.Size, e.Used.UTC()})
				rows = append(rows, []string{e.Used.Format(time.DateTime), size(e.Size), e.Kind, e.Digest.String()})
				total += e.Size
			}
			if format == "json" {
				return printJSON(cmd.OutOrStdout(), entries)
			}
			table(cmd.OutOrStdout(), rows)
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s in %s\n", size(total), name)
			return err
		},
	}
	formatFlag(cmd, &format)
	return cmd
}

func cachePruneCommand(dir *string) *cobra.Command {
	var older time.Duration
	var keep string
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Remove unused cache entries, optionally only old ones, or down to a size",
		Args:  exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o := oci.PruneOptions{OlderThan: older, Now: time.Now()}
			var err error
			if older < 0 {
				return usageError{fmt.Errorf("--older-than: invalid value %s, must not be negative", older)}
			}
			if keep != "" {
				if o.KeepBytes, err = usage.ParseSize(keep); err != nil {
					return usageError{fmt.Errorf("--keep: %w", err)}
				}
			}
			name, err := cacheDir(*dir)
			if err != nil {
				return err
			}
			freed, err := oci.Prune(name, o)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "freed %s\n", size(freed))
			return err
		},
	}
	cmd.Flags().DurationVar(&older, "older-than", 0, "remove only entries unused for this `time`, such as 720h")
	cmd.Flags().StringVar(&keep, "keep", "", "remove the least recently used entries until this `size` is left, such as 20GiB")
	return cmd
}
