package main

import (
	"archive/tar"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/cmd/ohp-assemble/internal/cli"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/assemble"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/inspect"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/usage"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/publish"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/source"
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
	return cmp.Or(cli.FlagHint(ran, args, err), errorHint(err, ran)), err
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
		"image inspect " + ref:            "did you mean inspect?",
		"image rm x":                      "did you mean cache prune?",
		"image ls":                        "did you mean ls?",
		"artifact pull registry/x":        "did you mean pull?",
		"artifact push registry/x":        "did you mean publish?",
		"system frobnicate":               "see ohp-assemble --help",
		"manifest fetch " + ref:           "did you mean inspect?",
		"bud .":                           "build the container with podman or buildah",
		"upgrade":                         "bootc or rpm-ostree updates",
		"machine init":                    "see ohp-assemble --help", // no typing error of cache
		"ps":                              "see ohp-assemble --help",
		"install --image-url x /dev/sda":  "did you mean build? It writes files",
		"generate-release-meta":           "did you mean stream make?",
		// Options.
		"--type qcow2 " + ref:                  "did you mean build --platform? It chooses",
		"--rootfs xfs --local " + ref:          "did you mean build --root-fs?",
		"--local --type raw " + ref:            "containers-storage:NAME",
		"--image " + ref:                       "the reference is an argument, not an option: ohp-assemble build REFERENCE",
		"manifest --config config.toml " + ref: "did you mean build --definition or --ignition?",
		"--insecure-policy inspect " + ref:     "only --policy demands signatures",
		"-V":                                   "did you mean ohp-assemble version?",
		"diff --from a --to b":                 "the reference is an argument, not an option: ohp-assemble diff A B",
		"build --progress verbose " + ref:      "did you mean --quiet?",
		"plan --progress verbose " + ref:       "there are no more messages",
		"build --bootloader grub " + ref:       "see ohp-assemble build --help", // not --boot-size
		"build --wipe " + ref:                  "no disk of this machine",
		"build --root x " + ref:                "containers-storage:NAME",
		"build --build-arg a=b .":              "build the container with podman or buildah",
		"build -j4 " + ref:                     "GOMAXPROCS",
		"build -pqcow2 " + ref:                 "did you mean --platform?",
		"inspect --raw " + ref:                 "--format json",
		"inspect --override-variant v3 " + ref: "did you mean --arch?",
		"pull --password-stdin " + ref:         "did you mean --creds or --authfile?",
		"inspect --key cosign.pub " + ref:      "did you mean --policy?",
		"build --allow-http-registry " + ref:   "did you mean --tls-verify=false?",
		"build --aws-bucket x " + ref:          "IMAGE.upload.json",
		"build --type qcow2 " + ref:            "did you mean --platform? It chooses the format: qemu is qcow2, metal is raw, aws is vmdk",
		"pull --type qcow2 " + ref:             "did you mean --platform or --image-format?",
		"build --rootfs xfs " + ref:            "did you mean --root-fs?",
		"build --output x " + ref:              "did you mean --out?",
		"pull --output-dir=x " + ref:           "did you mean --out?",
		"plan --target-arch arm64 " + ref:      "did you mean --arch?",
		"build --config config.toml " + ref:    "did you mean --definition or --ignition?",
		"publish --config x folder":            "did you mean --definition?",
		"build --append-karg quiet " + ref:     "did you mean --karg?",
		"inspect --signature-policy x " + ref:  "did you mean --policy?",
		"pull --dest-tls-verify=false " + ref:  "did you mean --tls-verify?",
		"pull --insecure " + ref:               "did you mean --tls-verify=false?",
		"build --local " + ref:                 "containers-storage:NAME",
		"build --image " + ref:                 "the reference is an argument, not an option",
		"build --dry-run " + ref:               "did you mean the command plan?",
		"build --version":                      "did you mean ohp-assemble version?",
		"build --platfrom qemu " + ref:         "did you mean --platform?",
		"pull --formt json " + ref:             "did you mean --format?",
		"build -platform qemu " + ref:          "did you mean --platform?",
		"build -t qcow2 " + ref:                "did you mean --platform?",
		"publish --karg quiet folder":          "--karg is an option of build, plan",
		"build --else " + ref:                  "see ohp-assemble build --help",
		"cache ls --older-than 1h":             "--older-than is an option of cache prune",
		// Values.
		"build --platform qcow2 " + ref:                   "did you mean --platform qemu?",
		"build --platform qemu,vsphere " + ref:            "did you mean --platform vmware?",
		"plan --platform QEMU " + ref:                     "did you mean --platform qemu?",
		"plan --platform raw " + ref:                      "did you mean --platform metal?",
		"plan --platform vmdk " + ref:                     "did you mean --platform vmware or --platform aws?",
		"plan --platform vhd " + ref:                      "did you mean --platform azure?",
		"plan --platform ami " + ref:                      "did you mean --platform aws?",
		"plan --platform gce " + ref:                      "did you mean --platform gcp?",
		"plan -o x " + ref:                                "--out is an option of build, ",
		`plan --platform qemu" ` + ref:                    "did you mean --platform qemu?",
		"plan --platform anaconda-iso " + ref:             "live ISOs",
		"plan --platform ova " + ref:                      "did you mean --platform vmware or --platform virtualbox?",
		"plan --platform opnstack " + ref:                 "did you mean --platform openstack?",
		"plan --platform linux/arm64 " + ref:              "did you mean --arch arm64?",
		"build --platform linux/amd64,linux/arm64 " + ref: "did you mean --arch amd64,arm64?",
		"build --platform qemu,linux/arm64/v8 " + ref:     "did you mean --arch arm64/v8?",
		"plan --platform qemu, metal " + ref:              `write a list without spaces, or in quotes: without them the word "metal" is an argument`,
		"plan --arch amd64, arm64 " + ref:                 `the word "arm64" is an argument`,
		"inspect --tls-verify no " + ref:                  "write --tls-verify=false: ",
		"inspect --tls-verify False " + ref:               "write --tls-verify=false: ",
		"plan --strict yes " + ref:                        "write --strict=true: ",
		"build qcow2 " + ref:                              "did you mean --platform qemu?",
		"plan metal metal4k":                              "did you mean --platform metal?",
		"build anaconda-iso " + ref:                       "live ISOs",
		"inspect --format {{.Digest}} " + ref:             "--format json, and a program such as jq",
		"plan --platform nokia.com " + ref:                "see ohp-assemble plan --help",
		"plan --format qcow2 " + ref:                      "--platform chooses the format of images",
		"plan --strict=x " + ref:                          "see ohp-assemble plan --help",
	} {
		got, err := try(strings.Fields(line)...)
		if err == nil || exitCode(err) != exitUsage || strings.Contains(err.Error()+got, "\n") || !strings.Contains(got, want) {
			t.Errorf("%s: exit code %d, %v, hint %q, want %q", line, exitCode(err), err, got, want)
		}
	}
}

// TestMissingFile has names that are neither files nor references.
func TestMissingFile(t *testing.T) {
	cache, dir := t.TempDir(), t.TempDir()
	file := filepath.Join(dir, "x.ociarchive")
	for _, name := range []string{file, filepath.Join(dir, "oci-layout")} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for line, want := range map[string]string{
		"build --cache CACHE " + dir:                                           "did you mean oci:" + dir + "?",
		"plan --cache CACHE " + file:                                           "oci-archive:FILE or docker-archive:FILE",
		"plan --cache CACHE https://registry.example/os:1":                     "did you mean registry.example/os:1?",
		"plan --cache CACHE ostree-unverified-registry:registry.example/os:1":  "did you mean registry.example/os:1? The other form is for --origin",
		"plan --cache CACHE ostree-image-signed:docker://registry.example/os":  "did you mean registry.example/os? ",
		"plan --cache CACHE ostree-remote-registry:fedora:registry.example/os": "did you mean registry.example/os? ",
		"plan --cache CACHE registry:registry.example/os":                      "did you mean registry.example/os? ",
		"plan --cache CACHE docker://localhost/os":                             "containers-storage:NAME",
		"publish --cache CACHE " + file + " registry.example/os":               "", // its stream.json is not the matter
		"ls oci:none:1":                              "inspect shows a container",
		"cat registry.example/os:1 /etc":             "inspect shows a container",
		"diff --cache CACHE a.qcow2 b":               "there is no file a.qcow2",
		"inspect --cache CACHE none.vmdk":            "there is no file none.vmdk",
		"build --cache CACHE metal":                  "did you mean --platform metal?",
		"plan --cache CACHE localhost/os":            "the reference of a container in podman's storage is containers-storage:NAME",
		"pull localhost:1/os":                        "",
		"pull localhost:1/os --platform QEMU":        "did you mean --platform qemu?",
		"pull localhost:1/os --platform vsphere":     "did you mean --platform vmware?",
		"pull localhost:1/os --platform linux/arm64": "did you mean --arch arm64?",
		"pull localhost:1/os --platform live-kernel": "",
	} {
		got, err := try(strings.Fields(strings.ReplaceAll(line, "CACHE", cache))...)
		if exitCode(err) != exitFailed || !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("%s: exit code %d, %v, hint %q, want %q", line, exitCode(err), err, got, want)
		}
	}
	if _, err := try("publish", "registry.example/os:1", dir); err == nil || exitCode(err) != exitUsage || !strings.Contains(err.Error(), "want the folder first") {
		t.Error(err)
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
	for line, want := range map[string]string{ // $VAR without quotes
		"plan x --platform --arch amd64":        "--platform: empty value: --arch is an option",
		"plan x --karg --strict":                "--karg: empty value: --strict is an option",
		"build x --cache --out=x":               "--cache: empty value: --out=x is an option",
		"build x --out -q":                      "--out: empty value: -q is an option",
		"build -m= ":                            "--definition: empty value",
		"stream get x qemu --out --format json": "--out: empty value: --format is an option",
	} {
		if _, err := try(strings.Fields(line)...); err == nil || exitCode(err) != exitUsage || err.Error() != want {
			t.Errorf("%s: %v, want %s", line, err, want)
		}
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

// TestContainerHints: the library does not know the options that avoid its errors,
// warnings and notes about a container. The command names them.
func TestContainerHints(t *testing.T) {
	ref, cache := fixture(t, "tiny-chunked"), t.TempDir()
	var base assemble.Description
	if err := json.Unmarshal([]byte(program(t, nil, "plan", "--cache", cache, "--format", "json", ref).stdout), &base); err != nil {
		t.Fatal(err)
	}
	initramfs := func(mib int) *tar.Header {
		return &tar.Header{Name: "usr/lib/modules/" + base.Kernel + "/initramfs.img", Size: int64(mib) << 20, Mode: 0o644}
	}
	text := func(name, text string) (*tar.Header, string) {
		return &tar.Header{Name: name, Size: int64(len(text)), Mode: 0o644}, text
	}
	root, rootText := text("usr/lib/repart.d/50-root.conf", "[Partition]\nType=root\nSizeMinBytes=9G\nFormat=btrfs\n")
	btrfs, btrfsText := text("usr/lib/bootc/install/99.toml", "[install.filesystem.root]\ntype = \"btrfs\"\n")
	for name, tc := range map[string]struct {
		entry   *tar.Header // in a layer on top
		content string
		args    string
		code    int
		want    []string // in the messages
	}{
		"origin":        {args: "--boot-size 64MiB", want: []string{"because its origin is a digest; --origin names one\n"}},
		"boot warning":  {entry: initramfs(30), args: "--boot-size 64MiB", want: []string{"warning: /boot has ", "64 MiB is chosen by --boot-size; --boot-size chooses the size of the boot partition\n"}},
		"boot error":    {entry: initramfs(80), args: "--boot-size 64MiB", code: exitFailed, want: []string{": want at least ", "\nohp-assemble: hint: --boot-size chooses the size of the boot partition\n"}},
		"root warnings": {root, rootText, "--size 2GiB", 0, []string{"does not fit on the disk, root has 1534 MiB; --size chooses the size of the disk\n", "chooses the root file system; --root-fs overrides that\n"}},
		"root error":    {btrfs, btrfsText, "", exitFailed, []string{"btrfs, which is not supported\nohp-assemble: hint: --root-fs chooses the root file system\n"}},
		"merge":         {entry: &tar.Header{Name: "usr/lib/copy", Typeflag: tar.TypeLink, Linkname: "usr/lib/os-release"}, code: exitFailed, want: []string{"in a lower layer only", "\nohp-assemble: hint: --merge oci copies the file, as container runtimes do\n"}},
	} {
		edited := ref
		if tc.entry != nil {
			dir, _ := copyLayout(t, ref)
			e := editLayout(t, filepath.Join(dir, "layout"))
			e.addContent(tc.entry, tc.content)
			edited = e.save()
		}
		args := append([]string{"plan", "--cache", cache, edited}, strings.Fields(tc.args)...)
		p := finish(t, start(t, nil, args...))
		if p.code != tc.code {
			t.Errorf("%s: exit code %d: %s", name, p.code, p.stderr)
		}
		for _, want := range tc.want {
			if !strings.Contains(p.stderr, want) {
				t.Errorf("%s: no %q in %s", name, want, p.stderr)
			}
		}
	}
}

// TestErrorHints has errors of the library whose hints name an option or a command.
func TestErrorHints(t *testing.T) {
	image := &inspect.OpenError{Path: "x.xz", Err: &inspect.CompressedError{Compression: filetype.Xz}}
	archive := &inspect.OpenError{Path: "x.tar.gz", Err: &inspect.CompressedError{Tar: true}}
	for _, tc := range []struct {
		err  error
		ran  *cobra.Command
		want string
	}{
		{source.ErrNoStream, nil, "publish --stream publishes the metadata of a stream"},
		{publish.ErrLost, nil, "publish the folders of all architectures in one, with the images of all platforms, or drop the others with --replace"},
		{image, nil, "decompress it first: xz --decompress --keep x.xz, or ohp-assemble decompress FOLDER for a build"},
		{archive, nil, "extract it first: tar --sparse -xzf x.tar.gz, and name the disk.raw"},
		{usage.Avoidable{Field: "Merge", Err: errors.New("link")}, planCommand(), "--merge oci copies the file, as container runtimes do"},
		{usage.Avoidable{Field: "Merge", Err: errors.New("link")}, diffCommand(), ""}, // has no such option
	} {
		if got := errorHint(fmt.Errorf("in: %w", tc.err), tc.ran); got != tc.want {
			t.Errorf("%v: hint %q, want %q", tc.err, got, tc.want)
		}
	}
}
