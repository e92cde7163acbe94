package treetest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
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
	out, _ := exec.Command(filepath.Join(checkout(), "ci/fixture/newer"), name).Output()
	return strings.TrimSpace(string(out))
}

// checkout returns the folder of the project, as seen from the folder of a test.
func checkout() string {
	dir := "."
	for len(dir) < 64 {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		dir = filepath.Join("..", dir)
	}
	return dir
}

// Root skips a test, or fails it where OHP_TOOLS says that tools are required,
// unless the test is root's.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		Missing(t, "OHP_TOOLS", "not root: this test mounts file systems, or sets owners and labels; run it as root")
	}
}

// IsRoot reports whether the test is root's, for a part of a test that only root
// can do. It fails the test where OHP_TOOLS says that tools are required, and tells
// it of the missing part elsewhere.
func IsRoot(t testing.TB) bool {
	t.Helper()
	if os.Geteuid() == 0 {
		return true
	}
	const why = "not root: a part of this test mounts file systems; run it as root"
	if os.Getenv("OHP_TOOLS") == "required" {
		t.Fatal(why)
	}
	t.Log(why)
	return false
}

// Unprivileged runs the test again as a user without privileges if it is root's,
// and reports whether the rest of it is for this process.
func Unprivileged(t *testing.T) bool {
	t.Helper()
	if os.Geteuid() != 0 {
		return true
	}
	const nobody = 65534
	dir, err := os.MkdirTemp("", "ohp-nobody-") // the folders of t are root's
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "test")
	if out, err := exec.Command("cp", self, program).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env, cmd.Dir = append(os.Environ(), "TMPDIR="+dir, "HOME="+dir, "XDG_RUNTIME_DIR="), dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("as nobody: %v\n%s", err, out)
	}
	return false
}

// Vectors returns a folder of data of real systems, which is not part of the
// project: policies of distributions may not be copied into it. OHP_VECTORS names
// the folder above it, else it is ../shared/vectors beside the checkout. The test
// is skipped where OHP_VECTORS is "none". Where it is unset and the folder is not
// there, the test is skipped too, or fails if OHP_TOOLS says that tools are required.
func Vectors(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv("OHP_VECTORS")
	if dir == "none" {
		t.Skipf("OHP_VECTORS is none: not compared with %s of real systems", name)
	}
	if dir == "" {
		dir = filepath.Join(checkout(), "../shared/vectors")
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		Missing(t, "OHP_TOOLS", fmt.Sprintf("%v: OHP_VECTORS names the folder that has %s of real systems, or is none", err, name))
	}
	return path
}

// Missing skips a test visibly for want of a thing, or fails it where a variable of
// the environment says "required".
func Missing(t testing.TB, env, what string) {
	t.Helper()
	if os.Getenv(env) == "required" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// Run runs a [Tool] that must succeed, in the C locale, and returns its output.
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
