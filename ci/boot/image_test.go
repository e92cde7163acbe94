package boot

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// The tests boot images made by ohp-assemble. They take minutes, so they run only with
// OHP_BOOT=tiny, full or all. OHP_ASSEMBLE is the path of the program; without it the
// tests build the program.

// scratch is the folder with the common files of the tests: the program and its cache.
var scratch string

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "boot-"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(scratch)
	os.Exit(code)
}

// wanted skips a test that OHP_BOOT does not select.
func wanted(t *testing.T, fixture string) {
	t.Helper()
	switch v := os.Getenv("OHP_BOOT"); v {
	case "":
		t.Skipf("boots take minutes: set OHP_BOOT=%s or OHP_BOOT=all", fixture)
	case "tiny", "full":
		if v != fixture {
			t.Skipf("OHP_BOOT=%s", v)
		}
	case "all":
	default:
		t.Fatalf("OHP_BOOT=%s: want tiny, full or all", v)
	}
	for _, o := range []Options{{Firmware: BIOS}, {Firmware: UEFI}, {Arch: "aarch64", Firmware: UEFI}} {
		if err := Missing(o); err != nil {
			if os.Getenv("OHP_TOOLS") == "required" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
}

// program returns the path of the program under test.
var program = sync.OnceValues(func() (string, error) {
	if p := os.Getenv("OHP_ASSEMBLE"); p != "" {
		return filepath.Abs(p)
	}
	p := filepath.Join(scratch, "ohp-assemble")
	cmd := exec.Command("go", "build", "-o", p, "../../cmd/ohp-assemble")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return p, nil
})

// reference returns the reference of one of the fixture's containers.
func reference(t *testing.T, name string) string {
	t.Helper()
	cmd := exec.Command("../fixture/ref", name)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("ci/fixture/ref %s: %v", name, err)
	}
	return strings.TrimSpace(string(out))
}

// build runs the program and returns the paths of the images by platform.
func build(t *testing.T, ref string, args ...string) map[string]string {
	t.Helper()
	p, err := program()
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(p, append([]string{"build", ref, "--out", t.TempDir(), "--cache", filepath.Join(scratch, "cache"), "--format", "json"}, args...)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, stderr.Bytes())
	}
	var result struct {
		Images []struct{ Platform, Path string }
	}
	if err := json.Unmarshal(stdout.Bytes(), &result); err != nil {
		t.Fatalf("result of build: %v\n%s", err, stdout.Bytes())
	}
	images := map[string]string{}
	for _, image := range result.Images {
		images[image.Platform] = image.Path
	}
	return images
}

// slots limits the number of running machines, independent of -parallel. Each machine
// needs a core, and the full system more than 1 GiB of memory.
var slots = make(chan struct{}, 2)

// boot boots a disk when a slot is free. The test ends if the boot fails.
func boot(t *testing.T, o Options) *machine {
	t.Helper()
	slots <- struct{}{}
	defer func() { <-slots }()
	r, err := Boot(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: told everything after %.0f s, %.0f s of CPU, silent for %.0f s at most", o.firmware(), r.Elapsed.Seconds(), r.CPU.Seconds(), r.Silence.Seconds())
	return &machine{t, r}
}

// A machine is the report of a boot, with assertions.
type machine struct {
	t *testing.T
	*Report
}

// is asserts that a proof line was printed once, with this value.
func (m *machine) is(key, want string) {
	m.t.Helper()
	if got := m.Proof[key]; len(got) != 1 || got[0] != want {
		m.t.Errorf("%s=%q, want %q", key, got, want)
	}
}

// has asserts that a proof line was printed once, with these words.
func (m *machine) has(key string, words ...string) {
	m.t.Helper()
	got := m.Proof[key]
	for _, w := range words {
		if len(got) != 1 || !strings.Contains(got[0], w) {
			m.t.Errorf("%s=%q, want it to have %q", key, got, w)
		}
	}
}

// never asserts that a proof line was not printed.
func (m *machine) never(keys ...string) {
	m.t.Helper()
	for _, key := range keys {
		for _, value := range m.Proof[key] {
			m.t.Errorf("%s: %s", key, value)
		}
	}
}

// argument asserts whether a word is on the kernel's command line.
func (m *machine) argument(word string, want bool) {
	m.t.Helper()
	if got := slices.Contains(strings.Fields(m.Get("cmdline")), word); got != want {
		m.t.Errorf("kernel argument %q: %v, want %v, in %q", word, got, want, m.Get("cmdline"))
	}
}
