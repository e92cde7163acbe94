package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vbauerster/mpb/v8"
)

func TestVisible(t *testing.T) {
	for s, want := range map[string]string{
		"Fedora ü\t1\n": "Fedora ü\t1\n", "a\x1b[2Jb": "a\ufffd[2Jb", "\u009b2J": "\ufffd2J", "x\r\x7f\x00": "x\ufffd\ufffd\ufffd",
	} {
		if got := visible(s); got != want {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
	}
}

// TestLostResult: a result that nobody got is a failure, in every form.
func TestLostResult(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	for _, args := range [][]string{{"version"}, {"--help"}, {"completion", "zsh"}} {
		cmd := start(t, nil, args...)
		var stderr strings.Builder
		cmd.Stdout, cmd.Stderr = full, &stderr
		if cmd.Run(); cmd.ProcessState.ExitCode() != exitFailed || !strings.Contains(stderr.String(), "no space left on device") {
			t.Errorf("%q: %v, %q", args, cmd.ProcessState, stderr.String())
		}
	}
}

// TestBar draws the bars of two platforms in 80 columns: rate and time left are
// to be seen next to a bar.
func TestBar(t *testing.T) {
	var drawn bytes.Buffer
	redraw := make(chan any)
	u := &ui{err: &drawn, progress: mpb.New(mpb.WithOutput(&drawn), mpb.WithWidth(80), mpb.WithManualRefresh(redraw))}
	labels := []string{"write qemu", "write metal"}
	for _, label := range labels {
		s := u.begin(label, label, 1<<30)
		s.add(1 << 29)
		defer s.End(nil)
	}
	// The first drawing is done when the second is asked for.
	redraw <- time.Now()
	redraw <- time.Now()
	u.progress.Shutdown()
	for _, label := range labels {
		whole := false
		for line := range strings.Lines(drawn.String()) {
			bar := strings.Contains(line, label+" ") && strings.Contains(line, "[") && strings.Contains(line, "/s ")
			whole = whole || bar && !strings.Contains(line, "…") && len(strings.TrimSpace(line)) <= 80
		}
		if !whole {
			t.Errorf("no line of %q has a bar and a rate:\n%q", label, &drawn)
		}
	}
}
