package packages

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// sqlite runs statements on a new database with sqlite3. It returns the file and the
// output.
func sqlite(t testing.TB, statements ...string) (file []byte, out string) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "db")
	out = treetest.Run(t, "sqlite3", append([]string{name}, statements...)...)
	file, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return file, out
}

// rows prints the table t in the way sqlite3 prints id, hex(a), b.
func rows(file []byte) (string, error) {
	d, err := openDatabase(bytes.NewReader(file))
	if err != nil {
		return "", err
	}
	var out strings.Builder
	err = d.table("t", func(id int64, columns []value) error {
		if len(columns) < 3 {
			return fmt.Errorf("%d columns", len(columns))
		}
		_, err := fmt.Fprintf(&out, "%d|%X|%d\n", id, columns[1].data, columns[2].number())
		return err
	})
	return out.String(), err
}

// TestSQLite reads rows whose sizes are at the limits of cells and pages, for all
// page sizes, in trees of several levels.
func TestSQLite(t *testing.T) {
	for _, page := range []int{512, 1024, 4096, 65536} {
		for _, statements := range []string{
			// Every size of a cell, and sizes of several pages.
			fmt.Sprintf(`with recursive n(i) as (select 1 union all select i+1 from n where i < %d) insert into t select i, randomblob(i), i*i*i*i-5 from n;`, min(3*page, 5000)),
			// Many rows, with gaps between row numbers, and numbers of all sizes.
			`with recursive n(i) as (select 0 union all select i+1 from n where i < 5000) insert into t select i*1000003-7, randomblob(i%5), (i%3-1)*(1<<(i%63)) from n; delete from t where b % 7 = 0;`,
			// Large rows.
			`insert into t values(-9223372036854775808, randomblob(3000000), 0), (9223372036854775807, zeroblob(100000), 1);`,
			``,
		} {
			file, want := sqlite(t, fmt.Sprintf("pragma page_size=%d; create table s(x); create table t(id integer primary key, a blob, b int); create index i on t(b); %s select id, hex(a), b from t order by id;", page, statements))
			got, err := rows(file)
			if err != nil || got != want {
				t.Errorf("pages of %d, %s: %v; %d bytes of rows, want %d", page, statements, err, len(got), len(want))
			}
		}
	}
}

// TestSQLiteReserved: the reserved bytes at the end of each page are skipped.
func TestSQLiteReserved(t *testing.T) {
	file, want := sqlite(t, ".filectrl reserve_bytes 32", "create table t(id integer primary key, a blob, b int); insert into t values(1, randomblob(20000), 5), (2, randomblob(4050), 6); select id, hex(a), b from t;")
	_, want, _ = strings.Cut(want, "\n") // the output of .filectrl
	if got, err := rows(file); err != nil || got != want || file[20] != 32 {
		t.Errorf("%d bytes reserved: %v; %d bytes of rows, want %d", file[20], err, len(got), len(want))
	}
}

func small(t testing.TB) []byte {
	file, _ := sqlite(t, `pragma page_size=512; create table t(id integer primary key, a blob, b int);
		with recursive n(i) as (select 1 union all select i+1 from n where i < 12) insert into t select i, zeroblob(i*60), i from n;`)
	return file
}

func TestSQLiteDamaged(t *testing.T) {
	good := small(t)
	root := 512 // offset of page 2, an interior page and the root of t
	if good[root] != pageInterior {
		t.Fatalf("page 2 is of type %d", good[root])
	}
	last := 512 * (int(binary.BigEndian.Uint32(good[root+8:])) - 1)
	cell := last + int(binary.BigEndian.Uint16(good[last+8:])) // offset of a row on several pages
	for _, c := range []struct {
		want   string
		damage func(b []byte) []byte
	}{
		{"unexpected EOF", func(b []byte) []byte { return b[:99] }},
		{"invalid page size 513", func(b []byte) []byte { b[17] = 1; return b }},
		{"invalid page size 512 with 33 reserved bytes", func(b []byte) []byte { b[20] = 33; return b }},
		{"unsupported read version 3", func(b []byte) []byte { b[19] = 3; return b }},
		{"text encoding is not UTF-8", func(b []byte) []byte { b[59] = 2; return b }},
		{"no table t", func(b []byte) []byte { return bytes.Replace(b, []byte("tablett"), []byte("tablext"), 1) }},
		{"page 1: invalid type 0", func(b []byte) []byte { b[100] = 0; return b }},
		{"page 1: invalid type 13 or number of cells 65281", func(b []byte) []byte { b[103] = 0xff; return b }},
		{"page 1: cell at ", func(b []byte) []byte { b[108] = 0xff; return b }},
		{"a page is used twice", func(b []byte) []byte { copy(b[root+8:], []byte{0, 0, 0, 2}); return b }},
		{"the tree has more than 20 levels", func(b []byte) []byte {
			copy(b[root+8:], []byte{0, 0, 0, 2})
			return append(b, make([]byte, 512*500)...)
		}},
		{"no page 0, ", func(b []byte) []byte { clear(b[root+8:][:4]); return b }},
		{"no page 16777216, ", func(b []byte) []byte { copy(b[root+8:], []byte{1, 0, 0, 0}); return b }},
		{": 2097151 bytes are too many", func(b []byte) []byte { copy(b[cell:], []byte{0xff, 0xff, 0x7f}); return b }},
		{"invalid record header", func(b []byte) []byte { b[cell+3] = 0; return b }},
		{"invalid record header", func(b []byte) []byte { b[cell+3], b[cell+4] = 2, 0x80; return b }},
	} {
		b := c.damage(bytes.Clone(good))
		if out, err := rows(b); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %.20q %v, want %q", out, err, c.want)
		}
	}
}

func TestVarint(t *testing.T) {
	for _, c := range []struct {
		b string
		v uint64
		n int
	}{
		{"", 0, 0}, {"\x80", 0, 0}, {"\x7f", 127, 1}, {"\x81\x00x", 128, 2}, {strings.Repeat("\xff", 9), 1<<64 - 1, 9}, {strings.Repeat("\xff", 8), 0, 0},
		{"\x80\x80\x80\x80\x80\x80\x80\x80\x05", 5, 9},
	} {
		if v, n := varint([]byte(c.b)); v != c.v || n != c.n {
			t.Errorf("%q: %d, %d", c.b, v, n)
		}
	}
}

func FuzzSQLite(f *testing.F) {
	f.Add(small(f))
	f.Fuzz(func(t *testing.T, b []byte) { rows(b) })
}

func FuzzHeader(f *testing.F) {
	f.Add(header(rpmEntry{tagName, typeString, 0, 1}, rpmEntry{tagVersion, typeString, 2, 1}, rpmEntry{tagEpoch, typeInt32, 4, 1}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := parseHeader(b); err == nil && (p.Name == "" || p.Version == "") {
			t.Errorf("%+v", p)
		}
	})
}

// header returns a header with entries and the data "a", "b", 258.
func header(entries ...rpmEntry) []byte {
	data := []byte("a\x00b\x00\x00\x00\x01\x02c")
	b := binary.BigEndian.AppendUint32(nil, uint32(len(entries)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
	b, err := binary.Append(b, binary.BigEndian, entries)
	if err != nil {
		panic(err)
	}
	return append(b, data...)
}

func TestHeader(t *testing.T) {
	name, version := rpmEntry{tagName, typeString, 0, 1}, rpmEntry{tagVersion, typeString, 2, 1}
	for _, c := range []struct {
		entries []rpmEntry
		want    string
	}{
		{[]rpmEntry{name, version}, "{rpm a b- }"},
		{[]rpmEntry{name, version, {tagRelease, typeString, 0, 1}, {tagEpoch, typeInt32, 4, 1}, {5000, 9, 1 << 31, 77}}, "{rpm a 258:b-a }"},
		{[]rpmEntry{name}, "missing name or version"},
		{[]rpmEntry{name, {tagVersion, typeString, 8, 1}}, "tag 1001: unterminated string"},
		{[]rpmEntry{name, {tagVersion, typeString, 10, 1}}, "tag 1001: value at 10, after the end of the data at 9"},
		{[]rpmEntry{name, {tagVersion, typeString, 2, 2}}, "tag 1001: unexpected 2 values of type 6"},
		{[]rpmEntry{name, {tagVersion, typeInt32, 4, 1}}, "tag 1001: unexpected 1 values of type 4"},
		{[]rpmEntry{name, version, {tagEpoch, typeInt32, 6, 1}}, "tag 1003: unexpected 1 values of type 4"},
	} {
		p, err := parseHeader(header(c.entries...))
		if got := fmt.Sprint(p); err == nil && got != c.want || err != nil && err.Error() != c.want {
			t.Errorf("%v %v, want %s", p, err, c.want)
		}
	}
	for n := range 8 {
		if _, err := parseHeader(make([]byte, n)); err == nil {
			t.Errorf("of %d bytes", n)
		}
	}
	if _, err := parseHeader(header(name, version)[:40]); err == nil || !strings.Contains(err.Error(), "2 entries and 9 bytes of data do not fill 40 bytes") {
		t.Error(err)
	}
}
