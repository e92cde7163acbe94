package boot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// A Report is the console output of a machine, with the time that it took.
type Report struct {
	Lines      []string            // the console, without escape sequences
	Proof      map[string][]string // values by key, in the order they came
	Ended      bool                // `PROOF: end` was seen
	PoweredOff bool                // the guest ended the machine, we did not
	Elapsed    time.Duration       // from start to the end of the proof, or to the failure
	Silence    time.Duration       // the longest time without output
	CPU        time.Duration       // of the whole machine
}

// Get returns the value of a proof line, or "" when there is none. With
// several lines of the same key it is the first.
func (r *Report) Get(key string) string {
	if v := r.Proof[key]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// tail returns the last n lines of the console, indented, for error messages.
func (r *Report) tail(n int) string {
	lines := r.Lines[max(0, len(r.Lines)-n):]
	if len(lines) == 0 {
		return "\n\t(the console stayed silent)"
	}
	return "\n\t" + strings.Join(lines, "\n\t")
}

// proofMark precedes the proof in a line. The kernel's time stamp or the rest of
// somebody else's line may stand before it.
const proofMark = "PROOF: "

// hopeless are words that only a machine that will not come up says.
var hopeless = []string{
	"emergency shell",
	"emergency mode",
	"kernel panic",
	"grub rescue>",
	"you need to load the kernel first",
	"no bootable device",
	"uefi interactive shell",
	"failed to start up: no boot", // OVMF without anything to start
}

// silence is how long an idle machine may print nothing. One that works may for
// ten times as long: GRUB reads a kernel and an initramfs without a word.
const silence = 2 * time.Minute

// A watcher follows one machine's console into its report.
type watcher struct {
	report  *Report
	echo    io.Writer
	start   time.Time
	silence time.Duration // after which an idle machine is given up; a hopeless one after a tenth of it
	fault   string        // the hopeless line

	work func() time.Duration // for how long the machine has had work so far
}

// run starts the machine and returns when it has ended, by itself or by us.
func (w *watcher) run(ctx context.Context, machine *exec.Cmd, keep bool) error {
	var complaint bytes.Buffer
	machine.Stderr = &complaint
	console, err := machine.StdoutPipe()
	if err != nil {
		return err
	}
	if err := machine.Start(); err != nil {
		return err
	}
	w.work = func() time.Duration { return demand(machine.Process.Pid) }
	stopped := w.listen(console, func() { machine.Process.Kill() }, keep)
	exit := machine.Wait()
	w.report.CPU = machine.ProcessState.UserTime() + machine.ProcessState.SystemTime()
	w.report.PoweredOff = exit == nil && !stopped
	if complaint.Len() > 0 && exit != nil && !stopped && ctx.Err() == nil {
		return fmt.Errorf("qemu: %w: %s", exit, strings.TrimSpace(complaint.String()))
	}
	return w.verdict(ctx.Err(), stopped, keep)
}

// verdict says whether the boot was a good one. The machine was stopped by us or ended by itself.
func (w *watcher) verdict(interrupted error, stopped, keep bool) error {
	switch {
	case w.fault != "":
		return fmt.Errorf("the system did not come up: %s", w.fault)
	case interrupted != nil && !w.report.Ended:
		return fmt.Errorf("no `PROOF: end` after %v: %w", time.Since(w.start).Round(time.Second), interrupted)
	case stopped && !w.report.Ended:
		return fmt.Errorf("no `PROOF: end`, and nothing on the console for %v", w.report.Silence.Round(time.Second))
	case !w.report.Ended:
		return errors.New("powered off before `PROOF: end`")
	case keep && stopped:
		return fmt.Errorf("did not power off after `PROOF: end`, and printed nothing for %v", w.report.Silence.Round(time.Second))
	}
	return nil
}

// listen reads the console until it closes and stops the machine when nothing
// more is to be expected from it. It reports whether it did.
func (w *watcher) listen(console io.Reader, kill func(), keep bool) (stopped bool) {
	chunks := make(chan []byte)
	go func() {
		defer close(chunks)
		for {
			buf := make([]byte, 4096)
			n, err := console.Read(buf)
			if n > 0 {
				chunks <- buf[:n]
			}
			if err != nil {
				return
			}
		}
	}()

	var line []byte
	var doomed bool
	limit := time.NewTimer(w.silence)
	defer limit.Stop()
	last, worked := time.Now(), w.work()
	for {
		select {
		case chunk, open := <-chunks:
			w.report.Silence = max(w.report.Silence, time.Since(last))
			last, worked = time.Now(), w.work()
			if !open {
				w.line(line)
				return stopped
			}
			line = w.lines(append(line, chunk...))
			// A prompt has no line end, so look at the open line too.
			w.look(clean(line))
			switch {
			case stopped || doomed:
			case w.fault != "":
				doomed = true
				limit.Reset(w.silence / 10) // it may still explain itself
			case w.report.Ended && !keep:
				stopped = true
				kill()
			default:
				limit.Reset(w.silence)
			}
		case <-limit.C:
			if silent := time.Since(last); !doomed && silent < 10*w.silence && w.work()-worked > silent/2 {
				limit.Reset(w.silence / 10)
				continue
			}
			stopped = true
			kill()
		}
	}
}

// demand returns for how long the threads of a process have run or have waited
// for a processor, zero if the kernel does not tell.
func demand(pid int) (sum time.Duration) {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	for _, name := range threads {
		var ran, waited time.Duration
		text, _ := os.ReadFile(name) // a thread may have ended
		fmt.Sscan(string(text), &ran, &waited)
		sum += ran + waited
	}
	return sum
}

// lines takes all whole lines from buf and returns the rest.
func (w *watcher) lines(buf []byte) []byte {
	for {
		i := bytes.IndexByte(buf, '\n')
		if i < 0 {
			return buf
		}
		w.line(buf[:i])
		buf = buf[i+1:]
	}
}

func (w *watcher) line(raw []byte) {
	text := clean(raw)
	if text == "" {
		return
	}
	w.report.Lines = append(w.report.Lines, text)
	if w.echo != nil {
		fmt.Fprintf(w.echo, "%6.1f  %s\n", time.Since(w.start).Seconds(), text)
	}
	if _, proof, ok := strings.Cut(text, proofMark); ok {
		w.prove(strings.TrimSpace(proof))
		return
	}
	w.look(text)
}

func (w *watcher) prove(proof string) {
	key, value, _ := strings.Cut(proof, "=")
	if key == "end" {
		w.report.Ended = true
		w.report.Elapsed = time.Since(w.start)
		return
	}
	w.report.Proof[key] = append(w.report.Proof[key], value)
}

// look checks a line for signs that the machine has given up. A proof
// line, or a line after the proof, is no such sign: a list of units may name them all.
func (w *watcher) look(text string) {
	if w.fault != "" || w.report.Ended || strings.Contains(text, proofMark) {
		return
	}
	lower := strings.ToLower(text)
	for _, words := range hopeless {
		if strings.Contains(lower, words) {
			w.fault = text
			w.report.Elapsed = time.Since(w.start)
			return
		}
	}
}

// escapes are the sequences by which firmware, GRUB and systemd move the
// cursor and set colours: CSI, OSC and the two-byte ones.
var escapes = regexp.MustCompile("\x1b(\\[[0-?]*[ -/]*[@-~]|\\][^\x07\x1b]*(\x07|\x1b\\\\)|[()][0-9A-Za-z]|[=>78cDEHM])")

// clean removes escape sequences and all else that is no text.
func clean(raw []byte) string {
	text := escapes.ReplaceAllString(string(raw), "")
	text = strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' {
			return -1
		}
		return r
	}, text)
	return strings.TrimSpace(text)
}
