package source

import (
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"strings"

	"go.podman.io/image/v5/docker/reference"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/build"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/pull"
)

// CheckDigest returns an error unless the SHA-256 that a stream lists is one.
func CheckDigest(d *stream.Download) error {
	if b, err := hex.DecodeString(d.SHA256); err != nil || len(b) != 32 {
		return fmt.Errorf("sha256 %q: not a SHA-256 in hexadecimal", d.SHA256)
	}
	return nil
}

// Image finds a file of a stream in its registry. The download must have a reference
// to a registry. The error is one of registry.ErrVerify if the registry has another
// file there.
func (s *Source) Image(ctx context.Context, d *stream.Download, progress registry.Progress) (*pull.Image, error) {
	named, err := reference.ParseNormalizedNamed(d.OCI.DigestRef)
	if err != nil {
		return nil, fmt.Errorf("digest-ref %q: %w", d.OCI.DigestRef, err)
	}
	o := s.Registry
	o.Progress = progress
	all, err := pull.List(ctx, named, o)
	if err != nil {
		return nil, err
	}
	want := strings.ToLower(d.SHA256)
	if len(all) != 1 || all[0].FileSHA256() != want && all[0].FileSHA256() != "" {
		return nil, fmt.Errorf("%w: %s is not the file with sha256 %s that the stream lists", registry.ErrVerify, d.OCI.DigestRef, want)
	}
	return all[0], nil
}

// Releases returns the releases of a stream that the names stand for: folders of builds,
// whose files are at the locations of the projection, and documents of the kind
// release.json.
func (s *Source) Releases(ctx context.Context, names []string, streamName string, where stream.Projection) (all []*stream.Document, err error) {
	for _, name := range names {
		var some []*stream.Document
		if info, statErr := os.Stat(name); statErr == nil && info.IsDir() {
			some, err = build.Releases(os.DirFS(name), name, streamName, where)
		} else {
			some = make([]*stream.Document, 1)
			some[0], err = s.Release(ctx, name, streamName)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}
