package registry

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"syscall"
	"time"

	"oras.land/oras-go/v2/registry/remote/retry"
)

const (
	maxRetry = 6           // repetitions of a request
	maxWait  = time.Minute // before a repetition, even if the registry asks for more
)

// policy is that of the client which repeats failed requests.
func (r *Repo) policy() retry.Policy {
	return &retry.GenericPolicy{Retryable: retryable, Backoff: r.backoff, MaxWait: maxWait, MaxRetry: maxRetry}
}

// retryable reports whether a request may succeed when it is repeated. A refused
// connection is more often a wrong name than a broken registry.
func retryable(resp *http.Response, err error) (bool, error) {
	if err == nil {
		return isTemporary(resp.StatusCode), nil
	}
	return isDisconnect(err) && !errors.Is(err, syscall.ECONNREFUSED), nil
}

// Temporary reports whether an error has a cause that may pass: a broken
// connection, or the answer of a registry in trouble.
func Temporary(err error) bool { return isTemporary(Status(err)) || isDisconnect(err) }

func isTemporary(status int) bool {
	return slices.Contains([]int{http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout}, status)
}

// isDisconnect reports whether an error is that of a broken connection.
func isDisconnect(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout() && !errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNREFUSED) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

// backoff waits for the time that the registry asks for in Retry-After, or for a
// time that doubles with every attempt.
func backoff(first time.Duration) retry.Backoff {
	if first <= 0 {
		first = 250 * time.Millisecond
	}
	grow := retry.ExponentialBackoff(first, 2, 0.1)
	return func(attempt int, resp *http.Response) time.Duration {
		if resp != nil {
			after := resp.Header.Get("Retry-After")
			if s, err := strconv.ParseUint(after, 10, 16); err == nil {
				return min(time.Duration(s)*time.Second, maxWait)
			}
			at, err := http.ParseTime(after)
			now, nowErr := http.ParseTime(resp.Header.Get("Date"))
			if err == nil && nowErr == nil {
				return min(at.Sub(now), maxWait)
			}
		}
		return min(grow(attempt, nil), maxWait)
	}
}

// wait waits before the next attempt, or until the context is done.
func (r *Repo) wait(ctx context.Context, attempt int, answer *http.Response) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(r.backoff(attempt, answer)):
		return nil
	}
}
