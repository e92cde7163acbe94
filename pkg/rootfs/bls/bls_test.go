package bls

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const bootcsum = "a212dcd756d65cb7bed87d356b528743e1e3bee1bed30502fc40edbcc8c3fc7b"

// vector is the content of testdata/ostree-1.conf, which ostree wrote.
var vector = Entry{
	{"title", "Fedora CoreOS 42.20250101.3.0 (ostree:0)"},
	{"version", "1"},
	{"options", "rw $ignition_firstboot mitigations=auto,nosmt ostree=/ostree/boot.1/fedora-coreos/" + bootcsum + "/0"},
	{"linux", "/boot/ostree/fedora-coreos-" + bootcsum + "/vmlinuz-6.1.0-1.fc"},
	{"initrd", "/boot/ostree/fedora-coreos-" + bootcsum + "/initramfs-6.1.0-1.fc.img"},
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

// TestRoundTrip: Parse and Format keep every line and the order.
func TestRoundTrip(t *testing.T) {
	const want = "title T\nx-options-source-tuned nohz=full\noptions a b=c\noptions d\nlinux /vmlinuz\nlinux /second\n" +
		"initrd /a\ninitrd /b\nextra /one.addon.efi\nextra /two.addon.efi\nmachine-id 0123\nsort-key fcos\n" +
		"architecture x64\ndevicetree-overlay /x.dtbo /y.dtbo\ngrub_users \"\"\n"
	for name, text := range map[string]string{
		"plain":    want,
		"comments": "# comment\n\n  # another\n" + want,
		"CRLF":     strings.ReplaceAll(want, "\n", "\r\n"),
		"tabs":     strings.ReplaceAll(strings.ReplaceAll(want, "linux ", "linux\t \t"), "extra ", "\textra\t"),
		"empty":    "version\nsort-key \n" + want,
		"cut":      strings.TrimSuffix(want, "\n"),
	} {
		e, err := Parse(text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, err := Format(e); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if got := e.Options().String(); got != "a b=c d" {
			t.Errorf("%s: options %q", name, got)
		}
		if e.Get("linux") != "/vmlinuz" || e.Get("absent") != "" || strings.Join(e.Values("initrd"), " ") != "/a /b" {
			t.Errorf("%s: %v", name, e)
		}
	}
	if e, err := Parse("title T\nversion\nuki /EFI/Linux/a.efi\nprofile 1\n"); err != nil || len(e) != 4 || e[1] != (Field{Key: "version"}) {
		t.Errorf("unified kernel image: %v, %v", e, err)
	}
}

func TestErrors(t *testing.T) {
	linux := Field{"linux", "/a"}
	for _, e := range []Entry{
		{{"title", "no kernel"}},
		{{"linux", "/a\nlinux /b"}},
		{linux, {"options", "x\ninitrd /evil"}},
		{linux, {"two words", "x"}},
		{linux, {"#", "x"}},
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
