// Package progress shows the progress of a run to a person, on standard error: in lower
// case and without a full stop. A step has a progress bar on a terminal, otherwise a line
// at its start and one at its end.
package progress

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// A Display shows the progress of one run, see [New].
type Display struct {
	err      io.Writer
	progress *mpb.Progress // nil without a terminal
}

// barWidth leaves room for numbers on a terminal of 80 columns.
const barWidth = 40

// New returns a display. A quiet one shows nothing.
func New(quiet bool) *Display {
	switch {
	case quiet:
		return &Display{err: io.Discard}
	case term.IsTerminal(int(os.Stderr.Fd())):
		return &Display{err: os.Stderr, progress: mpb.New(mpb.WithOutput(os.Stderr), mpb.WithAutoRefresh())}
	}
	return &Display{err: os.Stderr}
}

// Say prints a line.
func (u *Display) Say(format string, args ...any) {
	w := u.err
	if u.progress != nil {
		w = u.progress // above the bars
	}
	fmt.Fprintf(w, format+"\n", args...)
}

// maxWarnings is the largest number of warnings that one call of Warn prints.
const maxWarnings = 20

// Warn prints warnings. With strict, it returns an error if there are any.
func (u *Display) Warn(warnings []string, strict bool) error {
	for i, w := range warnings {
		if i == maxWarnings {
			u.Say("warning: and %d more", len(warnings)-i)
			break
		}
		u.Say("warning: %s", w)
	}
	if strict && len(warnings) > 0 {
		return strictError(len(warnings))
	}
	return nil
}

// strictError returns the error of --strict for a number of warnings.
func strictError(warnings int) error {
	if warnings == 1 {
		return errors.New("1 warning treated as an error (--strict)")
	}
	return fmt.Errorf("%d warnings treated as errors (--strict)", warnings)
}

// Wait waits until all progress bars are drawn.
func (u *Display) Wait() {
	if u.progress != nil {
		u.progress.Wait()
	}
}

// A Step is a part of the work, measured in bytes. It is an io.Writer that counts the
// bytes written to it. Goroutines may share it.
type Step struct {
	ui    *Display
	name  string
	begun time.Time
	total atomic.Int64 // grows during the step, see Expect
	done  atomic.Int64
	bar   *mpb.Bar
}

// Begin starts a step of total bytes, zero if the total is not yet known. The label
// of its bar is short, to fit into 80 columns.
func (u *Display) Begin(label, name string, total int64) *Step {
	s := &Step{ui: u, name: name, begun: time.Now()}
	if u.progress == nil {
		u.Say("%s ...", name)
		return s
	}
	s.bar = u.progress.AddBar(total,
		mpb.BarWidth(barWidth),
		mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Name(label, decor.WCSyncSpaceR)),
		mpb.AppendDecorators(
			decor.CountersKibiByte("% .0f / % .0f", decor.WCSyncSpace),
			decor.AverageSpeed(decor.SizeB1024(0), "% .0f", decor.WCSyncSpace),
			decor.AverageETA(decor.ET_STYLE_GO, decor.WCSyncSpace)))
	return s
}

// Write counts bytes as done.
func (s *Step) Write(p []byte) (int, error) {
	s.add(int64(len(p)))
	return len(p), nil
}

func (s *Step) add(n int64) {
	s.done.Add(n)
	if s.bar != nil {
		s.bar.IncrInt64(n)
	}
}

// Expect adds n bytes to the total. With Done it implements registry.Progress.
func (s *Step) Expect(n int64) {
	if total := s.total.Add(n); s.bar != nil {
		s.bar.SetTotal(total, false)
	}
}

// Done adds n to the number of completed bytes.
func (s *Step) Done(n int64) { s.add(n) }

// End ends the step. Without an error, it prints size and time.
func (s *Step) End(err error) {
	if s.bar != nil {
		s.bar.Abort(true)
	}
	if err != nil {
		return
	}
	took := time.Since(s.begun)
	if n := s.done.Load(); n > 0 {
		s.ui.Say("%s: %s in %s, %s/s", s.name, rootfs.Size(n), seconds(took), rootfs.Size(int64(float64(n)/max(took.Seconds(), 1e-3))))
	} else {
		s.ui.Say("%s: already complete, %s", s.name, seconds(took))
	}
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
