package gpt

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	diskfs "github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/google/go-cmp/cmp"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

const mib = 1 << 20

var diskGUID = MustParse("00000000-0000-4000-a000-000000000001")

func id(n byte) GUID { return GUID{15: n, 0: 0xA0, 5: 0x17} }

// coreos is the layout of Fedora CoreOS on x86_64.
func coreos(size int64) []Partition {
	return []Partition{
		{Number: 1, Name: "BIOS-BOOT", Type: BIOSBoot, ID: id(1), Size: 1 * mib},
		{Number: 2, Name: "EFI-SYSTEM", Type: EFISystem, ID: id(2), Size: 127 * mib},
		{Number: 3, Name: "boot", Type: XBOOTLDR, ID: id(3), Size: 384 * mib},
		{Number: 4, Name: "root", Type: RootX86_64, ID: id(4), Size: End(size) - 513*mib},
	}
}

func TestStructSizes(t *testing.T) {
	for v, want := range map[any]int{header{}: headerSize, entry{}: entrySize, mbr{}: mbrSize, mbrRecord{}: 16} {
		if got := binary.Size(v); got != want {
			t.Errorf("%T has %d bytes, want %d", v, got, want)
		}
	}
}

func TestGUID(t *testing.T) {
	g, err := Parse("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := hex.EncodeToString(g[:]), "28732ac11ff8d211ba4b00a0c93ec93b"; got != want {
		t.Errorf("on disk %s, want %s", got, want)
	}
	if got, want := g.String(), "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"; got != want {
		t.Errorf("printed %s, want %s", got, want)
	}
	for _, bad := range []string{"", "-", "c12a7328f81f11d2ba4b00a0c93ec93b", "c12a7328-f81f-11d2-ba4b-00a0c93ec93", "c12a7328-f81f-11d2-ba4b-00a0c93ec93bb",
		"g12a7328-f81f-11d2-ba4b-00a0c93ec93b", "c12a-7328f81f-11d2-ba4b-00a0c93ec93b", "{c12a7328-f81f-11d2-ba4b-00a0c93ec93b}"} {
		if _, err := Parse(bad); err == nil {
			t.Errorf("%q was parsed", bad)
		}
	}
}

// TestSectorMap compares every field with that of sfdisk for the same disk.
func TestSectorMap(t *testing.T) {
	const size = 2600 * mib
	for _, c := range []struct {
		sector, firstUsable, lastUsable, backup, total uint64
		parts                                          [4][2]uint64
	}{
		{512, 2048, 5324800 - 34, 5324800 - 33, 5324800, [4][2]uint64{{2048, 2048}, {4096, 260096}, {264192, 786432}, {1050624, 4272128}}},
		{4096, 256, 665600 - 6, 665600 - 5, 665600, [4][2]uint64{{256, 256}, {512, 32512}, {33024, 98304}, {131328, 4272128 / 8}}},
	} {
		t.Run(fmt.Sprint(c.sector), func(t *testing.T) {
			img, err := Layout(size, Options{DiskGUID: diskGUID, SectorSize: int(c.sector), BootCode: []byte("boot code")}, coreos(size)...)
			if err != nil {
				t.Fatal(err)
			}
			b := make([]byte, size/512)
			read := func(lba uint64, v any) {
				t.Helper()
				img.ReadAt(b, int64(lba*c.sector))
				if _, err := binary.Decode(b, binary.LittleEndian, v); err != nil {
					t.Fatal(err)
				}
			}

			var m mbr
			read(0, &m)
			if want := hex.EncodeToString(b[446:512]); want != "00000200eeffffff01000000"+hex.EncodeToString(binary.LittleEndian.AppendUint32(nil, uint32(c.total-1)))+strings.Repeat("00", 48)+"55aa" {
				t.Errorf("MBR ends in %s", want)
			}
			if !bytes.Equal(b[:446], append([]byte("boot code"), make([]byte, 446-9)...)) {
				t.Errorf("MBR starts with %x", b[:446])
			}

			var first, last header
			read(c.total-1, &last)
			read(1, &first)
			want := header{
				Signature: [8]byte([]byte("EFI PART")), Revision: 0x10000, HeaderSize: 92, HeaderCRC: first.HeaderCRC,
				MyLBA: 1, AlternateLBA: c.total - 1, FirstUsableLBA: c.firstUsable, LastUsableLBA: c.lastUsable,
				DiskGUID: diskGUID, EntriesLBA: 2, EntryCount: 128, EntrySize: 128, EntriesCRC: first.EntriesCRC,
			}
			if first != want {
				t.Errorf("header is %+v, want %+v", first, want)
			}
			want.MyLBA, want.AlternateLBA, want.EntriesLBA, want.HeaderCRC = c.total-1, 1, c.backup, last.HeaderCRC
			if last != want {
				t.Errorf("backup header is %+v, want %+v", last, want)
			}

			for _, lba := range []uint64{2, c.backup} {
				var entries [128]entry
				read(lba, &entries)
				for i, e := range entries {
					if i >= 4 {
						if e != (entry{}) {
							t.Errorf("entry %d is used", i+1)
						}
						continue
					}
					if e.FirstLBA != c.parts[i][0] || e.LastLBA != c.parts[i][0]+c.parts[i][1]-1 || e.Attributes != 0 || e.ID != id(byte(i+1)) {
						t.Errorf("entry %d is %+v", i+1, e)
					}
				}
			}
		})
	}
}

func TestSgdisk(t *testing.T) {
	// Of sector sizes, sgdisk takes that of files to be 512.
	for _, size := range []int64{2600 * mib, 600 * mib, 600*mib + 512, 601*mib - 512} {
		img, err := Layout(size, Options{DiskGUID: diskGUID}, coreos(size)...)
		if err != nil {
			t.Fatal(err)
		}
		out := treetest.Run(t, "sgdisk", "-v", "-p", disktest.WriteSparse(t, img))
		// It finds the first usable sector unusual, and must find nothing else.
		if !strings.Contains(out, "No problems found") || strings.Count(out, "Warning") != 1 || !strings.Contains(out, "first usable sector (2048)") {
			t.Errorf("%d bytes:\n%s", size, out)
		}
	}
}

func TestSfdisk(t *testing.T) {
	const size = 2600 * mib
	img, err := Layout(size, Options{DiskGUID: diskGUID}, coreos(size)...)
	if err != nil {
		t.Fatal(err)
	}
	file := disktest.WriteSparse(t, img)
	if out := treetest.Run(t, "sfdisk", "-V", file); !strings.Contains(out, "No errors detected") {
		t.Errorf("sfdisk -V:\n%s", out)
	}
	dump := treetest.Run(t, "sfdisk", "--dump", file)
	for _, want := range []string{
		"label: gpt\nlabel-id: 00000000-0000-4000-A000-000000000001\n",
		"first-lba: 2048\nlast-lba: 5324766\nsector-size: 512\n",
		"img1 : start=        2048, size=        2048, type=21686148-6449-6E6F-744E-656564454649, uuid=" + id(1).String() + ", name=\"BIOS-BOOT\"\n",
		"img2 : start=        4096, size=      260096, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid=" + id(2).String() + ", name=\"EFI-SYSTEM\"\n",
		"img3 : start=      264192, size=      786432, type=BC13C2FF-59E6-4262-A352-B275FD6F7172, uuid=" + id(3).String() + ", name=\"boot\"\n",
		"img4 : start=     1050624, size=     4272128, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, uuid=" + id(4).String() + ", name=\"root\"\n",
	} {
		if !strings.Contains(dump, want) {
			t.Errorf("sfdisk --dump has no %q:\n%s", want, dump)
		}
	}
}

// TestFdisk4096 asks fdisk, because sfdisk takes no sector size for a file.
func TestFdisk4096(t *testing.T) {
	const size = 2600 * mib
	img, err := Layout(size, Options{DiskGUID: diskGUID, SectorSize: 4096}, coreos(size)...)
	if err != nil {
		t.Fatal(err)
	}
	out := treetest.Run(t, "fdisk", "-b", "4096", "-l", "-o", "start,sectors,uuid,name", disktest.WriteSparse(t, img))
	for _, want := range [][]string{
		{"Disk", "identifier:", diskGUID.String()},
		{"256", "256", id(1).String(), "BIOS-BOOT"},
		{"512", "32512", id(2).String(), "EFI-SYSTEM"},
		{"33024", "98304", id(3).String(), "boot"},
		{"131328", "534016", id(4).String(), "root"},
	} {
		if !slices.ContainsFunc(strings.Split(out, "\n"), func(line string) bool { return slices.Equal(strings.Fields(line), want) }) {
			t.Errorf("fdisk -l has no line %q:\n%s", want, out)
		}
	}
	for _, complaint := range []string{"corrupt", "mismatch", "not on the end", "not correct"} {
		if strings.Contains(out, complaint) {
			t.Errorf("fdisk complains:\n%s", out)
		}
	}
}

// diskFile is an image with the interface that go-diskfs reads.
type diskFile struct {
	*io.SectionReader
	fs.File
}

func (d diskFile) Read(p []byte) (int, error) { return d.SectionReader.Read(p) }
func (d diskFile) Close() error               { return nil }
func (d diskFile) Stat() (fs.FileInfo, error) { return diskInfo{d.SectionReader}, nil }

type diskInfo struct{ *io.SectionReader }

func (diskInfo) Name() string       { return "disk.img" }
func (diskInfo) Mode() fs.FileMode  { return 0o644 }
func (diskInfo) ModTime() time.Time { return time.Time{} }
func (diskInfo) IsDir() bool        { return false }
func (diskInfo) Sys() any           { return nil }

func TestReadersAgree(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		const size = 700 * mib
		parts := coreos(size)
		parts = append(parts[:3], Partition{Number: 77, Name: "wurzel 🌱 größe", Type: LinuxData, ID: id(9), Start: 600 * mib, Size: int64(sector)})
		img, err := Layout(size, Options{DiskGUID: diskGUID, SectorSize: sector}, parts...)
		if err != nil {
			t.Fatal(err)
		}
		ours, err := Read(img, size)
		if err != nil {
			t.Fatal(err)
		}
		if ours.PrimaryErr != nil || ours.BackupErr != nil || ours.SectorSize != sector || ours.DiskGUID != diskGUID || ours.FirstUsable != mib || ours.End != size-16384-int64(sector) {
			t.Errorf("read %+v", ours)
		}

		theirs, err := diskfs.Read(diskFile{SectionReader: io.NewSectionReader(img, 0, size)}, sector, sector)
		if err != nil {
			t.Fatal(err)
		}
		// It looks for the MBR's signature at the end of the sector.
		if theirs.ProtectiveMBR != (sector == 512) || theirs.RecoveredFromBackup || theirs.GUID != diskGUID.String() {
			t.Errorf("go-diskfs read %+v", theirs)
		}
		var got []Entry
		for _, p := range theirs.Partitions {
			got = append(got, Entry{p.Index, p.Name, MustParse(string(p.Type)), MustParse(p.GUID), int64(p.Start) * int64(sector), int64(p.Size), p.Attributes})
		}
		if diff := cmp.Diff(ours.Partitions, got); diff != "" {
			t.Errorf("we read -, go-diskfs +:\n%s", diff)
		}
	}
}

func TestContent(t *testing.T) {
	const size = 20 * mib
	inner, err := disk.New(3*mib, disk.Extent{Off: mib, Blob: strings.NewReader("in the middle")})
	if err != nil {
		t.Fatal(err)
	}
	img, err := Layout(size, Options{DiskGUID: diskGUID},
		Partition{Number: 2, Type: LinuxData, ID: id(1), Content: inner},
		Partition{Number: 1, Type: LinuxData, ID: id(2), Content: strings.NewReader("short"), Size: 1536},
		Partition{Number: 3, Type: LinuxData, ID: id(3), Size: 512})
	if err != nil {
		t.Fatal(err)
	}
	for off, want := range map[int64]string{2 * mib: "in the middle\x00", 4 * mib: "short\x00"} {
		got := make([]byte, len(want))
		if _, err := img.ReadAt(got, off); err != nil || string(got) != want {
			t.Errorf("at %d: %q, %v, want %q", off, got, err, want)
		}
	}
	table, err := Read(img, size)
	if err != nil {
		t.Fatal(err)
	}
	want := []Entry{
		{Number: 1, Type: LinuxData, ID: id(2), Start: 4 * mib, Size: 1536},
		{Number: 2, Type: LinuxData, ID: id(1), Start: mib, Size: 3 * mib},
		{Number: 3, Type: LinuxData, ID: id(3), Start: 5 * mib, Size: 512},
	}
	if diff := cmp.Diff(want, table.Partitions); diff != "" {
		t.Error(diff)
	}
}

func TestErrors(t *testing.T) {
	const size = 64 * mib
	good := Partition{Number: 1, Name: "a", Type: LinuxData, ID: id(1), Size: mib}
	other := Partition{Number: 2, Name: "b", Type: LinuxData, ID: id(2), Size: mib}
	for name, c := range map[string]struct {
		size int64
		edit func(o *Options, a, b *Partition)
		want string
	}{
		"good":         {size, func(o *Options, a, b *Partition) {}, ""},
		"to the end":   {size, func(o *Options, a, b *Partition) { b.Size = size - 2*mib - 33*512 }, ""},
		"long name":    {size, func(o *Options, a, b *Partition) { a.Name = strings.Repeat("n", 36) }, ""},
		"max number":   {size, func(o *Options, a, b *Partition) { a.Number = 128 }, ""},
		"sector size":  {size, func(o *Options, a, b *Partition) { o.SectorSize = 1024 }, "sectors of 1024 bytes"},
		"disk size":    {size + 1, func(o *Options, a, b *Partition) {}, "not whole sectors"},
		"small":        {mib, func(o *Options, a, b *Partition) {}, "too small"},
		"empty":        {0, func(o *Options, a, b *Partition) {}, "too small"},
		"negative":     {-size, func(o *Options, a, b *Partition) {}, "too small"},
		"disk GUID":    {size, func(o *Options, a, b *Partition) { o.DiskGUID = GUID{} }, "disk has no GUID"},
		"boot code":    {size, func(o *Options, a, b *Partition) { o.BootCode = make([]byte, 441) }, "boot code of 441 bytes"},
		"number 0":     {size, func(o *Options, a, b *Partition) { a.Number = 0 }, "partition 0: number is not 1 to 128"},
		"number 129":   {size, func(o *Options, a, b *Partition) { a.Number = 129 }, "number is not 1 to 128"},
		"number taken": {size, func(o *Options, a, b *Partition) { b.Number = 1 }, "number is taken"},
		"type":         {size, func(o *Options, a, b *Partition) { a.Type = GUID{} }, "has no type"},
		"GUID":         {size, func(o *Options, a, b *Partition) { a.ID = GUID{} }, "has no GUID"},
		"GUID taken":   {size, func(o *Options, a, b *Partition) { b.ID = a.ID }, "has the GUID of partition 1"},
		"name":         {size, func(o *Options, a, b *Partition) { a.Name = strings.Repeat("n", 37) }, "36 UTF-16 units"},
		"wide name":    {size, func(o *Options, a, b *Partition) { a.Name = strings.Repeat("🌱", 19) }, "36 UTF-16 units"},
		"broken name":  {size, func(o *Options, a, b *Partition) { a.Name = "\xff" }, "not UTF-8"},
		"zero name":    {size, func(o *Options, a, b *Partition) { a.Name = "a\x00b" }, "has a zero"},
		"unaligned":    {size, func(o *Options, a, b *Partition) { a.Start = mib + 512 }, "not on a whole MiB"},
		"in the table": {size, func(o *Options, a, b *Partition) { a.Start = 512 }, "not on a whole MiB"},
		"before disk":  {size, func(o *Options, a, b *Partition) { a.Start = -mib }, "not on a whole MiB"},
		"half sector":  {size, func(o *Options, a, b *Partition) { a.Size = mib + 1 }, "not whole sectors"},
		"no size":      {size, func(o *Options, a, b *Partition) { a.Size = 0 }, "size 0"},
		"minus size":   {size, func(o *Options, a, b *Partition) { a.Size = -512 }, "size -512"},
		"overlap":      {size, func(o *Options, a, b *Partition) { a.Start, a.Size, b.Start = 4*mib, 2*mib, 5*mib }, "overlaps partition 1"},
		"inside":       {size, func(o *Options, a, b *Partition) { a.Start, a.Size, b.Start = 4*mib, 9*mib, 5*mib }, "overlaps partition 1"},
		"beyond":       {size, func(o *Options, a, b *Partition) { b.Start = size }, "leaves the usable part"},
		"too long":     {size, func(o *Options, a, b *Partition) { b.Size = size - 2*mib - 32*512 }, "leaves the usable part"},
		"overflow":     {size, func(o *Options, a, b *Partition) { b.Size = 1<<63 - 512 }, "leaves the usable part"},
		"content":      {size, func(o *Options, a, b *Partition) { a.Content = bytes.NewReader(make([]byte, mib+1)) }, "does not fit"},
	} {
		t.Run(name, func(t *testing.T) {
			o, a, b := Options{DiskGUID: diskGUID}, good, other
			c.edit(&o, &a, &b)
			_, err := Layout(c.size, o, a, b)
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
			} else if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "gpt: ") {
				t.Fatalf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestDeterminism(t *testing.T) {
	const size = 600 * mib
	read := func() []byte {
		img, err := Layout(size, Options{DiskGUID: diskGUID}, coreos(size)...)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 40<<10)
		img.ReadAt(b[:20<<10], 0)
		img.ReadAt(b[20<<10:], size-20<<10)
		return b
	}
	if !bytes.Equal(read(), read()) {
		t.Error("two runs differ")
	}
}

// small is a disk that a test can damage.
func small(t testing.TB) []byte {
	const size = 4 * mib
	img, err := Layout(size, Options{DiskGUID: diskGUID}, Partition{Number: 1, Name: "p", Type: LinuxData, ID: id(1), Size: mib})
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, size)
	if _, err := img.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestReadDamaged(t *testing.T) {
	const size = 4 * mib
	backup := size - 512
	good, err := Read(bytes.NewReader(small(t)), size)
	if err != nil {
		t.Fatal(err)
	}
	// fix makes the checksum of the header at off right again.
	fix := func(b []byte, off int) { binary.LittleEndian.PutUint32(b[off+16:], checksum(b[off:][:92])) }
	for name, c := range map[string]struct {
		damage                func(b []byte)
		primary, backup, want string
	}{
		"nothing":         {func(b []byte) {}, "", "", ""},
		"primary":         {func(b []byte) { b[512+30]++ }, "header at 1: wrong checksum", "", ""},
		"primary gone":    {func(b []byte) { clear(b[512:1024]) }, "header at 1: no table", "", ""},
		"primary entries": {func(b []byte) { b[1024]++ }, "entries at 2: wrong checksum", "", ""},
		"backup":          {func(b []byte) { b[backup+60]++ }, "", "header at 8191: wrong checksum", ""},
		"backup gone":     {func(b []byte) { clear(b[backup:]) }, "", "header at 8191: no table", ""},
		"both":            {func(b []byte) { b[512+60]++; b[backup+60]++ }, "", "", "header at 1: wrong checksum"},
		"no table":        {func(b []byte) { clear(b) }, "", "", "gpt: no table"},
		"different":       {func(b []byte) { b[512+56]++; fix(b, 512) }, "", "", "differ"},
		"wrong place":     {func(b []byte) { b[512+24]++; fix(b, 512) }, "says that it is at 2", "", ""},
		"wrong backup":    {func(b []byte) { b[512+33]--; fix(b, 512) }, "", "header at 7935: no table", ""},
		"beyond":          {func(b []byte) { b[512+39] = 0x7f; fix(b, 512) }, "points beyond", "", ""},
		"many":            {func(b []byte) { b[512+83] = 0xff; fix(b, 512) }, "limit is 2048", "", ""},
		"odd entries":     {func(b []byte) { b[512+84] = 129; fix(b, 512) }, "entries of 129 bytes", "", ""},
		"header size":     {func(b []byte) { b[512+14] = 129; fix(b, 512) }, "header of ", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := small(t)
			c.damage(b)
			table, err := Read(bytes.NewReader(b), size)
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("got %v, want %q", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(table.PrimaryErr); !strings.Contains(got, c.primary) || (c.primary == "") != (table.PrimaryErr == nil) {
				t.Errorf("primary: %s, want %q", got, c.primary)
			}
			if got := fmt.Sprint(table.BackupErr); !strings.Contains(got, c.backup) || (c.backup == "") != (table.BackupErr == nil) {
				t.Errorf("backup: %s, want %q", got, c.backup)
			}
			if !good.same(table) {
				t.Errorf("read %+v, want %+v", table, good)
			}
		})
	}
}

// TestReadEnlarged reads a disk that was made longer behind its back, as
// happens to images on a larger disk.
func TestReadEnlarged(t *testing.T) {
	b := append(small(t), make([]byte, mib)...)
	table, err := Read(bytes.NewReader(b), int64(len(b)))
	if err != nil || table.PrimaryErr != nil || table.BackupErr != nil {
		t.Errorf("%+v, %v", table, err)
	}
}

// FuzzRead makes up the first header and the first entries, with checksums made
// right, or the fuzzer would not get far.
func FuzzRead(f *testing.F) {
	const size = 128 << 10
	t := table{size: size, sector: 512, guid: diskGUID}
	h := t.header(1, size/512-1, 2)
	h.FirstUsableLBA = 34
	e := entry{Type: LinuxData, ID: id(1), FirstLBA: 40, LastLBA: 50}
	f.Add(encode(nil, h), encode(nil, e))
	f.Add(encode(nil, h), encode(nil, [2]entry{e, {Type: LinuxData, FirstLBA: 51, LastLBA: 60}}))
	f.Fuzz(func(t *testing.T, head, entries []byte) {
		b := make([]byte, size)
		copy(b[512:1024], head)
		copy(b[1024:], entries)
		count, each := binary.LittleEndian.Uint32(b[512+80:]), binary.LittleEndian.Uint32(b[512+84:])
		if n := uint64(count) * uint64(each); n <= size-1024 {
			binary.LittleEndian.PutUint32(b[512+88:], crc32.ChecksumIEEE(b[1024:][:n]))
		}
		binary.LittleEndian.PutUint32(b[512+16:], checksum(b[512:][:92]))
		table, err := Read(bytes.NewReader(b), size)
		if err != nil {
			return
		}
		for _, p := range table.Partitions {
			if p.Start < table.FirstUsable || p.Size <= 0 || p.Start+p.Size > table.End || table.End > size {
				t.Errorf("%+v is not in the disk", p)
			}
		}
	})
}
