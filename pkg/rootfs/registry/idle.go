package registry

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Patient wraps a RoundTripper and fails a request when the server sends no data
// for limit, before the header or while the body is read.
func Patient(base http.RoundTripper, limit time.Duration) http.RoundTripper {
	return patient{base, limit}
}

type patient struct {
	base  http.RoundTripper
	limit time.Duration
}

func (p patient) RoundTrip(req *http.Request) (*http.Response, error) {
	dog := Watch(req.Context(), p.limit)
	resp, err := p.base.RoundTrip(req.WithContext(dog.ctx))
	if err != nil {
		return nil, dog.End(err)
	}
	resp.Body = dog.Body(resp.Body)
	return resp, nil
}

// A Watchdog cancels a context when a registry sends nothing for a time limit.
type Watchdog struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	limit  time.Duration
}

// Watch starts a watchdog for one request, which must use its Context.
func Watch(ctx context.Context, limit time.Duration) *Watchdog {
	w := &Watchdog{limit: limit}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	w.timer = time.AfterFunc(limit, func() {
		w.cancel(fmt.Errorf("the registry has stalled: it sent nothing for %v", limit))
	})
	return w
}

// Context returns the context that the watchdog cancels.
func (w *Watchdog) Context() context.Context { return w.ctx }

// End stops the watchdog and cancels the rest of its request. It returns err, or
// the cause of the cancellation if that made the request fail.
func (w *Watchdog) End(err error) error {
	err = w.explain(err)
	w.timer.Stop()
	w.cancel(nil)
	return err
}

// Body watches the body of the answer, whose header has arrived. The time
// between two reads does not count. Close ends the watchdog.
func (w *Watchdog) Body(body io.ReadCloser) io.ReadCloser {
	w.timer.Stop()
	return &watchedBody{body, w}
}

func (w *Watchdog) explain(err error) error {
	if err == nil || err == io.EOF || w.ctx.Err() == nil {
		return err
	}
	return context.Cause(w.ctx)
}

type watchedBody struct {
	io.ReadCloser
	dog *Watchdog
}

func (b *watchedBody) Read(p []byte) (int, error) {
	b.dog.timer.Reset(b.dog.limit)
	n, err := b.ReadCloser.Read(p)
	b.dog.timer.Stop()
	return n, b.dog.explain(err)
}

func (b *watchedBody) Close() error {
	_ = b.dog.End(nil)
	return b.ReadCloser.Close()
}
