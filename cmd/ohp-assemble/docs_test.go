package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestDocumentedCommands: the command lines in the README, in the user's guide and
// in the help texts are valid as far as that shows without running them.
func TestDocumentedCommands(t *testing.T) {
	texts := examplesOf(command())
	for name, text := range pages(t) {
		texts[name] = text
	}
	seen := 0
	for name, text := range texts {
		for _, line := range commandLines(text) {
			seen++
			if err := parseLine(line); err != nil {
				t.Errorf("%s: %s: %v", name, line, err)
			}
		}
	}
	if seen < 50 {
		t.Errorf("only %d command lines were found", seen)
	}
}

// TestDocumentedOptions: the options that the README and the user's guide mention
// in running text exist.
func TestDocumentedOptions(t *testing.T) {
	seen := 0
	for name, text := range pages(t) {
		for _, code := range ownCode.FindAllString(codeBlock.ReplaceAllString(text, ""), -1) {
			for _, m := range option.FindAllStringSubmatch(code, -1) {
				seen++
				if !hasOption(command(), m[1]) {
					t.Errorf("%s: %s: no command has the option --%s", name, code, m[1])
				}
			}
		}
	}
	if seen < 100 {
		t.Errorf("only %d options were found", seen)
	}
}

// TestWrongLines: the tests of this file see mistakes.
func TestWrongLines(t *testing.T) {
	for _, line := range []string{"buidl REF", "build REF --nonsense", "cat disk.raw", "cache prune --older-than x", "stream nonsense"} {
		if parseLine(line) == nil {
			t.Errorf("%s: no error", line)
		}
	}
	if hasOption(command(), "nonsense") {
		t.Error("--nonsense exists")
	}
}

func hasOption(cmd *cobra.Command, name string) bool {
	cmd.InitDefaultHelpFlag()
	if cmd.Flags().Lookup(name) != nil || cmd.PersistentFlags().Lookup(name) != nil {
		return true
	}
	for _, sub := range cmd.Commands() {
		if hasOption(sub, name) {
			return true
		}
	}
	return false
}

// pages returns the README and the pages of the user's guide, by name.
func pages(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	add := func(name string) error {
		text, err := os.ReadFile(name)
		all[name] = string(text)
		return err
	}
	err := filepath.WalkDir(filepath.Join(checkout, "docs/src"), func(name string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(name) != ".md" {
			return err
		}
		return add(name)
	})
	if err := errors.Join(err, add(filepath.Join(checkout, "README.md"))); err != nil {
		t.Fatal(err)
	}
	if len(all) < 10 {
		t.Errorf("only %d pages were found", len(all))
	}
	return all
}

// examplesOf returns the examples of a command and of those below it, by name.
func examplesOf(cmd *cobra.Command) map[string]string {
	all := map[string]string{cmd.CommandPath(): "```\n" + cmd.Example + "\n```"}
	for _, sub := range cmd.Commands() {
		for name, text := range examplesOf(sub) {
			all[name] = text
		}
	}
	return all
}

var (
	codeBlock  = regexp.MustCompile("(?s)```([a-z]*)\n(.*?)\n```")
	inlineCode = regexp.MustCompile("`(podman unshare )?ohp-assemble [^`]*`")
	ownCode    = regexp.MustCompile("`(-., --|--|ohp-assemble |build |plan |inspect |ls |cat |diff |publish |pull |stream |compress |decompress |cache |definition )[^`]*`")
	option     = regexp.MustCompile("--([a-z][a-z-]*)")
)

// commandLines returns the command lines in a text in Markdown.
func commandLines(text string) (lines []string) {
	for _, code := range codeBlock.FindAllStringSubmatch(text, -1) {
		for line := range strings.Lines(strings.ReplaceAll(code[2], "\\\n", " ")) {
			lines = append(lines, commandLine(line)...)
		}
	}
	for _, code := range inlineCode.FindAllString(codeBlock.ReplaceAllString(text, ""), -1) {
		lines = append(lines, commandLine(strings.Trim(code, "`"))...)
	}
	return lines
}

// commandLine returns the part of a line of a shell that is a command of this
// program, or nothing.
func commandLine(line string) []string {
	_, line, ok := strings.Cut(" "+strings.TrimSpace(line), " ohp-assemble ")
	if !ok {
		return nil
	}
	for _, end := range []string{" #", " | ", " > ", " && "} {
		line, _, _ = strings.Cut(line, end)
	}
	return []string{strings.TrimSpace(line)}
}

// parseLine parses a command line and does not run it.
func parseLine(line string) error {
	words := strings.Fields(strings.NewReplacer("'", "", `"`, "").Replace(line))
	if words[0] == "COMMAND" {
		words[0] = "build"
	}
	cmd, rest, err := command().Find(words)
	if err != nil {
		return err
	}
	cmd.InitDefaultHelpFlag()
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}
	if help, err := cmd.Flags().GetBool("help"); help || err != nil {
		return err
	}
	return cmd.ValidateArgs(cmd.Flags().Args())
}
