// Package registry is a client of container registries, for reading and for
// writing. It finds a registry as skopeo does: with the credentials,
// certificates and exceptions of this machine.
//
//	errors.go    kinds of errors, which all packages that read containers share
//	progress.go  the interface for progress bars
//	options.go   credentials, certificates, timeouts
//	mirrors.go   the locations of a repository in registries.conf(5)
//	repo.go      Repo, a repository: Open, requests, tokens
//	manifest.go  Resolve, Manifest, Content, all in memory
//	blob.go      ReadBlob, which resumes after a broken connection
//	referrers.go Referrers, by the API or by the fallback tag
//	putblob.go   PutBlob, which resumes too; upload.go has its session
//	push.go      Pusher, which sends a Graph of blobs, manifests and tags
//	transport.go, retry.go, idle.go, answer.go  HTTP: patience, repetition, errors
//
// A request that fails for a temporary reason is repeated after the time that
// the registry asks for. Credentials go to the registry and to its token
// server, never to the target of a redirect. Manifests and small blobs are
// verified against their digests; the reader of a large blob verifies it.
//
// The protocol is the OCI distribution specification,
// https://github.com/opencontainers/distribution-spec.
package registry
