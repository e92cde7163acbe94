package stream

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/opencontainers/go-digest"
	"oras.land/oras-go/v2/registry"
)

// A Projection returns the location of a file of a build.
type Projection func(m *Meta, stream string, file Artifact) (*Download, error)

// HTTP is the projection of files on a web server, below a base URL. {stream},
// {version} and {arch} in the URL are replaced; the base URL of Fedora CoreOS is
// https://.../{stream}/builds/{version}/{arch}.
func HTTP(base string) (Projection, error) {
	// The variables must not be part of the host.
	if err := checkURL(strings.NewReplacer("{", "", "}", "").Replace(base)); err != nil {
		return nil, fmt.Errorf("base URL: %w", err)
	}
	if u, err := url.Parse(base); err != nil || strings.ContainsAny(u.Host, "{}") || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("base URL: %q: must have a host and a path, and nothing else", base)
	}
	return func(m *Meta, stream string, file Artifact) (*Download, error) {
		location := strings.TrimRight(Expand(base, m.BuildID, stream, m.BaseArch), "/") + "/" + url.PathEscape(file.Path)
		return download(location, file, nil), checkURL(location)
	}, nil
}

// Expand replaces {version}, {stream} and {arch} in a URL.
func Expand(base, version, stream, arch string) string {
	return strings.NewReplacer("{version}", url.PathEscape(version), "{stream}", url.PathEscape(stream), "{arch}", url.PathEscape(arch)).Replace(base)
}

// A Published file is in a registry: as the only layer of a manifest, or inside the
// only layer of a container.
type Published struct {
	Manifest  digest.Digest
	Container bool // the file is inside the layer
}

// OCI is the projection of files in a repository. files has the published files by
// their SHA-256 in hexadecimal.
func OCI(repository string, files map[string]Published) (Projection, error) {
	ref, err := registry.ParseReference(repository)
	if err != nil || ref.Reference != "" {
		return nil, fmt.Errorf("repository %q: must be without tag and digest: registry.example/path", repository)
	}
	return func(m *Meta, stream string, file Artifact) (*Download, error) {
		f, ok := files[file.SHA256]
		if !ok {
			return nil, fmt.Errorf("%s: not in %s (sha256:%s)", file.Path, repository, file.SHA256)
		}
		oci := &OCIRef{repository, repository + "@" + f.Manifest.String()}
		if f.Container { // the signature has the tag that cosign gives it
			d := download(docker+oci.DigestRef, file, oci)
			d.Signature = docker + repository + ":" + strings.Replace(f.Manifest.String(), ":", "-", 1) + ".sig"
			return d, nil
		}
		return download("https://"+ref.Host()+"/v2/"+ref.Repository+"/blobs/sha256:"+file.SHA256, file, oci), nil
	}, nil
}

// docker is the prefix of the location of a file in a container. A plain GET cannot
// fetch it.
const docker = "docker://"

func download(location string, file Artifact, oci *OCIRef) *Download {
	return &Download{location, location + ".sig", file.SHA256, file.UncompressedSHA256, oci}
}

// checkURL returns an error unless every reader of a document can fetch a URL.
func checkURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return err
	case u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		return fmt.Errorf("%q is not an absolute http or https URL", s)
	case u.User != nil:
		return errors.New("the URL has credentials, which every reader would see")
	}
	return nil
}
