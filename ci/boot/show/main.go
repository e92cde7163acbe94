// Command show boots disk images in QEMU and prints the reports of the
// booted systems. The images are not changed. It exits with status 1 if a boot fails.
package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/ci/boot"
)

func main() {
	firmware := flag.String("firmware", "bios,uefi", "start each disk under these `firmwares`")
	memory := flag.Int("memory", 1536, "`MiB` of the machine")
	verbose := flag.Bool("v", false, "show the whole console on standard error")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: show [flags] DISK...")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	status := 0
	for _, disk := range flag.Args() {
		for f := range strings.SplitSeq(*firmware, ",") {
			o := boot.Options{Disk: disk, Firmware: boot.Firmware(f), Memory: *memory}
			if *verbose {
				o.Echo = os.Stderr
			}
			fmt.Printf("== %s under %s\n", disk, f)
			report, err := boot.Boot(ctx, o)
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				status = 1
				continue
			}
			show(report)
		}
	}
	os.Exit(status)
}

// show prints the proof as a table, keys in order.
func show(r *boot.Report) {
	width := 0
	for key := range r.Proof {
		width = max(width, len(key))
	}
	for _, key := range slices.Sorted(maps.Keys(r.Proof)) {
		for _, value := range r.Proof[key] {
			fmt.Printf("   %-*s  %s\n", width, key, value)
		}
	}
	fmt.Printf("   booted and told everything in %.1f s (%.1f s of CPU)\n\n", r.Elapsed.Seconds(), r.CPU.Seconds())
}
