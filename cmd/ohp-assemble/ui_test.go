package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/vbauerster/mpb/v8"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/oci"
)

func TestParseBytes(t *testing.T) {
	for s, want := range map[string]int64{
		"1": 1, "512M": 512 << 20, "10GiB": 10 << 30, "10G": 10 << 30, "3TiB": 3 << 40, "7K": 7 << 10, "4194304TiB": 1 << 62,
	} {
		if got, err := parseBytes(s); err != nil || got != want {
			t.Errorf("%q: %d, %v, want %d", s, got, err, want)
		}
	}
	for says, all := range map[string][]string{
		"want a whole number, no fraction": {"", "0", "-1", "+1", "01", "1.5GiB", "10gib", " 1", "1 GiB", "GiB", "-9223372036854775809"},
		"there are KiB, MiB, GiB and TiB":  {"10GB", "10B", "10iB", "10Gi"},
		"too large":                        {"4194305TiB", "8388607TiB", "9223372036854775808", "99999999999999999999K"},
	} {
		for _, s := range all {
			if got, err := parseBytes(s); err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("%q is %d, %v, want %s", s, got, err, says)
			}
		}
	}
}

// TestHostileLabels: whatever a label says, it becomes the name of a file in
// the folder and of a repository, or is not used.
func TestHostileLabels(t *testing.T) {
	for label, want := range map[string]string{
		"44.20260801.1.0": "44.20260801.1.0", "1.0+git": "1.0+git",
		"../../x": "x", "..": "", "/": "", "-rf": "rf", ".hidden": "hidden", "a/b": "a-b", "a\x1b[31m\nb": "a--31m-b", "ü": "",
		strings.Repeat("x", 300): strings.Repeat("x", 64),
	} {
		got := fileName(label)
		if got != want {
			t.Errorf("%q: %q, want %q", label, got, want)
		}
		if got != "" && filepath.Join("out", got) != "out/"+filepath.Base(got) {
			t.Errorf("%q: %q leaves the folder", label, got)
		}
	}
	id := digest.FromString("")
	for label, want := range map[string]string{
		"fedora-coreos": "fedora-coreos", "../../X": "x", "..": "os", "": "os", "a..b": "a-b", "x+": "x", "@": "os",
	} {
		image := &oci.Image{Reference: "oci:layout@" + id.String(), Digest: id, Labels: map[string]string{"com.coreos.osname": label}}
		if got := defaultOrigin(image); got != "ostree-unverified-registry:localhost/"+want+"@"+id.String() {
			t.Errorf("%q: %s", label, got)
		}
	}
}

// TestDefaultOrigin: a name with a tag is followed, one with a digest stays.
func TestDefaultOrigin(t *testing.T) {
	id := digest.FromString("")
	for reference, want := range map[string]string{
		"docker://example.com:5000/os:stable@" + id.String(): "ostree-unverified-registry:example.com:5000/os:stable",
		"docker://example.com:5000/os@" + id.String():        "ostree-unverified-registry:example.com:5000/os@" + id.String(),
		"oci:/home/me/os@" + id.String():                     "ostree-unverified-registry:localhost/os@" + id.String(),
	} {
		if got := defaultOrigin(&oci.Image{Reference: reference, Digest: id}); got != want {
			t.Errorf("%s: %s, want %s", reference, got, want)
		}
	}
}

// TestUpdateOrigin: a policy in the container that covers the image makes the
// system verify its updates, and one that would forbid them is told.
func TestUpdateOrigin(t *testing.T) {
	const key = `[{"type": "sigstoreSigned", "keyPath": "/etc/pki/os.pub"}]`
	const anything = `[{"type": "insecureAcceptAnything"}]`
	// The policy of a system that takes only its own images signed.
	const ours = `{"default": [{"type": "reject"}], "transports": {"docker": {"example.com/me": ` + key + `, "": ` + anything + `}}}`
	const signed, unverified = "ostree-image-signed:docker://", "ostree-unverified-registry:"
	for _, tc := range []struct{ policy, chosen, name, want, err string }{
		{"", "", "example.com/me/os:1", unverified, ""},
		{ours, "", "example.com/me/os:1", signed, ""},
		{ours, "", "example.com/me/os@" + digest.FromString("").String(), unverified, ""},
		{ours, "", "example.com/you/os:1", unverified, ""},
		{ours, unverified, "example.com/me/os:1", unverified, ""},
		{ours, signed, "example.com/you/os:1", signed, "no policy in the container"},
		{"", signed, "example.com/me/os:1", signed, "no policy in the container"},
		{`{"default": ` + anything + `, "transports": {"docker": {"example.com/me": ` + key + `}}}`, "", "example.com/me/os:1", unverified, ""},
		{`{"default": [{"type": "reject"}]}`, "", "example.com/me/os:1", unverified, "rejects"},
		{`{"default": ` + key + `}`, "", "example.com/me/os:1", signed, ""},
		{`{"defualt": []}`, "", "example.com/me/os:1", unverified, "defualt"},
	} {
		root := rootfs.Dir(0o755)
		if tc.policy != "" {
			if err := root.Place("usr/etc/containers/policy.json", rootfs.Text(0o644, tc.policy)); err != nil {
				t.Fatal(err)
			}
		}
		chosen := tc.chosen
		if chosen != "" {
			chosen += tc.name
		}
		got, err := updateOrigin(chosen, "docker://"+tc.name, root)
		if got != tc.want+tc.name || (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
			t.Errorf("%+v: %s, %v", tc, got, err)
		}
	}
}

// TestUnreadablePolicy: a policy that cannot be read is not taken for none, and
// a link in /etc leads from there.
func TestUnreadablePolicy(t *testing.T) {
	const name, rejects = "docker://example.com/os:1", `{"default": [{"type": "reject"}]}`
	for want, policy := range map[string]*rootfs.Inode{
		"etc/containers/policy.json: a link to /nonexistent": rootfs.Link("/nonexistent"),
		"etc/containers/policy.json: not a regular file":     rootfs.Dir(0o755),
		"rejects": rootfs.Link("../../usr/share/os/policy.json"),
	} {
		root := rootfs.Dir(0o755)
		for name, in := range map[string]*rootfs.Inode{"usr/etc/containers/policy.json": policy, "usr/share/os/policy.json": rootfs.Text(0o644, rejects)} {
			if err := root.Place(name, in); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := updateOrigin("", name, root); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestVisible(t *testing.T) {
	for s, want := range map[string]string{
		"Fedora ü\t1\n": "Fedora ü\t1\n", "a\x1b[2Jb": "a\ufffd[2Jb", "\u009b2J": "\ufffd2J", "x\r\x7f\x00": "x\ufffd\ufffd\ufffd",
	} {
		if got := visible(s); got != want {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
	}
}

// TestLostResult: a result that nobody got is a failure, in every form.
func TestLostResult(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	for _, args := range [][]string{{"version"}, {"--help"}, {"completion", "zsh"}} {
		cmd := start(t, nil, args...)
		var stderr strings.Builder
		cmd.Stdout, cmd.Stderr = full, &stderr
		if cmd.Run(); cmd.ProcessState.ExitCode() != exitFailed || !strings.Contains(stderr.String(), "no space left on device") {
			t.Errorf("%q: %v, %q", args, cmd.ProcessState, stderr.String())
		}
	}
}

// TestTrap: a temporary file is made, never found.
func TestTrap(t *testing.T) {
	dir := t.TempDir()
	prey := filepath.Join(dir, "prey")
	if err := os.WriteFile(prey, []byte("prey"), 0o644); err != nil {
		t.Fatal(err)
	}
	var tmp string
	write := func(f *os.File) error {
		tmp = f.Name()
		_, err := f.WriteString("secret")
		return err
	}
	name := filepath.Join(dir, "image")
	if _, _, err := writeFile(name, 0o600, write); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("prey", tmp); err != nil {
		t.Fatal(err)
	}
	if _, _, err := writeFile(name, 0o600, write); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(prey); err != nil || string(got) != "prey" {
		t.Errorf("%q, %v", got, err)
	}
	if info := stat(t, name); !info.Mode().IsRegular() || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
}

// TestBar draws the bars of two platforms in 80 columns: rate and time left are
// to be seen next to a bar.
func TestBar(t *testing.T) {
	var drawn bytes.Buffer
	redraw := make(chan any)
	u := &ui{err: &drawn, progress: mpb.New(mpb.WithOutput(&drawn), mpb.WithWidth(80), mpb.WithManualRefresh(redraw))}
	labels := []string{"write qemu", "write metal"}
	for _, label := range labels {
		s := u.begin(label, label, 1<<30)
		s.add(1 << 29)
		defer s.end(nil)
	}
	// The first drawing is done when the second is asked for.
	redraw <- time.Now()
	redraw <- time.Now()
	u.progress.Shutdown()
	for _, label := range labels {
		whole := false
		for line := range strings.Lines(drawn.String()) {
			bar := strings.Contains(line, label+" ") && strings.Contains(line, "[") && strings.Contains(line, "/s ")
			whole = whole || bar && !strings.Contains(line, "…") && len(strings.TrimSpace(line)) <= 80
		}
		if !whole {
			t.Errorf("no line of %q has a bar and a rate:\n%q", label, &drawn)
		}
	}
}
