package ignition

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/coreos/go-semver/semver"
	ignerrors "github.com/coreos/ignition/v2/config/shared/errors"
	"github.com/coreos/ignition/v2/config/util"
	vjson "github.com/coreos/vcontext/json"
	"github.com/coreos/vcontext/path"
	"github.com/coreos/vcontext/report"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ignition/v3_6"
)

// explainVersion reports the place of an unsupported version, and the version to use
// instead. It returns nil for other errors.
func explainVersion(text []byte, err error) *report.Report {
	var hint error
	at := path.New("json", "ignition", "version")
	version, _, _ := util.GetConfigVersion(text)
	switch {
	case errors.Is(err, ignerrors.ErrInvalidVersion):
		var c struct{ Ignition struct{ Version *string } }
		if json.Unmarshal(text, &c) != nil {
			return nil
		}
		if c.Ignition.Version == nil {
			hint, at = fmt.Errorf("no version, want 3.0.0 to %s", v3_6.MaxVersion), path.New("json", "ignition")
		} else {
			hint = fmt.Errorf("version %q, want 3.0.0 to %s", *c.Ignition.Version, v3_6.MaxVersion)
		}
	case !errors.Is(err, ignerrors.ErrUnknownVersion):
		return nil
	case version.Major == 3 && version.PreRelease != "":
		stable := min(version.Minor, v3_6.MaxVersion.Minor)
		hint = fmt.Errorf("version %s is experimental, use 3.%d.0", version, stable)
	default:
		hint = fmt.Errorf("version %s, want 3.0.0 to %s", version, v3_6.MaxVersion)
	}
	var r report.Report
	r.AddOnError(at, hint)
	if tree, err := vjson.UnmarshalToContext(text); err == nil {
		r.Correlate(tree)
	}
	return &r
}

// firstRelease is the minor version of the Ignition 2 release that was the
// first to read a config of version 3.N.0.
var firstRelease = []int{0, 3, 7, 11, 15, 20, 26}

var releaseNumber = regexp.MustCompile(`^v?(?:\d+:)?2\.(\d+)(?:\D|$)`)

// Reads returns the newest config version that a release of Ignition reads.
// The release is as a package or the program says it, as in 2.26.0-1.fc44. Ok is
// false for one that is not of Ignition 2.
func Reads(release string) (version semver.Version, ok bool) {
	m := releaseNumber.FindStringSubmatch(release)
	if m == nil || strings.HasPrefix(release, "v2.0.0-") { // Go's name of a checkout without tags
		return version, false
	}
	minor, err := strconv.Atoi(m[1])
	for i, first := range firstRelease {
		if minor >= first {
			version = semver.Version{Major: 3, Minor: int64(i)}
		}
	}
	return version, err == nil
}

// Newest returns the newest version among a config that was validated and those
// in it: it may merge others, or be replaced by one, from data: URLs.
func Newest(text []byte) (newest semver.Version) {
	budget := int64(MaxSize) // of all that is decoded
	for queue := [][]byte{text}; len(queue) > 0; queue = queue[1:] {
		version, _, err := util.GetConfigVersion(queue[0])
		if err != nil {
			continue
		}
		if newest.LessThan(version) {
			newest = version
		}
		for _, s := range sources(queue[0]) {
			inner := s.embedded(budget)
			if budget -= int64(len(inner)); budget <= 0 {
				return newest
			}
			queue = append(queue, inner)
		}
	}
	return newest
}
