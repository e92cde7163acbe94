// Command ohp-assemble turns an operating system in a container registry into
// everything that a machine can boot.
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

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/inspect"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/layer"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/usage"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/build"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/publish"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/source"
)

// Exit codes, part of the interface.
const (
	exitFailed = 1
	exitUsage  = 2
	exitVerify = 3
	exitAccess = 4
)

func main() { os.Exit(run()) }

// run is main that returns its exit code, so that tests can call it.
func run() int {
	collectGarbage()
	// The first ^C cancels, and is waited for only until temporary files are gone;
	// the second one kills.
	ctx, stop := signal.NotifyContext(withGuard(context.Background()), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)

	logrus.SetLevel(logrus.ErrorLevel) // the image library logs what it mends itself, such as a lost connection
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
	case <-interrupted(ctx):
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
		h = cmp.Or(flagHint(end.ran, os.Args[1:], err), hint(err, end.ran))
	}
	fmt.Fprintf(os.Stderr, "ohp-assemble: %s\n", visible(err.Error()))
	if h != "" {
		fmt.Fprintf(os.Stderr, "ohp-assemble: hint: %s\n", visible(h))
	}
	return exitCode(err)
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use:   "ohp-assemble",
		Short: "Make bootable disk images from an operating system in a container registry",
		Long: `ohp-assemble takes an ostree-native operating system container by digest and
makes disk images of it: without root, mounts, loop devices or a virtual
machine, and the same bytes every time.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       versionLine(),
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(
		buildCommand(), planCommand(),
		inspectCommand(), lsCommand(), catCommand(), diffCommand(),
		compressCommand(), decompressCommand(),
		publishCommand(), pullCommand(), streamCommand(),
		definitionCommand(), manifestCommand(), cacheCommand(), versionCommand(),
	)
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	strict(root)
	return root
}

// errProblems says that an image was read and is not what it should be.
var errProblems = errors.New("there are problems")

// errDiffer is the answer to diff --exit-code.
var errDiffer = errors.New("not equal")

func exitCode(err error) int {
	switch {
	case errors.As(err, new(usageError)), errors.As(err, new(usage.Error)), errors.Is(err, publish.ErrOptions):
		return exitUsage
	case errors.Is(err, registry.ErrVerify), errors.Is(err, errProblems), errors.Is(err, inspect.ErrDamaged), errors.Is(err, errDiffer), errors.Is(err, publish.ErrFile), errors.Is(err, build.ErrFile):
		return exitVerify
	case errors.Is(err, registry.ErrAccess):
		return exitAccess
	}
	return exitFailed
}

// hint returns advice about an error of a command, or "".
func hint(err error, ran *cobra.Command) string {
	var own hinted
	switch {
	case errors.As(err, &own):
		return own.hint
	case exitCode(err) == exitUsage:
		return "see " + ran.CommandPath() + " --help"
	case errors.Is(err, publish.ErrSecret):
		return "build it without --ignition and configure the machines by other means, or say --allow-secret if the repository is private"
	case errors.Is(err, publish.ErrFile), errors.Is(err, build.ErrFile):
		return "the file has changed since it was built, or is damaged: build it again"
	case errors.Is(err, layer.ErrHoles):
		return "--size with a larger disk raises the limit"
	case errors.Is(err, registry.ErrDamaged):
		return "the container itself is damaged: its layers match their digests, but their content is wrong; build the container again"
	case errors.Is(err, registry.ErrVerify):
		return "the data does not match its digest and was discarded; retry, and tell the registry's operator if it happens again"
	case errors.Is(err, registry.ErrForbidden):
		return "nothing of it was pulled; whoever keeps the policy, or registries.conf, says what is allowed here"
	case errors.Is(err, source.ErrWebAccess):
		return "fetch it with another program, and name the file, or - for the standard input"
	case errors.Is(err, registry.ErrAccess):
		return "log in with podman or skopeo, or give credentials: --creds USER:PASSWORD, --authfile FILE, or a file that $REGISTRY_AUTH_FILE names" + missingAuthFile(ran)
	case errors.Is(err, syscall.ENOSPC):
		return "make room, or choose other places with --out and --cache; the cache is always safe to delete"
	}
	return ""
}
