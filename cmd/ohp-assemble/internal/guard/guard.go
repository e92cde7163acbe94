// Package guard lets a program exit as soon as it is interrupted, except during a call
// that removes its temporary files when its context is done:
//
//	ctx := guard.With(ctx)
//	n, err := guard.Call(ctx, func() (int, error) { return write(ctx) })
//	<-guard.Interrupted(ctx) // in another goroutine, before the exit
package guard

import (
	"context"
	"sync"
)

// A guard is locked for reading during each guarded call.
type guard struct{ calls sync.RWMutex }

type key struct{}

// With returns a context for [Call], [Do] and [Interrupted].
func With(ctx context.Context) context.Context {
	return context.WithValue(ctx, key{}, &guard{})
}

// Call makes a call that may have temporary files. Guarded calls do not nest.
func Call[T any](ctx context.Context, call func() (T, error)) (T, error) {
	if g, ok := ctx.Value(key{}).(*guard); ok {
		g.calls.RLock()
		defer g.calls.RUnlock()
	}
	return call()
}

// Do is [Call] for a call without a result.
func Do(ctx context.Context, call func() error) error {
	_, err := Call(ctx, func() (struct{}, error) { return struct{}{}, call() })
	return err
}

// Interrupted returns a channel that is closed when ctx is done and no guarded call
// is running. No later call begins.
func Interrupted(ctx context.Context) <-chan struct{} {
	c := make(chan struct{})
	context.AfterFunc(ctx, func() {
		ctx.Value(key{}).(*guard).calls.Lock() // never unlocked
		close(c)
	})
	return c
}
