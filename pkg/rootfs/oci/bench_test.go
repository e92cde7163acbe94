package oci

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// synthetic returns a layer of about 200 MB with files of sizes as they are in
// a system, and content that compresses as programs do.
func synthetic() []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	words := make([]string, 4096)
	for i := range words {
		words[i] = noise(uint64(i), 3+i%14)
	}
	var text bytes.Buffer
	for i := uint64(1); text.Len() < 8<<20; i++ {
		text.WriteString(words[i*i*2654435761>>7%4096])
	}
	for i := range 6000 {
		size := 500 + i*7919%8000
		if i%50 == 0 {
			size = 1_500_000
		}
		off := i * 104729 % (text.Len() - size)
		data := fmt.Sprint(i) + text.String()[off:off+size]
		for _, f := range object(data, data) {
			h := &tar.Header{Name: f.name, Size: int64(len(f.data)), Mode: 0o644}
			if err := w.WriteHeader(h); err != nil {
				panic(err)
			}
			io.WriteString(w, f.data)
		}
	}
	w.Close()
	return b.Bytes()
}

func cpuTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// lowest does only the unavoidable work: it inflates the blob once, hashes the blob, its tar
// and the objects in it once each, and writes the tar once.
func lowest(b *testing.B, blob []byte, dir string) {
	b.Helper()
	blobSum, diffID, objects := sha256.New(), sha256.New(), sha256.New()
	in := io.TeeReader(bytes.NewReader(blob), blobSum)
	var r io.Reader
	if isZstd(blob[:4]) {
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1))
		if err != nil {
			b.Fatal(err)
		}
		defer z.Close()
		r = z
	} else {
		z, err := gzip.NewReader(in)
		if err != nil {
			b.Fatal(err)
		}
		r = z
	}
	out, err := os.Create(dir + "/lowest")
	if err != nil {
		b.Fatal(err)
	}
	defer out.Close()
	buf := make([]byte, 1<<20)
	for {
		n, err := io.ReadFull(r, buf)
		diffID.Write(buf[:n])
		objects.Write(buf[:n])
		if _, err := out.Write(buf[:n]); err != nil {
			b.Fatal(err)
		}
		if err != nil {
			break
		}
	}
}

// BenchmarkPullCold compares the CPU time of a pull into an empty cache with
// the unavoidable work.
func BenchmarkPullCold(b *testing.B) {
	plain := synthetic()
	for name, compress := range map[string]func([]byte) []byte{"gzip": gzipped, "zstd": zstded} {
		blob := compress(plain)
		m := newImage()
		m.add(plain, blob)
		ref := "oci:" + m.layout(b, m.done())
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(plain)))
			var pull, bound time.Duration
			for b.Loop() {
				cache := b.TempDir()
				start := cpuTime()
				img, err := Pull(b.Context(), ref, options(b, cache))
				if err != nil {
					b.Fatal(err)
				}
				pull += cpuTime() - start
				img.Close()
				b.StopTimer()
				start = cpuTime()
				lowest(b, blob, b.TempDir())
				bound += cpuTime() - start
				os.RemoveAll(cache)
				b.StartTimer()
			}
			b.ReportMetric(float64(pull)/float64(b.N)/1e6, "cpu-ms")
			b.ReportMetric(float64(bound)/float64(b.N)/1e6, "bound-ms")
			b.ReportMetric(float64(pull)/float64(bound), "x-bound")
			b.ReportMetric(float64(len(plain))/float64(len(blob)), "ratio")
		})
	}
}
