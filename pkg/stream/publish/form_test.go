package publish

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
)

// isArtifact reports whether a manifest uses fields of OCI 1.1.
func isArtifact(m map[string]any) bool { return m["artifactType"] != nil || m["subject"] != nil }

// hasOwnConfig reports whether the config of a manifest is no container's.
func hasOwnConfig(m map[string]any) bool {
	c, ok := m["config"].(map[string]any)
	return ok && c["mediaType"] != imgspec.MediaTypeImageConfig
}

// TestForms publishes into registries that each reject one more form.
func TestForms(t *testing.T) {
	for _, tc := range []struct {
		name   string
		want   Form
		refuse func(m map[string]any) int
		no     bool // referrers API
	}{
		{"all", Artifact, nil, false},
		{"no referrers API, and a header that lies", ArtifactTag, nil, true},
		{"405 on artifactType and subject, as ECR", ConfigType, func(m map[string]any) int {
			if isArtifact(m) {
				return http.StatusMethodNotAllowed
			}
			return 0
		}, true},
		{"500 on an index of artifacts, as Quay", ConfigType, func(m map[string]any) int {
			if isArtifact(m) && m["manifests"] != nil {
				return http.StatusInternalServerError
			}
			return 0
		}, false},
		{"containers only, as an allow-list", Container, func(m map[string]any) int {
			if isArtifact(m) || hasOwnConfig(m) {
				return http.StatusBadRequest
			}
			return 0
		}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			reg := newFake(t)
			reg.put("os", system)
			reg.refuse, reg.noReferrers = tc.refuse, tc.no
			dir := t.TempDir()
			disks := images("x86_64", 20000)[:2]
			makeBuild(t, dir, "x86_64", disks, container(reg.host))
			o := options(t)
			o.Memory = filepath.Join(t.TempDir(), "cache", "registries.json")
			got := publish(t, dir, reg.host+"/os:1", o)
			if got.Form != tc.want || len(got.Notes) != slices.Index(forms, tc.want) {
				t.Fatalf("%s: %q", got.Form, got.Notes)
			}
			checkForm(t, reg, got, disks)
			checkReferrers(t, reg, got)

			// The next run begins with the proven form; a 500 proves nothing.
			passing := strings.HasPrefix(tc.name, "500")
			text, err := os.ReadFile(o.Memory)
			if err != nil || strings.Contains(string(text), string(tc.want)) == passing {
				t.Errorf("%s, %v", text, err)
			}
			puts := reg.count("PUT /v2/os/manifests/")
			again := publish(t, dir, reg.host+"/os:1", o)
			if again.Digest != got.Digest || again.Form != got.Form {
				t.Errorf("%+v", again)
			}
			if n := reg.count("PUT /v2/os/manifests/") - puts; !passing && n > len(got.Entries)+1 {
				t.Errorf("%d manifests were tried, what is refused is known", n)
			}
			// A repaired registry is noticed with --as artifact.
			if !tc.want.isArtifact() {
				reg.refuse, reg.noReferrers = nil, false
				if !passing {
					o.As = "artifact"
				}
				if again = publish(t, dir, reg.host+"/os:1", o); again.Form != Artifact {
					t.Errorf("%+v", again)
				}
				o.As = "auto"
				if again = publish(t, dir, reg.host+"/os:1", o); again.Form != Artifact {
					t.Errorf("%+v", again)
				}
			}
		})
	}
	reg := newFake(t)
	reg.refuse = func(map[string]any) int { return http.StatusForbidden }
	dir := t.TempDir()
	makeBuild(t, dir, "x86_64", images("x86_64", 20000)[:2], nil)
	if _, err := Publish(t.Context(), dir, reg.host+"/os:1", options(t)); err == nil || strings.Contains(err.Error(), "form") || reg.count("PUT /v2/os/manifests/") != 1 {
		t.Errorf("what is forbidden was tried in another form: %v", err)
	}
}

// checkForm looks at the manifests of a form, and finds the files in it.
func checkForm(t *testing.T, reg *fake, r *Result, disks []image) {
	t.Helper()
	x := reg.index(t, "os", "1")
	if (x.ArtifactType != "") != r.Form.isArtifact() || x.Annotations[stream.AnnotationForm] != r.Form.mark() {
		t.Errorf("%+v", x)
	}
	for _, d := range x.Manifests {
		var m imgspec.Manifest
		reg.read(t, "os", d.Digest.String(), &m)
		config, typ := m.Config.MediaType, m.Layers[0].MediaType
		blob := reg.blobs["os@"+m.Layers[0].Digest.String()]
		switch r.Form {
		case Artifact, ArtifactTag:
			if m.ArtifactType != typ || d.ArtifactType != typ || config != imgspec.MediaTypeEmptyJSON || m.Subject == nil {
				t.Errorf("%+v", m)
			}
		case ConfigType:
			if m.ArtifactType != "" || d.ArtifactType != "" || config != typ || m.Subject != nil {
				t.Errorf("%+v", m)
			}
		case Container:
			if m.ArtifactType != "" || config != imgspec.MediaTypeImageConfig || typ != imgspec.MediaTypeImageLayer || m.Subject != nil {
				t.Errorf("%+v", m)
			}
			blob = unpack(t, reg, m)
		}
		for _, i := range disks {
			if i.platform == d.Annotations[stream.AnnotationPlatform] && !bytes.Equal(blob, i.content) {
				t.Errorf("%s: not the file", i.platform)
			}
		}
	}
}

// unpack returns the file in a container, after a look at its config.
func unpack(t *testing.T, reg *fake, m imgspec.Manifest) []byte {
	t.Helper()
	var config imgspec.Image
	if err := json.Unmarshal(reg.blobs["os@"+m.Config.Digest.String()], &config); err != nil {
		t.Fatal(err)
	}
	layer := reg.blobs["os@"+m.Layers[0].Digest.String()]
	if config.Architecture != "amd64" || config.OS != "linux" || config.RootFS.DiffIDs[0] != digest.FromBytes(layer) || config.Config.Labels[imgspec.AnnotationTitle] == "" {
		t.Errorf("%+v", config)
	}
	r := tar.NewReader(bytes.NewReader(layer))
	var b bytes.Buffer
	for _, want := range []string{"disk/", "disk/" + m.Annotations[imgspec.AnnotationTitle]} {
		h, err := r.Next()
		if err != nil || h.Name != want || h.Uid != 107 || h.Gid != 107 {
			t.Fatalf("%+v, %v", h, err)
		}
		if _, err := b.ReadFrom(r); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Next(); err == nil {
		t.Error("more than one file")
	}
	return b.Bytes()
}

// checkReferrers finds the images from the operating system: by the API, or by
// the tag that takes its place.
func checkReferrers(t *testing.T, reg *fake, r *Result) {
	t.Helper()
	tag := "sha256-" + digest.FromBytes(system).Encoded()
	_, tagged := reg.tags["os:"+tag]
	if tagged != (r.Form == ArtifactTag) {
		if !(tagged && r.Form == ConfigType) { // from the attempt in the artifact form
			t.Errorf("tag %s: %v", tag, tagged)
		}
	}
	if r.Form != ArtifactTag {
		return
	}
	var got, want []string
	for _, d := range reg.index(t, "os", tag).Manifests {
		got = append(got, d.Digest.String()+d.ArtifactType+d.Annotations[stream.AnnotationPlatform])
	}
	for _, e := range r.Entries {
		want = append(want, e.Digest+e.Type+e.Platform)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("referrers %q, want %q", got, want)
	}
}

// TestSameIndex: the index has the same bytes in both artifact forms, and the plans
// contain its digest.
func TestSameIndex(t *testing.T) {
	reg := newFake(t)
	reg.put("os", system)
	dir := t.TempDir()
	makeBuild(t, dir, "x86_64", images("x86_64", 5000)[:2], container(reg.host))
	var planned []string
	o := options(t)
	o.Planned = func(p *Plan) { planned = append(planned, p.Result.Digest) }
	one := publish(t, dir, reg.host+"/os:1", o)
	reg.noReferrers = true
	two := publish(t, dir, reg.host+"/os:2", o)
	if one.Form != Artifact || two.Form != ArtifactTag || one.Digest != two.Digest || !slices.Equal(planned, []string{one.Digest, two.Digest, two.Digest}) {
		t.Errorf("%s as %s, %s as %s, planned %q", one.Digest, one.Form, two.Digest, two.Form, planned)
	}
}

// TestMemory: a form that was not probed is not remembered, and a memory that cannot be
// written is only a note.
func TestMemory(t *testing.T) {
	reg := newFake(t)
	dir := t.TempDir()
	makeBuild(t, dir, "x86_64", images("x86_64", 5000)[:2], nil) // so that nothing has a subject
	o := options(t)
	o.As, o.Memory = "artifact", filepath.Join(t.TempDir(), "registries.json")
	known := []byte(`{"registries":{"` + reg.host + `":"artifact-tag"}}`)
	write(t, o.Memory, known)
	if r := publish(t, dir, reg.host+"/os:1", o); r.Form != Artifact {
		t.Errorf("%+v", r)
	}
	if text, err := os.ReadFile(o.Memory); err != nil || !bytes.Equal(text, known) {
		t.Errorf("%s, %v", text, err)
	}
	o.Memory = filepath.Join(o.Memory, "registries.json") // below a file
	r := publish(t, dir, reg.host+"/os:2", o)
	if len(r.Notes) == 0 || !strings.Contains(r.Notes[len(r.Notes)-1], "not remembered: ") {
		t.Errorf("%q", r.Notes)
	}
}
