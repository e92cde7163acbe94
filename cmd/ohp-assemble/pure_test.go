package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// impure are the functions that would let something but the input reach the
// output: the clock, a random source, the environment.
var impure = map[string][]string{
	"time":         {"Now", "Since", "Until"},
	"os":           {"Getenv", "LookupEnv", "Environ", "Hostname", "Getpid", "Getuid"},
	"math/rand":    {"*"},
	"math/rand/v2": {"*"},
	"crypto/rand":  {"*"},
}

// TestPure: below the command nothing reads the clock, a random source or the
// environment. The cache of pkg/rootfs/oci may: nothing of it is output.
func TestPure(t *testing.T) {
	files := 0
	err := filepath.WalkDir(filepath.Join(checkout, "pkg"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") ||
			strings.Contains(path, "rootfs/oci/") || strings.Contains(path, "treetest") {
			return err
		}
		files++
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, nil, 0)
		if err != nil {
			return err
		}
		names := map[string]string{}
		for _, imp := range file.Imports {
			p := strings.Trim(imp.Path.Value, `"`)
			names[strings.TrimSuffix(filepath.Base(p), "/v2")] = p
		}
		ast.Inspect(file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := sel.X.(*ast.Ident); ok && x.Obj == nil {
				for _, bad := range impure[names[x.Name]] {
					if bad == "*" || bad == sel.Sel.Name {
						t.Errorf("%s: %s.%s", fset.Position(n.Pos()), x.Name, sel.Sel.Name)
					}
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 20 {
		t.Errorf("only %d files were read, this test looks at nothing", files)
	}
}
