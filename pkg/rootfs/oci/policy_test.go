package oci

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// Media type and annotation of cosign's signatures, as its specification names them.
const (
	sigstorePayload   = "application/vnd.dev.cosign.simplesigning.v1+json"
	sigstoreSignature = "dev.cosignproject.cosign/signature"
)

// A signer makes the signatures of a test.
type signer struct {
	gpg *openpgp.Entity
	ec  crypto.Signer
}

func newSigner(t *testing.T, config *packet.Config) *signer {
	t.Helper()
	e, err := openpgp.NewEntity("Test", "", "test@example.org", config)
	if err != nil {
		t.Fatal(err)
	}
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{e, k}
}

// public writes the public keys of both kinds and returns their paths.
func (s *signer) public(t *testing.T) (gpg, sigstore string) {
	t.Helper()
	var b bytes.Buffer
	if err := s.gpg.Serialize(&b); err != nil {
		t.Fatal(err)
	}
	gpg, sigstore = filepath.Join(t.TempDir(), "key.gpg"), filepath.Join(t.TempDir(), "key.pub")
	write(t, gpg, b.Bytes())
	write(t, sigstore, publicPEM(t, s.ec))
	return gpg, sigstore
}

func publicPEM(t *testing.T, k crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func statementFor(kind, name string, d digest.Digest) []byte {
	return fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":%q},"image":{"docker-manifest-digest":%q},"type":%q},"optional":{"creator":"test","timestamp":1}}`, name, d, kind)
}

func (s *signer) simple(t *testing.T, payload []byte, config *packet.Config) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := openpgp.Sign(&b, s.gpg, nil, config)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(payload)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func signRaw(t *testing.T, k crypto.Signer, payload []byte) []byte {
	t.Helper()
	message, opts := payload, crypto.SignerOpts(crypto.Hash(0))
	if _, ok := k.(ed25519.PrivateKey); !ok {
		sum := sha256.Sum256(payload)
		message, opts = sum[:], crypto.SHA256
	}
	sig, err := k.Sign(rand.Reader, message, opts)
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

// attach makes the image of signatures, and has the registry serve it.
func (s *fakeRegistry) attach(d digest.Digest, payload, signature []byte) {
	s.attachWith(d, payload, map[string]string{sigstoreSignature: base64.StdEncoding.EncodeToString(signature)})
}

// attachWith is attach with the annotations of the signature.
func (s *fakeRegistry) attachWith(d digest.Digest, payload []byte, annotations map[string]string) {
	m := &testImage{blobs: s.image.blobs}
	m.manifest = imgspec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspec.MediaTypeImageManifest}
	m.manifest.Config = m.put(imgspec.MediaTypeImageConfig, []byte("{}"))
	l := m.put(sigstorePayload, payload)
	l.Annotations = annotations
	m.manifest.Layers = []imgspec.Descriptor{l}
	b := mustJSON(m.manifest)
	old := s.fail
	s.fail = func(w http.ResponseWriter, r *http.Request, path string, n int) bool {
		if path == "manifests/"+strings.Replace(d.String(), ":", "-", 1)+".sig" {
			w.Header().Set("Content-Type", imgspec.MediaTypeImageManifest)
			w.Write(b)
			return true
		}
		return old != nil && old(w, r, path, n)
	}
}

// lookaside stores a simple signature and returns the registries.d for it.
func (s *fakeRegistry) lookaside(t *testing.T, d digest.Digest, signature []byte) string {
	t.Helper()
	store, conf := t.TempDir(), t.TempDir()
	if signature != nil {
		write(t, filepath.Join(store, fmt.Sprintf("os@sha256=%s/signature-1", d.Encoded())), signature)
	}
	write(t, filepath.Join(conf, "test.yaml"), []byte("default-docker:\n  lookaside: file://"+store+"\n"))
	return conf
}

// readAttachments makes a registries.d demand sigstore signatures in the registry.
func readAttachments(t *testing.T, registriesD string) {
	t.Helper()
	name := filepath.Join(registriesD, "test.yaml")
	old, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if old == nil {
		old = []byte("default-docker:\n")
	}
	write(t, name, append(old, "  use-sigstore-attachments: true\n"...))
}

func (s *fakeRegistry) name() string {
	return strings.TrimSuffix(strings.TrimPrefix(s.ref, "docker://"), ":stable")
}

// writePolicy writes a policy.json and returns its path. It skips the test if
// policies are not part of the test binary.
func writePolicy(t *testing.T, format string, args ...any) string {
	t.Helper()
	if !HasPolicies {
		treetest.Missing(t, "OHP_TOOLS", "policies are not built in: test with -tags containers_image_openpgp")
	}
	name := filepath.Join(t.TempDir(), "policy.json")
	write(t, name, fmt.Appendf(nil, format, args...))
	return name
}

// checkRejected pulls and wants the policy to object: with nothing but the
// manifest and signatures asked for, and nothing stored.
func checkRejected(t *testing.T, reg *fakeRegistry, ref string, o Options, want string) {
	t.Helper()
	before := snapshot(t, o.Cache)
	blobs := reg.blobGets()
	_, err := Pull(t.Context(), ref, o)
	checkFault(t, err, registry.ErrAccess, want)
	if got := snapshot(t, o.Cache); len(got) != len(before) {
		t.Errorf("%d files in the cache, before there were %d", len(got), len(before))
	}
	if n := reg.blobGets(); n != blobs {
		t.Errorf("%d layers were asked for", n-blobs)
	}
	checkCache(t, o.Cache)
}

func checkAllowed(t *testing.T, ref string, o Options) {
	t.Helper()
	img, err := Pull(t.Context(), ref, o)
	if err != nil {
		t.Error(err)
		return
	}
	if contents(t, img)["etc/a"] != "a" {
		t.Error("contents differ")
	}
	img.Close()
}

const policyReject = `{"default":[{"type":"insecureAcceptAnything"}],"transports":{"docker":{%q:[{"type":"reject"}]}}}`

func TestPolicyScopes(t *testing.T) {
	m := newImage(tarball(file{"etc/a", "a"}))
	top := m.done()
	reg := serve(t, m, top)
	host, _, _ := strings.Cut(reg.name(), "/")
	byDigest := "docker://" + reg.name() + "@" + top.String()
	dir := m.layout(t, top)
	for _, scope := range []string{"", host, reg.name(), reg.name() + ":stable"} {
		o := options(t, t.TempDir())
		o.Policy = writePolicy(t, policyReject, scope)
		checkRejected(t, reg, reg.ref, o, "rejects it")
		if len(reg.gets) > 0 {
			t.Errorf("%q: a policy that rejects everything lets ask for %v", scope, reg.gets)
		}
		checkAllowed(t, "oci:"+dir, o)
	}
	o := options(t, t.TempDir())
	o.Policy = writePolicy(t, policyReject, reg.name()+":other")
	checkAllowed(t, reg.ref, o)

	// All is in the cache now, and the policy changes.
	o.Policy = writePolicy(t, policyReject, "")
	checkRejected(t, reg, reg.ref, o, "rejects it")
	checkRejected(t, reg, byDigest, o, "rejects it")
	o.Policy = writePolicy(t, `{"default":[{"type":"reject"}],"transports":{"oci":{%q:[{"type":"insecureAcceptAnything"}]}}}`, dir)
	checkRejected(t, reg, byDigest, o, "rejects it")
	checkAllowed(t, "oci:"+dir, o)
	gpg, _ := newSigner(t, nil).public(t)
	o.Policy = writePolicy(t, `{"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":%q}]}`, gpg)
	o.RegistriesD = t.TempDir()
	checkRejected(t, reg, byDigest, o, "no signature exists")
	checkRejected(t, reg, "oci:"+dir, o, "no signature exists")
}

func TestPolicyFile(t *testing.T) {
	m := newImage(tarball(file{"etc/a", "a"}))
	ref := "oci:" + m.layout(t, m.done())
	for text, want := range map[string]string{
		``:                               "unexpected end of JSON input",
		`{}`:                             "Default policy is missing",
		`{"default":[]}`:                 "requirements must not be empty",
		`{"default":[{}]}`:               `requirement type ""`,
		`{"default":[{"type":"trust"}]}`: `requirement type "trust"`,
		`{"default":[{"type":"insecureAcceptAnything"}],"transport":{}}`:                                                           `Unknown key "transport"`,
		`{"default":[{"type":"insecureAcceptAnything"}],"default":[{"type":"reject"}]}`:                                            `Duplicate key "default"`,
		`{"default":[{"type":"insecureAcceptAnything"}],"Default":[{"type":"reject"}]}`:                                            `Unknown key "Default"`,
		`{"default":[{"type":"insecureAcceptAnything"}]} {}`:                                                                       "after top-level value",
		`{"default":[{"type":"reject"}],"transports":{"docker":{"x":[]}}}`:                                                         "requirements must not be empty",
		`{"default":[{"type":"reject"}],"transports":{"docker":{"a/b":[{"type":"reject"}],"a/b":[{"type":"reject"}]}}}`:            `Duplicate key "a/b"`,
		`{"default":[{"type":"signedBy","keyPath":"x"}]}`:                                                                          `invalid keyType ""`,
		`{"default":[{"type":"signedBy","keyType":"GPGKeys"}]}`:                                                                    "actly one of keyPath",
		`{"default":[{"type":"sigstoreSigned","keyPath":"x","keyData":"eA=="}]}`:                                                   "actly one of keyPath",
		`{"default":[{"type":"sigstoreSigned","keyPath":"x","signedIdentity":{"type":"no"}}]}`:                                     `match type "no"`,
		`{"default":[{"type":"sigstoreSigned","keyPath":"x","signedIdentity":{"type":"exactReference","dockerReference":"a/b"}}]}`: "neither a tag nor digest",
		`{"default":[{"type":"insecureAcceptAnything","keyPath":"x"}]}`:                                                            `Unknown key "keyPath"`,
	} {
		o := options(t, t.TempDir())
		o.Policy = writePolicy(t, "%s", text)
		_, err := Pull(t.Context(), ref, o)
		checkFault(t, err, nil, want)
	}
	o := options(t, t.TempDir())
	o.Policy = "/none"
	if _, err := Pull(t.Context(), ref, o); err == nil || !strings.Contains(err.Error(), "/none: no such file") {
		t.Error(err)
	}
	// A transparency log is required, and the image has no signature.
	o.Policy = writePolicy(t, `{"default":[{"type":"sigstoreSigned","keyPath":"x","rekorPublicKeyPath":"y"}]}`)
	_, err := Pull(t.Context(), ref, o)
	checkFault(t, err, registry.ErrAccess, "no signature exists")
}

// TestSigned has signatures of both kinds, and all that can be wrong with them.
func TestSigned(t *testing.T) {
	m := newImage(tarball(file{"etc/a", "a"}))
	top := m.done()
	old := &packet.Config{Time: func() time.Time { return time.Now().Add(-48 * time.Hour) }}
	expiring := *old
	expiring.SigLifetimeSecs = 3600
	ours, other := newSigner(t, old), newSigner(t, old)
	gpg, sigstore := ours.public(t)
	otherGPG, otherSigstore := other.public(t)
	for name, tc := range map[string]struct {
		signer   *signer
		name     string // HOST stands for the registry's
		kind     string
		digest   digest.Digest
		config   *packet.Config
		spoil    func([]byte) []byte
		none     bool
		identity string
		byDigest bool
		keys     string // of the policy, instead
		want     string // "" allows
	}{
		"good":               {},
		"by digest":          {byDigest: true},
		"other tag":          {name: "HOST/os:old", want: "is not accepted"},
		"other tag, digest":  {name: "HOST/os:old", byDigest: true},
		"other repository":   {name: "HOST/so:stable", want: "is not accepted"},
		"no tag":             {name: "HOST/os", want: "is not accepted"},
		"whole repository":   {name: "HOST/os", identity: `{"type":"matchRepository"}`},
		"repository differs": {name: "HOST/so", identity: `{"type":"matchRepository"}`, want: "is not accepted"},
		"exact":              {identity: `{"type":"matchExact"}`},
		"exact, by digest":   {identity: `{"type":"matchExact"}`, byDigest: true, want: "is not accepted"},
		"that reference":     {name: "example.org/a:1", identity: `{"type":"exactReference","dockerReference":"example.org/a:1"}`},
		"not that reference": {name: "example.org/a:2", identity: `{"type":"exactReference","dockerReference":"example.org/a:1"}`, want: "is not accepted"},
		"that repository":    {name: "example.org/a:2", identity: `{"type":"exactRepository","dockerRepository":"example.org/a"}`},
		"not that one":       {name: "example.org/b:2", identity: `{"type":"exactRepository","dockerRepository":"example.org/a"}`, want: "is not accepted"},
		"remapped":           {name: "example.org/vendor/os:stable", identity: `{"type":"remapIdentity","prefix":"HOST/os","signedPrefix":"example.org/vendor/os"}`},
		"remapped not":       {name: "example.org/vendor/os:stable", identity: `{"type":"remapIdentity","prefix":"HOST/o","signedPrefix":"example.org/vendor/o"}`, want: "is not accepted"},
		"nothing":            {none: true, want: "no signature exists"},
		"another key":        {signer: other, want: "policy"},
		"one of two keys":    {signer: other, keys: "both"},
		"another image":      {digest: digest.FromString("x"), want: "Signature for digest sha256:2d711642b726"},
		"another kind":       {kind: "letter", want: "signature type letter"},
		"changed":            {spoil: func(b []byte) []byte { b[len(b)-3] ^= 1; return b }, want: "signature"},
		"garbage":            {spoil: func([]byte) []byte { return []byte("garbage") }, want: "signature"},
	} {
		t.Run(name, func(t *testing.T) {
			reg := serve(t, m, top)
			host, _, _ := strings.Cut(reg.name(), "/")
			ref := reg.ref
			if tc.byDigest {
				ref = "docker://" + reg.name() + "@" + top.String()
			}
			if tc.signer == nil {
				tc.signer = ours
			}
			if tc.name == "" {
				tc.name = "HOST/os:stable"
			}
			if tc.digest == "" {
				tc.digest = top
			}
			if tc.config == nil {
				tc.config = old
			}
			if tc.spoil == nil {
				tc.spoil = func(b []byte) []byte { return b }
			}
			if tc.identity != "" {
				tc.identity = `,"signedIdentity":` + strings.ReplaceAll(tc.identity, "HOST", host)
			}
			gpgKeys, sigstoreKeys := fmt.Sprintf(`"keyPath":%q`, gpg), fmt.Sprintf(`"keyPath":%q`, sigstore)
			if tc.keys == "both" {
				gpgKeys, sigstoreKeys = fmt.Sprintf(`"keyPaths":[%q,%q]`, gpg, otherGPG), fmt.Sprintf(`"keyPaths":[%q,%q]`, sigstore, otherSigstore)
			}
			kinds := [2]string{"atomic container signature", "cosign container image signature"}
			if tc.kind != "" {
				kinds = [2]string{tc.kind, tc.kind}
			}
			signed := strings.ReplaceAll(tc.name, "HOST", host)

			o := options(t, t.TempDir())
			o.Policy = writePolicy(t, `{"default":[{"type":"reject"}],"transports":{"docker":{"":[{"type":"signedBy","keyType":"GPGKeys",%s%s}]}}}`, gpgKeys, tc.identity)
			var simple []byte
			if !tc.none {
				simple = tc.spoil(tc.signer.simple(t, statementFor(kinds[0], signed, tc.digest), tc.config))
			}
			o.RegistriesD = reg.lookaside(t, top, simple)
			if tc.want == "" {
				checkAllowed(t, ref, o)
			} else {
				checkRejected(t, reg, ref, o, tc.want)
			}
			checkSkopeo(t, ref, o, tc.want == "")

			o.Cache, o.RegistriesD = t.TempDir(), t.TempDir()
			readAttachments(t, o.RegistriesD)
			o.Policy = writePolicy(t, `{"default":[{"type":"reject"}],"transports":{"docker":{"":[{"type":"sigstoreSigned",%s%s}]}}}`, sigstoreKeys, tc.identity)
			if !tc.none {
				payload := statementFor(kinds[1], signed, tc.digest)
				reg.attach(top, payload, tc.spoil(signRaw(t, tc.signer.ec, payload)))
			}
			if tc.want == "" {
				checkAllowed(t, ref, o)
			} else {
				checkRejected(t, reg, ref, o, tc.want)
			}
			checkSkopeo(t, ref, o, tc.want == "")
		})
	}
	t.Run("expired", func(t *testing.T) {
		reg := serve(t, m, top)
		o := options(t, t.TempDir())
		o.Policy = writePolicy(t, `{"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":%q}]}`, gpg)
		o.RegistriesD = reg.lookaside(t, top, ours.simple(t, statementFor("atomic container signature", reg.name()+":stable", top), &expiring))
		checkRejected(t, reg, reg.ref, o, "expired")
		checkSkopeo(t, reg.ref, o, false)
	})
	t.Run("both", func(t *testing.T) {
		reg := serve(t, m, top)
		o := options(t, t.TempDir())
		o.Policy = writePolicy(t, `{"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":%q},{"type":"sigstoreSigned","keyPath":%q}]}`, gpg, sigstore)
		o.RegistriesD = reg.lookaside(t, top, ours.simple(t, statementFor("atomic container signature", reg.name()+":stable", top), old))
		readAttachments(t, o.RegistriesD)
		checkRejected(t, reg, reg.ref, o, "use-sigstore-attachments: true")
		payload := statementFor("cosign container image signature", reg.name()+":stable", top)
		reg.attach(top, payload, signRaw(t, ours.ec, payload))
		checkAllowed(t, reg.ref, o)
	})
}

// checkSkopeo returns the verdict of skopeo about an image.
func checkSkopeo(t *testing.T, ref string, o Options, allowed bool) {
	t.Helper()
	t.Run("skopeo", func(t *testing.T) {
		out, err := exec.Command(treetest.Tool(t, "skopeo"), "--policy", o.Policy, "--registries.d", o.RegistriesD, "copy", "--src-tls-verify=false", "--remove-signatures", ref, "dir:"+t.TempDir()).CombinedOutput()
		for _, lacks := range []string{`Unknown key \"keyPaths\"`, "sigstore disabled"} {
			if bytes.Contains(out, []byte(lacks)) {
				t.Skipf("skopeo of Debian 12 cannot judge this policy: %s", lacks)
			}
		}
		if (err == nil) != allowed {
			t.Errorf("skopeo: %v: %s", err, out)
		}
	})
}

// TestSignedIndex: of an image of several architectures the one that is used
// must be signed.
func TestSignedIndex(t *testing.T) {
	m := newImage(tarball(file{"etc/a", "a"}))
	d := m.done()
	top := m.put("", mustJSON(imgspec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspec.MediaTypeImageIndex, Manifests: []imgspec.Descriptor{
		{MediaType: imgspec.MediaTypeImageManifest, Digest: d, Size: int64(len(m.blobs[d])), Platform: &imgspec.Platform{OS: "linux", Architecture: "amd64"}}}})).Digest
	s := newSigner(t, nil)
	gpg, sigstore := s.public(t)
	for _, signed := range []digest.Digest{top, d} {
		reg := serve(t, m, top)
		payload := statementFor("cosign container image signature", reg.name()+":stable", signed)
		reg.attach(signed, payload, signRaw(t, s.ec, payload))
		simple := s.simple(t, statementFor("atomic container signature", reg.name()+":stable", signed), nil)
		for _, policy := range []string{
			writePolicy(t, `{"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":%q}]}`, gpg),
			writePolicy(t, `{"default":[{"type":"sigstoreSigned","keyPath":%q}]}`, sigstore),
		} {
			o := options(t, t.TempDir())
			o.Policy, o.RegistriesD = policy, reg.lookaside(t, signed, simple)
			readAttachments(t, o.RegistriesD)
			if signed == d {
				checkAllowed(t, reg.ref, o)
			} else {
				checkRejected(t, reg, reg.ref, o, "no signature exists")
			}
		}
	}
}

// TestSignedPKI: the certificate of the signer is issued by a CA of the policy, for
// the email address in the policy.
func TestSignedPKI(t *testing.T) {
	m := newImage(tarball(file{"etc/a", "a"}))
	top := m.done()
	ca, leaf := newSigner(t, nil).ec, newSigner(t, nil).ec
	root := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	signer := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: root.NotBefore, NotAfter: root.NotAfter, EmailAddresses: []string{"test@example.org"},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}
	issue := func(c *x509.Certificate, key crypto.Signer) []byte {
		der, err := x509.CreateCertificate(rand.Reader, c, root, key.Public(), ca)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	reg := serve(t, m, top)
	payload := statementFor("cosign container image signature", reg.name()+":stable", top)
	reg.attachWith(top, payload, map[string]string{
		sigstoreSignature:                 base64.StdEncoding.EncodeToString(signRaw(t, leaf, payload)),
		"dev.sigstore.cosign/certificate": string(issue(signer, leaf)),
	})
	roots := base64.StdEncoding.EncodeToString(issue(root, ca))
	for email, want := range map[string]string{"test@example.org": "", "other@example.org": `Required email "other@example.org"`} {
		o := options(t, t.TempDir())
		o.RegistriesD = t.TempDir()
		readAttachments(t, o.RegistriesD)
		o.Policy = writePolicy(t, `{"default":[{"type":"sigstoreSigned","pki":{"caRootsData":%q,"subjectEmail":%q}}]}`, roots, email)
		if want == "" {
			checkAllowed(t, reg.ref, o)
		} else {
			checkRejected(t, reg, reg.ref, o, want)
		}
	}
}

// run runs a program and returns its output.
func run(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// TestSignedByGPG has an image that skopeo copied and gpg signed.
func TestSignedByGPG(t *testing.T) {
	skopeo, gpg := treetest.Tool(t, "skopeo"), treetest.Tool(t, "gpg")
	// The socket of the agent must have a short name.
	home, err := os.MkdirTemp("", "gpg")
	if err != nil {
		t.Fatal(err)
	}
	env := []string{"GNUPGHOME=" + home}
	t.Cleanup(func() {
		_ = exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run()
		os.RemoveAll(home)
	})
	run(t, env, gpg, "--batch", "--passphrase", "", "--quick-generate-key", "test@example.org", "ed25519", "sign", "1d")
	m := newImage(tarball(file{"etc/a", "a"}))
	src, dst := "oci:"+m.layout(t, m.done()), t.TempDir()
	run(t, env, skopeo, "--insecure-policy", "copy", "--sign-by", "test@example.org", "--sign-identity", "example.org/os:1", src, "dir:"+dst)
	reg := serve(t, m, m.done())
	for _, args := range [][]string{nil, {"--armor"}} {
		key := filepath.Join(t.TempDir(), "key")
		write(t, key, []byte(run(t, env, gpg, append(args, "--export", "test@example.org")...)))
		for name, want := range map[string]string{"example.org/os:1": "", "example.org/os:2": "is not accepted"} {
			o := options(t, t.TempDir())
			o.Policy = writePolicy(t, `{"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":%q,"signedIdentity":{"type":"exactReference","dockerReference":%q}}]}`, key, name)
			// Our verdict must be that of skopeo.
			err := exec.Command(skopeo, "--policy", o.Policy, "copy", "dir:"+dst, "dir:"+t.TempDir()).Run()
			if (err == nil) != (want == "") {
				t.Errorf("%s: skopeo says %v", name, err)
			}
			if want == "" {
				checkAllowed(t, "dir:"+dst, o)
			} else {
				checkRejected(t, reg, "dir:"+dst, o, want)
			}
		}
	}
}
