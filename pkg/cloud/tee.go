package cloud

import "io"

// A tee writes to two writers at once, each on a core of its own, where
// io.MultiWriter has one wait for the other.
type tee struct {
	w    io.Writer
	in   chan []byte
	done chan error
}

// newTee returns a tee that must be closed.
func newTee(w, tap io.Writer) *tee {
	t := &tee{w, make(chan []byte), make(chan error)}
	go func() {
		for p := range t.in {
			_, err := tap.Write(p)
			t.done <- err
		}
	}()
	return t
}

func (t *tee) Write(p []byte) (int, error) {
	t.in <- p
	n, err := t.w.Write(p)
	if tapErr := <-t.done; err == nil {
		err = tapErr
	}
	return n, err
}

func (t *tee) close() { close(t.in) }
