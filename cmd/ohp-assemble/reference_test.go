package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest/golden"
)

// TestCommandReference compares the command reference with the commands. With
// -update it writes the reference.
func TestCommandReference(t *testing.T) {
	name := filepath.Join(checkout, "docs/src/reference/commands.md")
	want := commandReference(command())
	if golden.Updating() {
		if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(name)
	if err != nil {
		t.Error(err)
	}
	if string(got) != want {
		t.Errorf("%s is out of date, write it with: go test ./cmd/ohp-assemble -run TestCommandReference -update", name)
	}
}

// commandReference returns a page about all commands that are not hidden.
func commandReference(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString("# Commands\n\n<!-- Generated: go test ./cmd/ohp-assemble -run TestCommandReference -update -->\n\n" +
		"This page lists all commands and options. `ohp-assemble COMMAND --help` explains a command in more detail.\n")
	describeCommand(&b, root)
	return b.String()
}

func describeCommand(b *strings.Builder, cmd *cobra.Command) {
	if cmd.HasParent() {
		fmt.Fprintf(b, "\n%s %s\n\n%s.\n", strings.Repeat("#", min(depth(cmd)+1, 4)), cmd.CommandPath(), markdown(cmd.Short))
		if !cmd.HasAvailableSubCommands() {
			block(b, usageLines(cmd))
		}
		if cmd.Example != "" {
			b.WriteString("\nExamples:\n")
			block(b, outdent(cmd.Example))
		}
		describeFlags(b, cmd.NonInheritedFlags())
	}
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			describeCommand(b, sub)
		}
	}
}

func depth(cmd *cobra.Command) int { return strings.Count(cmd.CommandPath(), " ") }

// usageLines returns the forms of a command, each in a line with its full name.
func usageLines(cmd *cobra.Command) string {
	parent := cmd.Parent().CommandPath() + " "
	var lines []string
	for _, form := range strings.Split(cmd.Use, " | ") {
		if !strings.HasPrefix(form, cmd.Name()) { // the other choice for an argument
			lines[len(lines)-1] += " | " + form
			continue
		}
		lines = append(lines, parent+form)
	}
	return strings.Join(lines, "\n")
}

// outdent removes the indentation of two spaces that examples have.
func outdent(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimPrefix(line, "  ")
	}
	return strings.Join(lines, "\n")
}

func block(b *strings.Builder, text string) { fmt.Fprintf(b, "\n```text\n%s\n```\n", text) }

// describeFlags writes a table of options.
func describeFlags(b *strings.Builder, flags *pflag.FlagSet) {
	if !flags.HasAvailableFlags() {
		return
	}
	b.WriteString("\n| option | |\n| --- | --- |\n")
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		value, text := pflag.UnquoteUsage(f)
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		if value != "" {
			name += " " + value
		}
		fmt.Fprintf(b, "| `%s` | %s%s |\n", strings.ReplaceAll(name, "|", `\|`), markdown(text), defaultOf(f))
	})
}

// defaultOf returns the default value of an option, in the words of the page. It is
// the same on every machine.
func defaultOf(f *pflag.Flag) string {
	switch v := f.DefValue; {
	case slices.Contains([]string{"", "false", "0", "[]", "0s"}, v):
		return ""
	case f.Name == "arch" && v == runtime.GOARCH:
		return " (default: the architecture of this machine)"
	default:
		return fmt.Sprintf(" (default `%s`)", v)
	}
}

// markdown returns plain text in Markdown.
func markdown(text string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "_", `\_`, "`", "\\`", "|", `\|`, "<", "&lt;", "\n", " ").Replace(text)
}
