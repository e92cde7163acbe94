package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/cmd/ohp-assemble/internal/cli"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
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

func cacheListCommand(dir *string) *cobra.Command {
	var format form
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List the cache entries, the most recently used first",
		Args:  cli.ExactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			name, err := cli.CacheDir(*dir)
			if err != nil {
				return err
			}
			all, err := oci.Usage(name)
			if err != nil {
				return err
			}
			if err := format.print(cmd, all); err != nil || format.json {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s in %s\n", rootfs.Size(all.Size()), name)
			return err
		},
	}
	format.flag(cmd)
	return cmd
}

func cachePruneCommand(dir *string) *cobra.Command {
	var older time.Duration
	var keep string
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Remove unused cache entries, optionally only old ones, or down to a size",
		Args:  cli.ExactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o := oci.PruneOptions{OlderThan: older, Now: time.Now()}
			var err error
			if older < 0 {
				return cli.Usage(fmt.Errorf("--older-than: invalid value %s, must not be negative", older))
			}
			if keep != "" {
				if o.KeepBytes, err = usage.ParseSize(keep); err != nil {
					return cli.Usage(fmt.Errorf("--keep: %w", err))
				}
			}
			name, err := cli.CacheDir(*dir)
			if err != nil {
				return err
			}
			freed, err := oci.Prune(name, o)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "freed %s\n", rootfs.Size(freed))
			return err
		},
	}
	cmd.Flags().DurationVar(&older, "older-than", 0, "remove only entries unused for this `time`, such as 720h")
	cmd.Flags().StringVar(&keep, "keep", "", "remove the least recently used entries until this `size` is left, such as 20GiB")
	return cmd
}
