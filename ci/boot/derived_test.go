package boot

import (
	"bufio"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "record what the conventional disk is denied in enforcing mode")

// TestTinyDerived boots containers derived from the tiny fixture. The layers have a
// manifest of the expected result, including labels. The manifest of the plain container
// was made from a commit by ostree. The booted system compares every entry with it.
func TestTinyDerived(t *testing.T) {
	t.Parallel()
	wanted(t, "tiny")
	for form, firmware := range map[string]Firmware{
		"derived": BIOS, "derived-zstd": UEFI, "derived-10": UEFI, "derived-64": BIOS, "plain": UEFI, "plain-10": BIOS, "plain-64": UEFI,
	} {
		disk := build(t, reference(t, "tiny-"+form), "--platform", "qemu")["qemu"]
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			m := boot(t, Options{Disk: disk, Firmware: firmware})
			m.never("mismatch", "error")
			for _, tree := range []string{"manifest", "composefs", "etc"} {
				m.has(tree, "ok ")
			}
		})
	}
}

// enforcing are the kernel arguments of a boot in enforcing mode.
var enforcing = []string{"--karg", "enforcing=1", "--karg", "fixture.denials", "--karg", "fixture.fsck", "--karg", "fixture.poweroff"}

// TestFullDerived boots the full fixture with ten layers on top, and as a plain
// container, in enforcing mode. The system must have the labelled changes of the layers
// and a repository without errors of ostree fsck. The denials of SELinux must be among
// those on the disk made the conventional way.
func TestFullDerived(t *testing.T) {
	t.Parallel()
	wanted(t, "full")
	t.Run("derived-10", func(t *testing.T) {
		t.Parallel()
		m := bootEnforcing(t, build(t, reference(t, "full-derived-10"), append(enforcing, "--platform", "qemu")...)["qemu"], BIOS)
		m.is("derived-etc", "from-the-layer from-the-layer")
		m.is("derived-var", "in-var")
		m.is("derived-less", "gone")
		m.is("derived-run", "gone")
		m.is("derived-linked", "one file")
		m.is("derived-mode", "4755")
		m.is("derived-caps", "/usr/bin/derived-cap cap_net_raw=ep")
		m.is("derived-changed", "layer 10")
		m.is("derived-layers", "7 gone") // later layers deleted 2, 5 and 8 of ten
		m.has("derived-labels", ":bin_t:", ":etc_t:", ":var_lib_t:", ":usr_t:")
	})
	t.Run("plain", func(t *testing.T) {
		t.Parallel()
		m := bootEnforcing(t, build(t, reference(t, "full-plain"), append(enforcing, "--platform", "qemu")...)["qemu"], UEFI)
		m.has("capability", "cap_net_raw")
		m.is("setuid", "4755 0 0")
		m.has("labels", "/etc=etc_t ", "/etc/shadow=shadow_t ", "/usr/bin/bash=shell_exec_t ", "/var=var_t ", "/boot=boot_t")
	})
}

func bootEnforcing(t *testing.T, disk string, firmware Firmware) *machine {
	t.Helper()
	m := boot(t, Options{Disk: disk, Firmware: firmware, Memory: 1536, Keep: true})
	m.has("selinux", "Enforcing pid1=init_t")
	m.is("failed", "")
	m.is("fsck", "clean")
	m.is("unlabeled", "0")
	known, err := os.Open("testdata/denials.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer known.Close()
	allowed := map[string]bool{}
	for lines := bufio.NewScanner(known); lines.Scan(); {
		allowed[lines.Text()] = true
	}
	for _, d := range denials(t, m.Report) {
		if !allowed[d] {
			t.Errorf("denied, and not on the conventional disk: %s", d)
		}
	}
	return m
}

var denial = regexp.MustCompile(`\{ ([^}]*) \}.* scontext=\w+:\w+:(\w+)\S* tcontext=\w+:\w+:(\w+)\S* tclass=(\w+)`)

// denials returns the denials: permissions, type of the subject, type
// and class of the object.
func denials(t *testing.T, r *Report) (all []string) {
	t.Helper()
	for _, line := range r.Proof["denial"] {
		m := denial.FindStringSubmatch(line)
		if m == nil {
			t.Errorf("no denial: %q", line)
			continue
		}
		all = append(all, strings.Join(m[1:], " "))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// TestReference records, with -update, the denials of SELinux on the disk made the
// conventional way, with both firmwares.
func TestReference(t *testing.T) {
	if !*update {
		t.Skip("records testdata/denials.txt with -update")
	}
	dir := t.TempDir()
	cmd := exec.Command("../reference/disk", append(slices.Clone(enforcing), reference(t, "full-base"), dir)...)
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, firmware := range []Firmware{BIOS, UEFI} {
		r, err := Boot(t.Context(), Options{Disk: filepath.Join(dir, "reference.raw"), Firmware: firmware, Memory: 1536})
		if err != nil {
			t.Fatal(err)
		}
		if failed := r.Get("failed"); failed != "" {
			t.Errorf("%s: failed units: %s", firmware, failed)
		}
		all = append(all, denials(t, r)...)
	}
	slices.Sort(all)
	text := strings.Join(slices.Compact(all), "\n") + "\n"
	if err := os.MkdirAll("testdata", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("testdata/denials.txt", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
