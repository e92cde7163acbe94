package usage

import "strings"

// Nearest returns the index of the word that is most similar to a misspelled one,
// by edit distance and without regard to case. It returns -1 if every word is
// further away than half of the letters of the misspelled word.
func Nearest(misspelled string, words []string) int {
	best, fewest := -1, len(misspelled)/2+1
	for i, word := range words {
		if n := distance(strings.ToLower(misspelled), strings.ToLower(word)); n < fewest {
			best, fewest = i, n
		}
	}
	return best
}

// distance returns the Levenshtein distance of two words.
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
