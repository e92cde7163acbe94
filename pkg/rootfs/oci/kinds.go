package oci

import "github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"

// Kinds of errors, for [errors.Is]. They are those of package registry.
var (
	ErrVerify    = registry.ErrVerify
	ErrAccess    = registry.ErrAccess
	ErrNotFound  = registry.ErrNotFound
	ErrDamaged   = registry.ErrDamaged
	ErrForbidden = registry.ErrForbidden
)
