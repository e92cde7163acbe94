package cli

import "testing"

// TestHasLogin: only a user and a password before the host are a login.
func TestHasLogin(t *testing.T) {
	const host = "registry.example:5000"
	for arg, want := range map[string]bool{
		"me:secret@" + host + "/os:1": true, "docker://me:secret@" + host + "/os": true,
		host + "/os:1": false, "oci:a@b/c": false, "containers-storage:[vfs@/root+/run]localhost/os:1": false, host + "/os:1@sha256:00/x": false,
	} {
		if got := hasLogin(arg); got != want {
			t.Errorf("%s: got %t, want %t", arg, got, want)
		}
	}
}
