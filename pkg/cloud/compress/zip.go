package compress

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"github.com/klauspost/compress/flate"
)

// zipTime is the first that the format knows.
var zipTime = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// zipWriter writes an archive of one member.
type zipWriter struct {
	io.Writer // of the member
	archive   *zip.Writer
}

func newZip(w io.Writer, o Options) (io.WriteCloser, error) {
	if o.Name == "" {
		return nil, errors.New("the member has no name")
	}
	archive := zip.NewWriter(w)
	archive.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return newDeflate(w, o.Level), nil })
	head := &zip.FileHeader{Name: o.Name, Method: zip.Deflate, Modified: zipTime}
	head.SetMode(0o644)
	member, err := archive.CreateHeader(head)
	if err != nil {
		return nil, err
	}
	return &zipWriter{member, archive}, nil
}

func (z *zipWriter) Close() error { return z.archive.Close() }

// Signatures and flags of APPNOTE.TXT.
const (
	zipLocal      = 0x04034b50
	zipDescriptor = 0x08074b50
	zipCentral    = 0x02014b50
	zipEnd64      = 0x06064b50
	zipLocator64  = 0x07064b50
	zipEnd        = 0x06054b50

	zipEncrypted = 1 << 0
	zipStreamed  = 1 << 3 // sums and sizes are in a descriptor behind the data
	zipExtra64   = 1      // ID of the extra field with sizes that need 64 bits
)

// zipLocalHeader is the local file header, without its signature.
type zipLocalHeader struct {
	Version, Flags, Method, Time, Date uint16
	CRC, Packed, Size                  uint32
	NameLength, ExtraLength            uint16
}

// zipCentralHeader is the central directory header, without its signature.
type zipCentralHeader struct {
	MadeBy, Version, Flags, Method, Time, Date                 uint16
	CRC, Packed, Size                                          uint32
	NameLength, ExtraLength, CommentLength, Disk, InternalAttr uint16
	ExternalAttr, Offset                                       uint32
}

// zipReader reads the one member of an archive from start to end. Its sums and
// sizes are those of the directory, which comes last.
type zipReader struct {
	in       source
	data     io.Reader
	start    int64 // of the data in the archive
	streamed bool
	size     uint64
	crc      uint32
	end      error // that was reached
}

func readZip(in source) (io.ReadCloser, error) {
	var h zipLocalHeader
	in.Discard(4) // the signature was seen
	if err := binary.Read(in, binary.LittleEndian, &h); err != nil {
		return nil, err
	}
	switch {
	case h.Flags&zipEncrypted != 0:
		return nil, errors.New("the member is encrypted")
	case h.Method != zip.Deflate:
		return nil, fmt.Errorf("method %d is not supported, only deflate is", h.Method)
	}
	if _, err := in.Discard(int(h.NameLength) + int(h.ExtraLength)); err != nil {
		return nil, err
	}
	return &zipReader{in: in, data: flate.NewReader(in.Reader), start: in.pos(), streamed: h.Flags&zipStreamed != 0}, nil
}

func (z *zipReader) Close() error { return nil }

func (z *zipReader) Read(p []byte) (int, error) {
	if z.end != nil {
		return 0, z.end
	}
	n, err := z.data.Read(p)
	z.crc = crc32.Update(z.crc, crc32.IEEETable, p[:n])
	z.size += uint64(n)
	if err == io.EOF {
		if err = z.finish(uint64(z.in.pos() - z.start)); err == nil {
			err = io.EOF
		}
	}
	z.end = err
	return n, err
}

// finish reads what follows the data. All of it must be there, and nothing else.
func (z *zipReader) finish(packed uint64) error {
	if z.streamed {
		if err := z.descriptor(packed); err != nil {
			return err
		}
	}
	for members := 0; ; {
		var signature uint32
		if err := binary.Read(z.in, binary.LittleEndian, &signature); err != nil {
			return unexpectedEOF(err)
		}
		var err error
		switch signature {
		case zipCentral:
			if members++; members == 1 {
				err = z.directory(packed)
				break
			}
			fallthrough
		case zipLocal:
			return errors.New("it has more than one member")
		case zipEnd64:
			var size uint64
			if err = binary.Read(z.in, binary.LittleEndian, &size); err == nil {
				_, err = io.CopyN(io.Discard, z.in, int64(size&(1<<16-1)))
			}
		case zipLocator64:
			_, err = z.in.Discard(16)
		case zipEnd:
			if members == 0 {
				return errors.New("its directory is empty")
			}
			return z.comment()
		default:
			return fmt.Errorf("%#x is not the signature of anything that follows a member", signature)
		}
		if err != nil {
			return unexpectedEOF(err)
		}
	}
}

// descriptor skips the descriptor, whose sizes have 32 bits or 64.
func (z *zipReader) descriptor(packed uint64) error {
	long := binary.LittleEndian.AppendUint32(nil, zipDescriptor)
	long = binary.LittleEndian.AppendUint32(long, z.crc)
	short := binary.LittleEndian.AppendUint32(bytes.Clone(long), uint32(packed))
	short = binary.LittleEndian.AppendUint32(short, uint32(z.size))
	long = binary.LittleEndian.AppendUint64(long, packed)
	long = binary.LittleEndian.AppendUint64(long, z.size)
	for _, want := range [][]byte{long, short} {
		if b, _ := z.in.Peek(len(want)); bytes.Equal(b, want) {
			_, err := z.in.Discard(len(want))
			return err
		}
	}
	return errors.New("the data is not that of its descriptor")
}

// directory reads the directory's entry of the member.
func (z *zipReader) directory(packed uint64) error {
	var h zipCentralHeader
	if err := binary.Read(z.in, binary.LittleEndian, &h); err != nil {
		return err
	}
	rest := make([]byte, int(h.NameLength)+int(h.ExtraLength)+int(h.CommentLength))
	if _, err := io.ReadFull(z.in, rest); err != nil {
		return err
	}
	wantSize, wantPacked := uint64(h.Size), uint64(h.Packed)
	extra := rest[h.NameLength:][:h.ExtraLength]
	for len(extra) >= 4 {
		id, n := binary.LittleEndian.Uint16(extra), int(binary.LittleEndian.Uint16(extra[2:]))
		field := extra[4:]
		field = field[:min(n, len(field))]
		extra = extra[4+len(field):]
		for _, v := range []*uint64{&wantSize, &wantPacked} {
			if id == zipExtra64 && *v == 1<<32-1 && len(field) >= 8 {
				*v, field = binary.LittleEndian.Uint64(field), field[8:]
			}
		}
	}
	if h.CRC != z.crc || wantPacked != packed || wantSize != z.size {
		return errors.New("the data is not that of the directory")
	}
	return nil
}

// comment reads the rest of the end record, which ends in a comment.
func (z *zipReader) comment() error {
	var end struct {
		Disk, DirectoryDisk, DiskEntries, Entries uint16
		Size, Offset                              uint32
		CommentLength                             uint16
	}
	if err := binary.Read(z.in, binary.LittleEndian, &end); err != nil {
		return unexpectedEOF(err)
	}
	if _, err := z.in.Discard(int(end.CommentLength)); err != nil {
		return unexpectedEOF(err)
	}
	if _, err := z.in.Peek(1); err != io.EOF {
		return errors.New("there is something behind its end")
	}
	return nil
}
