package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ignition"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// TestIgnitionWarnings has containers with Ignition of several releases.
func TestIgnitionWarnings(t *testing.T) {
	program := ignitionProgram(t, "2.25.1")
	const status = "Package: ignition\nStatus: install ok installed\nArchitecture: amd64\nVersion: "
	for _, c := range []struct{ release, program, version, want string }{
		{"2.26.0-1", "", "3.6.0", ""},
		{"2.25.1-2", "", "3.6.0", "the config has version 3.6.0, but Ignition 2.25.1-2 in the container reads versions up to 3.5.0: the first boot will fail"},
		{"2.25.1-2", "", "3.5.0", ""},
		{"2.14.0-1", "", "3.4.0", "reads versions up to 3.3.0"},
		{"", program, "3.6.0", "but Ignition 2.25.1 in the container reads versions up to 3.5.0"},
		{"", program, "3.5.0", ""},
		{"2.26.0-1", program, "3.6.0", ""}, // the package goes first
		{"", "no program", "3.6.0", ""},
		{"", "", "3.6.0", ""},
	} {
		root := treetest.Texts(t, map[string]string{ignitionModule + "/module-setup.sh": "x"})
		if c.release != "" {
			if err := root.Place("usr/lib/sysimage/dpkg/status", rootfs.Text(0o644, status+c.release+"\n")); err != nil {
				t.Fatal(err)
			}
		}
		if c.program != "" {
			if err := root.Place(ignitionModule+"/ignition", rootfs.Text(0o755, c.program)); err != nil {
				t.Fatal(err)
			}
		}
		got := strings.Join(ignitionWarnings(root, []byte(`{"ignition": {"version": "`+c.version+`"}}`)), "\n")
		if !strings.Contains(got, c.want) || (c.want == "") != (got == "") {
			t.Errorf("Ignition %q, config %s: %q, want %q", c.release, c.version, got, c.want)
		}
	}
}

// ignitionProgram builds a program that says its release as Ignition does.
func ignitionProgram(t *testing.T, release string) string {
	const module = "github.com/coreos/ignition/v2"
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":           "module " + module + "\n",
		"internal/main.go": "package main\n\nfunc main() {}\n",
	} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", "build", "-o", "ignition", "-ldflags", "-s -w -X "+module+"/internal/version.Raw="+release, "./internal")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOFLAGS=", "GOWORK=off", "CGO_ENABLED=0") // -trimpath would drop the flags
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(dir, "ignition"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestLargeConfig has files at and above the limit of a config's size.
func TestLargeConfig(t *testing.T) {
	name := filepath.Join(t.TempDir(), "large.ign")
	for size, want := range map[int]string{ignition.MaxSize: "", ignition.MaxSize + 1: name + ": config is larger than 100 MiB"} {
		if err := os.WriteFile(name, bytes.Repeat([]byte(" "), size), 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := readConfig(name)
		if want == "" && (err != nil || len(got) != size) || want != "" && (err == nil || err.Error() != want) {
			t.Errorf("%d bytes: %d bytes, %v, want %q", size, len(got), err, want)
		}
	}
	if _, err := readConfig("/dev/zero"); err == nil {
		t.Error("a file without an end is read")
	}
}
