package oci

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree"
)

const vector = "testdata/container/oci"

// TestVector pulls the small image that was made with libostree, and reads its
// base commit.
func TestVector(t *testing.T) {
	var want struct {
		Manifest, Config digest.Digest
		Layers, DiffIDs  []digest.Digest
		Base             string `json:"base_commit"`
	}
	b, err := os.ReadFile("testdata/container/expected.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &want); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{"oci:" + vector, "oci:" + vector + ":latest", "oci:" + vector + "@" + want.Manifest.String(), "oci:" + vector + ":latest@" + want.Manifest.String()} {
		img, err := Pull(t.Context(), ref, Options{Cache: t.TempDir(), Arch: "x86_64"})
		if err != nil {
			t.Fatal(err)
		}
		defer img.Close()
		if img.Digest != want.Manifest || digest.FromBytes(img.Config) != want.Config || img.Labels["ostree.commit"] != want.Base || img.Created.Unix() != 1714979289 {
			t.Errorf("%s: got %s, labels %v, created %v", ref, img.Digest, img.Labels, img.Created)
		}
		if r, err := parseReference(img.Reference); err != nil || r.digest != want.Manifest {
			t.Errorf("%s: reference %s", ref, img.Reference)
		}
		repo := ostree.NewRepo()
		for i, l := range img.Layers {
			if l.Digest != want.Layers[i] || l.DiffID != want.DiffIDs[i] {
				t.Errorf("%s: layer %d is %s, %s", ref, i, l.Digest, l.DiffID)
			}
			addObjects(t, repo, l)
		}
		// The image lacks the trees below its root, so no tree can be made of it.
		if len(repo.Files) != 9 || len(repo.Metadata) != 3 {
			t.Errorf("%d files, %d other objects, want 9 and 3", len(repo.Files), len(repo.Metadata))
		}
		id, err := ostree.ParseChecksum("dced09e3696f790da9833b6cf3a364a50fb20f32c3000acc738a90dea4162580")
		if err != nil {
			t.Fatal(err)
		}
		if hello, err := rootfs.ReadAll(repo.Files[id].Content, 100); err != nil || string(hello) != "hello world\n" {
			t.Errorf("usr/bin/hello: %q, %v", hello, err)
		}
		if derived := indexOf(t, img.Layers[2]).Entries; len(derived) != 11 {
			t.Errorf("derived layer has %d entries: %v", len(derived), derived)
		}
	}
}

func addObjects(t *testing.T, repo *ostree.Repo, l *Layer) {
	t.Helper()
	for _, o := range indexOf(t, l).Objects {
		content := l.Blob(o.Off, o.Size)
		if o.Type == ostree.FileObject {
			if err := repo.AddFile(o.ID, o.UID, o.GID, o.Mode, o.Target, o.Xattrs, content); err != nil {
				t.Fatal(err)
			}
			continue
		}
		b, err := rootfs.ReadAll(content, ostree.MaxMetadata)
		if err != nil {
			t.Fatal(err)
		}
		if id := repo.AddMetadata(o.Type, b); id != o.ID {
			t.Errorf("%s: content is %s", o.ID, id)
		}
	}
}
