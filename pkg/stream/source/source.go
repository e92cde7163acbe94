// Package source reads stream metadata documents from files, web servers and
// registries, and fetches the files that they list:
//
//	FILE                     a file
//	-                        standard input
//	https://..., http://...  a web server
//	docker://HOST/NAME       a registry; without docker:// if HOST has a dot or a port
//
// A registry has a document as the only file under a reference, or as stream.json
// among the images of an index. A ConfigMap coreos-bootimages is read as the
// streams in it.
package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"go.podman.io/image/v5/docker/reference"

	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/pull"
)

// StreamFile is the title of stream metadata among the images of an index.
const StreamFile = "stream.json"

// ErrNoStream is the error of a reference without stream metadata.
var ErrNoStream = errors.New("no " + StreamFile + " is published there")

// A Source reads from files, web servers and registries.
type Source struct {
	Stdin    io.Reader    // read for the name "-"
	Registry pull.Options // of registries
}

// Text reads the text of a document. It may be too large by one byte, for which
// [stream.Parse] rejects it.
func (s *Source) Text(ctx context.Context, name string) ([]byte, error) {
	switch {
	case name == "-":
		return stream.Read(s.Stdin)
	case isURL(name):
		return getText(ctx, name)
	}
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		if ref, ok := Reference(name); ok {
			return s.published(ctx, ref)
		}
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return stream.Read(f)
}

// Documents reads a document, or the documents in a ConfigMap.
func (s *Source) Documents(ctx context.Context, name string) ([]*stream.Document, error) {
	text, err := s.Text(ctx, name)
	if err != nil {
		return nil, err
	}
	return stream.ParseAll(Public(name), text)
}

// Document reads a document, or the first one in a ConfigMap.
func (s *Source) Document(ctx context.Context, name string) (*stream.Document, error) {
	docs, err := s.Documents(ctx, name)
	if err != nil {
		return nil, err
	}
	return docs[0], nil
}

// Each reads a document for each name.
func (s *Source) Each(ctx context.Context, names []string) (all []*stream.Document, err error) {
	for _, name := range names {
		d, err := s.Document(ctx, name)
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
}

// Stream reads a stream.
func (s *Source) Stream(ctx context.Context, name string) (*stream.Stream, error) {
	d, err := s.Document(ctx, name)
	if err == nil {
		err = d.Want(stream.KindStream)
	}
	if err != nil {
		return nil, err
	}
	st := &stream.Stream{}
	return st, d.Decode(st)
}

// Release reads a release.json. It becomes one of the stream streamName, unless that
// is empty.
func (s *Source) Release(ctx context.Context, name, streamName string) (*stream.Document, error) {
	d, err := s.Document(ctx, name)
	if err == nil {
		err = d.Want(stream.KindRelease)
	}
	if err == nil && streamName != "" {
		err = d.Set(streamName, "stream")
	}
	return d, err
}

// published reads the stream that is published under a reference.
func (s *Source) published(ctx context.Context, ref reference.Named) ([]byte, error) {
	all, err := pull.List(ctx, ref, s.Registry)
	if err != nil {
		return nil, err
	}
	for _, f := range all {
		if f.Title == StreamFile {
			text, err := f.Read(ctx)
			if err != nil {
				err = fmt.Errorf("%s: %s: %w", ref, StreamFile, err)
			}
			return text, err
		}
	}
	return nil, fmt.Errorf("%s: %w", ref, ErrNoStream)
}

// Published returns the places of the files under a reference, as [stream.OCI]
// takes them.
func (s *Source) Published(ctx context.Context, ref reference.Named) (map[string]stream.Published, error) {
	all, err := pull.List(ctx, ref, s.Registry)
	found := map[string]stream.Published{}
	for _, f := range all {
		if _, twice := found[f.FileSHA256()]; !twice {
			found[f.FileSHA256()] = stream.Published{Manifest: f.Manifest, Container: f.InContainer()}
		}
	}
	return found, err
}

// ErrReference is the error of a name that is not a reference to a registry.
var ErrReference = errors.New("not a reference in a registry")

// Projection returns the locations of the files that are published under a reference.
func (s *Source) Projection(ctx context.Context, name string) (stream.Projection, error) {
	named, ok := Reference(name)
	if !ok {
		return nil, fmt.Errorf("%s: %w", name, ErrReference)
	}
	files, err := s.Published(ctx, named)
	if err != nil {
		return nil, err
	}
	return stream.OCI(reference.TrimNamed(named).String(), files)
}

// Reference parses a reference to a registry. It is not ok if the name could be
// that of a missing file: if it neither begins with docker:// nor with a host that
// has a dot or a port.
func Reference(name string) (ref reference.Named, ok bool) {
	rest, explicit := strings.CutPrefix(name, "docker://")
	host, _, _ := strings.Cut(rest, "/")
	ref, err := reference.ParseNormalizedNamed(rest)
	if err != nil || !explicit && (host == rest || !strings.ContainsAny(host, ".:") || strings.HasPrefix(host, ".")) {
		return nil, false
	}
	return reference.TagNameOnly(ref), true
}
