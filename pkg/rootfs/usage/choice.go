package usage

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A Choice sets a variable to one of several words.
type Choice[T ~string] struct {
	Value *T
	Words []T
}

// Set sets the variable. It fails if the word is not one of the choice.
func (c Choice[T]) Set(word string) error {
	if err := Check(T(word), c.Words...); err != nil {
		return err
	}
	*c.Value = T(word)
	return nil
}

// String returns the value of the variable.
func (c Choice[T]) String() string {
	if c.Value == nil {
		return ""
	}
	return string(*c.Value)
}

// Type returns the name of the type in help texts.
func (Choice[T]) Type() string { return "string" }

// Check returns an error if a word is not one of a choice.
func Check[T ~string](word T, words ...T) error {
	if slices.Contains(words, word) {
		return nil
	}
	return fmt.Errorf("invalid value %q, must be %s", word, Or(words...))
}

// Or lists words in quotes: "xfs" or "ext4".
func Or[T ~string](words ...T) string {
	quoted := make([]string, len(words))
	for i, word := range words {
		quoted[i] = strconv.Quote(string(word))
	}
	if len(quoted) < 2 {
		return strings.Join(quoted, "")
	}
	last := len(quoted) - 1
	return strings.Join(quoted[:last], ", ") + " or " + quoted[last]
}
