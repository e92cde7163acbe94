package filetype

import (
	"slices"
	"testing"
)

// known are all formats that have a constant, except those whose file names do
// not tell the format.
var known = []Format{Raw, QCOW2, VMDK, VHD, VHDX, TarGz, OVA, OCIArchive, ISO}

// TestRoundTrip reads back the names of every type.
func TestRoundTrip(t *testing.T) {
	for _, format := range known {
		for _, c := range append(Compressions(), None) {
			want := Type{format, c}
			if format == TarGz && c != None { // gzip is part of the format
				continue
			}
			name := "fedora-coreos-44.20260801.1.0-qemu.x86_64" + want.Suffix()
			if got := ParseName(name); got != want {
				t.Errorf("%s: %#v, want %#v", name, got, want)
			}
			if got, ok := ParseMediaType(want.MediaType()); got != want || !ok {
				t.Errorf("%s: %#v, %v", want.MediaType(), got, ok)
			}
			if got := Parse(want.String()); got != want {
				t.Errorf("%s: %#v, want %#v", want.String(), got, want)
			}
			if got := Parse(want.Suffix()[1:]); got != want {
				t.Errorf("%s: %#v, want %#v", want.Suffix()[1:], got, want)
			}
		}
	}
}

// TestNames pins the names that other programs use.
func TestNames(t *testing.T) {
	for _, tc := range []struct {
		Type
		suffix, text, media, magic string
	}{
		{Type{}, "", "", "application/vnd.diskimage.", ""},
		{Type{Raw, None}, ".raw", "raw", "application/vnd.diskimage.raw", ""},
		{Type{Raw, Gzip}, ".raw.gz", "raw.gzip", "application/vnd.diskimage.raw.gzip", "\x1f\x8b"},
		{Type{QCOW2, Xz}, ".qcow2.xz", "qcow2.xz", "application/vnd.diskimage.qcow2.xz", "\xfd7zXZ\x00"},
		{Type{QCOW2, None}, ".qcow2", "qcow2", "application/vnd.diskimage.qcow2", "QFI\xfb"},
		{Type{QCOW2, Zstd}, ".qcow2.zst", "qcow2.zstd", "application/vnd.diskimage.qcow2.zstd", "\x28\xb5\x2f\xfd"},
		{Type{VHDX, Zip}, ".vhdx.zip", "vhdx.zip", "application/vnd.diskimage.vhdx.zip", "PK\x03\x04"},
		{Type{TarGz, None}, ".tar.gz", "tar.gz", "application/vnd.diskimage.gce.tgz", "\x1f\x8b"},
		{Type{Kernel, None}, "", "kernel", "application/vnd.diskimage.kernel", ""},
		{Type{RootFS, None}, ".img", "rootfs", "application/vnd.diskimage.rootfs", ""},
	} {
		got := []string{tc.Suffix(), tc.String(), tc.MediaType(), tc.Magic()}
		if want := []string{tc.suffix, tc.text, tc.media, tc.magic}; !slices.Equal(got, want) {
			t.Errorf("%#v: %q, want %q", tc.Type, got, want)
		}
	}
}

// TestParse reads names that other programs write.
func TestParse(t *testing.T) {
	for name, want := range map[string]Type{
		"raw":        {Raw, None},
		"raw.gz":     {Raw, Gzip},
		"raw.zst":    {Raw, Zstd},
		"gce.tgz":    {TarGz, None},
		"tgz":        {TarGz, None},
		"tar.gzip":   {TarGz, None},
		"4k.raw.xz":  {"4k.raw", Xz},
		"pxe.tar.xz": {"pxe.tar", Xz},
		"xz":         {"xz", None},
		"a.none":     {"a.none", None},
		"":           {},
	} {
		if got := Parse(name); got != want {
			t.Errorf("%q: %#v, want %#v", name, got, want)
		}
	}
	for name, want := range map[string]Type{
		"disk":                       {},
		"disk.xz":                    {"", Xz},
		"os-44.1-metal.x86_64.raw":   {Raw, None},
		"os-44.1-gcp.x86_64.tar.gz":  {TarGz, None},
		"os-44.1-gcp.x86_64.tgz":     {TarGz, None},
		"podman.x86_64.qcow2.zst":    {QCOW2, Zstd},
		"os-44.1-qemu.x86_64.qcow2.": {},
		"manifest.json":              {"json", None},
	} {
		if got := ParseName(name); got != want {
			t.Errorf("%q: %#v, want %#v", name, got, want)
		}
	}
	for _, mediaType := range []string{"", "application/octet-stream", MediaTypePrefix} {
		if got, ok := ParseMediaType(mediaType); ok {
			t.Errorf("%q: %#v", mediaType, got)
		}
	}
}

// TestIs compares types as a request for one does.
func TestIs(t *testing.T) {
	for _, tc := range []struct {
		have, want string
		is         bool
	}{
		{"raw.gzip", "raw", true}, {"raw.gzip", "raw.gz", true}, {"raw", "raw.gz", false},
		{"raw.xz", "raw.gz", false},
		{"qcow2", "raw", false}, {"tar.gz", "gce.tgz", true}, {"tar.gz", "raw", false},
	} {
		if is := Parse(tc.have).Is(Parse(tc.want)); is != tc.is {
			t.Errorf("%s is %s: %v", tc.have, tc.want, is)
		}
	}
}

// TestCompression covers the names of compressions.
func TestCompression(t *testing.T) {
	for _, c := range append(Compressions(), None) {
		if got, err := ParseCompression(c.String()); got != c || err != nil {
			t.Errorf("%v: %v, %v", c, got, err)
		}
		if got := Sniff([]byte(c.Magic() + "more")); got != c {
			t.Errorf("%v: sniffed as %v", c, got)
		}
		if len(c.Magic()) > MagicSize {
			t.Errorf("%v: magic number of %d bytes", c, len(c.Magic()))
		}
		if (c.Command() == "") != (c == None) {
			t.Errorf("%v: command %q", c, c.Command())
		}
	}
	if None.String() != "none" {
		t.Errorf("None is %q", None)
	}
	for _, name := range []string{"", "lzma", "gz"} {
		if got, err := ParseCompression(name); err == nil {
			t.Errorf("%q: %v", name, got)
		}
	}
}

// TestCutCompression cuts file names.
func TestCutCompression(t *testing.T) {
	for _, tc := range []struct {
		name, plain string
		c           Compression
	}{
		{"disk.raw.xz", "disk.raw", Xz}, {"disk.raw.zst", "disk.raw", Zstd}, {"disk.raw.gzip", "disk.raw", Gzip},
		{"disk.tar.gz", "disk.tar", Gzip}, {"disk.tgz", "disk.tar", Gzip},
		{"disk.raw", "disk.raw", None}, {"disk", "disk", None}, {".xz", ".xz", None}, {"gz", "gz", None},
	} {
		if plain, c := CutCompression(tc.name); plain != tc.plain || c != tc.c {
			t.Errorf("%s: %s, %v", tc.name, plain, c)
		}
	}
}
