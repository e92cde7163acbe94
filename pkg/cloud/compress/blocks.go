package compress

import (
	"bytes"
	"io"
	"runtime"
	"sync"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
)

// A block is a piece of the file, compressed for itself.
type block struct {
	data []byte // nil if all bytes are zero; returned to the pool
	n    int    // bytes of the file
}

// A packed block is what becomes of one.
type packed struct {
	data []byte // not to be changed: blocks of zeros share it
	n    int    // bytes of the file that are in it
}

// blocks cuts what is written to it into blocks of size bytes, compresses them
// on all cores, and gives them to emit in order. It is an [io.WriteCloser].
type blocks struct {
	size int
	emit func(packed) error

	cur    block
	todo   chan block
	free   chan []byte // buffers: what is under way is bounded
	failed chan struct{}
	done   chan struct{}
	err    error // of emit, to be read when failed or done is closed
}

// newBlocks returns a writer that must be closed. Each call of worker returns a
// function for one goroutine that compresses a block; its result is its own.
func newBlocks(size int, worker func() func([]byte) []byte, emit func(packed) error) *blocks {
	buffers := 2*runtime.GOMAXPROCS(0) + 1 // one at work in each worker, one waiting for each, one being filled
	b := &blocks{
		size: size, emit: emit,
		todo: make(chan block), free: make(chan []byte, buffers),
		failed: make(chan struct{}), done: make(chan struct{}),
	}
	for range buffers {
		b.free <- nil // made when first needed
	}
	go b.run(worker)
	return b
}

// run compresses until todo is closed or emit fails.
func (b *blocks) run(worker func() func([]byte) []byte) {
	defer close(b.done)
	zeros := sync.OnceValue(func() []byte { return worker()(make([]byte, b.size)) })
	compressor := func() func(block) packed {
		compress := worker()
		return func(in block) packed {
			switch {
			case in.data != nil:
				defer func() { b.free <- in.data }()
				return packed{compress(in.data[:in.n]), in.n}
			case in.n == b.size:
				return packed{zeros(), in.n}
			default: // the last one
				return packed{compress(make([]byte, in.n)), in.n}
			}
		}
	}
	for p, err := range disk.InOrder(b.queue, compressor) {
		if err == nil {
			err = b.emit(p)
		}
		if err != nil {
			b.err = err
			close(b.failed)
			return
		}
	}
}

// queue yields what is sent to todo.
func (b *blocks) queue(yield func(block, error) bool) {
	for {
		select {
		case in, ok := <-b.todo:
			if !ok || !yield(in, nil) {
				return
			}
		case <-b.failed:
			return
		}
	}
}

func (b *blocks) Write(p []byte) (int, error) {
	for done := 0; done < len(p); {
		part := p[done:]
		part = part[:min(len(part), b.size-b.cur.n)]
		if err := b.add(part); err != nil {
			return done, err
		}
		done += len(part)
	}
	return len(p), nil
}

// add adds bytes to the current block, which has room for them. A block needs
// a buffer only from its first byte on that is not zero.
func (b *blocks) add(part []byte) error {
	if b.cur.data == nil && !allZeros(part) {
		select {
		case b.cur.data = <-b.free:
		case <-b.failed:
			return b.err
		}
		if b.cur.data == nil {
			b.cur.data = make([]byte, b.size)
		}
		clear(b.cur.data[:b.cur.n])
	}
	if b.cur.data != nil {
		copy(b.cur.data[b.cur.n:], part)
	}
	if b.cur.n += len(part); b.cur.n < b.size {
		return nil
	}
	return b.flush()
}

// flush sends the current block on.
func (b *blocks) flush() error {
	select {
	case b.todo <- b.cur:
		b.cur = block{}
		return nil
	case <-b.failed:
		return b.err
	}
}

// Close returns when all that was written is compressed and emitted.
func (b *blocks) Close() error {
	var err error
	if b.cur.n > 0 {
		err = b.flush()
	}
	close(b.todo)
	<-b.done
	if err == nil {
		err = b.err
	}
	return err
}

var zeros [32 << 10]byte // stays in the nearest cache of a core

func allZeros(p []byte) bool {
	for ; len(p) > len(zeros); p = p[len(zeros):] {
		if !bytes.Equal(p[:len(zeros)], zeros[:]) {
			return false
		}
	}
	return bytes.Equal(p, zeros[:len(p)])
}

var _ io.WriteCloser = (*blocks)(nil)
