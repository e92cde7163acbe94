// Package judges checks the images of this project with independent programs: the
// installer of Fedora CoreOS, the library that imports containers on hosts, and
// Ignition.
//
// ci/judges/build builds the programs in about 25 minutes. If one is missing, a test
// fails with OHP_JUDGES=required, and is skipped with OHP_JUDGES=built. All tests need
// root, because the programs do.
package judges

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// judge returns the folder of a judge's programs.
func judge(t *testing.T, name string) string {
	t.Helper()
	wanted := os.Getenv("OHP_JUDGES")
	if wanted == "" {
		t.Skip("set OHP_JUDGES=built or OHP_JUDGES=required")
	}
	cmd := exec.Command("./build", "--cached", name)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	switch {
	case err != nil && wanted == "required":
		t.Fatal(stderr.String())
	case err != nil:
		t.Skip(strings.TrimSpace(stderr.String()))
	case os.Getuid() != 0:
		t.Fatal("not root")
	}
	return strings.TrimSpace(string(out))
}

// run runs a command in a folder and returns its standard output.
func run(t *testing.T, dir string, args ...string) string {
	t.Helper()
	out, err := try(dir, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// try is like run, but returns the error.
func try(dir string, args ...string) (string, error) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "RUST_BACKTRACE=0")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", &failure{args, err, stderr.String()}
	}
	return stdout.String(), nil
}

// A failure is the error of a command.
type failure struct {
	args   []string
	err    error
	stderr string
}

func (f *failure) Error() string {
	return strings.Join(f.args, " ") + ": " + f.err.Error() + "\n" + f.stderr
}

// fixture returns the reference of one of the fixture's containers.
func fixture(t *testing.T, name string) string {
	t.Helper()
	return strings.TrimSpace(run(t, ".", "../fixture/ref", name))
}

// assemble runs ohp-assemble in a folder. It builds the program once.
func assemble(t *testing.T, dir string, args ...string) string {
	t.Helper()
	program, err := filepath.Abs("../../bin/ohp-assemble")
	if err != nil {
		t.Fatal(err)
	}
	return run(t, dir, append([]string{program}, args...)...)
}

// build makes images and returns their paths by platform.
func build(t *testing.T, dir string, args ...string) map[string]string {
	t.Helper()
	var result struct {
		Images []struct{ Platform, Path string }
	}
	if err := json.Unmarshal([]byte(assemble(t, ".", append([]string{"build", "--format", "json", "--quiet", "--out", dir}, args...)...)), &result); err != nil {
		t.Fatal(err)
	}
	images := map[string]string{}
	for _, image := range result.Images {
		images[image.Platform] = image.Path
	}
	return images
}
