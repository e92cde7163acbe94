package compress

import (
	"io"
	"runtime"
	"sync"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
)

// A block is a piece of the file that is compressed independently.
type block struct {
	data []byte // nil if all bytes are zero; returned to the pool
	n    int    // bytes of the file
}

// A packed is a compressed block.
type packed struct {
	data []byte // read only: blocks of zeros share it
	n    int    // bytes before compression
}

// blocks is an [io.WriteCloser] that cuts its input into blocks of size bytes,
// compresses them on all cores, and calls emit for each in order.
type blocks struct {
	size int
	emit func(packed) error

	cur    block
	todo   chan block
	free   chan []byte // unused buffers; their number bounds the memory
	failed chan struct{}
	done   chan struct{}
	err    error // of emit; valid when failed or done is closed
}

// newBlocks returns a writer that the caller must close. Each call of worker returns
// a function for one goroutine that compresses a block into new memory.
func newBlocks(size int, worker func() func([]byte) []byte, emit func(packed) error) *blocks {
	buffers := 2*runtime.GOMAXPROCS(0) + 1 // for each worker one at work and one waiting, and one being filled
	b := &blocks{
		size: size, emit: emit,
		todo: make(chan block), free: make(chan []byte, buffers),
		failed: make(chan struct{}), done: make(chan struct{}),
	}
	for range buffers {
		b.free <- nil // allocated at its first use
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

// queue yields the blocks sent to todo.
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

// add adds bytes to the current block, which has room for them. A block gets a
// buffer at its first byte that is not zero.
func (b *blocks) add(part []byte) error {
	if b.cur.data == nil && !disk.IsZero(part) {
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

// flush sends the current block to the workers.
func (b *blocks) flush() error {
	select {
	case b.todo <- b.cur:
		b.cur = block{}
		return nil
	case <-b.failed:
		return b.err
	}
}

// Close compresses and emits the rest of the input.
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

var _ io.WriteCloser = (*blocks)(nil)
