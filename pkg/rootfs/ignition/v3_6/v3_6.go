// Package v3_6 reads version 3.6.0 of Ignition's config specification.
//
// Ignition's library has it in config/v3_6 since 2.26.0, and the newest release
// that resolves is 2.24.0. This package has the functions of the library's one,
// so that it can be dropped for it when a newer release resolves.
//
// The types are those of 3.6.0-experimental in 2.24.0, which have the same
// fields and rules except for one: since 2.25.0 a custom Clevis pin may have
// any name.
package v3_6

import (
	"slices"

	"github.com/coreos/go-semver/semver"
	"github.com/coreos/ignition/v2/config/shared/errors"
	"github.com/coreos/ignition/v2/config/util"
	prev "github.com/coreos/ignition/v2/config/v3_5"
	"github.com/coreos/ignition/v2/config/v3_6_experimental"
	"github.com/coreos/ignition/v2/config/v3_6_experimental/translate"
	"github.com/coreos/ignition/v2/config/v3_6_experimental/types"
	"github.com/coreos/ignition/v2/config/validate"
	"github.com/coreos/vcontext/report"
)

// MaxVersion is the version that this package adds to the older ones.
var MaxVersion = semver.Version{Major: 3, Minor: 6}

// Merge adds child to parent. Child wins where they differ.
func Merge(parent, child types.Config) types.Config {
	return v3_6_experimental.Merge(parent, child)
}

// Parse reads a config of version 3.6.0.
func Parse(raw []byte) (types.Config, report.Report, error) {
	if len(raw) == 0 {
		return types.Config{}, report.Report{}, errors.ErrEmpty
	}
	var config types.Config
	if r, err := util.HandleParseErrors(raw, &config); err != nil {
		return types.Config{}, r, err
	}
	if version, err := config.Ignition.Semver(); err != nil || *version != MaxVersion {
		return types.Config{}, report.Report{}, errors.ErrUnknownVersion
	}
	config.Ignition.Version = types.MaxVersion.String() // the rules of its types accept no other
	r := validate.ValidateWithContext(config, raw)
	r.Entries = slices.DeleteFunc(r.Entries, func(e report.Entry) bool {
		return e.Message == errors.ErrUnknownClevisPin.Error()
	})
	if r.IsFatal() {
		return types.Config{}, r, errors.ErrInvalid
	}
	config.Ignition.Version = MaxVersion.String()
	return config, r, nil
}

// ParseCompatibleVersion reads a config of version 3.0.0 to 3.6.0 and brings it
// up to 3.6.0.
func ParseCompatibleVersion(raw []byte) (types.Config, report.Report, error) {
	version, r, err := util.GetConfigVersion(raw)
	if err != nil {
		return types.Config{}, r, err
	}
	if version == MaxVersion {
		return Parse(raw)
	}
	old, r, err := prev.ParseCompatibleVersion(raw)
	if err != nil {
		return types.Config{}, r, err
	}
	config := translate.Translate(old)
	config.Ignition.Version = MaxVersion.String()
	return config, r, nil
}
