package xfs

import (
	"bytes"
	"io"
	"sync"

	"github.com/klauspost/compress/s2"
)

// An inodeTable is the chunks of inodes of a group. A large tree has more bytes of
// inodes than of anything else, and most of them are zero or the same, so that
// chunks are compressed except for the one at hand: inodes are written in the
// order of their numbers.
type inodeTable struct {
	packed [][]byte // by chunk; nil is all zeros
	number int      // of the chunk at hand
	chunk  []byte   // the chunk at hand; nil before the first one
	buf    []byte   // for compression
}

const chunkSize = chunkInodes * inodeSize

func newInodeTable(chunks uint64) *inodeTable { return &inodeTable{packed: make([][]byte, chunks)} }

// at returns the bytes of an inode, to be changed until the next call.
func (t *inodeTable) at(slot uint64) []byte {
	if number := int(slot / chunkInodes); t.chunk == nil || number != t.number {
		t.pack()
		if t.chunk == nil {
			t.chunk = make([]byte, chunkSize)
		}
		t.number = number
		unpack(t.chunk, t.packed[number])
	}
	return t.chunk[slot%chunkInodes*inodeSize:][:inodeSize]
}

// pack compresses the chunk at hand.
func (t *inodeTable) pack() {
	if t.chunk == nil {
		return
	}
	if t.buf == nil {
		t.buf = make([]byte, s2.MaxEncodedLen(chunkSize))
	}
	t.packed[t.number] = bytes.Clone(s2.Encode(t.buf, t.chunk))
}

// seal compresses the last chunk. No inode changes any more.
func (t *inodeTable) seal() {
	t.pack()
	t.chunk, t.buf = nil, nil
}

// unpack decompresses a chunk.
func unpack(chunk, packed []byte) {
	if packed == nil {
		clear(chunk)
	} else if _, err := s2.Decode(chunk, packed); err != nil {
		panic(err) // it was compressed here
	}
}

// Size returns the size of the chunks in bytes.
func (t *inodeTable) Size() int64 { return int64(len(t.packed)) * chunkSize }

var chunkPool = sync.Pool{New: func() any { b := make([]byte, chunkSize); return &b }}

// ReadAt reads the chunks, once the last one is compressed.
func (t *inodeTable) ReadAt(p []byte, off int64) (n int, err error) {
	buf := chunkPool.Get().(*[]byte)
	defer chunkPool.Put(buf)
	for n < len(p) {
		at := off + int64(n)
		if at < 0 || at >= t.Size() {
			return n, io.EOF
		}
		unpack(*buf, t.packed[at/chunkSize])
		n += copy(p[n:], (*buf)[at%chunkSize:])
	}
	return n, nil
}
