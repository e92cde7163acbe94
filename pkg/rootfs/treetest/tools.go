package treetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Tool returns the path of a program that judges, also from where Debian keeps
// those of root. Without it the test is skipped, or fails where OHP_TOOLS says
// that tools are required.
func Tool(t testing.TB, name string) string {
	t.Helper()
	if filepath.IsAbs(name) {
		return name
	}
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	Missing(t, "OHP_TOOLS", name+" is not installed")
	return ""
}

// Missing skips a test visibly, or fails it where the environment says that
// what is missing is required.
func Missing(t testing.TB, env, what string) {
	t.Helper()
	if os.Getenv(env) == "required" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// Run runs a [Tool] that must succeed, in the C locale, and returns what it
// printed.
func Run(t testing.TB, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(Tool(t, name), args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TZ=UTC")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
