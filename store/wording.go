package store

import "strings"

// Clip cuts s to at most n bytes, on a rune boundary, and marks the cut; for
// quoting what came in an error.
func Clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

// Nearest answers the known name that was probably meant, or "" where none is
// near: at most a third of it, and a letter, is other than in name.
func Nearest(name string, known []string) string {
	name = Clip(name, 100)
	best, distance := "", len(name)
	for _, k := range known {
		if d := editDistance(name, k); d < distance && d < len(k) && d <= len(k)/3+1 {
			best, distance = k, d
		}
	}
	return best
}

// editDistance counts the bytes to insert, delete or replace (Levenshtein).
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
