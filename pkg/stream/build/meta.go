package build

import (
	"strings"
	"time"

	"go.podman.io/image/v5/docker/reference"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/system"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
)

// metaOf returns meta.json of a system, without images.
func metaOf(s *system.System) *stream.Meta {
	return &stream.Meta{
		BuildID: s.Version, Name: s.Name, OSTreeCommit: s.Commit.String(), OSTreeVersion: s.Version,
		OSTreeTimestamp: time.Unix(s.Time.Sec, 0).UTC().Format(time.RFC3339), BaseArch: s.Arch, Imported: true,
		Container: containerOf(s.Container.Reference, s.Origin, s.Container.Digest.String()),
		Images:    map[string]stream.Artifact{},
	}
}

// containerOf names the container of a system by the registry that it is in or will
// be in. An archive or a folder of this machine is named by the origin of its
// updates.
func containerOf(ref, origin, digest string) *stream.Container {
	name, isRegistry := strings.CutPrefix(ref, "docker://")
	if _, after, ok := strings.Cut(origin, "-registry:"); ok && !isRegistry {
		name = after
	}
	c := &stream.Container{Image: name, Digest: digest}
	if named, err := reference.ParseNormalizedNamed(name); err == nil {
		c.Image = reference.TrimNamed(named).String()
		if tagged, ok := named.(reference.Tagged); ok {
			c.Tags = []string{tagged.Tag()}
		}
	} else if repository, _, ok := strings.Cut(name, "@"); ok {
		c.Image = repository
	}
	return c
}
