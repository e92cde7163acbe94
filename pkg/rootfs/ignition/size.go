package ignition

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Limits of a config. Checking one takes about 1.3 KiB of memory for a value and
// 20 ns for a pair, which is more than its text suggests.
const (
	// MaxSize is the size of the text.
	MaxSize = 100 << 20

	maxValues = 1 << 20 // strings, numbers, lists and so on
	maxDepth  = 100     // objects and lists in one another
	maxPairs  = 1 << 29 // links with everything in storage, partitions with each other
	maxFound  = 10000   // errors among those of links
)

// checkSize refuses a config that takes too much time or memory to check.
func checkSize(text []byte) error {
	if len(text) > MaxSize {
		return fmt.Errorf("config is larger than %d MiB", MaxSize>>20)
	}
	values, depth := measure(text)
	switch {
	case values > maxValues:
		return fmt.Errorf("config has more than %d values", maxValues)
	case depth > maxDepth:
		return fmt.Errorf("config is nested deeper than %d levels", maxDepth)
	}
	var c struct {
		Storage struct {
			Files, Directories, Links []node
			Disks                     []struct{ Partitions []struct{} }
		}
	}
	if json.Unmarshal(text, &c) != nil {
		return nil // the library says it better
	}
	pairs := 0
	for _, d := range c.Storage.Disks {
		pairs += len(d.Partitions) * len(d.Partitions)
	}
	if pairs > maxPairs {
		return fmt.Errorf("config has too many partitions; the sum of the squares of their number on each disk must not exceed %d", maxPairs)
	}
	return checkLinks(c.Storage.Files, c.Storage.Directories, c.Storage.Links)
}

// A node is a file, directory or link, for the comparison with links.
type node struct {
	Path   string
	Target string
	Hard   bool
}

// checkLinks bounds the pairs that the library compares and the errors that it
// finds: a link must be no parent of anything, and no hard link of a directory.
func checkLinks(files, directories, links []node) error {
	nodes := slices.Concat(files, directories, links)
	if len(links)*len(nodes) > maxPairs {
		return fmt.Errorf("config has %d links among %d files, directories and links; the product must not exceed %d", len(links), len(nodes), maxPairs)
	}
	found := 0
	for _, l := range links {
		parent, target := l.Path+"/", path.Clean(l.Target)
		if !path.IsAbs(target) {
			target = path.Join(l.Path, l.Target)
		}
		for i, n := range nodes {
			if strings.HasPrefix(n.Path, parent) {
				found++
			}
			if l.Hard && i >= len(files) && i < len(files)+len(directories) && n.Path == target {
				found++
			}
		}
		if found > maxFound {
			return fmt.Errorf("config has more than %d paths that lead through its links, or hard links of directories", maxFound)
		}
	}
	return nil
}

// measure returns an upper bound of the number of values in JSON text, and how
// deep they are nested. It takes no notice of errors.
func measure(text []byte) (values, deepest int) {
	depth := 0
	inString := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == ',':
			values++
		case c == '[', c == '{':
			values++
			depth++
			deepest = max(deepest, depth)
		case c == ']', c == '}':
			depth--
		}
	}
	return values + 1, deepest
}
