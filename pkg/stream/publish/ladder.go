package publish

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"github.com/ohp-assemble/ohp-assemble/pkg/stream/registry"
)

// A Form is how files are put into a registry.
type Form string

// Forms are the rungs of a ladder: what one registry refuses in one form, it
// may take in the next.
const (
	Artifact    Form = "artifact"     // artifactType, empty config, referrers by the registry's API
	ArtifactTag Form = "artifact-tag" // the same, but referrers are listed under a tag
	ConfigType  Form = "config-type"  // the type is the config's, there is no artifactType and no subject
	Container   Form = "container"    // a container image with the file in it
)

var ladder = []Form{Artifact, ArtifactTag, ConfigType, Container}

func (f Form) rung() int { return slices.Index(ladder, f) + 1 }

// mark is what an index says of its form: the first two differ in nothing that
// is listed in it.
func (f Form) mark() string {
	if f == ArtifactTag {
		f = Artifact
	}
	return string(f)
}

// climb publishes in the first form that the registry takes. What is remembered
// is the first one that it did not refuse for sure: trouble passes.
func (p *publication) climb(ctx context.Context) error {
	forms := p.forms()
	sure := 0
	for i, form := range forms {
		p.repo.SetReferrers(form == Artifact)
		err := p.in(ctx, form)
		if err == nil {
			if err := p.remember(forms[sure]); err != nil {
				p.note("what the registry takes is not remembered: %v", err)
				p.describe()
			}
			return nil
		}
		var no refused
		if !errors.As(err, &no) || i == len(forms)-1 {
			return err
		}
		p.note("the registry does not take the form %q: %v", form, no)
		if sure == i && !registry.Passing(registry.Status(err)) && !registry.Lost(err) {
			sure++
		}
	}
	return nil
}

// forms returns what is tried, in order.
func (p *publication) forms() []Form {
	switch p.o.As {
	case "artifact":
		return ladder[:3]
	case "container":
		return ladder[3:]
	}
	// Where the API for referrers comes later, it lists by subjects what is there.
	return ladder[max(0, slices.Index(ladder, p.remembered())):]
}

// refused is the error of a registry that does not take a form.
type refused struct{ error }

func (r refused) Unwrap() error { return r.error }

// refusal tells a registry that does not take a manifest from one that has
// other reasons. Quay answers 500 to what it does not know, ECR 405. A 500 may
// be trouble as well, which is why it is not remembered.
func refusal(err error) error {
	status := []int{http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusUnsupportedMediaType,
		http.StatusUnprocessableEntity, http.StatusInternalServerError, http.StatusNotImplemented}
	if !slices.Contains(status, registry.Status(err)) {
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
	return refused{err}
}

// probe sees whether the registry lists what was pushed as a referrer. That it
// says so in a header is not enough: ECR does, and has no such list.
func (p *publication) probe(ctx context.Context, it *item) error {
	subject := p.subject(it)
	if p.form != Artifact || subject == nil {
		return nil
	}
	p.probed = true
	listed := false
	err := p.repo.Referrers(ctx, *subject, "", func(some []imgspec.Descriptor) error {
		listed = listed || slices.ContainsFunc(some, func(d imgspec.Descriptor) bool { return d.Digest == it.desc.Digest })
		return nil
	})
	if err == nil && !listed {
		err = errors.New("it lists no referrers")
	}
	if err != nil && ctx.Err() == nil {
		return refused{registry.Explain("referrers", err)}
	}
	return err
}

// A memory is a small file of what registries were found to take.
type memory struct {
	Registries map[string]Form `json:"registries"` // by host
}

// remembered returns the form that the registry took last time.
func (p *publication) remembered() Form {
	return p.recall().Registries[reference.Domain(p.at)]
}

// recall reads the memory. What cannot be read is forgotten.
func (p *publication) recall() memory {
	var m memory
	if text, err := os.ReadFile(p.o.Memory); err == nil {
		_ = json.Unmarshal(text, &m)
	}
	return m
}

// remember notes what the registry took. That it took what it was not asked
// about, or what was asked for by name, is no news.
func (p *publication) remember(form Form) error {
	known := p.remembered()
	if p.o.Memory == "" || p.o.As == "container" || known == form || known == ArtifactTag && form == Artifact && !p.probed {
		return nil
	}
	m := p.recall()
	if m.Registries == nil {
		m.Registries = map[string]Form{}
	}
	m.Registries[reference.Domain(p.at)] = form
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(p.o.Memory), 0o777); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(p.o.Memory), filepath.Base(p.o.Memory)+".*.part")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(append(text, '\n'))
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), p.o.Memory)
}
