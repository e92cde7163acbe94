package system

import (
	"cmp"
	"errors"
	"io/fs"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/coreos"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/oci"
)

// unverified is the prefix of an origin whose signature is not verified.
const unverified = "ostree-unverified-registry:"

// maxPolicy is the largest size of a containers-policy.json in bytes.
const maxPolicy = 1 << 20

// DefaultOrigin returns the origin of a container's updates if no option chooses
// one: the place that it was pulled from, or a name on localhost if that is not a
// registry. The host cannot ask such a registry, and no path of the machine that
// made the image gets into it.
func DefaultOrigin(img *oci.Image) string {
	if origin, ok := RegistryOrigin(img.Reference); ok {
		return origin
	}
	return unverified + "localhost/" + repositoryName(img.Labels[labelOSName], img.Digest)
}

// RegistryOrigin returns the default origin of a reference of the form
// docker://NAME[:TAG]@DIGEST. Without a tag the origin keeps the digest and the
// system has no updates. Other references are not ok.
func RegistryOrigin(reference string) (origin string, ok bool) {
	name, ok := strings.CutPrefix(reference, "docker://")
	if !ok {
		return "", false
	}
	name, digest, _ := strings.Cut(name, "@")
	if !strings.Contains(path.Base(name), ":") {
		name += "@" + digest
	}
	return unverified + name, true
}

// repositoryName returns a name for a container that is not in a registry.
func repositoryName(osName string, container digest.Digest) string {
	words := strings.FieldsFunc(strings.ToLower(fileName(osName)), func(r rune) bool { return !isAlphanumeric(r) })
	return cmp.Or(strings.Join(words, "-"), "os") + "@" + container.String()
}

// policyFiles are the paths of containers-policy.json in a system. The first
// that exists counts.
var policyFiles = []string{"etc/containers/policy.json", "usr/share/containers/policy.json"}

// updateOrigin returns the origin of a system: the chosen one, or the reference
// in the form that the system's own policy for containers requires. The error is
// the reason why the system would not accept its updates from there.
func updateOrigin(chosen, reference string, root *rootfs.Inode) (string, error) {
	name, inRegistry := strings.CutPrefix(reference, "docker://")
	origin := cmp.Or(chosen, unverified+name)
	if !inRegistry || chosen == "" && strings.Contains(name, "@") { // never updated
		return origin, nil
	}
	signed, err := signatureRequired(name, root)
	switch {
	case chosen == "" && signed:
		origin = "ostree-image-signed:" + reference
	case err == nil && !signed && strings.HasPrefix(chosen, "ostree-image-signed:"):
		err = errors.New("no policy in the container requires signatures for that name and rejects everything else")
	}
	return origin, err
}

// signatureRequired reports whether the policy of a system requires a signature
// of the image of a name.
func signatureRequired(name string, root *rootfs.Inode) (bool, error) {
	root = coreos.Running(root)
	for _, file := range policyFiles {
		text, err := root.ReadFile(file, maxPolicy)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return false, err
		}
		return oci.SignatureRequired(text, file, name)
	}
	return false, nil
}
