package oci

import (
	"errors"
	"os"
)

// An Image is a fetched image. Its layers are open files of the cache. Any number of
// goroutines may read it at once.
type Image struct {
	*Manifest
	Layers []*Layer // lowest first
}

// Close closes the layers. Their content cannot be read afterwards.
func (m *Image) Close() error {
	var errs []error
	closed := map[*os.File]bool{}
	for _, l := range m.Layers {
		if l != nil && !closed[l.pack] {
			closed[l.pack] = true
			errs = append(errs, l.pack.Close())
		}
	}
	return errors.Join(errs...)
}
