package treetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A Tracing is a command under strace, run by Cmd. It records every system call with
// a file name.
type Tracing struct {
	Cmd *exec.Cmd
	log string
}

// Trace returns a command to be run under strace.
func Trace(t *testing.T, cmd *exec.Cmd) *Tracing {
	t.Helper()
	log := filepath.Join(t.TempDir(), "log")
	trace := exec.Command(Tool(t, "strace"), append([]string{"-f", "-qq", "-y", "-s", "4096", "-e", "trace=%file", "-o", log, cmd.Path}, cmd.Args[1:]...)...)
	trace.Env, trace.Dir = cmd.Env, cmd.Dir
	return &Tracing{trace, log}
}

// OnlyIn fails the test if the command changed anything outside of a directory. It also
// fails if the record has no change at all, because then the record is incomplete.
func (r *Tracing) OnlyIn(t *testing.T, dir string) {
	t.Helper()
	calls, err := os.ReadFile(r.log)
	if err != nil {
		t.Fatal(err)
	}
	changed := 0
	for line := range strings.Lines(string(calls)) {
		names, changes := changing(line)
		if !changes {
			continue
		}
		changed++
		for _, name := range names {
			if !strings.HasPrefix(name, dir+"/") {
				t.Errorf("touches %s: %s", name, line)
			}
		}
	}
	if changed == 0 {
		t.Errorf("no change in a record of %d bytes", len(calls))
	}
}

var (
	call   = regexp.MustCompile(`^\d+ +(\w+)\(`)
	named  = regexp.MustCompile(`(?:<([^<>"]*)>, )?"((?:[^"\\]|\\.)*)"`) // with the directory of a file descriptor, if any
	reads  = regexp.MustCompile(`^(access|faccessat2?|stat|lstat|fstat|newfstatat|statx|statfs|readlink|readlinkat|getcwd|chdir|execve|getxattr|lgetxattr|listxattr|llistxattr|inotify_add_watch)$`)
	writes = regexp.MustCompile(`O_(WRONLY|RDWR|CREAT|TRUNC|APPEND|TMPFILE)`)
)

// changing returns the names in a line of strace if the call changes something. Unknown
// calls count as changes.
func changing(line string) (names []string, changes bool) {
	m := call.FindStringSubmatch(line)
	if m == nil || reads.MatchString(m[1]) {
		return nil, false
	}
	if strings.HasPrefix(m[1], "open") && !writes.MatchString(line) {
		return nil, false
	}
	for _, n := range named.FindAllStringSubmatch(line, -1) {
		name := n[2]
		if !filepath.IsAbs(name) {
			name = filepath.Join(n[1], name)
		}
		names = append(names, name)
	}
	return names, true
}
