package assemble

import "io"

// tee returns a writer to w and to taps. Large writes to w and to the taps run at
// the same time, where those of [io.MultiWriter] run one after the other.
func tee(w io.Writer, taps ...io.Writer) io.Writer { return teeWriter{w, io.MultiWriter(taps...)} }

type teeWriter struct{ w, tap io.Writer }

// teeSize is the least number of bytes that is worth a goroutine.
const teeSize = 16 << 10

func (t teeWriter) Write(p []byte) (int, error) {
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
