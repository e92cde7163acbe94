// Package cli adds to cobra the rules and hints that all command lines of this program
// share:
//
//	usage.go  strict values and arguments; errors of usage, with exit code 2
//	errors.go hints about errors of the library
//	hints.go  suggestions for unknown commands, options and platforms
//	words.go  words of other programs, with their meaning here
//	files.go  arguments that are files, folders or references
//	login.go  hints and checks about registries, credentials and switches
//
// A hint is a line below an error. It never changes the meaning of a command line.
package cli

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A UsageError is an error in the command line.
type UsageError struct{ error }

// Unwrap returns the cause.
func (e UsageError) Unwrap() error { return e.error }

// Usage marks an error as one in the command line.
func Usage(err error) error { return UsageError{err} }

// A hinted error has a hint of its own.
type hinted struct {
	error
	hint string
}

func (e hinted) Unwrap() error { return e.error }

// WithHint adds a hint to an error. It returns the error itself if hint is empty.
func WithHint(err error, hint string) error {
	if hint == "" {
		return err
	}
	return hinted{err, hint}
}

// Hint returns the hint of an error, or "".
func Hint(err error) string {
	var own hinted
	errors.As(err, &own)
	return own.hint
}

// Strict applies common rules to a command and its subcommands: values of options
// must not be empty, and a group of commands takes no arguments.
func Strict(cmd *cobra.Command) {
	for _, flags := range []*pflag.FlagSet{cmd.Flags(), cmd.PersistentFlags()} {
		flags.VisitAll(func(f *pflag.Flag) {
			f.Value = nonEmpty{f.Value, flags}
			if f.DefValue == "[]" || f.DefValue == "0s" { // pflag does not recognise these as zero in a wrapped value
				f.DefValue = ""
			}
		})
	}
	if cmd.HasSubCommands() {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return noCommand(cmd, args)
			}
			return nil
		}
		if cmd.RunE == nil {
			cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		}
	}
	if args := cmd.Args; args != nil {
		cmd.Args = func(cmd *cobra.Command, given []string) error {
			err := args(cmd, given)
			if err == nil && cmd.Flags().Lookup("creds") != nil && slices.ContainsFunc(given, hasLogin) {
				err = errLogin
			}
			if err != nil && !errors.As(err, new(UsageError)) { // one of cobra's own commands
				err = Usage(err)
			}
			return err
		}
	}
	for _, c := range cmd.Commands() {
		if c.Name() == "help" {
			c.Args = helpArgs
		}
		Strict(c)
	}
}

var errEmpty = errors.New("empty value")

// nonEmpty rejects empty values of a flag, which come from unset variables in
// scripts. Without quotes, such a flag takes the next option as its value.
type nonEmpty struct {
	pflag.Value
	flags *pflag.FlagSet
}

func (v nonEmpty) Set(s string) error {
	if strings.TrimSpace(s) == "" || s == "=" { // pflag takes the = of -m= for the value
		return errEmpty
	}
	name, _, _ := strings.Cut(s, "=")
	long, isLong := strings.CutPrefix(name, "--")
	if isLong && v.flags.Lookup(long) != nil || len(name) == 2 && name[0] == '-' && v.flags.ShorthandLookup(name[1:]) != nil {
		return fmt.Errorf("%w: %s is an option", errEmpty, s)
	}
	return v.Value.Set(s)
}

// FlagError converts an error of pflag to a [UsageError], with a hint for an unknown
// option.
func FlagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var invalid *pflag.InvalidValueError
	switch {
	case cmd.HasSubCommands() && cmd.Flags().NArg() > 0: // the command is unknown, and so are its options
		return noCommand(cmd, cmd.Flags().Args())
	case errors.As(err, &unknown):
		letters := unknown.GetSpecifiedShortnames()
		hint := optionHint(cmd, cmp.Or(letters, unknown.GetSpecifiedName()))
		if hint == "" && len(letters) > 1 { // -j4
			hint = optionHint(cmd, letters[:1])
		}
		return Usage(WithHint(err, hint))
	case errors.As(err, &invalid):
		cause := invalid.Unwrap()
		switch want := map[string]string{
			"bool": "true or false", "int": "a whole number", "duration": "a time such as 720h or 90m",
		}[invalid.GetFlag().Value.Type()]; {
		case errors.Is(cause, errEmpty):
		case want != "":
			cause = fmt.Errorf("invalid value %q, must be %s", invalid.GetValue(), want)
		}
		return Usage(fmt.Errorf("--%s: %w", invalid.GetFlag().Name, cause))
	}
	return Usage(err)
}

// helpArgs rejects unknown commands. For these, cobra would print the general help.
func helpArgs(cmd *cobra.Command, args []string) error {
	about, rest, err := cmd.Root().Find(args)
	if err == nil && len(rest) > 0 && about.HasSubCommands() {
		err = noCommand(about, rest)
	}
	return err
}

// noCommand returns the error for an unknown command of a group. It is the first word.
func noCommand(group *cobra.Command, words []string) error {
	_, within, _ := strings.Cut(group.CommandPath()+" "+words[0], " ")
	return Usage(WithHint(fmt.Errorf("unknown command %q", within), commandHint(group, words)))
}

// ExactArgs is like cobra.ExactArgs, with the error of RangeArgs.
func ExactArgs(n int, want string) cobra.PositionalArgs { return RangeArgs(n, n, want) }

// RangeArgs is like cobra.RangeArgs, but the error is a [UsageError] that describes the
// wanted arguments. It rejects empty arguments.
func RangeArgs(from, to int, want string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < from || len(args) > to {
			got := fmt.Sprintf("%d arguments", len(args))
			if len(args) == 1 {
				got = "1 argument"
			}
			return Usage(fmt.Errorf("%s: want %s, got %s", cmd.Name(), want, got))
		}
		return noneEmpty(cmd, args)
	}
}

// noneEmpty rejects empty arguments.
func noneEmpty(cmd *cobra.Command, args []string) error {
	for i, arg := range args {
		if strings.TrimSpace(arg) == "" {
			return Usage(fmt.Errorf("%s: argument %d is empty", cmd.Name(), i+1))
		}
	}
	return nil
}

// AtLeast is [cobra.MinimumNArgs] with a [UsageError].
func AtLeast(n int, want string) cobra.PositionalArgs { return RangeArgs(n, 1<<30, want) }
