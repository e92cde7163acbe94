// Command ohp-assemble makes bootable disk images from an operating system in a
// container registry.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/cmd/ohp-assemble/internal/cli"
	"github.com/ohp-assemble/ohp-assemble/cmd/ohp-assemble/internal/guard"
	"github.com/ohp-assemble/ohp-assemble/cmd/ohp-assemble/internal/memory"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/inspect"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/usage"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/build"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/publish"
)

// Exit codes. Scripts rely on them.
const (
	exitFailed = 1
	exitUsage  = 2
	exitVerify = 3
	exitAccess = 4
)

func main() { os.Exit(run()) }

// run runs the command line and returns the exit code. Tests call it.
func run() int {
	memory.FollowHeap()
	// The first ^C cancels; run then waits only for the removal of temporary files.
	// The second ^C kills the process.
	ctx, stop := signal.NotifyContext(guard.With(context.Background()), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)

	logrus.SetLevel(logrus.ErrorLevel) // the image library also logs problems that it solves, such as lost connections
	out := &printer{w: os.Stdout}
	cmd := command()
	cmd.SetOut(out)
	type outcome struct {
		ran *cobra.Command
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		ran, err := cmd.ExecuteContextC(ctx)
		done <- outcome{ran, err}
	}()
	var end outcome
	select {
	case end = <-done:
	case <-guard.Interrupted(ctx):
		end.err = ctx.Err()
	}
	err := end.err
	if err == nil {
		err = out.err
	}
	if err == nil {
		return 0
	}
	h := ""
	if ctx.Err() != nil {
		err = errors.New("interrupted: incomplete output was removed; the cache and partial downloads were kept")
	} else {
		h = cmp.Or(cli.FlagHint(end.ran, os.Args[1:], err), errorHint(err, end.ran))
	}
	fmt.Fprintf(os.Stderr, "ohp-assemble: %s\n", visible(err.Error()))
	if h != "" {
		fmt.Fprintf(os.Stderr, "ohp-assemble: hint: %s\n", visible(h))
	}
	return exitCode(err)
}

// command returns the root command.
func command() *cobra.Command {
	root := &cobra.Command{
		Use:   "ohp-assemble",
		Short: "Make bootable disk images from an operating system in a container registry",
		Long: `ohp-assemble makes disk images from the container of an ostree-based operating
system. It needs no root privileges, mounts, loop devices or virtual machines,
and the same input always gives the same bytes.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       versionLine(),
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetFlagErrorFunc(cli.FlagError)
	root.AddCommand(
		buildCommand(), planCommand(),
		inspectCommand(), lsCommand(), catCommand(), diffCommand(),
		compressCommand(), decompressCommand(),
		publishCommand(), pullCommand(), streamCommand(),
		definitionCommand(), manifestCommand(), cacheCommand(), versionCommand(),
	)
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	cli.Strict(root)
	return root
}

// errProblems means that the examined file or document has problems, which were
// printed.
var errProblems = errors.New("problems found")

// errDiffer is the result of diff --exit-code.
var errDiffer = errors.New("not equal")

// errorHint returns the hint of an error of a command, or "".
func errorHint(err error, ran *cobra.Command) string {
	if h := cli.Hint(err); h != "" {
		return h
	}
	if exitCode(err) == exitUsage {
		return "see " + ran.CommandPath() + " --help"
	}
	return cli.ErrorHint(err, ran)
}

// exitCode returns the exit code of an error.
func exitCode(err error) int {
	switch {
	case errors.As(err, new(cli.UsageError)), errors.As(err, new(usage.Error)), errors.Is(err, publish.ErrOptions):
		return exitUsage
	case errors.Is(err, registry.ErrVerify), errors.Is(err, errProblems), errors.Is(err, inspect.ErrDamaged), errors.Is(err, errDiffer), errors.Is(err, publish.ErrFile), errors.Is(err, build.ErrFile):
		return exitVerify
	case errors.Is(err, registry.ErrAccess):
		return exitAccess
	}
	return exitFailed
}
