package coreos

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"github.com/BurntSushi/toml"
	"go.yaml.in/yaml/v3"
)

// Limits for the text of a file. Real files have a few lines.
const (
	maxText = 64 << 10
	maxMark = 1000 // for each character that can nest values
)

// tame rejects a text that would make a parser recurse too deeply or need too much
// memory. It counts brackets, because their number is a limit for the depth in every
// grammar.
func tame(text []byte) error {
	if len(text) > maxText {
		return fmt.Errorf("%d bytes, want at most %d", len(text), maxText)
	}
	for _, mark := range []string{"[", "{", "."} {
		if n := bytes.Count(text, []byte(mark)); n > maxMark {
			return fmt.Errorf("%d times %q, want at most %d", n, mark, maxMark)
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
		return nil, jsonError(text, err)
	}
	return keys, json.Unmarshal(text, &keys)
}

// jsonError adds the line or the key to an error of the parser, and removes Go types.
func jsonError(text []byte, err error) error {
	if wrong := (*json.SyntaxError)(nil); errors.As(err, &wrong) {
		return fmt.Errorf("line %d: %w", 1+bytes.Count(text[:wrong.Offset], []byte("\n")), err)
	}
	wrong := (*json.UnmarshalTypeError)(nil)
	if !errors.As(err, &wrong) {
		return err
	}
	want := map[reflect.Kind]string{reflect.String: "a string", reflect.Bool: "true or false", reflect.Slice: "a list", reflect.Int: "a whole number", reflect.Int64: "a whole number"}
	key := ""
	if wrong.Field != "" {
		key = "key " + wrong.Field[strings.LastIndex(wrong.Field, ".")+1:] + ": "
	}
	return fmt.Errorf("%s%s, want %s", key, wrong.Value, cmp.Or(want[wrong.Type.Kind()], "an object"))
}

// decodeYAML reads a text into v and returns all of its keys. The parser itself limits
// depth and aliases.
func decodeYAML(text []byte, v any) (keys any, err error) {
	if err := tame(text); err != nil {
		return nil, err
	}
	if err := yaml.Unmarshal(text, v); err != nil {
		return nil, line(err)
	}
	return keys, line(yaml.Unmarshal(text, &keys))
}

// goType matches a Go type in errors of parsers.
var goType = regexp.MustCompile(`struct \{.*\}|\bcoreos\.(Disk|Partition)\b`)

// line puts an error on one line and removes Go types from it.
func line(err error) error {
	if err == nil {
		return nil
	}
	text := strings.Join(strings.Fields(err.Error()), " ")
	return errors.New(goType.ReplaceAllString(text, "a table of keys"))
}
