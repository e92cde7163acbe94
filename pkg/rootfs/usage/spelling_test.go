package usage

import "testing"

func TestNearest(t *testing.T) {
	words := []string{"platform", "format", "out", "arch"}
	for wrong, want := range map[string]int{
		"platfrom": 0, "PLATFORM": 0, "formt": 1, "ot": 2, "acrh": 3, "": -1, "o": -1, "x": -1, "nothing-like-it": -1,
	} {
		if got := Nearest(wrong, words); got != want {
			t.Errorf("%q: word %d, want %d", wrong, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "ab", 2}, {"ab", "", 2}, {"kitten", "sitting", 3}, {"build", "bild", 1}, {"ab", "ba", 2}} {
		if got := distance(tc.a, tc.b); got != tc.want {
			t.Errorf("%q and %q: %d, want %d", tc.a, tc.b, got, tc.want)
		}
	}
}
