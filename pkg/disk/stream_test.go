package disk

import "testing"

// TestIsZero sets a byte at the edges of the parts that are compared.
func TestIsZero(t *testing.T) {
	const part = 32 << 10
	p := make([]byte, 3*part)
	for _, n := range []int{0, 1, part - 1, part, part + 1, 2 * part, len(p)} {
		if !IsZero(p[:n]) {
			t.Errorf("%d zeros", n)
		}
		for _, at := range []int{0, part - 1, part, n - 1} {
			if at < 0 || at >= n {
				continue
			}
			p[at] = 1
			if IsZero(p[:n]) {
				t.Errorf("byte %d of %d is not zero", at, n)
			}
			p[at] = 0
		}
	}
}
