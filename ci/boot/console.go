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
	Proof      map[string][]string // values by key, in the order of the lines
	Ended      bool                // `PROOF: end` was seen
	PoweredOff bool                // the guest powered the machine off
	Elapsed    time.Duration       // from start to the end of the proof, or to the failure
	Silence    time.Duration       // the longest time without output
	CPU        time.Duration       // CPU time of QEMU
}

// Get returns the value of the first proof line with a key, or "".
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

// proofMark precedes the proof in a line. Before it, there may be a time stamp of the
// kernel or a part of another program's line.
const proofMark = "PROOF: "

// hopeless are messages that mean that the boot has failed.
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

// silence is the longest time without output of an idle machine. A busy machine has ten
// times as long, because GRUB reads a kernel and an initramfs without any output.
const silence = 2 * time.Minute

// A watcher reads the console of a machine and fills its report.
type watcher struct {
	report  *Report
	echo    io.Writer
	start   time.Time
	silence time.Duration // limit for an idle machine; a tenth of it after a hopeless line
	fault   string        // the hopeless line

	work func() time.Duration // the time that the machine has been busy so far
}

// run starts the machine and waits until it has powered off or was stopped.
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

// verdict returns the error of a boot. stopped means that the machine did not power off
// by itself.
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

// listen reads the console until it closes. It stops the machine after the end of the
// proof or after a failure, and reports whether it did.
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
				limit.Reset(w.silence / 10) // more lines may explain the failure
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

// demand returns the time that the threads of a process have run or waited for a
// processor. It is zero if the kernel does not report it.
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

// lines handles all complete lines of buf and returns the rest.
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

// look checks a line for hopeless messages. It skips proof lines and the lines after
// the proof, because a list of units may contain the same words.
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

// escapes matches the sequences of firmware, GRUB and systemd for cursor movements and
// colours: CSI, OSC and sequences of two bytes.
var escapes = regexp.MustCompile("\x1b(\\[[0-?]*[ -/]*[@-~]|\\][^\x07\x1b]*(\x07|\x1b\\\\)|[()][0-9A-Za-z]|[=>78cDEHM])")

// clean removes escape sequences and control characters.
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
