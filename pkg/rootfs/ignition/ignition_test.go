package ignition

import (
	"compress/gzip"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

func TestValidate(t *testing.T) {
	for _, version := range []string{"3.0.0", "3.1.0", "3.2.0", "3.3.0", "3.4.0", "3.5.0", "3.6.0"} {
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
		"{\"ignition\": {\"version\": \"3.4.0\"},\n\"storage\": {,}}": {"not valid", "line 2 col 14", "invalid character"},
		`{"ignition": {"version": "9.9.9"}}`:                          {"unsupported config version", "$.ignition.version, line 1 col 26: version 9.9.9, want 3.0.0 to 3.6.0"},
		`{"ignition": {"version": "2.3.0"}}`:                          {"unsupported config version", "want 3.0.0 to 3.6.0"},
		"{\"ignition\":\n {\"version\": \"3.6.0-experimental\"}}":     {"$.ignition.version, line 2 col 14: version 3.6.0-experimental is experimental, use 3.6.0"},
		"{\"ignition\":\n {\"version\": \"3.6\"}}":                    {`$.ignition.version, line 2 col 14: version "3.6", want 3.0.0 to 3.6.0`},
		`{"ignition": {}}`: {"$.ignition, line 1 col 15: no version, want 3.0.0 to 3.6.0"},
		`{"ignition": {"version": "3.7.0-experimental"}}`:                       {"version 3.7.0-experimental is experimental, use 3.6.0"},
		`{"ignition": {"version": "3.4.0-experimental"}}`:                       {"version 3.4.0-experimental is experimental, use 3.4.0"},
		`{"ignition": {"version": "3.6.1"}}`:                                    {"version 3.6.1, want 3.0.0 to 3.6.0"},
		`{"ignition": {"version": "3.6"}}`:                                      {"invalid config version"},
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

// TestSince has the changes of version 3.6.0, and rules that did not change.
func TestSince(t *testing.T) {
	const special = "{\"ignition\": {\"version\": \"%s\"}, \"storage\": {\n" +
		"  \"files\": [{\"path\": \"/a\", \"mode\": 2541}],\n" +
		"  \"directories\": [{\"path\": \"/b\", \"mode\": 1023}]}}"
	const luks = "{\"ignition\": {\"version\": \"%s\"}, \"storage\": {\"luks\": [{\"name\": \"a\", \"device\": \"/dev/a\", \"clevis\":\n %s}]}}"
	for _, c := range []struct {
		name, version string
		text          string
		want          []string // remarks; that of an error is the last
		fails         bool
	}{
		{"special bits", "3.6.0", special, nil, false},
		{"special bits", "3.5.0", special, []string{
			"warning at $.storage.files.0.mode, line 2 col 36: setuid/setgid/sticky bits are not supported",
			"warning at $.storage.directories.0.mode, line 3 col 42: setuid/setgid/sticky bits are not supported",
		}, false},
		{"mode", "3.6.0", `{"ignition": {"version": "%s"}, "storage": {"files": [{"path": "/a", "mode": 4096}]}}`, []string{"error at $.storage.files.0.mode, line 1 col 81: illegal file mode"}, true},
		{"pin", "3.6.0", strings.Replace(luks, "%s}]}}", `{"custom": {"pin": "pkcs11", "config": "{}"}}}]}}`, 1), nil, false},
		{"pin", "3.5.0", strings.Replace(luks, "%s}]}}", `{"custom": {"pin": "pkcs11", "config": "{}"}}}]}}`, 1), []string{"error at $.storage.luks.0.clevis.custom.pin, line 2 col 21: unsupported clevis pin"}, true},
		{"no pin", "3.6.0", strings.Replace(luks, "%s}]}}", `{"custom": {"config": "{}"}}}]}}`, 1), []string{"error at $.storage.luks.0.clevis.custom.pin, line 2 col 14: missing required custom clevis pin"}, true},
		{"no config", "3.6.0", strings.Replace(luks, "%s}]}}", `{"custom": {"pin": "pkcs11"}}}]}}`, 1), []string{"error at $.storage.luks.0.clevis.custom.config, line 2 col 14: missing required custom clevis config"}, true},
		{"pin with others", "3.6.0", strings.Replace(luks, "%s}]}}", `{"tpm2": true, "custom": {"pin": "pkcs11", "config": "{}"}}}]}}`, 1), []string{"error at $.storage.luks.0.clevis, line 2 col 3: cannot use custom clevis config"}, true},
		{"no source", "3.6.0", `{"ignition": {"version": "%s", "config": {"merge": [{}]}}}`, []string{"error at $.ignition.config.merge.0, line 1 col 57: source is required"}, true},
		{"no virtiofs", "3.6.0", `{"ignition": {"version": "%s"}, "storage": {"filesystems": [{"device": "a", "format": "virtiofs", "path": "/b"}]}}`, []string{"error"}, true},
		{"unused keys, in order", "3.6.0", "{\"ignition\": {\"version\": \"%s\"},\n\"c\": 1,\n\"b\": 1, \"a\": 1,\n\"d\": 1}", []string{
			"warning at $.c, line 2 col 1: unused key c",
			"warning at $.b, line 3 col 1: unused key b",
			"warning at $.a, line 3 col 9: unused key a",
			"warning at $.d, line 4 col 1: unused key d",
		}, false},
	} {
		got, err := Validate([]byte(strings.Replace(c.text, "%s", c.version, 1)))
		if err != nil {
			got = strings.Split(err.Error(), "\n  ")[1:]
		}
		ok := (err != nil) == c.fails && len(got) >= len(c.want) && (err != nil || len(got) == len(c.want))
		for i, want := range c.want {
			ok = ok && strings.Contains(got[i], want)
		}
		if !ok {
			t.Errorf("%s in %s: %q, %v, want %q", c.name, c.version, got, err, c.want)
		}
	}
}

// TestLimits has configs that take too much time or memory to check.
func TestLimits(t *testing.T) {
	const head = `{"ignition": {"version": "3.6.0"}, `
	many := func(item string, n int) string { return "[" + strings.Repeat(item+",", n) + item + "]" }
	links := func(files, links int) string {
		return head + `"storage": {"files": ` + many(`{}`, files-1) + `, "links": ` + many(`{}`, links-1) + `}}`
	}
	for _, c := range []struct{ name, text, want string }{
		{"size", strings.Repeat(" ", MaxSize+1), "config is larger than 100 MiB"},
		{"values", head + `"a": ` + many("1", maxValues) + `}`, "config has more than 1048576 values"},
		{"depth", head + `"a": ` + strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth) + `}`, "config is nested deeper than 100 levels"},
		{"brackets in a string", head + `"a": "` + strings.Repeat(`\"[,`, maxValues) + `"}`, ""},
		{"links", links(1<<17, 1<<12), "config has 4096 links among 135168 files, directories and links"},
		{"paths through links", head + `"storage": {"files": ` + many(`{"path": "/a/b"}`, 200) + `, "links": ` + many(`{"path": "/a", "target": "/c"}`, 200) + `}}`, "config has more than 10000 paths that lead through its links"},
		{"hard links", head + `"storage": {"directories": ` + many(`{"path": "/a"}`, 200) + `, "links": ` + many(`{"path": "/b", "target": "/a", "hard": true}`, 200) + `}}`, "or hard links of directories"},
		{"few of them", head + `"storage": {"files": [{"path": "/a/b"}], "links": [{"path": "/a", "target": "/c"}]}}`, "config is not valid"},
		{"partitions", head + `"storage": {"disks": [{"partitions": ` + many(`{}`, 1<<15) + `}]}}`, "config has too many partitions"},
	} {
		_, _, err := Parse([]byte(c.text))
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	for text, want := range map[string][2]int{
		`1`: {1, 0}, `[]`: {2, 1}, `[1]`: {2, 1}, `{"a": [1, 2], "b": {"c,[": "\\"}}`: {6, 2}, `"\",[" ]]`: {1, 0}, `"`: {1, 0}, `"\`: {1, 0},
	} {
		if values, depth := measure([]byte(text)); values != want[0] || depth != want[1] {
			t.Errorf("%s: %d values, depth %d, want %v", text, values, depth, want)
		}
	}
}

// TestManyErrors has the first ones only.
func TestManyErrors(t *testing.T) {
	_, err := Validate([]byte(`{"ignition": {"version": "3.6.0"}, "storage": {"files": [` + strings.Repeat(`{"path": "a"},`, 1000) + `{"path": "b"}]}}`))
	if err == nil || strings.Count(err.Error(), "\n") != maxRemarks+1 || !strings.HasSuffix(err.Error(), "\n  and 1900 more") {
		t.Errorf("%.3000v", err)
	}
}

func TestReads(t *testing.T) {
	for release, want := range map[string]string{
		"2.26.0-1.fc44": "3.6.0", "2.26.0": "3.6.0", "v2.30.1": "3.6.0", "1:2.27.0-1": "3.6.0", "2.26": "3.6.0",
		"2.25.1-2.fc43": "3.5.0", "2.20.0": "3.5.0", "2.19.0-1.el9": "3.4.0", "2.15.0": "3.4.0", "2.14.0": "3.3.0",
		"2.11.0": "3.3.0", "2.10.1": "3.2.0", "2.3.0": "3.1.0", "2.2.1": "3.0.0", "2.0.0": "3.0.0",
		"": "", "v2.0.0-20260217101112-0123456789ab": "", "0.35.0": "", "(devel)": "", "3.0.0": "", "2.": "", "22.6.0": "", "2.99999999999999999999.0": "",
	} {
		got, ok := Reads(release)
		if ok != (want != "") || ok && got.String() != want {
			t.Errorf("%q: %s, %t, want %q", release, got, ok, want)
		}
	}
}

func TestNewest(t *testing.T) {
	wants := func(version, source, more string) string {
		return `{"ignition": {"version": "` + version + `", "config": {"merge": [{"source": "` + source + `"` + more + `}]}}}`
	}
	data := func(text string) string {
		return "data:;base64," + base64.StdEncoding.EncodeToString([]byte(text))
	}
	const inner = `{"ignition": {"version": "3.6.0"}}`
	var packed strings.Builder
	z := gzip.NewWriter(&packed)
	z.Write([]byte(inner))
	z.Close()
	for text, want := range map[string]string{
		inner: "3.6.0",
		wants("3.5.0", "https://example.com/a", ""):                                                    "3.5.0",
		wants("3.5.0", data(inner), ""):                                                                "3.6.0",
		wants("3.1.0", data(wants("3.2.0", data(inner), "")), ""):                                      "3.6.0",
		wants("3.1.0", data(packed.String()), `, "compression": "gzip"`):                               "3.6.0",
		wants("3.1.0", data("text"), `, "compression": "gzip"`):                                        "3.1.0",
		wants("3.1.0", data("text"), ""):                                                               "3.1.0",
		`{"ignition": {"version": "3.0.0", "config": {"replace": {"source": "` + data(inner) + `"}}}}`: "3.6.0",
	} {
		if got := Newest([]byte(text)); got.String() != want {
			t.Errorf("%s: %s, want %s", text, got, want)
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
