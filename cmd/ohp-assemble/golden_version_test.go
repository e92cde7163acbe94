package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/assemble"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest/golden"
)

// A formatRecord is the FormatVersion that the golden images were made with, and
// the digest of their lines in golden.txt. It is the text of formatFile.
type formatRecord struct {
	version, images int
	sum             string
}

const formatFile = "testdata/format-version.txt"

func (r formatRecord) String() string {
	return fmt.Sprintf("FormatVersion %d, %d images, digest %s", r.version, r.images, r.sum)
}

func parseFormatRecord(text string) (r formatRecord, err error) {
	_, err = fmt.Sscanf(text, "FormatVersion %d, %d images, digest %s", &r.version, &r.images, &r.sum)
	return r, err
}

// imageLines returns the lines of golden.txt about images. The other lines are about
// plans and documents.
func imageLines(text string) (lines []string) {
	for line := range strings.Lines(text) {
		name, _, _ := strings.Cut(line, "  ")
		if strings.Contains(name, "/tinyos-") && !strings.HasSuffix(name, ".upload.json") {
			lines = append(lines, line)
		}
	}
	return lines
}

// moved returns an error if the images changed and the version did not.
func (r formatRecord) moved(to formatRecord) error {
	switch {
	case to.version < r.version:
		return fmt.Errorf("FormatVersion is %d, but %s has %d", to.version, formatFile, r.version)
	case to.version == r.version && to != r:
		return fmt.Errorf("the images in golden.txt changed, but assemble.FormatVersion did not: increase it, because it is part of the keys of images, and then run: "+
			"go test ./cmd/ohp-assemble -run TestFormatVersion -update\n"+
			"If the test has images that it did not have, or lacks some, but no image changed, the line for %s is:\n%s", formatFile, to)
	}
	return nil
}

// TestFormatVersion: [assemble.FormatVersion] changes when the bytes of images do.
// With -update it records a new version; it never records other images under the
// same one.
func TestFormatVersion(t *testing.T) {
	text, err := os.ReadFile("testdata/golden.txt")
	if err != nil {
		t.Fatal(err)
	}
	lines := imageLines(string(text))
	now := formatRecord{assemble.FormatVersion, len(lines), golden.Text(strings.Join(lines, ""))}
	text, err = os.ReadFile(formatFile)
	if err != nil {
		t.Fatal(err)
	}
	recorded, err := parseFormatRecord(string(text))
	if err != nil {
		t.Fatalf("%s: %v; want %s", formatFile, err, now)
	}
	if err := recorded.moved(now); err != nil {
		t.Fatal(err)
	}
	if golden.Updating() {
		if err := os.WriteFile(formatFile, []byte(now.String()+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if now != recorded {
		t.Errorf("%s is out of date, write it with: go test ./cmd/ohp-assemble -run TestFormatVersion -update", formatFile)
	}
}

// TestFormatMoved: only another version may come with other images.
func TestFormatMoved(t *testing.T) {
	was := formatRecord{2, 50, "a"}
	for to, ok := range map[formatRecord]bool{
		was: true, {2, 50, "b"}: false, {2, 51, "a"}: false, {3, 50, "b"}: true, {3, 50, "a"}: true, {1, 50, "a"}: false,
	} {
		if err := was.moved(to); (err == nil) != ok {
			t.Errorf("%s: %v", to, err)
		}
	}
	if got, err := parseFormatRecord(was.String()); err != nil || got != was {
		t.Errorf("%s, %v", got, err)
	}
}
