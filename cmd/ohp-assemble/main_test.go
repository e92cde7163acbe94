package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// asMain makes the test binary be the program, so that tests run it as a
// process of its own: as another user, in another place, to be killed.
const asMain = "OHP_TEST_AS_MAIN"

// peakFile names the file where such a process leaves how much memory it had:
// the usage that wait4(2) returns of a child begins with that of its parent.
const peakFile = "OHP_TEST_PEAK"

// raceOptions names the options of the race detector, without which each process
// would sleep for a second at its end.
const raceOptions = "GORACE"

func TestMain(m *testing.M) {
	if os.Getenv(asMain) != "" {
		code := run()
		if name := os.Getenv(peakFile); name != "" {
			status, _ := os.ReadFile("/proc/self/status")
			os.WriteFile(name, status, 0o600)
		}
		os.Exit(code)
	}
	testscript.Main(tests{m}, map[string]func(){"ohp-assemble": func() { os.Exit(run()) }})
}

// tests are all tests of the package. When they have run, the warm cache is removed.
type tests struct{ *testing.M }

func (m tests) Run() int {
	defer func() {
		if warmCache != "" {
			os.RemoveAll(warmCache)
		}
	}()
	return m.M.Run()
}

// warmCache is the folder that warm returns, if it has been called.
var warmCache string

// warm returns a cache that tests share if the first import of a container is not
// their subject: they import the same containers, and each import takes seconds.
var warm = sync.OnceValue(func() string {
	var err error
	if warmCache, err = os.MkdirTemp("", "ohp-warm-"); err != nil {
		panic(err)
	}
	return warmCache
})

// TestScripts runs the commands that need no operating system: every way to use
// the command wrongly, and its error.
func TestScripts(t *testing.T) {
	scripts, err := filepath.Glob("testdata/*.txtar") // golden.txt is no script
	if err != nil || len(scripts) == 0 {
		t.Fatal(scripts, err)
	}
	testscript.Run(t, testscript.Params{Files: scripts, Setup: func(e *testscript.Env) error {
		e.Setenv(raceOptions, os.Getenv(raceOptions))
		return nil
	}})
}

// root of the checkout, seen from this package.
const checkout = "../.."

// fixture returns the reference of a fixture operating system. Without it the
// test is skipped, or fails where it is required.
func fixture(t *testing.T, name string) string {
	t.Helper()
	if testing.Short() && strings.HasPrefix(name, "full") {
		t.Skip("-short leaves the full fixture out")
	}
	cmd := exec.Command(filepath.Join(checkout, "ci/fixture/ref"), "--cached", name)
	cmd.Stderr = new(bytes.Buffer)
	out, err := cmd.Output()
	if err == nil {
		return strings.TrimSpace(string(out))
	}
	treetest.Missing(t, "OHP_FIXTURE", fmt.Sprintf("fixture %s is not built (make fixture): %v: %s", name, err, cmd.Stderr))
	return ""
}

// A process is one run of the program as a process of its own.
type process struct {
	stdout, stderr string
	code           int
	rss            int64 // peak resident set in bytes, if program ran it
}

// start prepares a run; the environment holds nothing but HOME, the variables that the
// caller adds, and options of the race detector.
func start(t *testing.T, env []string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append([]string{asMain + "=1", "HOME=" + t.TempDir(), raceOptions + "=" + os.Getenv(raceOptions)}, env...)
	return cmd
}

// finish runs the prepared command.
func finish(t *testing.T, cmd *exec.Cmd) process {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	return process{stdout: stdout.String(), stderr: stderr.String(), code: cmd.ProcessState.ExitCode()}
}

// peak returns the peak resident set in a /proc/PID/status, in bytes.
func peak(name string) (n int64) {
	status, _ := os.ReadFile(name)
	if _, after, ok := strings.Cut(string(status), "VmHWM:"); ok {
		fmt.Sscan(after, &n)
	}
	return n << 10
}

// program runs the program and expects it to succeed.
func program(t *testing.T, env []string, args ...string) process {
	t.Helper()
	status := filepath.Join(t.TempDir(), "status")
	p := finish(t, start(t, append(env, peakFile+"="+status), args...))
	p.rss = peak(status)
	if p.code != 0 {
		t.Fatalf("ohp-assemble %s: exit code %d\n%s", strings.Join(args, " "), p.code, p.stderr)
	}
	return p
}
