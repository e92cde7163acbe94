package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
)

// An image is an entry of build's result.
type image struct {
	Platform, Format, Path string
	Size, Allocated        int64
}

// images returns the images of a build.
func images(result []byte) []image {
	var r struct{ Images []image }
	if err := json.Unmarshal(result, &r); err != nil {
		log.Fatalf("result %q: %v", result, err)
	}
	return r.Images
}

// compressing are the platforms with a compressed format.
var compressing = []string{"aws", "gcp", "nutanix", "virtualbox", "vmware"}

// platforms measures all platforms in one run, and qemu-img and similar programs that
// convert a finished disk one by one.
func (b *bench) platforms(rounds int) {
	out, cache := filepath.Join(b.dir, "out"), filepath.Join(b.dir, "cache")
	build := func(platforms ...string) []string {
		return []string{b.program, "build", b.ref, "--cache", cache, "--out", out, "--format", "json", "--quiet", "--platform", strings.Join(platforms, ",")}
	}
	var plain, others []string
	for range rounds {
		b.run("container to the first platform", build("metal"))
		os.RemoveAll(out)
		all := images(b.run("all platforms", build("all")))
		plain, others = nil, nil
		var bounds []string
		for _, i := range all {
			if !slices.Contains(compressing, i.Platform) {
				plain = append(plain, i.Platform)
			}
		}
		disk := filepath.Join(b.dir, "disk.raw")
		for _, i := range all {
			if i.Platform == "hetzner" { // a raw disk of the same size as the others
				if err := os.Rename(i.Path, disk); err != nil {
					log.Fatal(err)
				}
			}
		}
		os.RemoveAll(out)
		b.run("platforms that do not compress", build(plain...))
		os.RemoveAll(out)
		file := filepath.Join(b.dir, "bound.out")
		for _, i := range all {
			if slices.Contains(plain, i.Platform) {
				name := "bound of " + i.Platform
				hashed := i.Allocated
				if i.Format == "raw" || i.Format == "vhd" {
					hashed = i.Size // its digest covers the zeros
				}
				b.run(name, []string{b.bound, "warm", "-", file, fmt.Sprint(i.Allocated), fmt.Sprint(hashed)})
				bounds = append(bounds, name)
			}
			os.Remove(file)
		}
		b.sums["bound of platforms that do not compress"] = bounds
		for _, i := range all {
			name := "one by one: " + i.Platform
			b.run(name, []string{"bash", "-euc", oneByOne(i), "bash", disk, b.dir})
			others = append(others, name)
			b.clean("one.*")
		}
		for _, p := range []string{"aws", "nutanix"} {
			b.run("ours: "+p, build(p))
			os.RemoveAll(out)
		}
		b.run("ours: gzip", []string{b.program, "build", b.ref, "--cache", cache, "--out", out, "--quiet", "--platform", "hetzner", "--compress", "gzip"})
		ours, err := filepath.Glob(filepath.Join(out, "*.gz"))
		if err != nil || len(ours) != 1 {
			log.Fatal(ours, err)
		}
		b.run("gzip -6", []string{"bash", "-euc", `gzip -6 <"$1" >"$2/one.gz"; sha256sum <"$2/one.gz"`, "bash", disk, b.dir})
		b.ratio = float64(fileSize(ours[0])) / float64(fileSize(filepath.Join(b.dir, "one.gz")))
		b.clean("one.*")
		os.RemoveAll(out)
		os.Remove(disk)
	}
	b.sums["one by one: all platforms"] = others
	b.reportPlatforms()
}

// oneByOne is a script that converts the disk $1 to the file of a platform in the folder
// $2, and hashes it, like the scripts of coreos-assembler.
func oneByOne(i image) string {
	const vmdk = `qemu-img convert -f raw -O vmdk -o subformat=streamOptimized,adapter_type=lsilogic,compat6 "$1" `
	const sum = `; sha256sum <"$2/one.out"`
	switch {
	case i.Format == "raw":
		return `cp --sparse=always "$1" "$2/one.out"` + sum
	case i.Format == "qcow2" && i.Platform == "nutanix":
		return `qemu-img convert -c -f raw -O qcow2 "$1" "$2/one.out"` + sum
	case i.Format == "vhd":
		return `qemu-img convert -f raw -O vpc -o subformat=fixed,force_size=on "$1" "$2/one.out"` + sum
	case i.Format == "vmdk":
		return vmdk + `"$2/one.out"` + sum
	case i.Format == "tar.gz":
		return `tar --format=oldgnu -C "$2" -Sczf "$2/one.out" disk.raw` + sum
	case i.Format == "ova":
		return vmdk + `"$2/one.vmdk"; tar --format=ustar -C "$2" -cf "$2/one.out" one.vmdk` + sum
	case i.Format == "ociarchive":
		return `qemu-img convert -f raw -O qcow2 "$1" "$2/one.qcow2"; tar -C "$2" -cf "$2/one.layer" one.qcow2; sha256sum <"$2/one.layer"; tar -C "$2" -cf "$2/one.out" one.layer` + sum
	}
	return `qemu-img convert -f raw -O ` + i.Format + ` "$1" "$2/one.out"` + sum
}

func fileSize(name string) int64 {
	info, err := os.Stat(name)
	if err != nil {
		log.Fatal(err)
	}
	return info.Size()
}

func (b *bench) clean(pattern string) {
	files, _ := filepath.Glob(filepath.Join(b.dir, pattern))
	for _, f := range files {
		os.Remove(f)
	}
}

// total returns the median of the measurements, or the sum of several medians.
func (b *bench) total(name string) sample {
	parts := b.sums[name]
	if parts == nil {
		return b.median(name)
	}
	var s sample
	for _, p := range parts {
		m := b.median(p)
		s.wall, s.cpu, s.rss = s.wall+m.wall, s.cpu+m.cpu, max(s.rss, m.rss)
	}
	return s
}

func (b *bench) reportPlatforms() {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "what\twall s\tCPU s\tpeak RSS MiB\t")
	for _, name := range append(slices.Clone(b.names), "bound of platforms that do not compress", "one by one: all platforms") {
		m := b.total(name)
		fmt.Fprintf(w, "%s\t%.2f\t%.2f\t%d\t\n", name, m.wall.Seconds(), m.cpu.Seconds(), m.rss>>20)
	}
	w.Flush()
	ratio := func(a, of, limit string) {
		x, y := b.total(a), b.total(of)
		fmt.Printf("%s / %s = %.2f CPU, %.2f wall (%s)\n", a, of, x.cpu.Seconds()/y.cpu.Seconds(), x.wall.Seconds()/y.wall.Seconds(), limit)
	}
	ratio("platforms that do not compress", "bound of platforms that do not compress", "at most 1.30; of this the first platform's import is a part")
	ratio("one by one: all platforms", "all platforms", "at least 3.00 wall")
	ratio("one by one: aws", "ours: aws", "at least 1.70 wall")
	ratio("one by one: nutanix", "ours: nutanix", "at least 1.70 wall")
	ratio("gzip -6", "ours: gzip", "at least 2.00 wall")
	fmt.Printf("size of ours: gzip / gzip -6 = %.3f (at most 1.030)\n", b.ratio)
}
