package usage

import (
	"slices"
	"testing"
)

// TestWords: the first value replaces the default, and the next ones add to it. A
// space after a comma is accepted, an empty word is not.
func TestWords(t *testing.T) {
	list := []string{"default"}
	value := &Words{List: &list}
	for _, words := range []string{"qemu, metal", " aws"} {
		if err := value.Set(words); err != nil {
			t.Fatal(err)
		}
	}
	for _, words := range []string{"qemu,,aws", "qemu,", ",", ""} {
		if err := value.Set(words); err == nil {
			t.Errorf("%q is accepted", words)
		}
	}
	if want := []string{"qemu", "metal", "aws"}; !slices.Equal(list, want) || value.String() != "qemu,metal,aws" {
		t.Errorf("words %q, %s, want %q", list, value, want)
	}
	if s := new(Words).String(); s != "" {
		t.Errorf("without a list: %q", s)
	}
}
