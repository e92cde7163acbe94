package bls

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const bootcsum = "a212dcd756d65cb7bed87d356b528743e1e3bee1bed30502fc40edbcc8c3fc7b"

// vector is what ostree itself wrote into testdata/ostree-1.conf.
var vector = Entry{
	Title:   "Fedora CoreOS 42.20250101.3.0 (ostree:0)",
	Version: "1",
	Options: Args{"rw", "$ignition_firstboot", "mitigations=auto,nosmt", "ostree=/ostree/boot.1/fedora-coreos/" + bootcsum + "/0"},
	Linux:   "/boot/ostree/fedora-coreos-" + bootcsum + "/vmlinuz-6.1.0-1.fc",
	Initrd:  []string{"/boot/ostree/fedora-coreos-" + bootcsum + "/initramfs-6.1.0-1.fc.img"},
}

func TestVector(t *testing.T) {
	text, err := os.ReadFile("testdata/ostree-1.conf")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Format(vector)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(text), got); diff != "" {
		t.Error(diff)
	}
	back, err := Parse(string(text))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(vector, back); diff != "" {
		t.Error(diff)
	}
}

func TestRoundTrip(t *testing.T) {
	e := Entry{
		Version: "2", Linux: "/vmlinuz", Initrd: []string{"/a", "/b"}, Devicetree: "/dt", Options: Args{"a", "b=c"},
		Extra: []Field{{"fdtdir", "/dtb"}, {"grub_users", `""`}},
	}
	text, err := Format(e)
	if err != nil {
		t.Fatal(err)
	}
	want := "version 2\noptions a b=c\ndevicetree /dt\nlinux /vmlinuz\ninitrd /a\ninitrd /b\nfdtdir /dtb\ngrub_users \"\"\n"
	if text != want {
		t.Errorf("%q, want %q", text, want)
	}
	back, err := Parse("# comment\n\n" + strings.Replace(text, "a b=c", "a\noptions  b=c", 1))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(e, back); diff != "" {
		t.Error(diff)
	}
}

func TestErrors(t *testing.T) {
	for _, e := range []Entry{
		{Title: "no kernel"},
		{Linux: "/a\nlinux /b"},
		{Linux: "/a", Options: Args{"x\ninitrd /evil"}},
		{Linux: "/a", Extra: []Field{{"two words", "x"}}},
	} {
		if text, err := Format(e); err == nil {
			t.Errorf("%v: written as %q", e, text)
		}
	}
	for _, text := range []string{"", "title x\n", "linux\n", "linux /a\ninitrd \n"} {
		if e, err := Parse(text); err == nil {
			t.Errorf("%q: read as %v", text, e)
		}
	}
}

func TestArgs(t *testing.T) {
	a := ParseArgs(" rw  console=tty0 console=ttyS0,115200n8\tdebug root=LABEL=x ")
	more := a.Append("quiet")
	if a.Append("other"); more.String() != "rw console=tty0 console=ttyS0,115200n8 debug root=LABEL=x quiet" {
		t.Errorf("append: %s", more)
	}
	for arg, want := range map[string]string{
		"console":      "rw debug root=LABEL=x",
		"console=tty0": "rw console=ttyS0,115200n8 debug root=LABEL=x",
		"root":         "rw console=tty0 console=ttyS0,115200n8 debug",
		"tty0":         "rw console=tty0 console=ttyS0,115200n8 debug root=LABEL=x",
	} {
		if got := a.Delete(arg).String(); got != want {
			t.Errorf("delete %s: %s, want %s", arg, got, want)
		}
	}
	if v, ok := a.Get("console"); v != "ttyS0,115200n8" || !ok {
		t.Errorf("get console: %q %v", v, ok)
	}
	if v, ok := a.Get("root"); v != "LABEL=x" || !ok {
		t.Errorf("get root: %q %v", v, ok)
	}
	if _, ok := a.Get("quiet"); ok {
		t.Error("get quiet: found")
	}
	if v, ok := a.Get("debug"); v != "" || !ok {
		t.Errorf("get debug: %q %v", v, ok)
	}
}
