package cloud

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
)

// A Meter hashes and counts the bytes written to it. It fails once its context is done.
type Meter struct {
	ctx      context.Context
	progress io.Writer // may be nil
	hash     hash.Hash
	n        int64
}

// NewMeter returns a Meter that also writes to progress, unless that is nil.
func NewMeter(ctx context.Context, progress io.Writer) *Meter {
	return &Meter{ctx: ctx, progress: progress, hash: sha256.New()}
}

// Write adds bytes.
func (m *Meter) Write(p []byte) (int, error) {
	if err := m.ctx.Err(); err != nil {
		return 0, err
	}
	if m.progress != nil {
		if _, err := m.progress.Write(p); err != nil {
			return 0, err
		}
	}
	m.n += int64(len(p))
	return m.hash.Write(p)
}

// Content returns the size and digest of the bytes written so far.
func (m *Meter) Content() Content {
	return Content{Size: m.n, SHA256: hex.EncodeToString(m.hash.Sum(nil))}
}
