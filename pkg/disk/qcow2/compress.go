package qcow2

import (
	"bytes"
	"fmt"
	"io"
	"iter"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// deflateWindow is the maximum distance of a match. QEMU guarantees its readers a
// window of 4 KiB only.
const deflateWindow = 4096

// writeCompressed compresses all clusters into the spool, then writes the
// tables and copies the spool behind them.
func writeCompressed(w io.Writer, img *disk.Image, l *layout, o Options) error {
	if o.Compression == Zstd {
		l.compression = compressionZstd
	}
	p := packer{l: l, spool: o.Spool}
	if err := p.compress(img); err != nil {
		return err
	}
	l.data = int64(len(p.refs))
	l.place()
	if max := int64(1) << l.packedShift(); l.clusters()<<l.bits > max {
		return fmt.Errorf("file would be larger than %s", rootfs.Bytes(max))
	}
	base := l.offset(l.dataStart())
	metadata := l.metadata(img,
		func(data int64) uint16 { return p.refs[data] },
		func(content int64) uint64 { return p.entries[content] + base })
	if _, err := w.Write(metadata); err != nil {
		return err
	}
	_, err := io.CopyBuffer(w, io.NewSectionReader(o.Spool, 0, l.data<<l.bits), make([]byte, chunk))
	return err
}

// packedShift is the position of the number of sectors in the L2 entry of a compressed
// cluster. Below it is the offset, which need not be aligned.
func (l *layout) packedShift() int { return 62 - (l.bits - 8) }

// A packer lays compressed clusters into a spool, as many to a cluster of the
// file as fit. A compressed cluster may cross into the next cluster. Clusters that do
// not get smaller are stored uncompressed, in a cluster of their own.
type packer struct {
	l     *layout
	spool Spool

	entries []uint64 // of the clusters with content, relative to the spool
	refs    []uint16 // of the clusters of the spool
	packed  int64    // where the next compressed cluster goes
	end     int64    // of the cluster that packed is in
}

// compress compresses clusters on all cores and lays them down in order.
func (p *packer) compress(img *disk.Image) error {
	for out, err := range disk.InOrder(p.clusters(img), p.codec) {
		if err == nil {
			err = p.add(out)
		}
		if err != nil {
			return err
		}
	}
	return p.finish()
}

// clusters yields each cluster with content.
func (p *packer) clusters(img *disk.Image) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for c, err := range img.Chunks(p.l.cluster(), chunk, nil) {
			if err != nil {
				yield(nil, err)
				return
			}
			for data := c.Data; len(data) > 0; {
				cluster := make([]byte, p.l.cluster())
				data = data[copy(cluster, data):] // the last cluster of the disk may be short
				if !yield(cluster, nil) {
					return
				}
			}
		}
	}
}

// codec returns a function that compresses clusters. It is for one goroutine.
func (p *packer) codec() func([]byte) []byte {
	compress := deflate()
	if p.l.compression == compressionZstd {
		compress = zstandard()
	}
	return func(in []byte) []byte {
		if out := compress(in); len(out) < len(in) {
			return out
		}
		return in
	}
}

func deflate() func([]byte) []byte {
	var buf bytes.Buffer
	w, err := flate.NewWriterWindow(&buf, deflateWindow)
	if err != nil {
		panic("qcow2: internal error: " + err.Error())
	}
	return func(in []byte) []byte {
		buf.Reset()
		w.Reset(&buf)
		w.Write(in) // to memory: cannot fail
		w.Close()
		return bytes.Clone(buf.Bytes())
	}
}

func zstandard() func([]byte) []byte {
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false))
	if err != nil {
		panic("qcow2: internal error: " + err.Error())
	}
	return func(in []byte) []byte { return w.EncodeAll(in, nil) }
}

// add lays down the next cluster.
func (p *packer) add(cluster []byte) error {
	size := int64(len(cluster))
	if size == p.l.cluster() {
		off := p.grow()
		p.refs[off>>p.l.bits]++
		p.entries = append(p.entries, uint64(off)|entryCopied)
		return p.writeAt(cluster, off)
	}
	if size > p.end-p.packed {
		if err := p.nextCluster(); err != nil {
			return err
		}
	}
	off := p.packed
	last := off + size - 1
	sectors := last/512 - off/512 // beside the first one
	p.entries = append(p.entries, uint64(off)|uint64(sectors)<<p.l.packedShift()|entryCompressed)
	p.packed += size
	p.refs[last>>p.l.bits]++
	if off>>p.l.bits != last>>p.l.bits {
		p.refs[off>>p.l.bits]++
	}
	return p.writeAt(cluster, off)
}

// grow adds a cluster to the spool and returns where it is.
func (p *packer) grow() int64 {
	p.refs = append(p.refs, 0)
	return int64(len(p.refs)-1) << p.l.bits
}

// nextCluster makes room for one more compressed cluster. Unless the new
// cluster follows directly, the rest of the old one stays empty.
func (p *packer) nextCluster() error {
	off := p.grow()
	if off != p.end || p.end == p.packed {
		if err := p.finish(); err != nil {
			return err
		}
		p.packed = off
	}
	p.end = off + p.l.cluster()
	return nil
}

// finish fills the rest of a cluster with zeros.
func (p *packer) finish() error {
	return p.writeAt(make([]byte, p.end-p.packed), p.packed)
}

func (p *packer) writeAt(b []byte, off int64) error {
	if _, err := p.spool.WriteAt(b, off); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	return nil
}
