package usage

import "strings"

// Nearest returns the index of the word that is most similar to a misspelled one,
// by typing errors and without regard to case. It returns -1 if every word has more
// typing errors than a third of the letters of the misspelled word, or than a half if
// the misspelled word only lacks letters, as an abbreviation does.
func Nearest(misspelled string, words []string) int {
	best, fewest := -1, len(misspelled)
	for i, word := range words {
		limit, n := len(misspelled)/3, distance(strings.ToLower(misspelled), strings.ToLower(word))
		if n == len(word)-len(misspelled) {
			limit = len(misspelled) / 2
		}
		if n <= limit && n < fewest {
			best, fewest = i, n
		}
	}
	return best
}

// distance returns the number of typing errors between two words: missing, additional
// and wrong letters, and swapped neighbours.
func distance(a, b string) int {
	before, last := []int(nil), make([]int, len(b)+1) // distances from shorter beginnings of a
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			change := last[j]
			if a[i] != b[j] {
				change++
			}
			row[j+1] = min(change, row[j]+1, last[j+1]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
