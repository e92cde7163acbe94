package assemble

import "io"

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
