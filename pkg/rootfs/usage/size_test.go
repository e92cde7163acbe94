package usage

import (
	"strings"
	"testing"
)

func TestParseSize(t *testing.T) {
	for s, want := range map[string]int64{
		"1": 1, "512M": 512 << 20, "10GiB": 10 << 30, "10G": 10 << 30, "3TiB": 3 << 40, "7K": 7 << 10, "4194304TiB": 1 << 62,
	} {
		if got, err := ParseSize(s); err != nil || got != want {
			t.Errorf("%q: %d, %v, want %d", s, got, err, want)
		}
	}
	for says, all := range map[string][]string{
		"want a whole number, no fraction": {"", "0", "+1", "01", "1.5GiB", "10gib", " 1", "1 GiB", "GiB", "-", "-GiB", "-1.5GiB", "-1\n"},
		": a size is not negative":         {"-1", "-5G", "-10GiB", "-9223372036854775809"},
		"must be KiB, MiB, GiB or TiB":     {"10GB", "10B", "10iB", "10Gi"},
		"too large":                        {"4194305TiB", "8388607TiB", "9223372036854775808", "99999999999999999999K"},
	} {
		for _, s := range all {
			if got, err := ParseSize(s); err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("%q is %d, %v, want %s", s, got, err, says)
			}
		}
	}
}
