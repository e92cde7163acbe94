package v3_6

import (
	"errors"
	"testing"

	ignerrors "github.com/coreos/ignition/v2/config/shared/errors"
)

// TestParse has configs of all versions, which become 3.6.0.
func TestParse(t *testing.T) {
	for _, version := range []string{"3.0.0", "3.1.0", "3.2.0", "3.3.0", "3.4.0", "3.5.0", "3.6.0"} {
		c, r, err := ParseCompatibleVersion([]byte(`{"ignition": {"version": "` + version + `"}, "storage": {"files": [{"path": "/a", "mode": 420}]}}`))
		if err != nil || len(r.Entries) != 0 || c.Ignition.Version != "3.6.0" || len(c.Storage.Files) != 1 || *c.Storage.Files[0].Mode != 0o644 {
			t.Errorf("%s: %+v, %v, %v", version, c, r, err)
		}
		if _, _, err := Parse([]byte(`{"ignition": {"version": "` + version + `"}}`)); (err == nil) != (version == "3.6.0") {
			t.Errorf("%s: %v", version, err)
		}
	}
	for text, want := range map[string]error{
		"":  ignerrors.ErrEmpty,
		"{": ignerrors.ErrInvalid,
		`{"ignition": {"version": "3.6.0-experimental"}}`:                           ignerrors.ErrUnknownVersion,
		`{"ignition": {"version": "3.7.0-experimental"}}`:                           ignerrors.ErrUnknownVersion,
		`{"ignition": {"version": "3.7.0"}}`:                                        ignerrors.ErrUnknownVersion,
		`{"ignition": {"version": "3.6.0"}, "storage": {"files": [{"path": "a"}]}}`: ignerrors.ErrInvalid,
		`{"ignition": {"version": "3.6.0"}, "storage": {"files": [{"path": 1}]}}`:   ignerrors.ErrInvalid,
		`{"ignition": {"version": "3.5.0"}, "storage": {"files": [{"path": "a"}]}}`: ignerrors.ErrInvalid,
		`{"ignition": {"version": "x"}}`:                                            ignerrors.ErrInvalidVersion,
	} {
		if c, _, err := ParseCompatibleVersion([]byte(text)); !errors.Is(err, want) {
			t.Errorf("%s: %+v, %v, want %v", text, c, err, want)
		}
	}
	if _, _, err := Parse(nil); !errors.Is(err, ignerrors.ErrEmpty) {
		t.Error(err)
	}
}
