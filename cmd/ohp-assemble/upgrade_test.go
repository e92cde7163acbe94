package main

import (
	"archive/tar"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
)

// TestACLOnXFS warns of access control lists where ostree cannot keep them.
func TestACLOnXFS(t *testing.T) {
	dir, _ := copyLayout(t, fixture(t, "tiny-chunked"))
	e := editLayout(t, filepath.Join(dir, "layout"))
	const acl = "\x02\x00\x00\x00" + "\x01\x00\x06\x00\xff\xff\xff\xff" + "\x04\x00\x04\x00\xff\xff\xff\xff" + "\x20\x00\x04\x00\xff\xff\xff\xff" // u::rw-, g::r--, o::r--
	e.addLayer(&tar.Header{Name: "usr/acl", Mode: 0o644, PAXRecords: map[string]string{"SCHILY.xattr.system.posix_acl_access": acl}})
	ref := e.save()
	for fs, want := range map[string]bool{"xfs": true, "ext4": false} {
		p := program(t, nil, "plan", "--cache", filepath.Join(dir, "cache"), "--root-fs", fs, ref)
		if got := strings.Contains(p.stderr, "as damaged; --root-fs ext4 avoids that\n"); got != want {
			t.Errorf("%s: %s", fs, p.stderr)
		}
	}
}

// TestHintOfDamage: a container that is damaged itself is not worth a second try.
func TestHintOfDamage(t *testing.T) {
	for kind, again := range map[error]bool{registry.ErrVerify: true, registry.ErrDamaged: false} {
		err := fmt.Errorf("layer: %w", kind)
		if got := errorHint(err, nil); strings.Contains(got, "retry") != again || strings.Contains(got, "build the container again") == again || exitCode(err) != exitVerify {
			t.Errorf("%v: %s, exit code %d", kind, got, exitCode(err))
		}
	}
}
