package publish

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"

	"oras.land/oras-go/v2/registry/remote/errcode"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
)

// A Form is a way to represent files in a registry. A registry may reject one form and
// take another one.
type Form string

// The forms, in the order in which they are tried.
const (
	Artifact    Form = "artifact"     // artifactType, empty config, referrers by the registry's API
	ArtifactTag Form = "artifact-tag" // the same, but referrers are listed under a fallback tag
	ConfigType  Form = "config-type"  // the config has the type; no artifactType and no subject
	Container   Form = "container"    // a container image with the file in it
)

var forms = []Form{Artifact, ArtifactTag, ConfigType, Container}

// isArtifact reports whether manifests of the form have an artifactType and a subject.
func (f Form) isArtifact() bool { return f == Artifact || f == ArtifactTag }

// mark returns the form for the annotation of an index. An index has the same bytes in
// both artifact forms.
func (f Form) mark() string {
	if f == ArtifactTag {
		f = Artifact
	}
	return string(f)
}

// candidates returns the forms to try, in order. A remembered form comes first.
func (o *Options) candidates(remembered Form) []Form {
	switch o.As {
	case "artifact":
		return forms[:3]
	case "container":
		return forms[3:]
	}
	// A registry that gains the API for referrers lists existing manifests by their subjects.
	return forms[max(0, slices.Index(forms, remembered)):]
}

// A rejection is the error of a registry that does not take a form.
type rejection struct{ error }

func (r rejection) Unwrap() error { return r.error }

// asRejection returns the error of a manifest as a rejection, unless it has another
// reason. Quay answers 500 to unknown types, ECR 405. Because a 500 may be a temporary
// error as well, it is not remembered.
func asRejection(err error) error {
	status := []int{http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusUnsupportedMediaType,
		http.StatusUnprocessableEntity, http.StatusInternalServerError, http.StatusNotImplemented}
	if !errors.As(err, new(*registry.ManifestError)) || !slices.Contains(status, registry.Status(err)) {
		return err
	}
	var codes errcode.Errors
	errors.As(err, &codes)
	for _, c := range codes {
		switch c.Code {
		case errcode.ErrorCodeManifestBlobUnknown, errcode.ErrorCodeBlobUnknown, errcode.ErrorCodeNameInvalid, errcode.ErrorCodeNameUnknown,
			errcode.ErrorCodeDigestInvalid, "TAG_INVALID":
			return err
		}
	}
	return rejection{err}
}

// A memory is a small file with the forms that registries take.
type memory struct {
	Registries map[string]Form `json:"registries"` // by host
}

// readMemory reads the memory, which is empty if the file is missing or damaged.
func readMemory(file string) (m memory) {
	if text, err := os.ReadFile(file); err == nil {
		_ = json.Unmarshal(text, &m)
	}
	return m
}

// remember records the form that a registry takes.
func remember(file, host string, form Form) error {
	m := readMemory(file)
	if m.Registries == nil {
		m.Registries = map[string]Form{}
	}
	m.Registries[host] = form
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*.part")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(append(text, '\n'))
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}
