package boot

import (
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// hear runs a shell script in the place of a machine.
func hear(t *testing.T, script string, keep bool) (*Report, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	w := watcher{report: &Report{Proof: map[string][]string{}}, start: time.Now(), patience: 50 * time.Millisecond}
	err := w.run(ctx, exec.CommandContext(ctx, "sh", "-c", script), keep)
	return w.report, err
}

func TestProofLines(t *testing.T) {
	const console = `printf '\033[2J\033[=3hBooting ` + "`" + `x'"'"'\r\n'
printf '[    1.5] PROOF: cmdline=a b=c\r\n[  OK  ] Started \033[0;1;39mfoo\033[0m[ 2.0] PROOF: mismatch=one\n'
printf 'PROOF: mismatch=kernel panic in a file name\nPROOF: end=\n'; exec sleep 60`
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
	if r.PoweredOff || r.Elapsed > 10*time.Second {
		t.Errorf("powered off %v, after %v", r.PoweredOff, r.Elapsed)
	}
}

// A machine that will not come up ends the wait, whether or not it ends the
// line that says so, and the error tells why.
func TestHopeless(t *testing.T) {
	for _, words := range []string{
		`[   33.1] Kernel panic - not syncing: VFS\n`,
		`error: no such device: boot.\ngrub rescue> `,
		`You are in emergency mode. After logging in, type\n`,
	} {
		r, err := hear(t, "printf '"+words+"'; exec sleep 60", false)
		if err == nil || !strings.Contains(err.Error(), "did not come up") {
			t.Errorf("%q: error %v", words, err)
		}
		if r.Elapsed > 10*time.Second {
			t.Errorf("%q: took %v", words, r.Elapsed)
		}
	}
}

func TestEndings(t *testing.T) {
	for _, c := range []struct {
		name, script string
		keep         bool
		want         string
	}{
		{"silent", "exit 0", false, "powered off before"},
		{"no qemu", "echo no such option >&2; exit 1", false, "no such option"},
		{"stays on", "echo PROOF: end; exec sleep 60", true, "did not power off"},
		{"powers off", "echo PROOF: end; exit 0", true, ""},
		{"unfinished line", "printf 'PROOF: end='", true, ""},
	} {
		_, err := hear(t, c.script, c.keep)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
}

func TestTimeLimit(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	w := watcher{report: &Report{Proof: map[string][]string{}}, start: time.Now()}
	err := w.run(ctx, exec.CommandContext(ctx, "sleep", "60"), false)
	if err == nil || !strings.Contains(err.Error(), "no `PROOF: end`") {
		t.Errorf("error %v", err)
	}
}
