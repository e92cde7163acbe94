package boot

import (
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// hear runs a shell script instead of a machine.
func hear(t *testing.T, script string, keep bool) (*Report, error) {
	t.Helper()
	w := watcher{report: &Report{Proof: map[string][]string{}}, start: time.Now(), silence: silence}
	err := w.run(t.Context(), exec.CommandContext(t.Context(), "sh", "-c", script), keep)
	return w.report, err
}

func TestProofLines(t *testing.T) {
	const console = `printf '\033[2J\033[=3hBooting ` + "`" + `x'"'"'\r\n'
printf '[    1.5] PROOF: cmdline=a b=c\r\n[  OK  ] Started \033[0;1;39mfoo\033[0m[ 2.0] PROOF: mismatch=one\n'
printf 'PROOF: mismatch=kernel panic in a file name\nPROOF: end=\n'; exec sleep infinity`
	r, err := hear(t, console, false)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Get("cmdline"); got != "a b=c" {
		t.Errorf("cmdline %q", got)
	}
	if got := strings.Join(r.Proof["mismatch"], "|"); got != "one|kernel panic in a file name" {
		t.Errorf("mismatch %q", got)
	}
	if r.Lines[0] != "Booting `x'" {
		t.Errorf("first line %q", r.Lines[0])
	}
	if r.PoweredOff {
		t.Error("powered off")
	}
}

// A hopeless message ends the wait, even without the end of its line, and is in the
// error.
func TestHopeless(t *testing.T) {
	for _, words := range []string{
		"[   33.1] Kernel panic - not syncing: VFS\n",
		"error: no such device: boot.\ngrub rescue> ",
		"You are in emergency mode. After logging in, type\n",
	} {
		took, stopped, err := simulate(t, true, false, words, "more\n", "and more\n")
		if !stopped || took > silence/2 || err == nil || !strings.Contains(err.Error(), "did not come up") {
			t.Errorf("%q: stopped %v after %v, error %v", words, stopped, took, err)
		}
	}
}

// simulate listens to a machine that prints texts at the longest allowed intervals, and
// nothing after them. The machine is idle or busy. The time is simulated.
func simulate(t *testing.T, works, keep bool, texts ...string) (took time.Duration, stopped bool, err error) {
	t.Helper()
	pause := silence - 2*time.Second
	if works {
		pause = 9 * silence
	}
	synctest.Test(t, func(t *testing.T) {
		console, machine := io.Pipe()
		killed := make(chan bool)
		go func() {
			defer machine.Close()
			for i, text := range texts {
				if i > 0 {
					select {
					case <-time.After(pause):
					case <-killed:
						return
					}
				}
				io.WriteString(machine, text)
			}
			<-killed
		}()
		w := watcher{report: &Report{Proof: map[string][]string{}}, start: time.Now(), silence: silence}
		w.work = func() time.Duration { return 0 }
		if works {
			w.work = func() time.Duration { return time.Since(w.start) * 3 / 4 }
		}
		stopped = w.listen(console, func() { close(killed) }, keep)
		took, err = time.Since(w.start), w.verdict(nil, stopped, keep)
	})
	return took, stopped, err
}

func TestEndings(t *testing.T) {
	for _, c := range []struct {
		name, script string
		keep         bool
		want         string
	}{
		{"silent", "exit 0", false, "powered off before"},
		{"no qemu", "echo no such option >&2; exit 1", false, "no such option"},
		{"powers off", "echo PROOF: end; exit 0", true, ""},
		{"unfinished line", "printf 'PROOF: end='", true, ""},
	} {
		_, err := hear(t, c.script, c.keep)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
}

// TestSilence: a machine may print at long intervals, but must not stop printing.
func TestSilence(t *testing.T) {
	for _, c := range []struct {
		name        string
		texts       []string
		works, keep bool
		want        string
	}{
		{"says nothing", nil, false, false, "nothing on the console for 2m0s"},
		{"stops", []string{"a\n", "b\n"}, false, false, "nothing on the console for 2m0s"},
		{"works on and on", []string{"a\n"}, true, false, "nothing on the console for 20m0s"},
		{"works", []string{"a\n", "b\n", "PROOF: end=\n"}, true, false, ""},
		{"takes an hour", append(slices.Repeat([]string{"working\n"}, 30), "PROOF: end=\n"), false, false, ""},
		{"stays on", []string{"PROOF: end=\n"}, false, true, "did not power off"},
	} {
		_, stopped, err := simulate(t, c.works, c.keep, c.texts...)
		if !stopped || c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: stopped %v, error %v, want %q", c.name, stopped, err, c.want)
		}
	}
}
