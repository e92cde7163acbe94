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

// Tool returns the path of a program in PATH or in Debian's sbin directories. If it is
// missing, the test is skipped, or fails if OHP_TOOLS requires tools.
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

// Newer returns the path of a program of the fixture's Debian, which is newer than the
// one of this machine, see ci/fixture/newer. If it is missing, the test is skipped, or
// fails if OHP_FIXTURE requires the fixture.
func Newer(t testing.TB, name string) string {
	t.Helper()
	path := FindNewer(name)
	if path == "" {
		Missing(t, "OHP_FIXTURE", "the fixture's "+name+" is not there, see ci/fixture/newer")
	}
	return path
}

// FindNewer returns the path of a program of the fixture's Debian, or "".
func FindNewer(name string) string {
	out, _ := exec.Command(filepath.Join(checkout(), "ci/fixture/newer"), name).Output()
	return strings.TrimSpace(string(out))
}

// checkout returns the project's folder, relative to the folder of a test.
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

// Root skips the test unless it runs as root. If OHP_TOOLS requires tools, the test
// fails instead.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		Missing(t, "OHP_TOOLS", "not root: this test mounts file systems, or sets owners and labels; run it as root")
	}
}

// IsRoot reports whether the test runs as root, for parts of a test that need root. If
// it does not, IsRoot logs that the part is missing, or fails the test if OHP_TOOLS
// requires tools.
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

// Unprivileged reports whether this process has no privileges and must run the rest of
// the test. As root, it runs the test in another process as user nobody.
func Unprivileged(t *testing.T) bool {
	t.Helper()
	if os.Geteuid() != 0 {
		return true
	}
	const nobody = 65534
	dir, err := os.MkdirTemp("", "ohp-nobody-") // t.TempDir belongs to root
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

// Vectors returns a folder with files of real operating systems. They are not part of
// the project because the licences of some, such as SELinux policies, do not allow it.
// OHP_VECTORS is the parent folder, by default ../shared/vectors beside the checkout.
// The test is skipped if OHP_VECTORS is "none". If it is unset and the folder is
// missing, the test is skipped as well, or fails if OHP_TOOLS requires tools.
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

// Missing skips the test with a message, or fails it if an environment variable
// requires the missing thing.
func Missing(t testing.TB, env, what string) {
	t.Helper()
	if os.Getenv(env) == "required" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// Run runs a [Tool] in the C locale and returns its output. The test fails if the tool
// does.
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
