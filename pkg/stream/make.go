package stream

import (
	"errors"
	"fmt"
	"time"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/usage"
)

// MakeOptions are the options of [Make].
type MakeOptions struct {
	Kind         Kind   // of the document; the default is KindStream
	ReleaseURL   string // of release.json, for KindIndex only; see [Expand]
	LastModified string // RFC 3339, in UTC; the default is that of the newest release
}

// Check returns a [usage.Error] for a wrong option.
func (o MakeOptions) Check() error {
	switch o.Kind {
	case "", KindStream, KindRelease, KindIndex:
	default:
		return usage.Error{Field: "Kind", Err: fmt.Errorf("invalid value %q, must be %q, %q or %q", o.Kind, KindStream, KindRelease, KindIndex)}
	}
	if (o.Kind == KindIndex) != (o.ReleaseURL != "") {
		return usage.Error{Field: "ReleaseURL", Err: fmt.Errorf("required for %s, and only for it", KindIndex)}
	}
	if o.LastModified == "" {
		return nil
	}
	if t, err := time.Parse(time.RFC3339, o.LastModified); err != nil || t.Location() != time.UTC {
		return usage.Error{Field: "LastModified", Err: fmt.Errorf("invalid value %q, must be a time in UTC such as 2006-01-02T15:04:05Z", o.LastModified)}
	}
	return nil
}

// Make makes a document of release.json documents, which may be of several
// architectures and several versions. It merges those of one version, and then
// those of all versions. It fails if [Check] finds a problem.
func Make(releases []*Document, o MakeOptions) (*Document, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	merged, err := mergeVersions(releases)
	if err != nil {
		return nil, err
	}
	var docs []*Document
	for _, d := range merged {
		if d, err = o.convert(d); err != nil {
			return nil, err
		}
		docs = append(docs, d)
	}
	d, err := Merge(docs...)
	if err == nil && o.LastModified != "" {
		err = d.Set(o.LastModified, "metadata", "last-modified")
	}
	if err != nil {
		return nil, err
	}
	problems, err := Check(d)
	errs := []error{err}
	for _, p := range problems {
		errs = append(errs, errors.New(p))
	}
	return d, errors.Join(errs...)
}

// mergeVersions merges the releases of each version.
func mergeVersions(releases []*Document) (all []*Document, err error) {
	byVersion := map[string][]*Document{}
	var versions []string
	for _, d := range releases {
		if err := d.Want(KindRelease); err != nil {
			return nil, err
		}
		r := &Release{}
		if err := d.Decode(r); err != nil {
			return nil, err
		}
		if byVersion[r.Release] == nil {
			versions = append(versions, r.Release)
		}
		byVersion[r.Release] = append(byVersion[r.Release], d)
	}
	for _, version := range versions {
		d, err := Merge(byVersion[version]...)
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
}

// convert makes the document of one release.
func (o MakeOptions) convert(d *Document) (*Document, error) {
	r := &Release{}
	if err := d.Decode(r); err != nil {
		return nil, err
	}
	switch o.Kind {
	case KindRelease:
		return d, nil
	case KindIndex:
		return NewDocument(d.Name, r.Index(Expand(o.ReleaseURL, r.Release, r.Stream, "")))
	}
	return NewDocument(d.Name, r.Current())
}
