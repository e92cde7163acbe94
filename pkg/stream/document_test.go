package stream

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// documented is [NewDocument] for a document that is not too large.
func documented(t *testing.T, name string, v any) *Document {
	t.Helper()
	return parsed(t, name, string(Marshal(v)))
}

func parsed(t *testing.T, name, text string) *Document {
	t.Helper()
	d, err := Parse(name, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestHostile rejects invalid documents, with the place of the error.
func TestHostile(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 100000)
	for text, want := range map[string]string{
		"":                             "x:1: unexpected EOF",
		"{":                            "x:1: unexpected EOF",
		"[]":                           "x: not a JSON object",
		"null":                         "x: not a JSON object",
		`{"a": 1} {}`:                  "x:1: data after the end",
		"{\"a\": {\n\"b\": tru}}":      "x:2: a.b: invalid character",
		`{"a": [1, {"b": 2, "b": 3}]}`: "x:1: a.1.b: repeated key",
		deep:                           "nested deeper than 32",
		strings.Repeat("[", 100000):    "nested deeper than 32",
		`{"a": [` + strings.Repeat("{},", maxValues) + "{}]}": "x:1: a.131070: more than 131072 values",
		strings.Repeat(" ", MaxDocument+1):                    "more than 4194304 bytes",
		`{"` + strings.Repeat("a", 100000) + `": x}`:          "aaa: invalid character",
	} {
		_, err := Parse("x", []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 500 {
			t.Errorf("%.40q: %.300v, want %s", text, err, want)
		}
	}
	for text, want := range map[string]string{
		`{"stream": 1}`: "x: stream: got number, want string",
		`{"architectures": {"x86_64": {"artifacts": {"qemu": {"formats": []}}}}}`: "x: architectures.artifacts.formats: got array, want map",
	} {
		if err := parsed(t, "x", text).Decode(&Stream{}); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

// TestRoundTrip: a document that was only read is written as it was.
func TestRoundTrip(t *testing.T) {
	for _, text := range []string{
		"{\n  \"z\": 1.50e400,\n  \"a\": [\n    {},\n    null,\n    true\n  ],\n  \"u\": \"a&b<>\"\n}\n",
		"{\n\t\"b\": {\n\t\t\"c\": 12345678901234567890\n\t}\n}\n",
		"{}\n", "{\n    \"a\": \"\\u007f\\u009b\u00a0\"\n}\n",
	} {
		if got := parsed(t, "x", text).Bytes(); string(got) != text {
			t.Errorf("%q: %q", text, got)
		}
	}
}

func TestMerge(t *testing.T) {
	arch := func(name, arch, more string) *Document {
		return parsed(t, name, `{"stream": "s", "metadata": {"last-modified": "2026-01-0`+more+`"}, "architectures": {"`+arch+`": {"artifacts": {"qemu": {"release": "1", "x-ours": [1, 2]}}}}}`)
	}
	for _, tc := range []struct {
		docs []*Document
		want string // or the error
	}{
		{[]*Document{arch("a", "x86_64", "1T00:00:00Z"), arch("b", "aarch64", "2T00:00:00.5Z\", \"generator\": \"g")},
			`{"stream":"s","metadata":{"last-modified":"2026-01-02T00:00:00.5Z","generator":"g"},"architectures":{"x86_64":{"artifacts":{"qemu":{"release":"1","x-ours":[1,2]}}},"aarch64":{"artifacts":{"qemu":{"release":"1","x-ours":[1,2]}}}}}`},
		// the same instant in other words, and an earlier one, change nothing
		{[]*Document{arch("a", "x86_64", "2T00:00:00Z"), arch("b", "x86_64", "2T02:00:00+02:00"), arch("c", "x86_64", "1T23:00:00Z")},
			`{"stream":"s","metadata":{"last-modified":"2026-01-02T00:00:00Z"},"architectures":{"x86_64":{"artifacts":{"qemu":{"release":"1","x-ours":[1,2]}}}}}`},
		{[]*Document{arch("a", "x86_64", "1T00:00:00Z"), arch("b", "aarch64", "1T00:00:00Z"), parsed(t, "c", `{"architectures": {"aarch64": {"artifacts": {"qemu": {"release": "2"}}}}}`)},
			`architectures.aarch64.artifacts.qemu.release: "1" in b, "2" in c`},
		{[]*Document{arch("a", "x86_64", "1T00:00:00Z"), parsed(t, "c", `{"architectures": {"x86_64": {"artifacts": {"qemu": {"x-ours": [1]}}}}}`)},
			`architectures.x86_64.artifacts.qemu.x-ours: [1,2] in a, [1] in c`},
		{[]*Document{arch("a", "x86_64", "1T00:00:00Z"), parsed(t, "c", `{"architectures": []}`)}, `architectures: {"x86_64"`},
		{[]*Document{arch("a", "x86_64", "1T00:00:00Z"), arch("b", "x86_64", "1")}, `metadata.last-modified of a or b: parsing time`},
		{[]*Document{arch("a", "x86_64", "1T00:00:00Z"), parsed(t, "r", `{"release": "1", "architectures": {}}`)}, `r: got release.json, want stream.json`},
		{[]*Document{parsed(t, "n", `{}`)}, `n: unknown document`},
		// an index: by version, and in it by architecture
		{[]*Document{
			parsed(t, "old", `{"releases": [{"version": "1", "commits": [{"architecture": "x86_64", "checksum": "a"}]}], "stream": "s"}`),
			parsed(t, "new", `{"releases": [{"version": "2"}, {"version": "1", "commits": [{"architecture": "aarch64", "checksum": "b"}]}], "stream": "s"}`)},
			`{"releases":[{"version":"1","commits":[{"architecture":"x86_64","checksum":"a"},{"architecture":"aarch64","checksum":"b"}]},{"version":"2"}],"stream":"s"}`},
		{[]*Document{
			parsed(t, "old", `{"releases": [{"version": "1", "metadata": "u"}]}`), parsed(t, "mid", `{"releases": [{"version": "2", "metadata": "v"}]}`),
			parsed(t, "new", `{"releases": [{"version": "2", "metadata": "w"}]}`)}, `releases.2.metadata: "v" in mid, "w" in new`},
		{[]*Document{parsed(t, "old", `{"releases": []}`), parsed(t, "new", `{"releases": [{"x": "2"}]}`)}, `releases: an entry has no version in new`},
	} {
		before := tc.docs[0].Bytes()
		d, err := Merge(tc.docs...)
		got := ""
		if err == nil {
			got = string(compact(d.root))
		}
		if got != tc.want && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s, %v\nwant %s", got, err, tc.want)
		}
		if !bytes.Equal(before, tc.docs[0].Bytes()) {
			t.Errorf("%s was changed", tc.docs[0].Name)
		}
	}
}

// TestSetImage: every cloud's image stands where its readers look for it, and
// all that stood there before still does.
func TestSetImage(t *testing.T) {
	const digestRef = "registry.example/kubevirt@sha256:379f1b10a1c750842d937eb3143098d3775d0b10bfad08e0aea86c892ef858df"
	d := parsed(t, "s", `{"stream": "s", "x-first": {"b": 1, "a": 2}, "architectures": {"x86_64": {
		"artifacts": {"aws": {"release": "7", "formats": {}}},
		"images": {"aws": {"regions": {"us-east-1": {"release": "6", "image": "ami-00000000", "x-note": "keep"}, "other": {}}}, "gcp": null}}}}`)
	for _, set := range [][]string{
		{"", "aws", "us-east-1", "ami-0123456789abcdef0"}, {"7", "aws", "new", "ami-01234567"}, {"8", "aliyun", "eu", "m-1"},
		{"8", "gcp", "project", "name"}, {"9", "gcp", "project", "name2", "family"}, {"8", "ibmcloud", "eu", "o", "b", "https://x"},
		{"8", "powervs", "eu", "o", "b", "https://x"}, {"8", "kubevirt", "registry.example/kubevirt:s", digestRef},
	} {
		image, err := NewImage(set[1], set[2:]...)
		if err == nil {
			err = d.SetImage("x86_64", set[0], image)
		}
		if err != nil {
			t.Errorf("%q: %v", set, err)
		}
	}
	want := `{"stream":"s","x-first":{"b":1,"a":2},"architectures":{"x86_64":{"artifacts":{"aws":{"release":"7","formats":{}}},` +
		`"images":{"aws":{"regions":{"us-east-1":{"release":"7","image":"ami-0123456789abcdef0","x-note":"keep"},"other":{},"new":{"release":"7","image":"ami-01234567"}}},` +
		`"gcp":{"release":"9","project":"project","name":"name2","family":"family"},"aliyun":{"regions":{"eu":{"release":"8","image":"m-1"}}},` +
		`"ibmcloud":{"regions":{"eu":{"release":"8","object":"o","bucket":"b","url":"https://x"}}},"powervs":{"regions":{"eu":{"release":"8","object":"o","bucket":"b","url":"https://x"}}},` +
		`"kubevirt":{"release":"8","image":"registry.example/kubevirt:s","digest-ref":"` + digestRef + `"}}}}}`
	if got := string(compact(d.root)); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	s := &Stream{}
	if err := d.Decode(s); err != nil {
		t.Fatal(err)
	}
	if i := s.Architectures["x86_64"].Images; i.Aws.Regions["new"].Image != "ami-01234567" || i.Gcp.Name != "name2" || i.PowerVS.Regions["eu"].Bucket != "b" || i.KubeVirt.DigestRef != digestRef || i.Aliyun.Regions["eu"].Release != "8" {
		t.Errorf("%+v", i)
	}
	for _, tc := range []struct{ args, want string }{
		{"azure x y", `cloud "azure" is unknown, must be one of: aliyun, aws, gcp`}, {"aws us-east-1", "aws: want the values region, image, got 1"},
		{"aws us-east-1 i-1", `aws.image: invalid value "i-1"`}, {"gcp p", "gcp: want the values project, name, family, got 1"}, {"ibmcloud r o b u", `ibmcloud.url: invalid value "u"`}, {"kubevirt i i:tag", "kubevirt.digest-ref"},
	} {
		args := strings.Fields(tc.args)
		if _, err := NewImage(args[0], args[1:]...); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", tc.args, err)
		}
	}
	image, err := NewImage("gcp", "p", "n")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ doc, arch, want string }{
		{`{"architectures": {"x86_64": {}}}`, "riscv64", "architectures: missing riscv64"},
		{`{"architectures": {"x86_64": {}}}`, "x86_64", "unknown release of the image"},
		{`{"buildid": ""}`, "x86_64", "got meta.json, want stream.json"},
		{`{"architectures": []}`, "x86_64", "architectures: got array"},
	} {
		if err := parsed(t, "s", tc.doc).SetImage(tc.arch, "", image); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", tc.doc, err)
		}
	}
	if err := parsed(t, "s", `{"a": []}`).Set(1, "a", "b"); err == nil || err.Error() != "s: a: not an object" {
		t.Error(err)
	}
}

// TestConfigMap writes and reads several streams and a version that looks like a number,
// and rejects other ConfigMaps.
func TestConfigMap(t *testing.T) {
	a, b := parsed(t, "a", `{"stream": "a", "architectures": {}, "x": 1}`), parsed(t, "b", `{"stream": "b", "architectures": {}}`)
	c, err := NewConfigMap("4.20", b, a)
	if err != nil {
		t.Fatal(err)
	}
	text, err := c.YAML()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), `releaseVersion: "4.20"`) {
		t.Errorf("%s", text)
	}
	docs, err := ParseAll("c", text)
	if err != nil || len(docs) != 3 || string(compact(docs[0].root)) != string(compact(b.root)) || string(compact(docs[2].root)) != string(compact(a.root)) {
		t.Errorf("%v, %v", docs, err)
	}
	var streams map[string]Stream // as the operator reads it
	if err := json.Unmarshal([]byte(c.Data.Streams), &streams); err != nil || streams["a"].Stream != "a" {
		t.Errorf("%v, %v", streams, err)
	}
	if _, err := NewConfigMap("1", a, a); err == nil || !strings.Contains(err.Error(), `a second stream "a"`) {
		t.Error(err)
	}
	for text, want := range map[string]string{
		"kind: ConfigMap\n": "not a ConfigMap with data.stream", "kind: ConfigMap\ndata: [1]\n": "x: ", "kind: ConfigMap\ndata: {stream: '{\"a\"'}\n": "x: data.stream:1: ",
		"kind: ConfigMap\ndata: {stream: '{}', streams: '{\"a\": 1}'}\n": "x: data.streams: a: not an object", `{"kind": "ConfigMap"}`: "not a ConfigMap with data.stream",
		"kind: Secret\n": "x:1: invalid character",
	} {
		if _, err := ParseAll("x", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// FuzzParse writes, reads, checks, merges and edits every text that is a document.
func FuzzParse(f *testing.F) {
	const sha = `"sha256": "379f1b10a1c750842d937eb3143098d3775d0b10bfad08e0aea86c892ef858df"`
	const disk = `{"disk": {"location": "https://a.example/b", "signature": "", ` + sha + `}}`
	for _, text := range []string{
		`{"buildid": "1", "name": "n", "ostree-commit": "c", "coreos-assembler.basearch": "a", "images": {"metal4k": {"path": "metal4k.a.raw", ` + sha + `}}}`,
		`{"stream": "s", "metadata": {"last-modified": "2026-01-01T00:00:00Z"}, "architectures": {"a": {"artifacts": {"p": {"release": "1", "formats": {"f": ` + disk + `}}}}}}`,
		`{"release": "1", "stream": "s", "architectures": {"a": {"media": {"p": {"artifacts": {"f": ` + disk + `}, "image": {}, "images": {"r": {}}}}}}}`,
		`{"releases": [{"version": "1"}, {"version": "1"}], "metadata": {"last-modified": ""}}`,
		"kind: ConfigMap\ndata:\n  stream: |\n    {\"architectures\": {}}\n  streams: '{}'\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		docs, err := ParseAll("x", text)
		if err != nil {
			return
		}
		for _, d := range docs {
			again := parsed(t, "again", string(d.Bytes()))
			if !bytes.Equal(again.Bytes(), d.Bytes()) {
				t.Errorf("%s\n%s", d.Bytes(), again.Bytes())
			}
			before := d.Bytes()
			if _, err := Check(d); err == nil {
				Merge(d, again)
			}
			if !bytes.Equal(d.Bytes(), before) {
				t.Errorf("changed: %s", before)
			}
			s, r, m := &Stream{}, &Release{}, &Meta{}
			if d.Decode(s) == nil {
				s.Entries()
				NewConfigMap("1", d)
			}
			if d.Decode(r) == nil {
				NewDocument("s", r.Current())
				NewDocument("i", r.Index("u"))
			}
			if d.Decode(m) == nil && m.Check() == nil {
				if where, err := HTTP("https://a.example"); err == nil {
					if r, err := NewRelease(m, "s", where); err == nil {
						NewDocument("r", r)
					}
				}
			}
			if image, err := NewImage("gcp", "p", "n"); err == nil {
				d.SetImage("x86_64", "1", image)
			}
		}
	})
}
