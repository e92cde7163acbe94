package ignition

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// TestSupport tries containers with Ignition of several releases.
func TestSupport(t *testing.T) {
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
		root := treetest.Texts(t, map[string]string{dracutModule + "/module-setup.sh": "x"})
		if c.release != "" {
			if err := root.Place("usr/lib/sysimage/dpkg/status", rootfs.Text(0o644, status+c.release+"\n")); err != nil {
				t.Fatal(err)
			}
		}
		if c.program != "" {
			if err := root.Place(dracutModule+"/ignition", rootfs.Text(0o755, c.program)); err != nil {
				t.Fatal(err)
			}
		}
		got := strings.Join(Warnings(root, []byte(`{"ignition": {"version": "`+c.version+`"}}`)), "\n")
		if !strings.Contains(got, c.want) || (c.want == "") != (got == "") {
			t.Errorf("Ignition %q, config %s: %q, want %q", c.release, c.version, got, c.want)
		}
	}
}

// TestUnreadPackages: the version is looked for in the program if the packages cannot be
// read, and a warning names the database if neither has it.
func TestUnreadPackages(t *testing.T) {
	program := ignitionProgram(t, "2.26.0")
	for _, c := range []struct{ name, text string }{
		{"usr/share/rpm/rpmdb.sqlite", "no database"}, {"usr/share/rpm/rpmdb.sqlite/x", ""}, {"usr/lib/sysimage/dpkg/status/x", ""},
	} {
		root := treetest.Texts(t, map[string]string{dracutModule + "/module-setup.sh": "x", c.name: c.text})
		config := []byte(`{"ignition": {"version": "3.6.0"}}`)
		if got := Warnings(root, config); len(got) != 1 || !strings.HasPrefix(got[0], strings.TrimSuffix(c.name, "/x")+": ") {
			t.Errorf("%s: %q", c.name, got)
		}
		if err := root.Place(dracutModule+"/ignition", rootfs.Text(0o755, program)); err != nil {
			t.Fatal(err)
		}
		if got := Warnings(root, config); got != nil {
			t.Errorf("%s: %q", c.name, got)
		}
	}
}

// ignitionProgram builds a program that has its release where Ignition has it.
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
