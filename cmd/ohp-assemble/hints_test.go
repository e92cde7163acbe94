package main

import (
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/cmd/ohp-assemble/internal/cli"
)

// try runs a command line in this process, and returns its error and the hint
// to it.
func try(args ...string) (string, error) {
	cmd := command()
	cmd.SetOut(io.Discard)
	cmd.SetArgs(args)
	ran, err := cmd.ExecuteC()
	if err == nil {
		return "", nil
	}
	return errorHint(err, ran), err
}

// TestHints has the words of other tools, and typing errors: each is an error
// of usage with a hint in one line.
func TestHints(t *testing.T) {
	const ref = "oci:none"
	for line, want := range map[string]string{
		// Commands.
		"push folder registry.example/os":           "did you mean publish?",
		"push folder registry.example/os -q --sign": "did you mean publish?", // its options are not ours either
		"upload folder":                   "did you mean publish? For a cloud,",
		"copy docker://a oci:b":           "did you mean pull or publish?",
		"download -s stable":              "did you mean pull?",
		"fetch " + ref:                    "did you mean pull?",
		"images " + ref:                   "did you mean plan?",
		"mk-image " + ref + " --imgref x": "did you mean build?",
		"install to-disk":                 "did you mean build?",
		"convert -O qcow2 a b":            "did you mean build? --platform chooses the format",
		"buildextend-aws":                 "did you mean build --platform aws?",
		"buildextend-qcow2":               "did you mean build --platform qemu?",
		"buildextend-live":                "live ISOs",
		"show " + ref:                     "did you mean inspect?",
		"info disk.img":                   "did you mean inspect?",
		"list":                            "did you mean ls?",
		"login registry.example":          "log in with podman login or skopeo login",
		"verify":                          "with --policy",
		"sign":                            "ohp-assemble does not sign",
		"prune":                           "did you mean cache prune?",
		"bild " + ref:                     "did you mean build?",
		"Build " + ref:                    "did you mean build?",
		"inpsect " + ref:                  "did you mean inspect?",
		"registry.example/os:1":           "did you mean build registry.example/os:1?",
		"main.go":                         "did you mean inspect main.go?",
		"stream list":                     "did you mean stream show?",
		"stream validate a.json":          "did you mean stream check?",
		"stream mrege":                    "did you mean stream merge?",
		"stream stable.json":              "see ohp-assemble stream --help",
		"manifest inspect " + ref:         "did you mean inspect?",
		"manifest registry.example/os:1":  "did you mean plan registry.example/os:1?",
		"manifest main.go":                "did you mean definition validate main.go?",
		"cache a/b":                       "see ohp-assemble cache --help",
		"manifest valdate":                "did you mean definition validate?",
		"cache clear":                     "did you mean cache prune?",
		"help bild":                       "did you mean build?",
		"help stream shw":                 "did you mean stream show?",
		"completion bash x":               "see ohp-assemble completion bash --help",
		"frobnicate x":                    "see ohp-assemble --help",
		"--format json":                   "--format must follow the command",
		// Options.
		"build --type qcow2 " + ref:           "did you mean --platform? It chooses the format: qemu is qcow2, metal is raw, aws is vmdk",
		"pull --type qcow2 " + ref:            "did you mean --platform or --image-format?",
		"build --rootfs xfs " + ref:           "did you mean --root-fs?",
		"build --output x " + ref:             "did you mean --out?",
		"pull --output-dir=x " + ref:          "did you mean --out?",
		"plan --target-arch arm64 " + ref:     "did you mean --arch?",
		"build --config config.toml " + ref:   "did you mean --definition or --ignition?",
		"publish --config x folder":           "did you mean --definition?",
		"build --append-karg quiet " + ref:    "did you mean --karg?",
		"inspect --signature-policy x " + ref: "did you mean --policy?",
		"pull --dest-tls-verify=false " + ref: "did you mean --tls-verify?",
		"pull --insecure " + ref:              "did you mean --tls-verify=false?",
		"build --local " + ref:                "containers-storage:NAME",
		"build --image " + ref:                "the reference is an argument, not an option",
		"build --dry-run " + ref:              "did you mean the command plan?",
		"build --version":                     "did you mean ohp-assemble version?",
		"build --platfrom qemu " + ref:        "did you mean --platform?",
		"pull --formt json " + ref:            "did you mean --format?",
		"build -platform qemu " + ref:         "did you mean --platform?",
		"build -t qcow2 " + ref:               "did you mean --platform?",
		"publish --karg quiet folder":         "--karg is an option of build, plan",
		"build --else " + ref:                 "see ohp-assemble build --help",
		"cache ls --older-than 1h":            "--older-than is an option of cache prune",
		// Values.
		"build --platform qcow2 " + ref:        "did you mean --platform qemu?",
		"build --platform qemu,vsphere " + ref: "did you mean --platform vmware?",
		"plan --platform QEMU " + ref:          "did you mean --platform qemu?",
		"plan --platform raw " + ref:           "did you mean --platform metal?",
		"plan --platform vmdk " + ref:          "did you mean --platform vmware or --platform aws?",
		"plan --platform vhd " + ref:           "did you mean --platform azure?",
		"plan --platform ami " + ref:           "did you mean --platform aws?",
		"plan --platform gce " + ref:           "did you mean --platform gcp?",
		"plan -o x " + ref:                     "--out is an option of build, ",
		`plan --platform qemu" ` + ref:         "did you mean --platform qemu?",
		"plan --platform anaconda-iso " + ref:  "live ISOs",
		"plan --platform ova " + ref:           "did you mean --platform vmware or --platform virtualbox?",
		"plan --platform opnstack " + ref:      "did you mean --platform openstack?",
		"plan --platform linux/arm64 " + ref:   "did you mean --arch arm64?",
		"plan --platform nokia.com " + ref:     "see ohp-assemble plan --help",
		"plan --format qcow2 " + ref:           "--platform chooses the format of images",
		"plan --strict=x " + ref:               "see ohp-assemble plan --help",
	} {
		got, err := try(strings.Fields(line)...)
		if err == nil || exitCode(err) != exitUsage || strings.Contains(err.Error()+got, "\n") || !strings.Contains(got, want) {
			t.Errorf("%s: exit code %d, %v, hint %q, want %q", line, exitCode(err), err, got, want)
		}
	}
}

// TestMissingFile has names that are neither files nor references.
func TestMissingFile(t *testing.T) {
	cache := t.TempDir()
	for line, want := range map[string]string{
		"ls oci:none:1":                   "inspect shows a container",
		"cat registry.example/os:1 /etc":  "inspect shows a container",
		"diff --cache CACHE a.qcow2 b":    "there is no file a.qcow2",
		"inspect --cache CACHE none.vmdk": "there is no file none.vmdk",
	} {
		got, err := try(strings.Fields(strings.ReplaceAll(line, "CACHE", cache))...)
		if exitCode(err) != exitFailed || !strings.Contains(got, want) {
			t.Errorf("%s: exit code %d, %v, hint %q, want %q", line, exitCode(err), err, got, want)
		}
	}
}

// TestHintWords: commands, options and platforms in the tables of hints exist.
func TestHintWords(t *testing.T) {
	for _, wrong := range cli.WrongWords(command()) {
		t.Error(wrong)
	}
}

// TestEmptyValues gives every option of every command nothing for a value, and
// every argument.
func TestEmptyValues(t *testing.T) {
	n := 0
	var all func(c *cobra.Command)
	all = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			all(sub)
		}
		path := strings.Fields(c.CommandPath())[1:]
		c.InitDefaultHelpFlag()
		for _, f := range flagNames(c) {
			for _, value := range []string{"", " "} {
				_, err := try(slices.Concat(path, []string{"--" + f + "=" + value})...)
				if n++; err == nil || exitCode(err) != exitUsage || f != "help" && f != "version" && err.Error() != "--"+f+": empty value" {
					t.Errorf("%q --%s=%q: exit code %d: %v", path, f, value, exitCode(err), err)
				}
			}
		}
	}
	all(command())
	if n < 100 {
		t.Errorf("%d options were tried", n)
	}
	for _, args := range [][]string{
		{"build", ""}, {"plan", ""}, {"inspect", ""}, {"ls", ""}, {"ls", "x", ""}, {"cat", "", "x"}, {"cat", "x", ""}, {"diff", "x", ""},
		{"compress", ""}, {"decompress", ""}, {"publish", "", "x"}, {"publish", "x", ""}, {"pull", ""}, {"manifest", "init", ""}, {"manifest", "validate", ""},
		{"stream", "make", ""}, {"stream", "show", ""}, {"stream", "merge", "x", ""}, {"stream", "check", ""}, {"stream", "get", "x", ""}, {"stream", "schema", ""},
		{"stream", "set-image", "x", "aws", ""}, {"stream", "configmap", ""}, {""}, {"stream", ""},
		{"plan", "x", "--platform", "qemu", "--platform", ""}, {"plan", "x", "--platform", "qemu,"}, {"plan", "x", "--platform", "qemu,,metal"}, {"plan", "x", "--arch", "amd64,"},
		{"plan", "x", "--ignition", "x", "--ignition", ""}, {"publish", "x", "y", "--view", ","},
	} {
		if _, err := try(args...); err == nil || exitCode(err) != exitUsage {
			t.Errorf("%q: exit code %d: %v", args, exitCode(err), err)
		}
	}
}

func flagNames(c *cobra.Command) (all []string) {
	for _, line := range strings.Split(c.Flags().FlagUsages()+c.InheritedFlags().FlagUsages(), "\n") {
		if _, after, ok := strings.Cut(line, "--"); ok {
			all = append(all, strings.FieldsFunc(after, func(r rune) bool { return r == ' ' || r == '[' })[0])
		}
	}
	return all
}

// TestLists: a space after a comma is accepted.
func TestLists(t *testing.T) {
	o := defaults()
	o.reference, o.cache, o.arch = "oci:none", "x", "amd64, arm64"
	requests, err := o.requests()
	if err != nil || len(requests) != 2 || requests[1].arch != "arm64" {
		t.Errorf("%+v, %v", requests, err)
	}
}

// TestHelp: every command has help, and shows no empty default.
func TestHelp(t *testing.T) {
	var all func(c *cobra.Command)
	all = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			all(sub)
		}
		path := strings.Fields(c.CommandPath())[1:]
		for _, args := range [][]string{append(slices.Clone(path), "--help"), append([]string{"help"}, path...)} {
			if _, err := try(args...); err != nil {
				t.Errorf("%q: %v", args, err)
			}
		}
		usage := c.Flags().FlagUsages()
		for _, none := range []string{"(default [])", "(default 0s)", "(default )"} {
			if strings.Contains(usage, none) {
				t.Errorf("%q: %s", path, usage)
			}
		}
	}
	all(command())
}
