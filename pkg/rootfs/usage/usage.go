// Package usage has types and checks for the values of options, in structs,
// flags and definition files:
//
//	Error      a wrong value, with the name of its field
//	Avoidable  an error that another value of a field avoids
//	Size       a number of bytes with a unit
//	Choice     one of several words
//	Words      a list of words
//	Nearest    the word that a misspelled one probably stands for
//
// [Size], [Choice] and [Words] implement the interface Value of the packages flag and pflag.
//
// The package imports no other of this module.
package usage

// An Error is a wrong value of a field. A command replaces the name of the field
// by its own name for it, or by a place in a file: --size, or os.yaml:3:5.
type Error struct {
	Field string // of the options struct, such as Size
	Err   error  // does not repeat the name of the field
}

// Error returns the name of the field and the error.
func (e Error) Error() string { return e.Field + ": " + e.Err.Error() }

// Unwrap returns Err.
func (e Error) Unwrap() error { return e.Err }

// Wrap returns an [Error], or nil if err is nil.
func Wrap(field string, err error) error {
	if err == nil {
		return nil
	}
	return Error{field, err}
}

// An Avoidable is an error that another value of a field avoids, although the present
// value is not wrong. A command adds its own name for the field in a hint.
type Avoidable struct {
	Field string // of the options struct, such as RootFS
	Err   error
}

// Error returns the error alone.
func (e Avoidable) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e Avoidable) Unwrap() error { return e.Err }
