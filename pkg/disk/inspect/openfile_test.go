package inspect

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestOpenFileAdvice: the error of a file that is not read names the file, and the way
// to convert it.
func TestOpenFileAdvice(t *testing.T) {
	dir := t.TempDir()
	for content, advice := range map[string]string{
		"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x00": "decompress it first: gzip ", "\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4F": "decompress it first: xz ", "no disk": "",
	} {
		name := filepath.Join(dir, "x.img")
		if err := os.WriteFile(name, []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
		_, _, err := OpenFile(name)
		var wrong *OpenError
		if !errors.As(err, &wrong) || !strings.HasPrefix(err.Error(), name+": ") || (wrong.Advice() == "") != (advice == "") || !strings.Contains(wrong.Advice(), advice) {
			t.Errorf("%q: %v, want advice %q", content, err, advice)
		}
	}
	if _, _, err := OpenFile(dir); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a folder: %v", err)
	}
}
