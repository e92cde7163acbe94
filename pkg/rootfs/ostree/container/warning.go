package container

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A Warning is about something in a derived layer that importers of containers
// do not treat as container runtimes do, so that the system differs from the one that
// its author saw when the container was built or run.
type Warning struct {
	Layer int    // its number, or -1 for something of the container itself
	Path  string // in the imported system; "." is the root
	What  string // both outcomes
}

// String returns the warning as a line without its end.
func (w Warning) String() string {
	if w.Layer < 0 {
		return w.What
	}
	return fmt.Sprintf("layer %d: %s: %s", w.Layer, quote(w.Path), w.What)
}

// maxWarnings is how many warnings of a layer are kept: no one reads more, and
// a hostile layer could have a million.
const maxWarnings = 100

// warnings collects those of an import.
type warnings struct {
	list []Warning
	more map[int]int // by layer, how many more there are
	have map[int]int
}

func (w *warnings) add(layer int, path, format string, args ...any) {
	if w.have == nil {
		w.have, w.more = map[int]int{}, map[int]int{}
	}
	if w.have[layer] == maxWarnings {
		w.more[layer]++
		return
	}
	w.have[layer]++
	w.list = append(w.list, Warning{layer, path, fmt.Sprintf(format, args...)})
}

// all returns the warnings by layer and path.
func (w *warnings) all() []Warning {
	for layer, n := range w.more {
		w.list = append(w.list, Warning{layer, ".", fmt.Sprintf("has %d more things to warn of", n)})
	}
	slices.SortStableFunc(w.list, func(a, b Warning) int {
		return cmp.Or(cmp.Compare(a.Layer, b.Layer), strings.Compare(a.Path, b.Path))
	})
	return w.list
}

// quote returns a name as it is shown to people: as it is, if that does no harm.
func quote(name string) string {
	if q := fmt.Sprintf("%+q", name); q != `"`+name+`"` {
		return q
	}
	return name
}
