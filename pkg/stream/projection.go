package stream

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/opencontainers/go-digest"
	"oras.land/oras-go/v2/registry"
)

// A Projection says where a file of a build can be had.
type Projection func(m *Meta, stream string, file Artifact) (*Download, error)

// HTTP is the projection of files that a web server has below a base URL. In
// that, {stream}, {version} and {arch} stand for what the file belongs to:
// coreos-assembler's is https://.../{stream}/builds/{version}/{arch}.
func HTTP(base string) (Projection, error) {
	// Seen without its variables, which may not be part of the host.
	if err := checkURL(strings.NewReplacer("{", "", "}", "").Replace(base)); err != nil {
		return nil, fmt.Errorf("base URL: %w", err)
	}
	if u, err := url.Parse(base); err != nil || strings.ContainsAny(u.Host, "{}") || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("base URL: %q: want a host, and a path alone", base)
	}
	return func(m *Meta, stream string, file Artifact) (*Download, error) {
		location := strings.TrimRight(Expand(base, m.BuildID, stream, m.BaseArch), "/") + "/" + url.PathEscape(file.Path)
		return download(location, file, nil), checkURL(location)
	}, nil
}

// Expand puts in a URL what its variables stand for.
func Expand(base, version, stream, arch string) string {
	return strings.NewReplacer("{version}", url.PathEscape(version), "{stream}", url.PathEscape(stream), "{arch}", url.PathEscape(arch)).Replace(base)
}

// A Published file is in a registry: it is the one layer of a manifest, or it is
// in that layer, which is a container's.
type Published struct {
	Manifest  digest.Digest
	Container bool
}

// OCI is the projection of files in a registry, which are found by their sha256.
func OCI(repository string, files map[string]Published) (Projection, error) {
	ref, err := registry.ParseReference(repository)
	if err != nil || ref.Reference != "" {
		return nil, fmt.Errorf("repository %q: want one without tag and digest: registry.example/path", repository)
	}
	return func(m *Meta, stream string, file Artifact) (*Download, error) {
		f, ok := files[file.SHA256]
		if !ok {
			return nil, fmt.Errorf("%s: not in %s (sha256:%s)", file.Path, repository, file.SHA256)
		}
		oci := &OCIRef{repository, repository + "@" + f.Manifest.String()}
		if f.Container { // a signature is where cosign puts it
			d := download(docker+oci.DigestRef, file, oci)
			d.Signature = docker + repository + ":" + strings.Replace(f.Manifest.String(), ":", "-", 1) + ".sig"
			return d, nil
		}
		return download("https://"+ref.Host()+"/v2/"+ref.Repository+"/blobs/sha256:"+file.SHA256, file, oci), nil
	}, nil
}

// docker is what the location of a file in a container begins with, which no
// plain GET can fetch.
const docker = "docker://"

func download(location string, file Artifact, oci *OCIRef) *Download {
	return &Download{location, location + ".sig", file.SHA256, file.UncompressedSHA256, oci}
}

// checkURL sees that a URL is one that every reader of a document can fetch.
func checkURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return err
	case u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		return fmt.Errorf("%q is not an absolute http or https URL", s)
	case u.User != nil:
		return errors.New("there are credentials in it, that all could read")
	}
	return nil
}
