// Command bound does the minimum of work of any builder, as a lower bound.
//
//	bound cold LAYOUT OUT WRITE 0   inflate every layer once; SHA-256 of each blob, of each diffID and of the
//	                                same bytes again as objects; write WRITE bytes to OUT
//	bound warm - OUT WRITE HASH     write WRITE bytes to OUT, and hash HASH bytes
package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"io"
	"os"
	"strconv"

	"github.com/klauspost/compress/gzip"
)

func main() {
	kind, layout, out := os.Args[1], os.Args[2], os.Args[3]
	size, err := strconv.ParseInt(os.Args[4], 10, 64)
	check(err)
	hashed, err := strconv.ParseInt(os.Args[5], 10, 64)
	check(err)
	objects := sha256.New()
	if kind == "cold" {
		for _, layer := range layers(layout) {
			f, err := os.Open(layer)
			check(err)
			blob, diffID := sha256.New(), sha256.New()
			z, err := gzip.NewReader(bufio.NewReaderSize(io.TeeReader(f, blob), 1<<20))
			check(err)
			_, err = io.CopyBuffer(io.MultiWriter(diffID, objects), struct{ io.Reader }{z}, make([]byte, 1<<20))
			check(err)
		}
	}
	f, err := os.Create(out)
	check(err)
	buf := make([]byte, 1<<20)
	for ; size > 0; size -= int64(len(buf)) {
		_, err := f.Write(buf[:min(size, int64(len(buf)))])
		check(err)
	}
	for ; hashed > 0; hashed -= int64(len(buf)) {
		objects.Write(buf[:min(hashed, int64(len(buf)))])
	}
	check(f.Sync())
}

// layers returns the files of the layers of an OCI layout with one manifest.
func layers(layout string) (files []string) {
	type descriptor struct{ Digest string }
	var index struct{ Manifests []descriptor }
	var manifest struct{ Layers []descriptor }
	read := func(name string, v any) {
		data, err := os.ReadFile(name)
		check(err)
		check(json.Unmarshal(data, v))
	}
	blob := func(d descriptor) string { return layout + "/blobs/sha256/" + d.Digest[len("sha256:"):] }
	read(layout+"/index.json", &index)
	read(blob(index.Manifests[0]), &manifest)
	for _, l := range manifest.Layers {
		files = append(files, blob(l))
	}
	return files
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
