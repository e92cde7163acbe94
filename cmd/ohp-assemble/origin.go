package main

import (
	"cmp"
	"errors"
	"io/fs"
	"path"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/coreos"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/oci"
)

// defaultOrigin is where the host looks for updates if the user does not say:
// where the image came from. A container from a folder is on no registry that
// the host could ask, and its path is nobody's business, so that it gets a name
// on a registry that does not exist.
func defaultOrigin(image *oci.Image) string {
	if name, ok := strings.CutPrefix(image.Reference, "docker://"); ok {
		name, digest, _ := strings.Cut(name, "@")
		if !strings.Contains(path.Base(name), ":") {
			name += "@" + digest // without a tag there is nothing to follow
		}
		return "ostree-unverified-registry:" + name
	}
	// Of what a label may hold, this is left for the name of a repository.
	parts := strings.FieldsFunc(strings.ToLower(fileName(image.Labels["com.coreos.osname"])), func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9')
	})
	return "ostree-unverified-registry:localhost/" + cmp.Or(strings.Join(parts, "-"), "os") + "@" + image.Digest.String()
}

// policyFiles are where a system keeps its containers-policy.json, the first
// one that is there counts.
var policyFiles = []string{"etc/containers/policy.json", "usr/share/containers/policy.json"}

// updateOrigin returns the origin of a system: the chosen one, or else the
// reference in the form that the system's own policy for containers asks for.
// The error tells why the system would not accept its updates from there.
func updateOrigin(chosen, reference string, root *rootfs.Inode) (string, error) {
	name, inRegistry := strings.CutPrefix(reference, "docker://")
	origin := cmp.Or(chosen, "ostree-unverified-registry:"+name)
	if !inRegistry || chosen == "" && strings.Contains(name, "@") { // which is never updated
		return origin, nil
	}
	signed, err := signatureRequired(name, root)
	switch {
	case chosen == "" && signed:
		origin = "ostree-image-signed:" + reference
	case err == nil && !signed && strings.HasPrefix(chosen, "ostree-image-signed:"):
		err = errors.New("no policy in the container wants images of that name to be signed, and accepts nothing by default")
	}
	return origin, err
}

func signatureRequired(name string, root *rootfs.Inode) (bool, error) {
	root = coreos.Running(root)
	for _, file := range policyFiles {
		text, err := root.ReadFile(file, readLimit)
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
