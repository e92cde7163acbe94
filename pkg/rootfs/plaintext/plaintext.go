// Package plaintext lays out results as text for a person:
//
//	Builder    collects lines and tables
//	OneLine    quotes a value that has line breaks
//	Note       adds the difference of two values to a list of differences
//
// A result has two renderings: its JSON, from the tags of its fields, and the text
// of its method WriteText, which collects the text in a [Builder]. [rootfs.Size]
// formats sizes in bytes.
//
// The package imports no other of this module.
//
// [rootfs.Size]: https://pkg.go.dev/github.com/ohp-assemble/ohp-assemble/pkg/rootfs#Size
package plaintext

import (
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
)

// A Builder collects text. The zero value is empty and ready to use.
type Builder struct{ strings.Builder }

// Printf adds formatted text.
func (b *Builder) Printf(format string, args ...any) { fmt.Fprintf(b, format, args...) }

// Table adds rows with aligned columns. The first row is the heading.
func (b *Builder) Table(rows [][]string) {
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	t.Flush() // a strings.Builder accepts every write
}

// List adds a line for each item, with a prefix: "note: ".
func (b *Builder) List(prefix string, items []string) {
	for _, item := range items {
		b.Printf("%s%s\n", prefix, item)
	}
}

// Flush writes the text to w.
func (b *Builder) Flush(w io.Writer) error {
	_, err := io.WriteString(w, b.String())
	return err
}

// OneLine returns s, or s in quotes if it has line breaks.
func OneLine(s string) string {
	if strings.ContainsAny(s, "\r\n") {
		return strconv.Quote(s)
	}
	return s
}

// Note adds "name a -> b" to a list of differences, unless a and b are equal. The
// zero value of a type that is not a number reads "none".
func Note[T comparable](to []string, name string, a, b T) []string {
	if a == b {
		return to
	}
	show := func(v T) string { return cmp.Or(fmt.Sprint(v), "none") }
	return append(to, fmt.Sprintf("%s %s -> %s", name, show(a), show(b)))
}
