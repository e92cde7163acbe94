// Command bench measures ohp-assemble, the conventional way and the minimum of work, in
// one run on one machine. It interleaves the rounds and prints medians, so that other
// load affects all alike. CPU seconds are those of the process and its children. They
// do not include the kernel threads of loop devices, which only the conventional way
// needs.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

func main() {
	log.SetFlags(0)
	program := flag.String("program", "bin/ohp-assemble", "the program to measure")
	ref := flag.String("ref", "", "container in an OCI layout: oci:DIR@sha256:...")
	reference := flag.String("reference", "ci/reference/disk", "script of the conventional way; empty leaves it out")
	rounds := flag.Int("rounds", 3, "rounds")
	platforms := flag.Bool("platforms", false, "measure all platforms beside making them one by one")
	flag.Parse()
	dir, err := os.MkdirTemp("", "ohp-bench-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	b := bench{dir: dir, program: *program, ref: *ref, sums: map[string][]string{}}
	b.layout, _, _ = strings.Cut(strings.TrimPrefix(*ref, "oci:"), "@")
	b.bound = filepath.Join(dir, "bound")
	if out, err := exec.Command("go", "build", "-o", b.bound, "./ci/bench/bound").CombinedOutput(); err != nil {
		log.Fatalf("%s%v", out, err)
	}
	if *platforms {
		b.platforms(*rounds)
		return
	}
	for i := range *rounds {
		b.round(i, *reference)
	}
	b.report()
}

// The measured commands.
const (
	cold         = "cold: container to qcow2"
	warmQcow2    = "warm: qcow2"
	warmRaw      = "warm: another platform (metal, raw)"
	conventional = "conventional: container to qcow2"
)

type sample struct {
	wall, cpu time.Duration
	rss       int64 // bytes
}

type bench struct {
	dir, program, ref, layout, bound string

	names   []string
	samples map[string][]sample
	sums    map[string][]string // rows that are sums of other rows
	ratio   float64             // of sizes
}

// round runs every command once.
func (b *bench) round(i int, reference string) {
	out := filepath.Join(b.dir, "out")
	cache := filepath.Join(b.dir, "cache")
	os.RemoveAll(cache)
	os.RemoveAll(out)
	build := func(platform string) []string {
		return []string{b.program, "build", b.ref, "--platform", platform, "--root-fs", "ext4", "--cache", cache, "--out", out, "--format", "json"}
	}
	qcow2, _ := sizes(b.run(cold, build("qemu")))
	raw, virtual := sizes(b.run(warmRaw, build("metal")))
	b.run(warmQcow2, build("qemu"))
	file := filepath.Join(b.dir, "bound.out")
	b.run("bound of "+cold, []string{b.bound, "cold", b.layout, file, fmt.Sprint(qcow2), "0"})
	b.run("bound of "+warmQcow2, []string{b.bound, "warm", "-", file, fmt.Sprint(qcow2), fmt.Sprint(qcow2)})
	b.run("bound of "+warmRaw, []string{b.bound, "warm", "-", file, fmt.Sprint(raw), fmt.Sprint(virtual)})
	os.Remove(file)
	if reference != "" {
		b.run(conventional, []string{reference, "--qcow2", b.ref, filepath.Join(b.dir, "reference")})
		os.RemoveAll(filepath.Join(b.dir, "reference"))
	}
	log.Printf("round %d done", i+1)
}

// run measures a command and returns its standard output.
func (b *bench) run(name string, args []string) []byte {
	b.populate()
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	begun := time.Now()
	if err := cmd.Run(); err != nil {
		log.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, stderr.Bytes())
	}
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	s := sample{time.Since(begun), cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), usage.Maxrss << 10}
	if b.samples == nil {
		b.samples = map[string][]sample{}
	}
	if !slices.Contains(b.names, name) {
		b.names = append(b.names, name)
	}
	b.samples[name] = append(b.samples[name], s)
	return stdout.Bytes()
}

// populate makes the host allocate the next gigabytes of page cache to the virtual
// machine. The first access to other memory costs several times as much as writing, and
// would slow down the first command.
func (b *bench) populate() {
	name := filepath.Join(b.dir, "populate")
	f, err := os.Create(name)
	if err != nil {
		log.Fatal(err)
	}
	buf := make([]byte, 1<<20)
	for range 2048 {
		if _, err := f.Write(buf); err != nil {
			log.Fatal(err)
		}
	}
	f.Close()
	os.Remove(name)
	syscall.Sync()
}

// sizes returns the allocated size of the only image of a build, and the number of
// bytes in its digest.
func sizes(result []byte) (allocated, size int64) {
	var r struct {
		Images []struct{ Allocated, Size int64 }
	}
	if err := json.Unmarshal(result, &r); err != nil || len(r.Images) != 1 {
		log.Fatalf("result %q: %v", result, err)
	}
	return r.Images[0].Allocated, r.Images[0].Size
}

func (b *bench) median(name string) sample {
	pick := func(of func(sample) int64) int64 {
		var v []int64
		for _, s := range b.samples[name] {
			v = append(v, of(s))
		}
		slices.Sort(v)
		return v[len(v)/2]
	}
	return sample{
		time.Duration(pick(func(s sample) int64 { return int64(s.wall) })),
		time.Duration(pick(func(s sample) int64 { return int64(s.cpu) })),
		pick(func(s sample) int64 { return s.rss }),
	}
}

func (b *bench) report() {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "what\twall s\tCPU s\tpeak RSS MiB\t")
	for _, name := range b.names {
		m := b.median(name)
		fmt.Fprintf(w, "%s\t%.2f\t%.2f\t%s\t\n", name, m.wall.Seconds(), m.cpu.Seconds(), strconv.FormatInt(m.rss>>20, 10))
	}
	w.Flush()
	ratio := func(a, of, limit string) {
		if len(b.samples[of]) > 0 {
			fmt.Printf("%s / %s = %.2f CPU, %.2f wall (%s)\n", a, of,
				b.median(a).cpu.Seconds()/b.median(of).cpu.Seconds(), b.median(a).wall.Seconds()/b.median(of).wall.Seconds(), limit)
		}
	}
	ratio(cold, "bound of "+cold, "at most 1.70 CPU")
	ratio(warmQcow2, "bound of "+warmQcow2, "at most 1.50")
	ratio(warmRaw, "bound of "+warmRaw, "at most 1.50; the digest of a raw image covers its holes")
	ratio(cold, conventional, "at most 0.33 CPU")
}
