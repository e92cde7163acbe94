package ignition

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestMerge has Ignition's rules, one a case. The last config wins.
func TestMerge(t *testing.T) {
	for _, c := range []struct {
		name    string
		configs []string
		want    string
	}{
		{
			"files by path, in the order of the first",
			[]string{
				`{"ignition": {"version": "3.4.0"}, "storage": {"files": [
					{"path": "/a", "mode": 420, "contents": {"source": "data:,1"}},
					{"path": "/b", "contents": {"source": "data:,2"}}]}}`,
				`{"ignition": {"version": "3.4.0"}, "storage": {"files": [
					{"path": "/c", "contents": {"source": "data:,3"}},
					{"path": "/a", "contents": {"source": "data:,4"}}]}}`,
			},
			`{"ignition": {"version": "3.4.0"}, "storage": {"files": [
				{"path": "/a", "mode": 420, "contents": {"source": "data:,4"}},
				{"path": "/b", "contents": {"source": "data:,2"}},
				{"path": "/c", "contents": {"source": "data:,3"}}]}}`,
		},
		{
			"a link takes the place of a file",
			[]string{
				`{"ignition": {"version": "3.4.0"}, "storage": {"files": [{"path": "/a"}, {"path": "/b"}]}}`,
				`{"ignition": {"version": "3.4.0"}, "storage": {"links": [{"path": "/a", "target": "b"}]}}`,
			},
			`{"ignition": {"version": "3.4.0"}, "storage": {"files": [{"path": "/b"}], "links": [{"path": "/a", "target": "b"}]}}`,
		},
		{
			"appended is all",
			[]string{
				`{"ignition": {"version": "3.4.0"}, "storage": {"files": [{"path": "/a", "append": [{"source": "data:,1"}]}]}}`,
				`{"ignition": {"version": "3.4.0"}, "storage": {"files": [{"path": "/a", "append": [{"source": "data:,1"}, {"source": "data:,2"}]}]}}`,
			},
			`{"ignition": {"version": "3.4.0"}, "storage": {"files": [{"path": "/a", "append": [{"source": "data:,1"}, {"source": "data:,1"}, {"source": "data:,2"}]}]}}`,
		},
		{
			"users by name, keys together",
			[]string{
				`{"ignition": {"version": "3.4.0"}, "passwd": {"users": [{"name": "core", "shell": "/bin/a", "sshAuthorizedKeys": ["k1", "k2"], "groups": ["x"]}]}}`,
				`{"ignition": {"version": "3.4.0"}, "passwd": {"users": [{"name": "core", "shell": "/bin/b", "sshAuthorizedKeys": ["k2", "k3"]}, {"name": "more"}]}}`,
			},
			`{"ignition": {"version": "3.4.0"}, "passwd": {"users": [{"name": "core", "shell": "/bin/b", "sshAuthorizedKeys": ["k1", "k2", "k3"], "groups": ["x"]}, {"name": "more"}]}}`,
		},
		{
			"units and dropins by name",
			[]string{
				`{"ignition": {"version": "3.4.0"}, "systemd": {"units": [{"name": "a.service", "enabled": true, "dropins": [{"name": "1.conf", "contents": "a"}]}]}}`,
				`{"ignition": {"version": "3.4.0"}, "systemd": {"units": [{"name": "a.service", "enabled": false, "dropins": [{"name": "1.conf", "contents": "b"}, {"name": "2.conf"}]}]}}`,
			},
			`{"ignition": {"version": "3.4.0"}, "systemd": {"units": [{"name": "a.service", "enabled": false, "dropins": [{"name": "1.conf", "contents": "b"}, {"name": "2.conf"}]}]}}`,
		},
		{
			"partitions by number, else by label",
			[]string{
				`{"ignition": {"version": "3.4.0"}, "storage": {"disks": [{"device": "/dev/a", "partitions": [{"number": 1, "label": "x", "sizeMiB": 1}, {"label": "y"}]}]}}`,
				`{"ignition": {"version": "3.4.0"}, "storage": {"disks": [{"device": "/dev/a", "wipeTable": true, "partitions": [{"number": 1, "sizeMiB": 2}, {"label": "y", "sizeMiB": 3}]}]}}`,
			},
			`{"ignition": {"version": "3.4.0"}, "storage": {"disks": [{"device": "/dev/a", "wipeTable": true, "partitions": [{"number": 1, "label": "x", "sizeMiB": 2}, {"label": "y", "sizeMiB": 3}]}]}}`,
		},
		{
			"kernel arguments once each",
			[]string{
				`{"ignition": {"version": "3.3.0"}, "kernelArguments": {"shouldExist": ["a", "b"]}}`,
				`{"ignition": {"version": "3.3.0"}, "kernelArguments": {"shouldExist": ["b", "c"], "shouldNotExist": ["d"]}}`,
			},
			`{"ignition": {"version": "3.3.0"}, "kernelArguments": {"shouldExist": ["a", "b", "c"], "shouldNotExist": ["d"]}}`,
		},
		{
			"the newest version, in any order",
			[]string{
				`{"ignition": {"version": "3.3.0"}, "storage": {"links": [{"path": "/a", "target": "x"}]}}`,
				`{"ignition": {"version": "3.0.0"}, "storage": {"links": [{"path": "/a", "target": "y"}]}}`,
				`{"ignition": {"version": "3.1.0"}, "storage": {"links": [{"path": "/b", "target": "z"}]}}`,
			},
			`{"ignition": {"version": "3.3.0"}, "storage": {"links": [{"path": "/a", "target": "y"}, {"path": "/b", "target": "z"}]}}`,
		},
		{
			"luks of 3.2.0, whose library has pointers",
			[]string{
				`{"ignition": {"version": "3.2.0"}, "storage": {"luks": [{"name": "a", "device": "/dev/a", "clevis": {"tpm2": true}}]}}`,
				`{"ignition": {"version": "3.2.0"}, "storage": {"luks": [{"name": "a", "device": "/dev/b", "clevis": {"threshold": 1}}]}}`,
			},
			`{"ignition": {"version": "3.2.0"}, "storage": {"luks": [{"name": "a", "device": "/dev/b", "clevis": {"tpm2": true, "threshold": 1}}]}}`,
		},
		{
			"an older config and one of 3.6.0, with keys that only 3.6.0 has",
			[]string{
				`{"ignition": {"version": "3.5.0"}, "storage": {"luks": [{"name": "a", "device": "/dev/a", "cex": {"enabled": false}}], "files": [{"path": "/a", "mode": 420}]}}`,
				`{"ignition": {"version": "3.6.0"}, "storage": {"luks": [{"name": "a", "device": "/dev/a", "clevis": {"custom": {"pin": "pkcs11", "config": "{}"}}}], "files": [{"path": "/a", "mode": 2541}]}}`,
			},
			`{"ignition": {"version": "3.6.0"}, "storage": {"luks": [{"name": "a", "device": "/dev/a", "cex": {"enabled": false}, "clevis": {"custom": {"pin": "pkcs11", "config": "{}"}}}], "files": [{"path": "/a", "mode": 2541}]}}`,
		},
		{
			"nothing but versions",
			[]string{`{"ignition": {"version": "3.5.0"}}`, `{"ignition": {"version": "3.6.0"}}`},
			`{"ignition": {"version": "3.6.0"}}`,
		},
	} {
		var configs [][]byte
		for _, text := range c.configs {
			configs = append(configs, []byte(text))
		}
		got, err := Merge(configs...)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if d := cmp.Diff(plain(t, []byte(c.want)), plain(t, got)); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
		if again, _ := Merge(configs...); string(again) != string(got) {
			t.Errorf("%s: differs the second time", c.name)
		}
		// The result has no key that its version does not know.
		if warnings, err := Validate(got); err != nil || len(warnings) != 0 {
			t.Errorf("%s: %q, %v", c.name, warnings, err)
		}
	}
}

func plain(t *testing.T, text []byte) (v any) {
	t.Helper()
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

func TestMergeVersions(t *testing.T) {
	for version := range mergers {
		got, err := Merge([]byte(`{"ignition": {"version": "3.0.0"}, "passwd": {"users": [{"name": "a"}]}}`), []byte(`{"ignition": {"version": "`+version+`"}}`))
		if want := `{"ignition":{"version":"` + version + `"},"passwd":{"users":[{"name":"a"}]}}` + "\n"; err != nil || string(got) != want {
			t.Errorf("%s: %s, %v", version, got, err)
		}
	}
}

// TestMergeReferring has configs that refer to others: A and its references come before
// B and the references of B.
func TestMergeReferring(t *testing.T) {
	for _, ref := range []string{`"merge": [{"source": "https://example.com/a.ign"}]`, `"replace": {"source": "https://example.com/a.ign"}`} {
		configs := [][]byte{
			[]byte(`{"ignition": {"version": "3.1.0", "config": {` + ref + `}}}`),
			[]byte(`{"ignition": {"version": "3.3.0"}, "storage": {"files": [{"path": "/a"}]}}`),
		}
		text, err := Merge(configs...)
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Ignition struct {
				Version string
				Config  struct{ Merge []struct{ Source string } }
			}
		}
		if err := json.Unmarshal(text, &got); err != nil || got.Ignition.Version != "3.3.0" || len(got.Ignition.Config.Merge) != 2 {
			t.Fatalf("%s, %v", text, err)
		}
		for i, m := range got.Ignition.Config.Merge {
			c, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(m.Source, "data:;base64,"))
			if err != nil || string(c) != string(configs[i]) {
				t.Errorf("%s, %v", c, err)
			}
		}
	}
}

func TestMergeFew(t *testing.T) {
	const text = "{ \"ignition\":{\"version\":\"3.4.0\"}}\n\n"
	if got, err := Merge([]byte(text)); err != nil || string(got) != text {
		t.Errorf("%s, %v", got, err)
	}
	if _, err := Merge(); err == nil {
		t.Error("merges nothing")
	}
}

func TestMergeErrors(t *testing.T) {
	const good = `{"ignition": {"version": "3.4.0"}, "storage": {"links": [{"path": "/a", "target": "b"}]}}`
	for want, configs := range map[string][][]byte{
		"config 2: ignition: ":   {[]byte(good), []byte(`{"ignition": {"version": "3.4.0"}, "storage": {"files": [{"path": "a"}]}}`)},
		"config 1: ignition: ":   {[]byte(`{}`), []byte(good)},
		"config 3: ignition: ":   {[]byte(good), []byte(good), []byte(`{"ignition": {"version": "2.3.0"}}`)},
		"unsupported config ver": {[]byte(`{"ignition": {"version": "9.0.0"}}`)},
		// Each is valid, and both together are not.
		"merged config: ignition: ": {[]byte(good), []byte(`{"ignition": {"version": "3.4.0"}, "storage": {"files": [{"path": "/a/b"}]}}`)},
	} {
		if got, err := Merge(configs...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s, %v, want %s", got, err, want)
		}
	}
}
