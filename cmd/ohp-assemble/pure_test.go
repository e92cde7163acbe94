package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// impure are the names by which the clock, a random source, the environment or
// the user could reach the output. A star is every name of a package.
var impure = map[string][]string{
	"crypto/rand":           {"*"},
	"math/rand":             {"*"},
	"math/rand/v2":          {"*"},
	"os/user":               {"*"},
	"time":                  {"Now", "Since", "Until", "Local"},
	"os":                    {"Getenv", "LookupEnv", "Environ", "ExpandEnv", "Hostname", "Getpid", "Getppid", "Getuid", "Geteuid", "Getgid", "Getwd", "UserHomeDir", "UserCacheDir", "UserConfigDir", "TempDir", "Executable", "Args"},
	"syscall":               {"Getenv", "Environ", "Getpid", "Getuid", "Gettimeofday", "Time"},
	"golang.org/x/sys/unix": {"Getenv", "Environ", "Getpid", "Getuid", "Gettimeofday", "Time", "ClockGettime", "Getrandom", "Uname"},
}

// mayBeImpure are the uses that do not reach the output, by file.
var mayBeImpure = []exception{
	{"pkg/rootfs/oci/cache.go", "time.Now", "the time at which an entry of the cache was last used"},
	{"pkg/rootfs/oci/storage.go", "os.Getenv", "where podman has its containers"},
	{"pkg/rootfs/oci/storage.go", "os.Getuid", "where podman has its containers"},
	{"pkg/rootfs/oci/storage.go", "os.Geteuid", "where podman has its containers"},
	{"pkg/rootfs/registry/transport.go", "os.UserConfigDir", "the certificates of registries"},
	{"pkg/stream/pull/part.go", "os.Geteuid", "a partial download of another user is rejected"},
}

// testPackages are imported by tests alone.
var testPackages = regexp.MustCompile(`(^|/)(tree|disk|registry|ostree|schema|inspect)test(/|$)`)

// TestPure: below the command nothing reads the clock, a random source or the
// environment, but for the exceptions in mayBeImpure.
func TestPure(t *testing.T) {
	checkLibrary(t, mayBeImpure, impurities)
}

// An exception allows a finding in a file of the library.
type exception struct{ file, name, reason string }

// checkLibrary reports the findings in each file of the library, but for the exceptions.
func checkLibrary(t *testing.T, exceptions []exception, find func(name string, source any) ([]finding, error)) {
	t.Helper()
	used := map[exception]bool{}
	files := 0
	for _, top := range []string{"pkg", "manifests"} {
		err := filepath.WalkDir(filepath.Join(checkout, top), func(name string, d fs.DirEntry, err error) error {
			file, _ := filepath.Rel(checkout, name)
			if err != nil || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || testPackages.MatchString(filepath.Dir(file)) {
				return err
			}
			files++
			found, err := find(name, nil)
			for _, f := range found {
				i := slices.IndexFunc(exceptions, func(e exception) bool { return e.file == file && (e.name == f.name || e.name == "*") })
				if i < 0 {
					t.Errorf("%s: %s", f.at, f.name)
					continue
				}
				used[exceptions[i]] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range exceptions {
		if !used[e] || e.reason == "" {
			t.Errorf("exceptions: %s has no %s, or the reason is missing", e.file, e.name)
		}
	}
	if files < 100 {
		t.Errorf("only %d files were read", files)
	}
}

// A finding is a part of a Go file that the library must not have.
type finding struct {
	name string // for an impure function, the path of its package and its name: math/rand/v2.IntN
	at   token.Position
}

// impurities returns the uses of impure names in a Go file. Importing an impure
// package under the name "." counts as a use.
func impurities(name string, source any) (found []finding, err error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, source, 0)
	if err != nil {
		return nil, err
	}
	add := func(n ast.Node, pkg, name string) {
		found = append(found, finding{pkg + "." + name, fset.Position(n.Pos())})
	}
	packages := map[string]string{} // paths by the names in this file
	for _, imp := range file.Imports {
		pkg, err := strconv.Unquote(imp.Path.Value)
		if err != nil {
			return nil, err
		}
		packages[importName(imp, pkg)] = pkg
		if imp.Name != nil && imp.Name.Name == "." && impure[pkg] != nil {
			add(imp, pkg, "*")
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); ok && x.Obj == nil { // a name of the file, no variable
			pkg := packages[x.Name]
			if slices.Contains(impure[pkg], "*") || slices.Contains(impure[pkg], sel.Sel.Name) {
				add(n, pkg, sel.Sel.Name)
			}
		}
		return true
	})
	return found, nil
}

var majorVersion = regexp.MustCompile(`^v[0-9]+$`)

// importName returns the name of an imported package in a file: its own is the
// last part of its path that is no version.
func importName(imp *ast.ImportSpec, pkg string) string {
	if imp.Name != nil {
		return imp.Name.Name
	}
	if dir, last := path.Split(pkg); majorVersion.MatchString(last) {
		return path.Base(dir)
	}
	return path.Base(pkg)
}

// checkFound compares the names that find returns for a Go source with those wanted.
func checkFound(t *testing.T, find func(name string, source any) ([]finding, error), source, want string) {
	t.Helper()
	found, err := find("made-up.go", "package p; "+source)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range found {
		names = append(names, f.name)
	}
	if got := strings.Join(names, " "); got != want {
		t.Errorf("%s: found %q, want %q", source, got, want)
	}
}

// TestImpurities has every way to name an impure function, and names that only look
// like one.
func TestImpurities(t *testing.T) {
	for source, want := range map[string]string{
		`import "time"; var x = time.Now()`:                                       "time.Now",
		`import "time"; var now = time.Now`:                                       "time.Now",
		`import clock "time"; var x = clock.Now()`:                                "time.Now",
		`import "math/rand/v2"; var x = rand.IntN(3)`:                             "math/rand/v2.IntN",
		`import "math/rand"; var x = rand.Intn(3)`:                                "math/rand.Intn",
		`import r "math/rand/v2"; var x = r.N(3)`:                                 "math/rand/v2.N",
		`import "crypto/rand"; var x = rand.Reader`:                               "crypto/rand.Reader",
		`import . "time"; var x = Now()`:                                          "time.*",
		`import "os"; func f() { if true { os.Getenv("x") } }`:                    "os.Getenv",
		`import "golang.org/x/sys/unix"; var x = unix.Getpid()`:                   "golang.org/x/sys/unix.Getpid",
		`import ("os"; "time"); var x, y = os.Args, time.Since(time.Time{})`:      "os.Args time.Since",
		`import "time"; var x = time.Unix(0, 0)`:                                  "",
		`import "os"; var x = os.Open`:                                            "",
		`type clock struct{ Now int }; func f() { var time clock; _ = time.Now }`: "",
		`import "example/time/v3"; var x = time.Now()`:                            "",
	} {
		checkFound(t, impurities, source, want)
	}
	for dir, want := range map[string]bool{
		"pkg/rootfs/treetest": true, "pkg/rootfs/treetest/tinyos": true, "pkg/disk/disktest/golden": true, "pkg/rootfs/registry/registrytest": true,
		"pkg/disk": false, "pkg/latest": false, "pkg/tester": false,
	} {
		if got := testPackages.MatchString(dir); got != want {
			t.Error(fmt.Sprint(dir, " is a package of tests: ", got))
		}
	}
}
