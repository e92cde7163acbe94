package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestPlanRefuses: plan and build refuse the same, in the same words, and build has
// written nothing by then.
func TestPlanRefuses(t *testing.T) {
	ref, dir := fixture(t, "tiny-chunked"), t.TempDir()
	cache := filepath.Join(dir, "cache")
	both := func(line string) (plan, build process, out string) {
		out = filepath.Join(t.TempDir(), "out")
		args := append(strings.Fields(line), ref, "--cache", cache)
		plan = finish(t, start(t, nil, append([]string{"plan"}, args...)...))
		return plan, finish(t, start(t, nil, slices.Concat([]string{"build", "-q", "--out", out}, args)...)), out
	}
	for line, want := range map[string]string{
		"--platform hyperv --size 65TiB":                              "platform hyperv: vhdx: a disk of",
		"--platform qemu,aws --size 65TiB":                            "AWS takes at most 64 TiB",
		"--platform azure --size 3TiB":                                "platform azure: vhd: a disk of",
		"--platform gcp --size 1536MiB":                               "platform gcp: gcp: a disk of",
		"--platform qemu --size 2097153GiB":                           "platform qemu: qcow2: disk of",
		"--platform nutanix --size 2097153GiB":                        "platform nutanix: qcow2: disk of",
		"--platform kubevirt --size 2097153GiB":                       "platform kubevirt: qcow2: disk of",
		"--platform vmware --size 268435456GiB":                       "platform vmware: vmdk: a disk of",
		"--platform metal --size 100MiB":                              "",
		"--platform metal --size 1000001":                             "not a whole number of MiB",
		"--compress lz4":                                              "",
		"--compress zstd --compress-level 23":                         "compression level 23",
		"--compress xz --compress-level 10":                           "compression level 10",
		"--compress platform --compress-level 22":                     "compression level 22",
		"--platform digitalocean --size 101GiB --strict":              "1 warning treated as an error (--strict)",
		"--platform ibmcloud --size 251GiB --strict":                  "1 warning treated as an error (--strict)",
		"--platform azure --size 10GiB --strict --name " + longName:   "1 warning treated as an error (--strict)",
		"--platform gcp --size 10GiB --compress xz --strict --name 1": "1 warning treated as an error (--strict)",
		"--platform qemu --name ../x":                                 "cannot be part of a file name",
		"--arch s390x":                                                "s390x",
		"--root-fs btrfs":                                             "btrfs",
		"--origin :::":                                                "origin",
		"--ignition none.ign":                                         "none.ign",
		"--karg ostree=/x":                                            "set by the image itself",
		"--merge git":                                                 "merge",
		"--platform nokia":                                            "nokia",
		"--format yaml":                                               "yaml",
		"--policy none.json":                                          "none.json",
		"--authfile none.json":                                        "none.json",
	} {
		plan, build, out := both(line)
		if plan.code == 0 || plan.code != build.code || last(plan.stderr) != last(build.stderr) || !strings.Contains(last(plan.stderr), want) {
			t.Errorf("%s: plan has exit code %d, build %d:\n%s%s", line, plan.code, build.code, plan.stderr, build.stderr)
		}
		if _, err := os.Stat(out); err == nil {
			t.Errorf("%s: build has made %s", line, out)
		}
	}
}

const longName = "a-name-of-sixty-four-letters-which-are-as-many-as-it-may-have---"

// last returns the last message, with its hint if it has one.
func last(stderr string) string {
	if i := strings.LastIndex(stderr, "ohp-assemble: hint: "); i >= 0 {
		hint := strings.NewReplacer("plan --help", "--help", "build --help", "--help").Replace(stderr[i:])
		return last(stderr[:i]) + hint
	}
	lines := strings.Split(strings.TrimSpace(stderr), "\n")
	return lines[len(lines)-1]
}
