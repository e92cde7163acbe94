//go:build !containers_image_openpgp

package oci

import (
	"context"
	"errors"
)

// HasPolicies reports whether the program was built with the code for
// [Options].Policy. Without it every image is rejected if there is a policy.
const HasPolicies = false

// A judge applies a policy. This one exists in programs that were built without
// the code for it, and is never made: such a program must not accept an image.
type judge struct{}

func newJudge([]byte) (*judge, error) {
	return nil, errors.New("this program was built without signature policies: build it with -tags containers_image_openpgp")
}

func (*judge) verify(context.Context, *source, *Manifest, bool) error { panic("no judge was made") }
