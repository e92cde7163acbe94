package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// All output goes through this file. Results go to standard output, as text or
// JSON. Everything else goes to standard error, in lower case and without a full
// stop. Steps have a progress bar on a terminal, otherwise a line at the start and
// one at the end.

// A ui shows the progress of one run, see [newUI].
type ui struct {
	err      io.Writer
	progress *mpb.Progress // nil without a terminal
}

// barWidth leaves room for numbers on a terminal of 80 columns.
const barWidth = 40

func newUI(quiet bool) *ui {
	switch {
	case quiet:
		return &ui{err: io.Discard}
	case term.IsTerminal(int(os.Stderr.Fd())):
		return &ui{err: os.Stderr, progress: mpb.New(mpb.WithOutput(os.Stderr), mpb.WithAutoRefresh())}
	}
	return &ui{err: os.Stderr}
}

// say prints a line.
func (u *ui) say(format string, args ...any) {
	w := u.err
	if u.progress != nil {
		w = u.progress // above the bars
	}
	fmt.Fprintf(w, format+"\n", args...)
}

// maxWarnings is the largest number of warnings that one call of warn prints.
const maxWarnings = 20

// warn prints warnings. With strict, it returns an error if there are any.
func (u *ui) warn(warnings []string, strict bool) error {
	for i, w := range warnings {
		if i == maxWarnings {
			u.say("warning: and %d more", len(warnings)-i)
			break
		}
		u.say("warning: %s", w)
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

// wait waits until all progress bars are drawn.
func (u *ui) wait() {
	if u.progress != nil {
		u.progress.Wait()
	}
}

// A step is a part of the work, measured in bytes. It is an io.Writer that counts the
// bytes written to it. Goroutines may share it.
type step struct {
	ui    *ui
	name  string
	begun time.Time
	total atomic.Int64 // grows during the step, see Expect
	done  atomic.Int64
	bar   *mpb.Bar
}

// begin starts a step of total bytes, zero if the total is not yet known. The label
// of its bar is short, to fit into 80 columns.
func (u *ui) begin(label, name string, total int64) *step {
	s := &step{ui: u, name: name, begun: time.Now()}
	if u.progress == nil {
		u.say("%s ...", name)
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

func (s *step) Write(p []byte) (int, error) {
	s.add(int64(len(p)))
	return len(p), nil
}

func (s *step) add(n int64) {
	s.done.Add(n)
	if s.bar != nil {
		s.bar.IncrInt64(n)
	}
}

// Expect adds n bytes to the total. With Done it implements registry.Progress.
func (s *step) Expect(n int64) {
	if total := s.total.Add(n); s.bar != nil {
		s.bar.SetTotal(total, false)
	}
}

// Done adds n to the number of completed bytes.
func (s *step) Done(n int64) { s.add(n) }

// End ends the step. Without an error, it prints size and time.
func (s *step) End(err error) {
	if s.bar != nil {
		s.bar.Abort(true)
	}
	if err != nil {
		return
	}
	took := time.Since(s.begun)
	if n := s.done.Load(); n > 0 {
		s.ui.say("%s: %s in %s, %s/s", s.name, size(n), seconds(took), size(int64(float64(n)/max(took.Seconds(), 1e-3))))
	} else {
		s.ui.say("%s: already complete, %s", s.name, seconds(took))
	}
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// size formats a size for people.
func size(n int64) string { return rootfs.Size(n) }

// A printer writes results to standard output. It keeps the first error, so that
// callers need not check. It replaces control characters, because most of the text
// comes from untrusted images and must not control the terminal.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) Write(b []byte) (int, error) {
	if p.err == nil {
		_, p.err = io.WriteString(p.w, visible(string(b)))
	}
	return len(b), p.err
}

// visible replaces control characters other than ends of lines and tabs.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// table prints rows with aligned columns. The first row is the heading.
func table(w io.Writer, rows [][]string) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	t.Flush()
}

// A shown is a result that can be printed as text.
type shown interface{ print(w io.Writer) }

// show prints a result in a format: text or json.
func show(w io.Writer, format string, res shown) error {
	if format == "json" {
		return printJSON(w, res)
	}
	res.print(w)
	return nil
}

// printJSON prints a result as indented JSON.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
