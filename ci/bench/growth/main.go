// Command growth measures how the cost of a plan grows with the number of files
// in a container, over synthetic containers. Content is small: the cost of a file
// is that of its metadata.
//
//	growth -sizes 30000,100000,300000
//
// Each size is planned once with an empty cache and then several times with a
// full one; the table has the least CPU of these.
package main

import (
	"compress/gzip"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/ohp-assemble/ohp-assemble/ci/bench/synthetic"
)

func main() {
	log.SetFlags(0)
	program := flag.String("program", "bin/ohp-assemble", "the program to measure")
	sizes := flag.String("sizes", "30000,100000,300000", "numbers of files")
	layers := flag.Int("layers", 64, "layers")
	mean := flag.Int64("mean", 1024, "bytes of an average file")
	policy := flag.String("policy", "", "directory of a real SELinux policy's files, which may be gzipped; empty means a made-up one")
	rounds := flag.Int("rounds", 3, "plans with a full cache")
	keep := flag.String("keep", "", "directory that keeps the containers and caches")
	only := flag.Bool("write", false, "only write the containers to -keep")
	flag.Parse()
	files, err := readPolicy(*policy)
	if err != nil {
		log.Fatal(err)
	}
	dir := *keep
	if dir == "" {
		if dir, err = os.MkdirTemp("", "ohp-growth-"); err != nil {
			log.Fatal(err)
		}
		defer os.RemoveAll(dir)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "files\tlayers\tfirst CPU s\tpeak MiB\tcached CPU s\twall s\tpeak MiB\tCPU µs a file\tpeak KiB a file\t")
	for _, text := range strings.Split(*sizes, ",") {
		n, err := strconv.Atoi(text)
		if err != nil {
			log.Fatalf("-sizes: %v", err)
		}
		at := filepath.Join(dir, fmt.Sprintf("%d-%d-%d", n, *layers, *mean))
		ref, err := container(at, synthetic.Options{Files: n, Layers: *layers, Mean: *mean, Policy: files})
		if err != nil {
			log.Fatal(err)
		}
		if *only {
			fmt.Println(ref)
			continue
		}
		cache := at + ".cache"
		if err := os.RemoveAll(cache); err != nil {
			log.Fatal(err)
		}
		args := []string{"plan", ref, "--arch", "arm64", "--platform", "qemu", "--cache", cache, "--format", "json"}
		first := run(*program, args)
		least := run(*program, args)
		for range *rounds - 1 {
			if s := run(*program, args); s.cpu < least.cpu {
				least = s
			}
		}
		fmt.Fprintf(w, "%d\t%d\t%.2f\t%d\t%.2f\t%.2f\t%d\t%.1f\t%.2f\t\n", n, *layers, first.cpu.Seconds(), first.rss>>20,
			least.cpu.Seconds(), least.wall.Seconds(), least.rss>>20, float64(least.cpu.Microseconds())/float64(n), float64(least.rss)/1024/float64(n))
	}
	w.Flush()
}

// container writes a container, unless it is there, and returns its reference.
func container(dir string, o synthetic.Options) (string, error) {
	note := dir + ".ref"
	if ref, err := os.ReadFile(note); err == nil {
		return string(ref), nil
	}
	ref, err := synthetic.Write(dir, o)
	if err != nil {
		return "", err
	}
	return ref, os.WriteFile(note, []byte(ref), 0o644)
}

// readPolicy reads the files of a policy, nil for no directory.
func readPolicy(dir string) (map[string]string, error) {
	if dir == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	for _, e := range entries {
		text, err := readText(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		files[strings.TrimSuffix(e.Name(), ".gz")] = text
	}
	return files, nil
}

func readText(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(name, ".gz") {
		if r, err = gzip.NewReader(f); err != nil {
			return "", err
		}
	}
	text, err := io.ReadAll(r)
	return string(text), err
}

type sample struct {
	wall, cpu time.Duration
	rss       int64 // bytes
}

func run(program string, args []string) sample {
	cmd := exec.Command(program, args...)
	begun := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		log.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return sample{time.Since(begun), cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), usage.Maxrss << 10}
}
