package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/assemble"
)

// TestPlanSizes: plan says how large each partition is and who chose that, for
// people and for programs. Options go before the definition.
func TestPlanSizes(t *testing.T) {
	dir := t.TempDir()
	ref, definition := fixture(t, "tiny-base"), filepath.Join(dir, "os.yaml")
	text := "apiVersion: ohp.dev/v1alpha1\nkind: Image\nspec:\n  source: " + ref + "\n  platforms: [qemu, metal]\n  disk: {size: 4GiB, bootSize: 1GiB, espSize: 600MiB}\n"
	if err := os.WriteFile(definition, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args []string
		want []string // of the text
		json map[string]string
	}{
		{
			[]string{ref, "--platform", "qemu", "--boot-size", "512MiB"},
			[]string{"sizes: disk 2 GiB, chosen by usr/share/coreos-assembler/image.json; EFI-SYSTEM 127 MiB, chosen by default; boot 512 MiB, chosen by --boot-size; root 1.4 GiB, chosen by the size of the disk\n"},
			map[string]string{"disk": "usr/share/coreos-assembler/image.json", "BIOS-BOOT": "", "EFI-SYSTEM": "default", "boot": "--boot-size", "root": "the size of the disk"},
		},
		{
			[]string{ref, "--platform", "metal", "--esp-size", "600MiB"},
			[]string{"chosen by the content; EFI-SYSTEM 600 MiB, chosen by --esp-size; boot 384 MiB, chosen by default; root 420 MiB, chosen by the content\n"},
			map[string]string{"disk": "the content", "EFI-SYSTEM": "--esp-size", "boot": "default", "root": "the content"},
		},
		{ // Google's disks have whole GiB
			[]string{ref, "--platform", "gcp", "--boot-size", "1700MiB"},
			[]string{"sizes: disk 3 GiB, chosen by the content; EFI-SYSTEM 127 MiB, chosen by default; boot 1.7 GiB, chosen by --boot-size;"},
			map[string]string{"disk": "the content"},
		},
		{
			[]string{"-m", definition, "--platform", "qemu", "--boot-size", "512MiB"},
			[]string{"sizes: disk 4 GiB, chosen by " + definition + ":6:16: spec.disk.size; EFI-SYSTEM 600 MiB, chosen by " + definition + ":6:47: spec.disk.espSize; boot 512 MiB, chosen by --boot-size;", "fat32"},
			map[string]string{"disk": definition + ":6:16: spec.disk.size", "EFI-SYSTEM": definition + ":6:47: spec.disk.espSize", "boot": "--boot-size"},
		},
	} {
		args := append([]string{"plan", "--cache", filepath.Join(dir, "cache")}, test.args...)
		said := program(t, nil, args...).stdout
		for _, want := range test.want {
			if !strings.Contains(said, want) {
				t.Errorf("%q: want %q: %s", test.args, want, said)
			}
		}
		var plan assemble.Description
		if err := json.Unmarshal([]byte(program(t, nil, append(args, "--format", "json")...).stdout), &plan); err != nil {
			t.Fatal(err)
		}
		by := map[string]string{"disk": plan.Images[0].SizeBy}
		for _, p := range plan.Images[0].Partitions {
			by[p.Name] = p.SizeBy
		}
		for name, want := range test.json {
			if by[name] != want {
				t.Errorf("%q: %s is chosen by %q, want %q", test.args, name, by[name], want)
			}
		}
	}
}
