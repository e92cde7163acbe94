package stream

import (
	"io"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/plaintext"
)

// Reports are the reports of several documents.
type Reports []Report

// A Report is the result of checking a document.
type Report struct {
	Document string   `json:"document"` // name
	Kind     Kind     `json:"kind,omitempty"`
	Problems []string `json:"problems"`        // see [Check]
	Notes    []string `json:"notes,omitempty"` // see [Notes]
}

// CheckAll checks every document in a text. A text that cannot be parsed is one
// document with one problem.
func CheckAll(name string, text []byte) Reports {
	docs, err := ParseAll(name, text)
	if err != nil {
		return Reports{{Document: name, Problems: []string{err.Error()}}}
	}
	var all Reports
	for _, d := range docs {
		kind, _ := d.Kind()
		problems, err := Check(d)
		if err != nil {
			problems = append(problems, err.Error())
		}
		all = append(all, Report{d.Name, kind, append([]string{}, problems...), Notes(d)})
	}
	return all
}

// OK reports whether no document has a problem.
func (all Reports) OK() bool {
	for _, r := range all {
		if len(r.Problems) > 0 {
			return false
		}
	}
	return true
}

// WriteText writes the reports for a person.
func (all Reports) WriteText(w io.Writer) error {
	var b plaintext.Builder
	for _, r := range all {
		name := plaintext.OneLine(r.Document)
		if len(r.Problems) == 0 {
			b.Printf("%s: %s: no problems\n", name, r.Kind)
		}
		for _, p := range r.Problems {
			b.Printf("%s: %s\n", name, plaintext.OneLine(p))
		}
		b.List(name+": note: ", r.Notes)
	}
	return b.Flush(w)
}
