package selinux

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"sync"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// blanks are the characters that isspace(3) accepts.
const blanks = " \t\n\v\f\r"

func isBlank(r rune) bool { return strings.ContainsRune(blanks, r) }

// kinds are the file types a specification may be for.
var kinds = map[string]uint32{
	"--": rootfs.ModeFile,
	"-d": rootfs.ModeDir,
	"-l": rootfs.ModeLink,
	"-c": rootfs.ModeChar,
	"-b": rootfs.ModeBlock,
	"-p": rootfs.ModeFIFO,
	"-s": rootfs.ModeSocket,
}

// stemDepth is how many leading directories of an expression libselinux
// compares as plain text (SPEC_NODE_MAX_DEPTH).
const stemDepth = 3

// A spec is one line of a file_contexts file.
type spec struct {
	order   int
	kind    uint32 // file type bits, 0 for any
	context string // "" for <<none>>
	literal string // the only path it matches, if the expression is one

	stem   string // leading directories, which the path must have too
	prefix string // all plain text the expression begins with
	source string
	start  uint32 // of its program in an automaton
	once   sync.Once
	re     *regexp.Regexp
}

// parseSpec reads "EXPRESSION [TYPE] CONTEXT".
func parseSpec(line string) (*spec, error) {
	for i := range len(line) {
		if line[i] >= 0x80 {
			return nil, errors.New("not ASCII")
		}
	}
	fields := strings.FieldsFunc(line, isBlank)
	s := &spec{}
	switch len(fields) {
	case 2:
	case 3:
		kind, ok := kinds[fields[1]]
		if !ok {
			return nil, fmt.Errorf("file type %q is unknown", fields[1])
		}
		s.kind = kind
	default:
		return nil, fmt.Errorf("%d fields, not expression, type and context", len(fields))
	}
	if context := fields[len(fields)-1]; context != "<<none>>" {
		if strings.Count(context, ":") < 2 {
			return nil, fmt.Errorf("%q is not a context", context)
		}
		s.context = context
	}
	return s, s.setExpression(fields[0])
}

func (s *spec) setExpression(expression string) error {
	text, rest := cutPlain(expression)
	if rest == "" {
		s.literal = text
		return nil
	}
	s.stem, s.prefix = stemOf(text), text
	if strings.IndexByte("?*{", rest[0]) >= 0 && text != "" {
		s.prefix = text[:len(text)-1] // the last byte may be absent
	}
	if err := checkEscapes(expression); err != nil {
		return err
	}
	s.source = "(?s)^" + expression + "$"
	tree, err := syntax.Parse(s.source, syntax.Perl)
	if err != nil {
		return err
	}
	if tree.Op == syntax.OpAlternate {
		return errors.New("alternatives outside of parentheses are not supported")
	}
	return nil
}

// cutPlain returns the text that an expression begins with, escapes undone,
// and the rest from the first character with a meaning on.
func cutPlain(expression string) (text, rest string) {
	var b strings.Builder
	for i := 0; i < len(expression); i++ {
		c := expression[i]
		if c == '\\' && i+1 < len(expression) && strings.IndexByte(`.^$?*+|[({])}-_,`, expression[i+1]) >= 0 {
			i++
			c = expression[i]
		} else if strings.IndexByte(`.^$?*+|[({])}\`, c) >= 0 {
			return b.String(), expression[i:]
		}
		b.WriteByte(c)
	}
	return b.String(), ""
}

// stemOf returns the leading directories of a text, at most stemDepth.
func stemOf(text string) string {
	end := 0
	for range stemDepth {
		next := strings.IndexByte(text[min(end+1, len(text)):], '/')
		if next < 0 {
			break
		}
		end += 1 + next
	}
	return text[:end]
}

// checkEscapes refuses escapes that mean something to PCRE: policies have
// none, and not all of them mean the same to RE2.
func checkEscapes(expression string) error {
	for i := 0; i < len(expression); i++ {
		if expression[i] != '\\' {
			continue
		}
		i++
		if i == len(expression) {
			return errors.New("ends in a backslash")
		}
		if c := expression[i] | 0x20; 'a' <= c && c <= 'z' || '0' <= c && c <= '9' {
			return fmt.Errorf("escape \\%c is not supported", expression[i])
		}
	}
	return nil
}

func (s *spec) fits(kind uint32) bool { return s.kind == 0 || kind == 0 || s.kind == kind }

// A subject is a path as it is matched: PCRE sees bytes, RE2 sees runes, so
// every byte becomes a rune of its own.
type subject struct{ name, runes string }

func newSubject(name string) subject {
	for i := range len(name) {
		if name[i] >= 0x80 {
			runes := make([]rune, len(name))
			for i := range len(name) {
				runes[i] = rune(name[i])
			}
			return subject{name, string(runes)}
		}
	}
	return subject{name, name}
}

func (s *spec) match(sub subject) bool {
	if !strings.HasPrefix(sub.name, s.prefix) {
		return false
	}
	s.once.Do(func() { s.re = regexp.MustCompile(s.source) }) // parsed once already
	if s.re.MatchString(sub.runes) {
		return true
	}
	// The $ of PCRE also matches before a newline that ends the name.
	before, ok := strings.CutSuffix(sub.runes, "\n")
	return ok && s.re.MatchString(before)
}
