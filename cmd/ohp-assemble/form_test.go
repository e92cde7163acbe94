package main

import (
	"os"
	"strings"
	"testing"
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
