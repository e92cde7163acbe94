package oci

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Patient is a transport that gives a server up which sends nothing for the
// limit: neither a header, nor more of a body that is being read.
func Patient(base http.RoundTripper, limit time.Duration) http.RoundTripper {
	return patient{base, limit}
}

type patient struct {
	base  http.RoundTripper
	limit time.Duration
}

func (p patient) RoundTrip(req *http.Request) (*http.Response, error) {
	dog := watch(req.Context(), p.limit)
	resp, err := p.base.RoundTrip(req.WithContext(dog.ctx))
	dog.timer.Stop()
	if err != nil {
		err = dog.explain(err)
		dog.stop()
		return nil, err
	}
	resp.Body = &watched{resp.Body, dog}
	return resp, nil
}

// patience bounds one request to a registry: if it takes longer than the limit
// the context that it returns ends, and says why. The function that it returns
// gives an error that reason, and must be called.
func patience(ctx context.Context, limit time.Duration) (context.Context, func(error) error) {
	w := watch(ctx, limit)
	return w.ctx, func(err error) error {
		err = w.explain(err)
		w.stop()
		return err
	}
}

// A watchdog ends a context when nothing happens for some time.
type watchdog struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	limit  time.Duration
}

func watch(ctx context.Context, limit time.Duration) *watchdog {
	w := &watchdog{limit: limit}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	w.timer = time.AfterFunc(limit, func() {
		w.cancel(fmt.Errorf("the registry has stalled: it sent nothing for %v", limit))
	})
	return w
}

// stop ends the watch, and what still goes on under it.
func (w *watchdog) stop() {
	w.timer.Stop()
	w.cancel(nil)
}

// explain says what was wrong if the context ended what failed.
func (w *watchdog) explain(err error) error {
	if err == nil || err == io.EOF || w.ctx.Err() == nil {
		return err
	}
	return context.Cause(w.ctx)
}

// A watched reader is a blob on its way from a registry. The time that who
// reads it takes between two reads does not count.
type watched struct {
	io.ReadCloser
	dog *watchdog
}

func (r *watched) Read(p []byte) (int, error) {
	r.dog.timer.Reset(r.dog.limit)
	n, err := r.ReadCloser.Read(p)
	r.dog.timer.Stop()
	return n, r.dog.explain(err)
}

func (r *watched) Close() error {
	r.dog.stop()
	return r.ReadCloser.Close()
}
