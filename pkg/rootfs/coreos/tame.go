package coreos

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/BurntSushi/toml"
	"go.yaml.in/yaml/v3"
)

// Bounds of a text that is given to a parser. Honest ones have a few lines.
const (
	maxText = 64 << 10
	maxMark = 1000 // of each of the marks that nest
)

// tame refuses a text that would have a parser recurse or remember without end.
// One that counts brackets needs no grammar: no text nests deeper than it has
// of them.
func tame(text []byte) error {
	if len(text) > maxText {
		return fmt.Errorf("%d bytes, at most %d are read", len(text), maxText)
	}
	for _, mark := range []string{"[", "{", "."} {
		if n := bytes.Count(text, []byte(mark)); n > maxMark {
			return fmt.Errorf("%d times %q, at most %d are read", n, mark, maxMark)
		}
	}
	return nil
}

// decodeTOML reads a text into v and returns all of its keys.
func decodeTOML(text []byte, v any) (keys map[string]any, err error) {
	if err := tame(text); err != nil {
		return nil, err
	}
	if _, err := toml.Decode(string(text), v); err != nil {
		return nil, line(err)
	}
	_, err = toml.Decode(string(text), &keys)
	return keys, line(err)
}

// decodeJSON reads a text into v and returns all of its keys.
func decodeJSON(text []byte, v any) (keys any, err error) {
	if err := json.Unmarshal(text, v); err != nil {
		return nil, err
	}
	return keys, json.Unmarshal(text, &keys)
}

// decodeYAML reads a text into v and returns all of its keys. The parser bounds
// depth and aliases by itself.
func decodeYAML(text []byte, v any) (keys any, err error) {
	if err := tame(text); err != nil {
		return nil, err
	}
	if err := yaml.Unmarshal(text, v); err != nil {
		return nil, line(err)
	}
	return keys, line(yaml.Unmarshal(text, &keys))
}

// goType is how parsers name a type of Go in their errors.
var goType = regexp.MustCompile(`struct \{.*\}|\bcoreos\.(Disk|Partition)\b`)

// line puts an error in one line, for people who do not know Go.
func line(err error) error {
	if err == nil {
		return nil
	}
	text := strings.Join(strings.Fields(err.Error()), " ")
	return errors.New(goType.ReplaceAllString(text, "a table of keys"))
}
