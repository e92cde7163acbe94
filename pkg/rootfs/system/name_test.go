package system

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/oci"
)

// TestHostileLabels: every label becomes the name of a file in
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
		image := &oci.Image{Manifest: &oci.Manifest{Reference: "oci:layout@" + id.String(), Digest: id, Labels: map[string]string{"com.coreos.osname": label}}}
		if got := DefaultOrigin(image); got != "ostree-unverified-registry:localhost/"+want+"@"+id.String() {
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
		if got := DefaultOrigin(&oci.Image{Manifest: &oci.Manifest{Reference: reference, Digest: id}}); got != want {
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
		{`{"defualt": []}`, "", "example.com/me/os:1", unverified, "default"},
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
