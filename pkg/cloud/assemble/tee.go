package assemble

import "io"

// A tee writes to w and to tap. The two writes of a large buffer run at the same
// time, where those of [io.MultiWriter] run one after the other.
type tee struct{ w, tap io.Writer }

// teeSize is the least number of bytes that is worth a goroutine.
const teeSize = 16 << 10

func (t tee) Write(p []byte) (int, error) {
	if len(p) < teeSize {
		return io.MultiWriter(t.w, t.tap).Write(p)
	}
	tapped := make(chan error, 1)
	go func() {
		_, err := t.tap.Write(p)
		tapped <- err
	}()
	n, err := t.w.Write(p)
	if tapErr := <-tapped; err == nil {
		err = tapErr
	}
	return n, err
}
