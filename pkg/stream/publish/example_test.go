package publish_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	other "github.com/google/go-containerregistry/pkg/registry"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/build"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/publish"
)

// A plan has all digests before anything is sent. The registry of this example
// is in this process and has no TLS.
func ExampleNewPlan() {
	dir, err := writeBuild("a disk")
	check(err)
	defer os.RemoveAll(dir)
	server := httptest.NewServer(other.New(other.Logger(log.New(io.Discard, "", 0)), other.WithReferrersSupport(true)))
	defer server.Close()
	repository := strings.TrimPrefix(server.URL, "http://") + "/os"

	ctx, verify := context.Background(), false
	plan, err := publish.NewPlan(ctx, dir, repository+":43-images", publish.Options{
		Registry: registry.Options{TLSVerify: &verify, RegistryConf: os.DevNull},
	})
	check(err)
	for _, e := range plan.Result.Entries {
		fmt.Println(e.File, e.Type)
	}
	res, err := plan.Push(ctx)
	check(err)
	fmt.Println(res.Tag, res.Form, res.Digest == plan.Result.Digest)
	// Output:
	// os-43-metal.x86_64.raw application/vnd.diskimage.raw
	// meta.x86_64.json application/vnd.ohp.build.v1+json
	// 43-images artifact true
}

// writeBuild writes the folder of a build with one image. A program has that from
// [build.Write].
func writeBuild(disk string) (dir string, err error) {
	if dir, err = os.MkdirTemp("", "publish"); err != nil {
		return "", err
	}
	const name = "os-43-metal.x86_64.raw"
	sum := sha256.Sum256([]byte(disk))
	meta := &stream.Meta{
		BuildID: "43", Name: "os", BaseArch: "x86_64",
		OSTreeCommit: strings.Repeat("c", 64), OSTreeTimestamp: "2026-01-02T03:04:05Z", OSTreeVersion: "43",
		Images: map[string]stream.Artifact{"metal": {Path: name, SHA256: hex.EncodeToString(sum[:]), Size: int64(len(disk))}},
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte(disk), 0o644); err != nil {
		return "", err
	}
	return dir, os.WriteFile(filepath.Join(dir, build.MetaFile), stream.Marshal(meta), 0o644)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
