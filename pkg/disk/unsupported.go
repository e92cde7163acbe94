package disk

import (
	"errors"
	"fmt"
)

// Unsupported returns an error for an intact file of a kind, or with a feature, that
// is not supported. The error matches [errors.ErrUnsupported].
func Unsupported(format string, args ...any) error {
	return unsupported{fmt.Sprintf(format, args...)}
}

type unsupported struct{ text string }

func (e unsupported) Error() string { return e.text }

func (e unsupported) Is(target error) bool { return target == errors.ErrUnsupported }
