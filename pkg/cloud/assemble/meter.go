package assemble

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud"
)

// A meter hashes and counts bytes. It fails once the context is done.
type meter struct {
	ctx      context.Context
	progress io.Writer // may be nil
	hash     hash.Hash
	n        int64
}

func newMeter(ctx context.Context, progress io.Writer) *meter {
	return &meter{ctx: ctx, progress: progress, hash: sha256.New()}
}

func (m *meter) Write(p []byte) (int, error) {
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

func (m *meter) content() cloud.Content {
	return cloud.Content{Size: m.n, SHA256: hex.EncodeToString(m.hash.Sum(nil))}
}

// headSize is the size of the beginning of a containerDisk that has its index.
const headSize = 1 << 20

// A prefix keeps the first bytes that are written to it, for a reader.
type prefix struct{ text []byte }

func (p *prefix) Write(b []byte) (int, error) {
	if n := min(headSize-len(p.text), len(b)); n > 0 {
		p.text = append(p.text, b[:n]...)
	}
	return len(b), nil
}

func (p *prefix) Read(b []byte) (int, error) {
	if len(p.text) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.text)
	p.text = p.text[n:]
	return n, nil
}
