package disk

import (
	"errors"
	"fmt"
)

// Unsupported returns the error of a file that is not damaged, and is of a kind
// or has a feature that is not read. It is an [errors.ErrUnsupported].
func Unsupported(format string, args ...any) error {
	return unsupported{fmt.Sprintf(format, args...)}
}

type unsupported struct{ text string }

func (e unsupported) Error() string { return e.text }

func (e unsupported) Is(target error) bool { return target == errors.ErrUnsupported }
