package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// freeRelative matches the pronouns that open a relative clause without a noun
// ("what was read" for "the bytes read").
var freeRelative = regexp.MustCompile(`(?i)\b(what|whatever|whom|whoever)\b`)

// TestProse: comments use nouns. In each package at most one comment line in a
// hundred has a free relative clause. Small packages may have one.
func TestProse(t *testing.T) {
	type count struct{ lines, found int }
	packages := map[string]count{}
	places := map[string][]string{}
	for _, top := range []string{"pkg", "cmd", "manifests", "ci"} {
		err := filepath.WalkDir(filepath.Join(checkout, top), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") {
				return err
			}
			fset := token.NewFileSet()
			file, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
			if err != nil {
				return err
			}
			dir := filepath.Dir(path)
			c := packages[dir]
			for _, group := range file.Comments {
				for _, comment := range group.List {
					for i, line := range strings.Split(comment.Text, "\n") {
						c.lines++
						n := len(freeRelative.FindAllString(line, -1))
						c.found += n
						if n > 0 {
							at := fset.Position(comment.Pos())
							at.Line += i
							places[dir] = append(places[dir], at.String()+": "+strings.TrimSpace(line))
						}
					}
				}
			}
			packages[dir] = c
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(packages) < 40 {
		t.Errorf("only %d packages were read, this test looks at nothing", len(packages))
	}
	for dir, c := range packages {
		if c.found > max(1, c.lines/100) {
			t.Errorf("%s: %d free relatives in %d comment lines\n\t%s", dir, c.found, c.lines, strings.Join(places[dir], "\n\t"))
		}
	}
}
