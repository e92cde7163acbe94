package rootfs

import (
	"errors"
	"testing"
)

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 bytes", 1023: "1023 bytes", 1024: "1 KiB (1024 bytes)", 3 << 29: "1.5 GiB (1610612736 bytes)",
		10 << 30: "10 GiB (10737418240 bytes)", 1<<62 - 1: "4194304 TiB (4611686018427387903 bytes)", -1: "-1 bytes",
	} {
		if got := Bytes(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
	if got := Size(3 << 29); got != "1.5 GiB" {
		t.Errorf("%s", got)
	}
	if got := Bytes(uint64(1 << 63)); got != "8388608 TiB (9223372036854775808 bytes)" {
		t.Errorf("%s", got)
	}
}

func TestInodeError(t *testing.T) {
	cause := errors.New("too large")
	for path, want := range map[string]string{"usr/bin/é x": "usr/bin/é x: too large", "a\nb": `"a\nb": too large`} {
		if err := error(&InodeError{Path: path, Err: cause}); err.Error() != want || !errors.Is(err, cause) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
