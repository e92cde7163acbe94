package oci

import (
	"errors"
	"fmt"
	"io"
)

// A pipe passes large buffers from one goroutine to another.
type pipe struct {
	full, free chan []byte
	rest, cur  []byte
	done       chan struct{} // closed at the end of the writer
	stop       chan struct{} // closed at the end of the reader
	err        error         // of the writer; valid after done
}

var errStopped = errors.New("not read to the end")

func newPipe() *pipe {
	p := &pipe{full: make(chan []byte, chunks), free: make(chan []byte, chunks), done: make(chan struct{}), stop: make(chan struct{})}
	for range chunks {
		p.free <- make([]byte, chunk)
	}
	return p
}

// readFrom writes the content of r, up to a limit, to the pipe.
func (p *pipe) readFrom(r io.Reader, limit int64) error {
	for {
		var buf []byte
		select {
		case <-p.stop:
			return errStopped
		case buf = <-p.free:
		}
		n, err := fill(r, buf[:chunk])
		if limit -= int64(n); limit < 0 {
			return errors.New("inflates to more than any legitimate layer of its size")
		}
		p.full <- buf[:n] // never blocks: there is room for all buffers
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("inflating: %w", err)
		}
	}
}

// fill reads until buf is full or r fails. Unlike io.ReadFull it distinguishes the end of r
// from an inflater's error about truncated input.
func fill(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var got int
		got, err = r.Read(buf[n:])
		n += got
	}
	return n, err
}

func (p *pipe) closeWrite(err error) {
	p.err = err
	close(p.done)
	close(p.full)
}

// closeRead ends the reading, waits for the writer and returns its error, except the one that
// closeRead caused.
func (p *pipe) closeRead() error {
	close(p.stop)
	<-p.done
	if p.err == errStopped {
		return nil
	}
	return p.err
}

// Read implements [io.Reader] for the reading goroutine.
func (p *pipe) Read(b []byte) (int, error) {
	for len(p.rest) == 0 {
		if p.cur != nil {
			p.free <- p.cur
			p.cur = nil
		}
		buf, ok := <-p.full
		if !ok {
			if p.err != nil {
				return 0, p.err
			}
			return 0, io.EOF
		}
		p.cur, p.rest = buf[:chunk], buf
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}
