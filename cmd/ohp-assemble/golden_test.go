package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest/golden"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest/tinyos"
)

// asked runs the command in this process and returns its result.
func asked(t *testing.T, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	cmd := command()
	cmd.SetOut(&out)
	cmd.SetArgs(args)
	if err := cmd.Execute(); err != nil {
		t.Fatalf("ohp-assemble %s: %v", strings.Join(args, " "), err)
	}
	return out.String()
}

// TestGolden builds images of a made-up operating system for every platform of
// every architecture. It goes through the command line alone: arguments in, files
// out. All names in there are relative, so that no temporary folder shows.
func TestGolden(t *testing.T) {
	sums := map[string]string{}
	for _, arch := range tinyos.Arches {
		t.Run(arch, func(t *testing.T) { goldenArch(t, arch, sums) })
	}
	t.Run("native", func(t *testing.T) { goldenNative(t, sums) })
	golden.Check(t, sums)
}

// goldenPlatforms are all platforms by architecture, but for gcp, whose disks are of
// whole GiB. The emerging ones, which "all" does not have, follow a space.
var goldenPlatforms = map[string]string{
	"x86_64": "qemu,metal,metal4k,aliyun,applehv,aws,azure,azurestack,digitalocean,exoscale,hetzner,hyperv,ibmcloud,kubevirt,nutanix,openstack,oraclecloud,proxmoxve,virtualbox,vmware,vultr" +
		" akamai,brightbox,cloudstack,packet,scaleway,upcloud",
	"aarch64": "qemu,metal,metal4k,applehv,aws,azure,hetzner,hyperv,kubevirt,openstack,oraclecloud cloudstack,nvidiabluefield,packet,scaleway",
	"ppc64le": "qemu,metal,metal4k,openstack powervs",
}

// shortPlatforms are for -short: the race detector and the emulation of another
// machine hash large files slowly.
var shortPlatforms = map[string]string{"x86_64": "aws,hyperv,kubevirt,nutanix,virtualbox", "aarch64": "azure,qemu", "ppc64le": "qemu"}

func goldenArch(t *testing.T, arch string, sums map[string]string) {
	t.Chdir(t.TempDir())
	ref, err := tinyos.Write("os", tinyos.Plain)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("config.ign", []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	usual, emerging, _ := strings.Cut(goldenPlatforms[arch], " ")
	built := usual + "," + emerging
	if testing.Short() {
		built = shortPlatforms[arch]
	}
	run := func(args ...string) string {
		return asked(t, append(args, ref, "--arch", arch, "--origin", "ostree-unverified-registry:registry.example/tinyos:stable", "--cache", "cache")...)
	}
	chosen := []string{"--platform", "qemu,metal", "--root-fs", "ext4", "--ignition", "config.ign", "--karg", "quiet", "--merge", "oci"}
	for name, args := range map[string][]string{
		"all":    {"--platform", "all," + emerging},
		"chosen": append(chosen, "--size", "2GiB"),
	} {
		sums[arch+"/plan "+name] = golden.Text(run(append([]string{"plan", "--format", "json"}, args...)...))
	}
	for out, args := range map[string][]string{
		"every":  {"--platform", built, "--size", "512MiB", "--boot-size", "64MiB"},
		"gcp":    {"--platform", "gcp", "--size", "1GiB"},
		"chosen": append(chosen, "--compress", "zstd"),
	} {
		if out == "gcp" && arch == "ppc64le" || out != "every" && testing.Short() {
			continue
		}
		run(append([]string{"build", "-q", "--out", out}, args...)...)
		goldenFiles(t, arch, out, sums)
	}
}

// goldenNative builds images of a container that has an ostree commit, merged in
// both ways. The disk for metal is as small as its content.
func goldenNative(t *testing.T, sums map[string]string) {
	t.Chdir(t.TempDir())
	ref, err := tinyos.Write("os", tinyos.Native)
	if err != nil {
		t.Fatal(err)
	}
	for arch, args := range map[string][]string{
		"x86_64":  {"--merge", "oci", "--platform", "metal,metal4k", "--root-fs", "ext4", "--boot-size", "64MiB"},
		"aarch64": {"--merge", "ostree"},
		"ppc64le": {"--merge", "oci", "--root-fs", "ext4"},
	} {
		if testing.Short() && arch == "x86_64" {
			continue
		}
		args = append(args, ref, "--arch", arch, "--cache", "cache", "--origin", "ostree-image-signed:docker://registry.example/tinyos:stable")
		sums["native "+arch+"/plan"] = golden.Text(asked(t, append([]string{"plan", "--format", "json"}, args...)...))
		asked(t, append([]string{"build", "-q", "--out", arch}, args...)...)
		goldenFiles(t, "native", arch, sums)
	}
}

// goldenFiles adds the digests of all files in a folder.
func goldenFiles(t *testing.T, arch, dir string, sums map[string]string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil || len(list) < 3 {
		t.Fatalf("%d files in %s: %v", len(list), dir, err)
	}
	for _, e := range list {
		if testing.Short() && dir == "every" && !strings.HasPrefix(e.Name(), "tinyos-") {
			continue // meta.json is of the files that there are
		}
		sums[arch+"/"+dir+"/"+e.Name()] = golden.File(t, filepath.Join(dir, e.Name()))
	}
}
