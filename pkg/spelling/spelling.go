// Package spelling corrects misspelled words.
package spelling

import "strings"

// Nearest returns the index of the word that is the fewest edits away from a wrong
// one, or -1 if every word is more edits away than half of the wrong one's letters.
// Case does not count.
func Nearest(wrong string, words []string) int {
	best, fewest := -1, len(wrong)/2+1
	for i, word := range words {
		if n := distance(strings.ToLower(wrong), strings.ToLower(word)); n < fewest {
			best, fewest = i, n
		}
	}
	return best
}

// distance is the Levenshtein distance of two words.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
