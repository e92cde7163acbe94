package usage

import (
	"fmt"
	"slices"
	"strings"
)

// Words sets a variable to a list of words. An option may be given several times, and
// each value may have several words with commas between them. The first value replaces
// the default.
type Words struct {
	List  *[]string
	given bool
}

// Set adds words. It fails if a word is empty.
func (w *Words) Set(list string) error {
	words := strings.Split(list, ",")
	for i := range words {
		if words[i] = strings.TrimSpace(words[i]); words[i] == "" {
			return fmt.Errorf("%q has an empty word", list)
		}
	}
	if w.given {
		words = slices.Concat(*w.List, words)
	}
	*w.List, w.given = words, true
	return nil
}

// String returns the words with commas between them.
func (w *Words) String() string {
	if w.List == nil {
		return ""
	}
	return strings.Join(*w.List, ",")
}

// Type returns the name of the type in help texts.
func (*Words) Type() string { return "words" }
