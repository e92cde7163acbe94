package cloud

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
)

// TestMeter: a meter knows the bytes written to it, and passes them to its progress.
func TestMeter(t *testing.T) {
	var progress bytes.Buffer
	m := NewMeter(t.Context(), &progress)
	io.WriteString(m, "a")
	io.WriteString(m, "bc")
	want := Content{Size: 3, SHA256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}
	if got := m.Content(); got != want || progress.String() != "abc" {
		t.Errorf("%+v, want %+v; progress %q", got, want, &progress)
	}
}

// TestMeterFails: a meter returns the error of its context and of its progress.
func TestMeterFails(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	m := NewMeter(ctx, nil)
	cancel()
	if _, err := m.Write([]byte("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled context: %v", err)
	}
	r, w := io.Pipe()
	r.Close()
	if _, err := NewMeter(t.Context(), w).Write([]byte("x")); err != io.ErrClosedPipe {
		t.Errorf("closed progress: %v", err)
	}
}
