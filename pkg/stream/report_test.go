package stream

import (
	"strings"
	"testing"
)

// TestCheckAll: a text that is no document is a report with a problem.
func TestCheckAll(t *testing.T) {
	for text, problem := range map[string]string{
		"{":                     "x.json",
		`{"architectures": {}}`: "missing properties",
		`{"stream": "s", "metadata": {"last-modified": "2026-01-01T00:00:00Z"}, "architectures": {}}`: "architectures: empty",
	} {
		all := CheckAll("x.json", []byte(text))
		var out strings.Builder
		if err := all.WriteText(&out); err != nil {
			t.Fatal(err)
		}
		if all.OK() || !strings.Contains(out.String(), problem) || !strings.HasPrefix(out.String(), "x.json: ") {
			t.Errorf("%s: %s, want %q", text, &out, problem)
		}
	}
	good := Reports{{Document: "a\nb", Kind: KindStream, Problems: []string{}, Notes: []string{"n"}}}
	var out strings.Builder
	good.WriteText(&out)
	if want := "\"a\\nb\": stream.json: no problems\n\"a\\nb\": note: n\n"; !good.OK() || out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
