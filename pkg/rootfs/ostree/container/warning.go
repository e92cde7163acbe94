package container

import (
	"fmt"
	"slices"
	"strings"
)

// A Warning is about something in a derived layer that importers of containers
// do not treat as container runtimes do, so that the system is not quite what
// its author saw when the container was built or run.
type Warning struct {
	Layer int    // its number
	Path  string // in the imported system; "." is the root
	What  string // both outcomes
}

// String returns the warning as a line without its end.
func (w Warning) String() string {
	return fmt.Sprintf("layer %d: %s: %s", w.Layer, quote(w.Path), w.What)
}

// warnings collects those of an import.
type warnings []Warning

func (w *warnings) add(layer int, path, format string, args ...any) {
	*w = append(*w, Warning{layer, path, fmt.Sprintf(format, args...)})
}

// sorted returns the warnings by layer and path, each once.
func (w warnings) sorted() []Warning {
	slices.SortStableFunc(w, func(a, b Warning) int {
		if a.Layer != b.Layer {
			return a.Layer - b.Layer
		}
		return strings.Compare(a.Path, b.Path)
	})
	return slices.Compact(w)
}

// quote returns a name as it is shown to people: as it is, if that does no harm.
func quote(name string) string {
	if q := fmt.Sprintf("%+q", name); q != `"`+name+`"` {
		return q
	}
	return name
}
