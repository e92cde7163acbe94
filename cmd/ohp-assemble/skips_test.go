package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// maySkip are the tests that skip for another reason than -short or a missing
// tool, by file and function, with the reasons.
var maySkip = []struct{ place, reason string }{
	{"pkg/rootfs/treetest/tools.go Missing", "tools: it fails where they are required"},
	{"pkg/rootfs/treetest/tools.go Vectors", "policies of distributions, which may not be part of the project: OHP_VECTORS=none says that they are not there"},
	{"pkg/disk/ext4/kernel_test.go TestGrows", "a subtest: root in a container has no CAP_SYS_RESOURCE; resize2fs grows the same file system unmounted"},
	{"pkg/rootfs/oci/policy_test.go checkSkopeo", "a subtest: skopeo of Debian 12 does not know all policies"},
	{"pkg/rootfs/ostree/container/real_test.go TestRealFixture", "the full fixture takes a minute: OHP_FIXTURE=required"},
	{"ci/boot/image_test.go wanted", "boots take minutes: OHP_BOOT chooses them"},
	{"ci/boot/derived_test.go TestReference", "records with -update"},
	{"ci/judges/judges_test.go judge", "judges are built apart: OHP_JUDGES says whether they must be there"},
}

// TestSkips: with OHP_TOOLS=required no test is skipped silently. Tests ask treetest
// for tools and for root, which fails where they are required.
func TestSkips(t *testing.T) {
	used := map[string]bool{}
	files := 0
	for _, top := range []string{"pkg", "cmd", "ci", "manifests"} {
		err := filepath.WalkDir(filepath.Join(checkout, top), func(name string, d fs.DirEntry, err error) error {
			file, _ := filepath.Rel(checkout, name)
			if err != nil || !strings.HasSuffix(name, ".go") || !strings.HasSuffix(name, "_test.go") && !testPackages.MatchString(filepath.Dir(file)) {
				return err
			}
			files++
			found, err := skips(name, nil)
			for _, f := range found {
				place := file + " " + f.name
				used[place] = true
				if !slices.ContainsFunc(maySkip, func(e struct{ place, reason string }) bool { return e.place == place }) {
					t.Errorf("%s: %s skips a test, or a part of it, where tools are required", f.at, f.name)
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range maySkip {
		if !used[e.place] || e.reason == "" {
			t.Errorf("maySkip: %s skips nothing, or the reason is missing", e.place)
		}
	}
	if files < 100 {
		t.Errorf("only %d files were read", files)
	}
}

// skips returns the functions of a Go file that skip a test and do not ask for
// -short before.
func skips(name string, source any) (found []finding, err error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, source, 0)
	if err != nil {
		return nil, err
	}
	for _, decl := range file.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if !ok {
			continue
		}
		visit := func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.IfStmt:
				return !mentions(n.Cond, "testing", "Short")
			case *ast.CallExpr:
				if sel, ok := n.Fun.(*ast.SelectorExpr); ok && isTest(sel.X) && slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, sel.Sel.Name) {
					found = append(found, finding{f.Name.Name, fset.Position(n.Pos())})
				}
			}
			return true
		}
		ast.Inspect(f, visit)
	}
	return found, nil
}

// isTest reports whether an expression has the name of a test, not of a benchmark.
func isTest(x ast.Expr) bool {
	name, ok := x.(*ast.Ident)
	return ok && slices.Contains([]string{"t", "f", "tb"}, name.Name)
}

// mentions reports whether a name of a package is in an expression.
func mentions(x ast.Expr, pkg, name string) (yes bool) {
	ast.Inspect(x, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == name {
			if p, ok := sel.X.(*ast.Ident); ok && p.Name == pkg {
				yes = true
			}
		}
		return true
	})
	return yes
}

// TestFindSkips has made-up tests.
func TestFindSkips(t *testing.T) {
	for body, want := range map[string]int{
		`t.Skip("x")`: 1,
		`if os.Getuid() != 0 { t.Skipf("%d", 1) }`:             1,
		`t.Run("x", func(t *testing.T) { t.SkipNow() })`:       1,
		`if testing.Short() { t.Skip("x") }`:                   0,
		`if testing.Short() && n > 1 { t.Skip() }`:             0,
		`for { if testing.Short() { break }; f.Skip("x") }`:    1,
		`b.Skip("in a benchmark")`:                             0,
		`hash.Skip(10); treetest.Missing(t, "OHP_TOOLS", "x")`: 0,
	} {
		found, err := skips("made-up.go", "package p; func TestX(t *testing.T) { "+body+" }")
		if err != nil || len(found) != want {
			t.Errorf("%s: %v, %v, want %d", body, found, err, want)
		}
	}
}
