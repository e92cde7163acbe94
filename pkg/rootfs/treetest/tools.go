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

// Newer returns the path of a program of the fixture's Debian, which is newer
// than this machine's: see ci/fixture/newer. Without the fixture's tools the
// test is skipped, or fails where OHP_FIXTURE says that they are required.
func Newer(t testing.TB, name string) string {
	t.Helper()
	path := FindNewer(name)
	if path == "" {
		Missing(t, "OHP_FIXTURE", "the fixture's "+name+" is not there, see ci/fixture/newer")
	}
	return path
}

// FindNewer is Newer for who can do without: it returns an empty path.
func FindNewer(name string) string {
	for dir := "."; ; dir = filepath.Join("..", dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			out, _ := exec.Command(filepath.Join(dir, "ci/fixture/newer"), name).Output()
			return strings.TrimSpace(string(out))
		} else if len(dir) > 64 {
			return ""
		}
	}
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
