package disk

import (
	"bytes"
	"io"
	"iter"
	"sync"
)

// A Run is a range of an image that is either content or a hole.
type Run struct {
	Off, Len int64
	Hole     bool
}

// End returns the offset behind the run's last byte.
func (r Run) End() int64 { return r.Off + r.Len }

// Runs yields the image from start to end as alternating content and holes.
// It divides the image into grains, such as the blocks of a file system or the
// clusters of a format: a grain with any content in it is content. Only the
// last grain of an image may be short.
func (m *Image) Runs(grain int64) iter.Seq[Run] {
	return func(yield func(Run) bool) {
		var done int64 // everything before it is yielded
		for i := 0; i < len(m.extents); {
			start := m.extents[i].Off / grain * grain
			end := start
			for ; i < len(m.extents) && m.extents[i].Off/grain*grain <= end; i++ {
				end = m.grainEnd(m.extents[i].End(), grain)
			}
			if start > done && !yield(Run{done, start - done, true}) {
				return
			}
			if !yield(Run{start, end - start, false}) {
				return
			}
			done = end
		}
		if done < m.size {
			yield(Run{done, m.size - done, true})
		}
	}
}

// grainEnd rounds off up to a grain, but not beyond the image.
func (m *Image) grainEnd(off, grain int64) int64 {
	rest := (grain - off%grain) % grain
	return off + min(rest, m.size-off)
}

// A Chunk is a run of an image together with its bytes. Holes have none.
type Chunk struct {
	Run
	Data []byte // nil if and only if the run is a hole
}

// zeros are the bytes of holes.
var zeros [256 << 10]byte

// IsZero reports whether all bytes are zero.
func IsZero(p []byte) bool {
	const part = 32 << 10 // fits into the L1 cache of a core
	for ; len(p) > part; p = p[part:] {
		if !bytes.Equal(p[:part], zeros[:part]) {
			return false
		}
	}
	return bytes.Equal(p, zeros[:len(p)])
}

// WriteTo writes the chunk's bytes to w; a hole is written as zeros.
func (c Chunk) WriteTo(w io.Writer) (int64, error) {
	if !c.Hole {
		n, err := w.Write(c.Data)
		return int64(n), err
	}
	for done := int64(0); done < c.Len; {
		n, err := w.Write(zeros[:min(c.Len-done, int64(len(zeros)))])
		done += int64(n)
		if err != nil {
			return done, err
		}
	}
	return c.Len, nil
}

// chunkSize and chunkGrain are those of WriteTo. A chunk still fits in the cache
// of a core. The grain is the block size of most file systems.
const (
	chunkSize  = 256 << 10
	chunkGrain = 4096
)

// WriteTo writes the whole image to w from start to end, holes as zeros.
func (m *Image) WriteTo(w io.Writer) (n int64, err error) {
	for c, err := range m.Chunks(chunkGrain, chunkSize, nil) {
		if err != nil {
			return n, err
		}
		wrote, err := c.WriteTo(w)
		n += wrote
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// Watch returns the same image, whose Chunks call read with the number of bytes
// of each chunk of content that has been read: the progress of a format that
// reads the image in chunks. An image that contains it does not call read.
func (m *Image) Watch(read func(n int64)) *Image {
	return &Image{m.size, m.extents, read}
}

// chunkBuffers is the number of chunks with content in flight: two between each
// pair of stages, and one in each of the three stages.
const chunkBuffers = 7

// Chunks reads the image from start to end and yields it in order. Holes come
// whole; content comes in pieces of at most size bytes, which must be a
// multiple of grain, see [Image.Runs]. The bytes of a chunk are overwritten
// when the loop goes on.
//
// Reading runs ahead of the loop in a goroutine of its own. If tap is not nil,
// another goroutine writes every byte of the image to it in order, zeros
// included, before the chunk is yielded: a hash that costs the loop no time.
// After the loop, nothing writes to tap.
//
// An error is the last value.
func (m *Image) Chunks(grain, size int64, tap io.Writer) iter.Seq2[Chunk, error] {
	return func(yield func(Chunk, error) bool) {
		s := stream{
			free: make(chan []byte, chunkBuffers),
			stop: make(chan struct{}),
		}
		for range chunkBuffers {
			s.free <- nil // made when first needed
		}
		defer s.wait.Wait()
		defer close(s.stop)

		chunks := s.start(func(send func(result) bool) { s.read(m, grain, size, send) })
		if tap != nil {
			read := chunks
			chunks = s.start(func(send func(result) bool) { s.copyTo(tap, read, send) })
		}
		for r := range chunks {
			if !yield(r.Chunk, r.err) || r.err != nil {
				return
			}
			if r.Hole {
				continue
			}
			if m.watch != nil {
				m.watch(r.Len)
			}
			s.free <- r.Data
		}
	}
}

// A stream is the stages behind one loop over chunks. Each stage is a
// goroutine that takes chunks from a channel and sends them on; buffers go
// back to free at the end.
type stream struct {
	free chan []byte
	stop chan struct{} // closed when the loop is over
	wait sync.WaitGroup
}

type result struct {
	Chunk
	err error
}

// start runs a stage and returns the channel that it sends to. Sending fails
// when the loop is over.
func (s *stream) start(stage func(send func(result) bool)) <-chan result {
	out := make(chan result, 2)
	s.wait.Go(func() {
		defer close(out)
		stage(func(r result) bool {
			select {
			case out <- r:
				return true
			case <-s.stop:
				return false
			}
		})
	})
	return out
}

// read is the first stage: it fills buffers.
func (s *stream) read(m *Image, grain, size int64, send func(result) bool) {
	for run := range m.Runs(grain) {
		if run.Hole {
			if !send(result{Chunk: Chunk{Run: run}}) {
				return
			}
			continue
		}
		for off := run.Off; off < run.End(); off += size {
			var buf []byte
			select {
			case buf = <-s.free:
			case <-s.stop:
				return
			}
			if buf == nil {
				buf = make([]byte, size)
			}
			r := readChunk(m, buf[:size], Run{Off: off, Len: min(size, run.End()-off)})
			if !send(r) || r.err != nil {
				return
			}
		}
	}
}

func readChunk(m *Image, buf []byte, run Run) result {
	buf = buf[:run.Len]
	n, err := m.ReadAt(buf, run.Off)
	if n == len(buf) {
		err = nil
	}
	return result{Chunk{run, buf}, err}
}

// copyTo is the second stage, if there is a tap.
func (s *stream) copyTo(tap io.Writer, in <-chan result, send func(result) bool) {
	for r := range in {
		if r.err == nil {
			r.err = s.write(tap, r.Chunk)
		}
		if !send(r) || r.err != nil {
			return
		}
	}
}

// write is WriteTo that ends early when the loop is over, because holes can be long.
func (s *stream) write(tap io.Writer, c Chunk) error {
	_, err := c.WriteTo(stoppable{tap, s.stop})
	return err
}

type stoppable struct {
	w    io.Writer
	stop <-chan struct{}
}

func (s stoppable) Write(p []byte) (int, error) {
	select {
	case <-s.stop:
		return 0, io.ErrClosedPipe
	default:
		return s.w.Write(p)
	}
}
