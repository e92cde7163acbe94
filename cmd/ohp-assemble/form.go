package main

import (
	"encoding/json"
	"io"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/cmd/ohp-assemble/internal/cli"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/usage"
)

// A form is the value of --format: text, which is the zero value, or json. It prints
// the results of commands.
type form struct{ json bool }

// flag declares --format.
func (f *form) flag(cmd *cobra.Command) {
	cmd.Flags().Var(f, "format", "output `format`: text or json")
	complete(cmd, "format", "text", "json")
}

// Set parses the value of the flag.
func (f *form) Set(name string) error {
	if err := usage.Check(name, "text", "json"); err != nil {
		return cli.WithHint(err, cli.FormatHint(name))
	}
	f.json = name == "json"
	return nil
}

// String returns the value of the flag.
func (f *form) String() string {
	if f.json {
		return "json"
	}
	return "text"
}

// Type returns the name of the type in help texts.
func (*form) Type() string { return "string" }

// A result has a text for people. Its JSON is for programs.
type result interface{ WriteText(w io.Writer) error }

// print prints a result.
func (f form) print(cmd *cobra.Command, res result) error {
	if !f.json {
		return res.WriteText(cmd.OutOrStdout())
	}
	e := json.NewEncoder(cmd.OutOrStdout())
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(res)
}

// A printer writes results to standard output. It keeps the first error, so that
// callers need not check. It replaces control characters, because most of the text
// comes from untrusted images and must not control the terminal.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) Write(b []byte) (int, error) {
	if p.err == nil {
		_, p.err = io.WriteString(p.w, visible(string(b)))
	}
	return len(b), p.err
}

// visible replaces control characters other than ends of lines and tabs.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}
