package usage

import "testing"

func TestNearest(t *testing.T) {
	words := []string{"platform", "format", "out", "arch", "compress", "size"}
	for wrong, want := range map[string]int{
		"platfrom": 0, "PLATFORM": 0, "formt": 1, "ot": 2, "acrh": 3, "": -1, "o": -1, "x": -1, "nothing-like-it": -1,
		"fromat": 1, "compres": 4, "progress": -1, "wipe": -1, "ar": -1, "up": -1, "cmprss": 4, "siz": 5, "root": -1, "march": 3,
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
	}{{"", "", 0}, {"", "ab", 2}, {"ab", "", 2}, {"kitten", "sitting", 3}, {"build", "bild", 1}, {"ab", "ba", 1}, {"abcd", "bacd", 1}, {"abcd", "badc", 2}, {"abc", "cba", 2}} {
		if got := distance(tc.a, tc.b); got != tc.want {
			t.Errorf("%q and %q: %d, want %d", tc.a, tc.b, got, tc.want)
		}
	}
}
