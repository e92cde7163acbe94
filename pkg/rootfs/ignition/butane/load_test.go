package butane

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ignition"
)

// TestLoad: Butane is translated, several configs become one, and one alone
// is embedded as it is.
func TestLoad(t *testing.T) {
	bu := filepath.Join(t.TempDir(), "motd.bu")
	text := "variant: fcos\nversion: 1.4.0\nstorage:\n  files:\n    - path: /etc/motd\n      contents:\n        inline: hello\n"
	if err := os.WriteFile(bu, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	const config = `{"ignition": {"version": "3.4.0"}, "storage": {"files": [{"path": "/etc/proof", "contents": {"source": "data:,x"}}]}}`
	ign := filepath.Join(t.TempDir(), "config.ign")
	if err := os.WriteFile(ign, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		files []string
		has   []string
	}{
		{[]string{ign}, []string{"/etc/proof"}},
		{[]string{bu}, []string{"/etc/motd"}},
		{[]string{ign, bu}, []string{"/etc/proof", "/etc/motd"}},
	} {
		got, _, err := Load("", c.files...)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range c.has {
			if !strings.Contains(string(got), `"`+path+`"`) {
				t.Errorf("%v: %s is not in %s", c.files, path, got)
			}
		}
		if len(c.files) == 1 && c.files[0] == ign && string(got) != config {
			t.Errorf("a single config is changed: %s", got)
		}
	}
}

// TestLargeConfig has files at and above the limit of a config's size.
func TestLargeConfig(t *testing.T) {
	name := filepath.Join(t.TempDir(), "large.ign")
	for size, want := range map[int]string{ignition.MaxSize: "", ignition.MaxSize + 1: name + ": config is larger than 100 MiB"} {
		if err := os.WriteFile(name, bytes.Repeat([]byte(" "), size), 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := readLimited(name)
		if want == "" && (err != nil || len(got) != size) || want != "" && (err == nil || err.Error() != want) {
			t.Errorf("%d bytes: %d bytes, %v, want %q", size, len(got), err, want)
		}
	}
	if _, err := readLimited("/dev/zero"); err == nil {
		t.Error("a file without an end is read")
	}
}
