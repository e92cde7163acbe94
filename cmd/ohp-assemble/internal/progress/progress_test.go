package progress

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/vbauerster/mpb/v8"
)

// TestBar draws the bars of two platforms in 80 columns: rate and time left are
// to be seen next to a bar.
func TestBar(t *testing.T) {
	var drawn bytes.Buffer
	redraw := make(chan any)
	u := &Display{err: &drawn, progress: mpb.New(mpb.WithOutput(&drawn), mpb.WithWidth(80), mpb.WithManualRefresh(redraw))}
	labels := []string{"write qemu", "write metal"}
	for _, label := range labels {
		s := u.Begin(label, label, 1<<30)
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
