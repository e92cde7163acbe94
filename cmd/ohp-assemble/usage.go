package main

import (
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A usageError is an error in the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// A hinted error has a hint of its own.
type hinted struct {
	error
	hint string
}

func (e hinted) Unwrap() error { return e.error }

// withHint adds a hint to an error. It returns the error itself if hint is empty.
func withHint(err error, hint string) error {
	if hint == "" {
		return err
	}
	return hinted{err, hint}
}

// strict applies common rules to a command and its subcommands: values of options
// must not be empty, and a group of commands takes no arguments.
func strict(cmd *cobra.Command) {
	for _, flags := range []*pflag.FlagSet{cmd.Flags(), cmd.PersistentFlags()} {
		flags.VisitAll(func(f *pflag.Flag) {
			f.Value = nonEmpty{f.Value}
			if f.DefValue == "[]" || f.DefValue == "0s" { // pflag does not recognise these as zero in a wrapped value
				f.DefValue = ""
			}
		})
	}
	if cmd.HasSubCommands() {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return noCommand(cmd, args[0])
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
			if err != nil && !errors.As(err, new(usageError)) { // one of cobra's own commands
				err = usageError{err}
			}
			return err
		}
	}
	for _, c := range cmd.Commands() {
		if c.Name() == "help" {
			c.Args = helpArgs
		}
		strict(c)
	}
}

var errEmpty = errors.New("empty value")

// nonEmpty rejects empty values of a flag, which come from unset variables in
// scripts. It removes the spaces around the words of a list.
type nonEmpty struct{ pflag.Value }

func (v nonEmpty) Set(s string) error {
	if strings.TrimSpace(s) == "" {
		return errEmpty
	}
	if err := v.Value.Set(s); errors.As(err, new(*csv.ParseError)) {
		return fmt.Errorf("invalid value %q, must be a list of words separated by commas", s)
	} else if err != nil {
		return err
	}
	if list, ok := v.Value.(pflag.SliceValue); ok && v.Type() == "stringSlice" {
		words := list.GetSlice()
		for i, word := range words {
			if words[i] = strings.TrimSpace(word); words[i] == "" {
				return fmt.Errorf("invalid value %q, it has an empty word", s)
			}
		}
		return list.Replace(words)
	}
	return nil
}

// flagError converts an error of pflag to a usageError, with a hint for an unknown
// option.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var invalid *pflag.InvalidValueError
	switch {
	case cmd.HasSubCommands() && cmd.Flags().NArg() > 0: // the command is unknown, and so are its options
		return noCommand(cmd, cmd.Flags().Arg(0))
	case errors.As(err, &unknown):
		return usageError{withHint(err, optionHint(cmd, cmp.Or(unknown.GetSpecifiedShortnames(), unknown.GetSpecifiedName())))}
	case errors.As(err, &invalid):
		cause := invalid.Unwrap()
		switch want := map[string]string{
			"bool": "true or false", "int": "a whole number", "duration": "a time such as 720h or 90m",
		}[invalid.GetFlag().Value.Type()]; {
		case cause == errEmpty:
		case want != "":
			cause = fmt.Errorf("invalid value %q, must be %s", invalid.GetValue(), want)
		}
		return usageError{fmt.Errorf("--%s: %w", invalid.GetFlag().Name, cause)}
	}
	return usageError{err}
}

// helpArgs rejects unknown commands. For these, cobra would print the general help.
func helpArgs(cmd *cobra.Command, args []string) error {
	about, rest, err := cmd.Root().Find(args)
	if err == nil && len(rest) > 0 && about.HasSubCommands() {
		err = noCommand(about, rest[0])
	}
	return err
}

// noCommand returns the error for an unknown command of a group.
func noCommand(group *cobra.Command, arg string) error {
	_, within, _ := strings.Cut(group.CommandPath()+" "+arg, " ")
	return usageError{withHint(fmt.Errorf("unknown command %q", within), commandHint(group, arg))}
}

// exactArgs is like cobra.ExactArgs, with the error of rangeArgs.
func exactArgs(n int, want string) cobra.PositionalArgs { return rangeArgs(n, n, want) }

// rangeArgs is like cobra.RangeArgs, but the error is a usageError that describes the
// wanted arguments. It rejects empty arguments.
func rangeArgs(from, to int, want string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < from || len(args) > to {
			got := fmt.Sprintf("%d arguments", len(args))
			if len(args) == 1 {
				got = "1 argument"
			}
			return usageError{fmt.Errorf("%s: want %s, got %s", cmd.Name(), want, got)}
		}
		return noneEmpty(cmd, args)
	}
}

// noneEmpty rejects empty arguments.
func noneEmpty(cmd *cobra.Command, args []string) error {
	for i, arg := range args {
		if strings.TrimSpace(arg) == "" {
			return usageError{fmt.Errorf("%s: argument %d is empty", cmd.Name(), i+1)}
		}
	}
	return nil
}
