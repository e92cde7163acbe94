package packages

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// A database is an SQLite file, see https://www.sqlite.org/fileformat2.html. Tables
// are read from the first row to the last, without indexes and without the
// declarations of columns.
type database struct {
	blob   rootfs.Blob
	page   int64 // size of a page
	usable int64 // size of a page without the reserved bytes at its end
	pages  int64 // number of pages in the file
}

const (
	databaseHeader = 100
	maxDatabase    = 4 << 30
	maxPayload     = 32 << 20 // of a row; the headers of kernels and firmware have a few MiB
	maxDepth       = 20       // of a tree, as in SQLite itself
)

// Types of pages.
const (
	pageInterior = 5
	pageLeaf     = 13
)

// openDatabase reads the header of a database.
func openDatabase(blob rootfs.Blob) (*database, error) {
	h := make([]byte, databaseHeader)
	if err := rootfs.ReadFull(blob, h, 0); err != nil {
		return nil, err
	}
	d := &database{blob: blob, page: int64(binary.BigEndian.Uint16(h[16:]))}
	if d.page == 1 {
		d.page = 64 << 10
	}
	d.usable = d.page - int64(h[20])
	switch {
	case string(h[:16]) != "SQLite format 3\x00":
		return nil, errors.New("not an SQLite database")
	case d.page < 512 || d.page&(d.page-1) != 0 || d.usable < 480:
		return nil, fmt.Errorf("invalid page size %d with %d reserved bytes", d.page, h[20])
	case h[19] > 2:
		return nil, fmt.Errorf("unsupported read version %d", h[19])
	case binary.BigEndian.Uint32(h[56:]) > 1:
		return nil, errors.New("text encoding is not UTF-8")
	case blob.Size() > maxDatabase:
		return nil, fmt.Errorf("%s, want at most %s", rootfs.Bytes(blob.Size()), rootfs.Bytes(int64(maxDatabase)))
	}
	d.pages = blob.Size() / d.page
	return d, nil
}

// A value is the value of one column of a row.
type value struct {
	kind uint64 // the serial type of the specification
	data []byte
}

// number returns the value of an integer column, 1 to 8 bytes in big endian.
func (v value) number() (n int64) {
	switch {
	case v.kind == 9:
		return 1
	case v.kind < 1 || v.kind > 6:
		return 0
	}
	n = int64(int8(v.data[0]))
	for _, b := range v.data[1:] {
		n = n<<8 | int64(b)
	}
	return n
}

// table calls row for every row of a table, with its number and its columns. The
// columns are valid until row returns.
func (d *database) table(name string, row func(id int64, columns []value) error) error {
	var root int64
	err := d.walk(1, func(_ int64, columns []value) error {
		if len(columns) >= 4 && string(columns[0].data) == "table" && string(columns[1].data) == name {
			root = columns[3].number()
		}
		return nil
	})
	if err == nil && root == 0 {
		err = fmt.Errorf("no table %s", name)
	}
	if err == nil {
		err = d.walk(root, row)
	}
	return err
}

// walk calls row for every row of the tree whose root is on page root.
func (d *database) walk(root int64, row func(id int64, columns []value) error) error {
	w := &walk{database: d, left: d.pages, bytes: d.blob.Size(), row: row}
	return w.tree(root, 0)
}

// A walk visits the rows of a tree once. In a valid tree, no page is used twice and
// no rows overlap, so the limits for pages and bytes stop only damaged files.
type walk struct {
	*database
	row     func(id int64, columns []value) error
	left    int64 // pages that may still be read
	bytes   int64 // bytes of rows that may still be read
	payload []byte
	columns []value
}

// read reads a page.
func (w *walk) read(p []byte, number int64) error {
	if number < 1 || number > w.pages {
		return fmt.Errorf("no page %d, the file has %d", number, w.pages)
	}
	if w.left--; w.left < 0 {
		return errors.New("a page is used twice")
	}
	return rootfs.ReadFull(w.blob, p, (number-1)*w.page)
}

// tree visits the rows of the tree below a page.
func (w *walk) tree(number int64, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("the tree has more than %d levels", maxDepth)
	}
	page := make([]byte, w.page)
	if err := w.read(page, number); err != nil {
		return err
	}
	head := 0
	if number == 1 {
		head = databaseHeader
	}
	cells, at := int(binary.BigEndian.Uint16(page[head+3:])), head+8
	kind := page[head]
	if kind == pageInterior {
		at += 4
	}
	if kind != pageInterior && kind != pageLeaf || at+2*cells > int(w.usable) {
		return fmt.Errorf("page %d: invalid type %d or number of cells %d", number, kind, cells)
	}
	for i := range cells {
		off := int64(binary.BigEndian.Uint16(page[at+2*i:]))
		if off+4 > w.usable {
			return fmt.Errorf("page %d: cell at %d is outside of the page", number, off)
		}
		cell := page[off:w.usable]
		var err error
		if kind == pageInterior {
			err = w.tree(int64(binary.BigEndian.Uint32(cell)), depth+1)
		} else if err = w.cell(cell); err != nil {
			err = fmt.Errorf("page %d: %w", number, err)
		}
		if err != nil {
			return err
		}
	}
	if kind == pageInterior {
		return w.tree(int64(binary.BigEndian.Uint32(page[head+8:])), depth+1)
	}
	return nil
}

// cell reads a row. A large row begins in the cell and continues on a chain of
// overflow pages.
func (w *walk) cell(cell []byte) error {
	size, n := varint(cell)
	id, m := varint(cell[n:])
	if n == 0 || m == 0 {
		return io.ErrUnexpectedEOF
	}
	if size > maxPayload || int64(size) > w.bytes {
		return fmt.Errorf("row %d: %d bytes are too many", int64(id), size)
	}
	w.bytes -= int64(size)
	cell = cell[n+m:]
	local := w.local(int64(size))
	if local > int64(len(cell)) || local < int64(size) && local+4 > int64(len(cell)) {
		return fmt.Errorf("row %d extends past the end of the page", int64(id))
	}
	w.payload = append(w.payload[:0], cell[:local]...)
	if local < int64(size) {
		if err := w.overflow(int64(binary.BigEndian.Uint32(cell[local:])), int64(size)); err != nil {
			return fmt.Errorf("row %d: %w", int64(id), err)
		}
	}
	if err := w.record(w.payload); err != nil {
		return fmt.Errorf("row %d: %w", int64(id), err)
	}
	return w.row(int64(id), w.columns)
}

// local returns the number of bytes of a row that are in its cell.
func (d *database) local(size int64) int64 {
	if size <= d.usable-35 {
		return size
	}
	least := (d.usable-12)*32/255 - 23
	if k := least + (size-least)%(d.usable-4); k <= d.usable-35 {
		return k
	}
	return least
}

// overflow adds the rest of the payload, from the overflow pages.
func (w *walk) overflow(next, size int64) error {
	page := make([]byte, w.page)
	for int64(len(w.payload)) < size {
		if err := w.read(page, next); err != nil {
			return err
		}
		next = int64(binary.BigEndian.Uint32(page))
		w.payload = append(w.payload, page[4:4+min(w.usable-4, size-int64(len(w.payload)))]...)
	}
	return nil
}

// record splits a row into its columns.
func (w *walk) record(b []byte) error {
	size, n := varint(b)
	if n == 0 || size < uint64(n) || size > uint64(len(b)) {
		return errors.New("invalid record header")
	}
	kinds, data := b[n:size], b[size:]
	w.columns = w.columns[:0]
	for len(kinds) > 0 {
		kind, n := varint(kinds)
		if n == 0 {
			return errors.New("invalid record header")
		}
		kinds = kinds[n:]
		length := uint64(0)
		switch {
		case kind < 10:
			length = [...]uint64{0, 1, 2, 3, 4, 6, 8, 8, 0, 0}[kind]
		case kind < 12:
			return fmt.Errorf("invalid column type %d", kind)
		default:
			length = (kind - 12) / 2
		}
		if length > uint64(len(data)) {
			return fmt.Errorf("column of %d bytes, but only %d are left", length, len(data))
		}
		w.columns = append(w.columns, value{kind, data[:length]})
		data = data[length:]
	}
	return nil
}

// varint reads a number of one to nine bytes. n is the number of bytes, or 0 for a
// number without an end.
func varint(b []byte) (v uint64, n int) {
	for i, c := range b[:min(len(b), 9)] {
		if i == 8 {
			return v<<8 | uint64(c), 9
		}
		v = v<<7 | uint64(c&0x7f)
		if c < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}
