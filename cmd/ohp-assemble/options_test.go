package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"slices"
	"sync"
	"testing"

	"github.com/spf13/cobra"
)

// mayNameOptions are the options of other programs that look like ours, by file.
var mayNameOptions = []exception{
	{"pkg/cloud/filetype/compression.go", "*", "commands that decompress"},
	{"pkg/cloud/upload/clouds.go", "*", "commands of clouds and hypervisors"},
	{"pkg/rootfs/oci/resolve.go", "--format", "skopeo"},
}

// TestNoOptions: the library does not know the command. Its texts name neither options
// nor commands, which hints of the command do.
func TestNoOptions(t *testing.T) {
	checkLibrary(t, mayNameOptions, ourWords)
}

var optionOrCommand = regexp.MustCompile(`--[a-z][a-z0-9-]*|\bohp-assemble [a-z]+`)

// ourWords returns the options and commands of the program that strings in a Go file name.
func ourWords(name string, source any) (found []finding, err error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, source, 0)
	if err != nil {
		return nil, err
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if text, ok := n.(*ast.BasicLit); ok && text.Kind == token.STRING {
			for _, word := range optionOrCommand.FindAllString(text.Value, -1) {
				if slices.Contains(ours(), word) {
					found = append(found, finding{word, fset.Position(n.Pos())})
				}
			}
		}
		return true
	})
	return found, nil
}

// ours returns the options and commands of the program.
var ours = sync.OnceValue(func() []string { return words(command()) })

// words returns the options and the names of a command and its subcommands.
func words(cmd *cobra.Command) []string {
	all := []string{cmd.CommandPath()}
	for _, name := range flagNames(cmd) {
		all = append(all, "--"+name)
	}
	for _, c := range cmd.Commands() {
		all = append(all, words(c)...)
	}
	return all
}

func TestOurWords(t *testing.T) {
	for source, want := range map[string]string{
		`var x = "choose one with --root-fs"`:                       "--root-fs",
		"var x = `see --older-than, or --json`":                     "--older-than",
		`var x = f("%s: --files-dir: %w")`:                          "--files-dir",
		`var x = "publish --stream and --replace"`:                  "--stream --replace",
		`var x = "use ohp-assemble pull or ohp-assemble partition"`: "ohp-assemble pull",
		`var x = "podman build --squash-all, --formats"`:            "",
		`var x = 1 // --size`:                                       "",
	} {
		checkFound(t, ourWords, source, want)
	}
}
