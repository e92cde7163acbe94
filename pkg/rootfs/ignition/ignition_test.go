package ignition

import (
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

func TestValidate(t *testing.T) {
	for _, version := range []string{"3.0.0", "3.1.0", "3.2.0", "3.3.0", "3.4.0", "3.5.0"} {
		warnings, err := Validate([]byte(`{"ignition": {"version": "` + version + `"}, "passwd": {"users": [{"name": "core"}]}}`))
		if err != nil || len(warnings) != 0 {
			t.Errorf("%s: %q, %v", version, warnings, err)
		}
	}
}

func TestWarnings(t *testing.T) {
	warnings, err := Validate([]byte("{\n \"ignition\": {\"version\": \"3.4.0\"},\n \"storge\": {}\n}\n"))
	if err != nil || len(warnings) != 1 {
		t.Fatalf("%q, %v", warnings, err)
	}
	for _, want := range []string{"warning", "storge", "line 3 col 2"} {
		if !strings.Contains(warnings[0], want) {
			t.Errorf("%q does not say %q", warnings[0], want)
		}
	}
}

func TestErrors(t *testing.T) {
	for text, wants := range map[string][]string{
		"": {"empty"},
		"{\"ignition\": {\"version\": \"3.4.0\"},\n\"storage\": {,}}":           {"not valid", "line 2 col 14", "invalid character"},
		`{"ignition": {"version": "9.9.9"}}`:                                    {"unsupported config version"},
		`{"ignition": {"version": "2.3.0"}}`:                                    {"unsupported config version"},
		"variant: fcos\nversion: 1.5.0\n":                                       {"not valid", "invalid character"},
		"{\"ignition\": {\"version\": \"3.4.0\"},\n\"passwd\": {\"users\": 5}}": {"not valid", "line 2"},
		`{"ignition": {"version": "3.4.0"},
		  "storage": {
		    "files": [{"path": "relative"}],
		    "links": [{"path": "/x"}]
		  }}`: {"not valid", "$.storage.files.0.path, line 3 col", "$.storage.links.0", "line 4 col"},
	} {
		warnings, err := Validate([]byte(text))
		if err == nil {
			t.Errorf("%s: valid, %q", text, warnings)
			continue
		}
		for _, want := range append(wants, "ignition: ") {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", text, err, want)
			}
		}
	}
}

func TestPlace(t *testing.T) {
	const text = "{ \"ignition\":{\"version\":\"3.4.0\"}}\n\n"
	boot := rootfs.Dir(0o755)
	if err := Place(boot, []byte(text)); err != nil {
		t.Fatal(err)
	}
	n := boot.Lookup(Path)
	got, err := rootfs.ReadAll(n.Content, 100)
	if err != nil || string(got) != text {
		t.Errorf("%q, %v", got, err)
	}
	if n.Mode != rootfs.ModeFile|0o600 || boot.Children["ignition"].Mode != rootfs.ModeDir|0o700 {
		t.Errorf("modes %o and %o", n.Mode, boot.Children["ignition"].Mode)
	}
	if err := Place(boot, []byte(text)); err == nil {
		t.Error("replaces a config")
	}
}
