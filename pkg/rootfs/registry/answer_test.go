package registry

import (
	"testing"

	"oras.land/oras-go/v2/registry/remote/errcode"
)

// TestDistinct: the text of an error has no part twice.
func TestDistinct(t *testing.T) {
	detail := map[string]any{"Tag": "x"}
	for want, e := range map[string]errcode.Error{
		"manifest unknown":                                  {Code: "MANIFEST_UNKNOWN", Message: "manifest unknown"},
		"manifest unknown: map[Tag:x]":                      {Code: "MANIFEST_UNKNOWN", Message: "Manifest Unknown", Detail: detail},
		"denied: not you":                                   {Code: "DENIED", Message: "not you"},
		"unauthorized: authentication required: map[Tag:x]": {Code: "UNAUTHORIZED", Message: "authentication required", Detail: detail},
	} {
		if got := distinct(errcode.Errors{e}).Error(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
