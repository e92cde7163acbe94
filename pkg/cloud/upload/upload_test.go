package upload

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ohp-assemble/ohp-assemble/manifests/schematest"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest/golden"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// image returns the facts about an image as coreos-assembler publishes it for a
// platform.
func image(platform, arch string) Image {
	m := Image{
		Platform: platform, Format: cloud.Named(platform)[0].Format.Type(), SHA256: strings.Repeat("1", 64), Size: 1 << 30, VirtualSize: 10 * gib,
		System: System{Arch: arch, OS: "fedora-coreos", Version: "44.20260801.1.0", SecureBoot: true},
	}
	if !slices.Contains([]filetype.Format{filetype.OVA, filetype.TarGz, filetype.OCIArchive}, m.Format) {
		m.Compression, m.UncompressedSHA256, m.UncompressedSize = "xz", strings.Repeat("2", 64), 10*gib
	}
	switch platform {
	case "azure", "azurestack":
		m.UncompressedSize += 512
	case "digitalocean", "applehv", "powervs":
		m.Compression = "gzip"
	case "akamai":
		m.Compression, m.VirtualSize = "gzip", 3*gib
	case "hyperv":
		m.Compression = "zip"
	case "aws":
		m.AWS = AWS{IMDSv2Only: true}
	}
	m.File = "fedora-coreos-44.20260801.1.0-" + platform + "." + arch + filetype.Type{Format: m.Format, Compression: m.Compression}.Suffix()
	return m
}

// of returns the document of an image.
func of(m Image) (*Document, error) {
	f := cloud.File{
		Name: m.File, Platform: m.Platform, Type: filetype.Type{Format: m.Format, Compression: m.Compression},
		Content: cloud.Content{Size: m.Size, SHA256: m.SHA256}, VirtualSize: m.VirtualSize, Manifest: m.Manifest,
	}
	if f.Plain = f.Content; m.Compression != filetype.None {
		f.Plain = cloud.Content{Size: m.UncompressedSize, SHA256: m.UncompressedSHA256}
	}
	return New(f, m.System)
}

// documents calls a function with the document of every platform on every
// architecture.
func documents(t *testing.T, f func(t *testing.T, d *Document)) {
	for _, platform := range cloud.IDs() {
		found := false
		for _, arch := range []string{"x86_64", "aarch64", "ppc64le", "s390x"} {
			d, err := of(image(platform, arch))
			if err != nil && strings.Contains(err.Error(), "has no machines of") {
				continue
			}
			found = true
			if err == nil && platform == "aws" {
				err = d.Direct(&Snapshot{VolumeSize: 10, BlockSize: BlockSize, Checksum: make([]byte, 32), Blocks: []Block{{Index: 2, Checksum: make([]byte, 32)}}})
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Run(platform+"."+arch, func(t *testing.T) { f(t, d) })
		}
		if !found {
			t.Errorf("%s has no machines at all", platform)
		}
	}
}

// steps returns all commands of a document.
func steps(d *Document) []Step {
	if d.Snapshot == nil {
		return d.Steps
	}
	return slices.Concat(d.Steps, d.Snapshot.Steps)
}

// TestGolden compares the documents with those in testdata, and with the schema.
func TestGolden(t *testing.T) {
	documents(t, func(t *testing.T, d *Document) {
		got := d.Marshal()
		path := filepath.Join("testdata", d.Image.Platform+"."+d.Image.Arch+".json")
		if golden.Updating() {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("not as in %s, write it with -update:\n%s", path, diff)
		}
		if err := schematest.Valid(t, Schema, got); err != nil {
			t.Error(err)
		}
	})
}

// TestShell runs each line in a shell, with special characters in the placeholders, and
// compares the arguments.
func TestShell(t *testing.T) {
	documents(t, func(t *testing.T, d *Document) {
		dir := t.TempDir()
		values := map[string]string{}
		env := []string{"PATH=" + dir, "OUT=" + filepath.Join(dir, "argv")}
		for _, p := range d.Placeholders {
			values[p.Name] = p.Name + ` 'a' "b" $c \d *` + "\n."
			env = append(env, p.Name+"="+values[p.Name])
		}
		for _, s := range steps(d) {
			want := []string{}
			for _, arg := range s.Argv {
				want = append(want, placeholder.ReplaceAllStringFunc(arg, func(found string) string { return values[strings.Trim(found, "${}")] }))
			}
			stub := "#!/bin/sh\nprintf '%s\\0' \"${0##*/}\" \"$@\" >\"$OUT\"\necho printed\n"
			if err := os.WriteFile(filepath.Join(dir, s.Argv[0]), []byte(stub), 0o755); err != nil {
				t.Fatal(err)
			}
			line := s.Line
			if s.Gives != "" {
				line += `; test "$` + s.Gives + `" = printed`
			}
			cmd := exec.Command("/bin/sh", "-euc", line)
			cmd.Env = env
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", line, err, out)
			}
			out, err := os.ReadFile(filepath.Join(dir, "argv"))
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s:\n%s", line, diff)
			}
		}
	})
}

// TestPlaceholders compares the list of placeholders with those in the commands, and finds
// no other text that looks like one.
func TestPlaceholders(t *testing.T) {
	used := map[string]bool{}
	documents(t, func(t *testing.T, d *Document) {
		var listed, found []string
		gives := map[string]bool{}
		for _, p := range d.Placeholders {
			listed = append(listed, p.Name)
			used[p.Name] = true
		}
		for _, s := range steps(d) {
			for _, m := range placeholder.FindAllStringSubmatch(strings.Join(s.Argv, " "), -1) {
				found = append(found, m[1])
			}
			gives[s.Gives] = true
		}
		slices.Sort(listed)
		slices.Sort(found)
		if found = slices.Compact(found); !slices.Equal(listed, found) {
			t.Errorf("%q are listed, %q are used", listed, found)
		}
		for _, p := range d.Placeholders {
			if p.Printed != gives[p.Name] {
				t.Errorf("%+v", p)
			}
		}
		for _, m := range regexp.MustCompile(`\$\{[^}]*\}|\{[a-z-]*\}|<[a-z]+>`).FindAllString(string(d.Marshal()), -1) {
			if !placeholder.MatchString(m) {
				t.Errorf("%s is left in the document", m)
			}
		}
	})
	for name := range meanings {
		if !used[name] && name != "IMAGE" {
			t.Errorf("nothing uses %s", name)
		}
	}
}

// TestRules breaks each rule of the clouds' documentation.
func TestRules(t *testing.T) {
	long := strings.Repeat("a", 70)
	for _, tc := range []struct {
		rule     string // of the cloud's documentation, at the time of writing
		platform string
		change   func(*Image)
		want     string
	}{
		{"Azure, prepare a VHD: All VHDs on Azure must have a virtual size aligned to 1 MB (1024 x 1024 bytes).", "azure",
			func(m *Image) { m.VirtualSize++; m.UncompressedSize++ }, "must be whole MiB"},
		{"Azure, prepare a VHD: The VHDX format isn't supported in Azure, only fixed VHD.", "azure",
			func(m *Image) { m.Format = "vhdx"; m.File = "a.vhdx.xz" }, "takes vhd, not vhdx"},
		{"(the same)", "azure",
			func(m *Image) { m.UncompressedSize = 2 * gib }, "must be a fixed VHD"},
		{"Azure, resource name rules, images: 1-80. Alphanumerics, underscores, periods, and hyphens. Start with alphanumeric. End with alphanumeric or underscore.", "azure",
			func(m *Image) { m.File = long + long + ".vhd.xz" }, "at most 80"},
		{"Azure Stack Hub: the VHD must be fixed, and its size a multiple of 1 MB.", "azurestack",
			func(m *Image) { m.VirtualSize++; m.UncompressedSize++ }, "must be whole MiB"},
		{"Google, manually import boot disks: The RAW image file must have a size in an increment of 1 GB. For example, the file must be either 10 GB or 11 GB but not 10.5 GB.", "gcp",
			func(m *Image) { m.VirtualSize += mib }, "must be whole GiB"},
		{"Google, images.insert: name must be 1-63 characters long and match [a-z]([-a-z0-9]*[a-z0-9])?", "gcp",
			func(m *Image) { m.File = long + ".tar.gz" }, "at most 63"},
		{"Google, images.insert: the first character must be a lowercase letter", "gcp",
			func(m *Image) { m.File = "9.tar.gz" }, "begin with a letter"},
		{"Google, manually import boot disks: The compressed file must be a .tar.gz file that uses gzip compression", "gcp",
			func(m *Image) { m.Format = "raw"; m.File = "a.raw" }, "takes tar.gz"},
		{"EC2, RegisterImage: Constraints: 3-128 alphanumeric characters, parentheses (()), square brackets ([]), spaces ( ), periods (.), slashes (/), dashes (-), single quotes ('), at-signs (@), or underscores(_)", "aws",
			func(m *Image) { m.File = long + long + ".vmdk.xz" }, "3 to 128"},
		{"(the same)", "aws", func(m *Image) { m.File = "a.vmdk.xz" }, "3 to 128"},
		{"EC2, EbsBlockDevice, VolumeSize: gp2: 1 - 16,384 GiB", "aws",
			func(m *Image) { m.AWS.VolumeType = "gp2"; m.VirtualSize = 16384*gib + 1 }, "of gp2 has 1 to 16384"},
		{"EC2, EbsBlockDevice, VolumeSize: io1: 4 - 16,384 GiB", "aws",
			func(m *Image) { m.AWS.VolumeType = "io1"; m.VirtualSize = gib }, "of io1 has 4 to 16384"},
		{"EC2, EbsBlockDevice, VolumeSize: gp3: 1 - 65,536 GiB", "aws",
			func(m *Image) { m.VirtualSize = 65536*gib + 1 }, "of gp3 has 1 to 65536"},
		{"EC2, BlockDeviceMapping: st1 and sc1 volumes cannot be root volumes", "aws",
			func(m *Image) { m.AWS.VolumeType = "st1" }, "cannot be that of a root volume"},
		{"EC2, RegisterImage, BootMode: Valid Values: legacy-bios | uefi | uefi-preferred", "aws",
			func(m *Image) { m.AWS.BootMode = "bios" }, `boot mode "bios"`},
		{"EC2, RegisterImage, Architecture: Valid Values: i386 | x86_64 | arm64 | x86_64_mac | arm64_mac", "aws",
			func(m *Image) { m.Arch = "ppc64le" }, "no machines of ppc64le"},
		{"IBM Cloud, creating a Linux custom image: Make sure that the image has a boot disk size between 10 GB and 250 GB. Images below 10 GB are rounded up to 10 GB.", "ibmcloud",
			func(m *Image) { m.VirtualSize = 251 * gib }, "at most 250 GiB"},
		{"IBM Cloud, is image-create: the name has lower-case alphanumeric characters and hyphens, at most 63", "ibmcloud",
			func(m *Image) { m.File = long + ".qcow2.xz" }, "at most 63"},
		{"DigitalOcean, custom images: Images must be 100 GB or less when uncompressed, including the filesystem.", "digitalocean",
			func(m *Image) { m.VirtualSize = 101 * gib }, "at most 100 GiB"},
		{"Oracle, Linux source image requirements: The maximum image size is 400 GB.", "oraclecloud",
			func(m *Image) { m.VirtualSize = 401 * gib }, "at most 400 GiB"},
		{"Akamai, upload an image: The maximum image file size when uncompressed is 6 GB", "akamai",
			func(m *Image) { m.VirtualSize = 7 * gib }, "at most 6 GiB"},
		{"Proxmox VE, qm: --name is a dns-name", "proxmoxve",
			func(m *Image) { m.File = long + ".qcow2.xz" }, "at most 63"},

		{"", "aws", func(m *Image) { m.Platform = "cloud9" }, `platform "cloud9" is unknown`},
		{"", "aws", func(m *Image) { m.File = "-rf.vmdk" }, "file"},
		{"", "aws", func(m *Image) { m.File = "a/b.vmdk" }, "file"},
		{"", "aws", func(m *Image) { m.OS = "$(id)" }, "os"},
		{"", "aws", func(m *Image) { m.Version = "1\n2" }, "version"},
		{"", "aws", func(m *Image) { m.Compression = "lzip" }, `compression "lzip"`},
		{"", "aws", func(m *Image) { m.Compression = "gzip" }, `compression "gzip"`},
		{"", "aws", func(m *Image) { m.VirtualSize = 0 }, "disk size of 0 bytes"},
	} {
		m := image(tc.platform, "x86_64")
		if _, err := of(m); err != nil {
			t.Fatal(err)
		}
		tc.change(&m)
		if _, err := of(m); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %s", tc.rule, err, tc.want)
		}
	}
}

// TestSettings compares the request to AWS with the container's settings.
func TestSettings(t *testing.T) {
	for _, tc := range []struct {
		arch string
		AWS
		boot, kind, imds string
	}{
		{"x86_64", AWS{}, "uefi-preferred", "gp3", ""},
		{"x86_64", AWS{BootMode: "legacy-bios", VolumeType: "gp2", IMDSv2Only: true}, "legacy-bios", "gp2", "v2.0"},
		{"aarch64", AWS{BootMode: "legacy-bios"}, "uefi", "gp3", ""},
	} {
		m := image("aws", tc.arch)
		m.AWS = tc.AWS
		d, err := of(m)
		if err != nil {
			t.Fatal(err)
		}
		r := d.Requests["register-image"].(registerImage)
		if r.BootMode != tc.boot || r.BlockDeviceMappings[0].Ebs.VolumeType != tc.kind || r.ImdsSupport != tc.imds {
			t.Errorf("%+v: %+v", tc, r)
		}
	}
}

// TestAWS passes the requests to the AWS CLI, which checks their parameters before it sends
// them.
func TestAWS(t *testing.T) {
	d, err := of(image("aws", "x86_64"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := Blocks(disktest.Images(t, 512)["edges"])
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Direct(s); err != nil {
		t.Fatal(err)
	}
	block := filepath.Join(t.TempDir(), "block")
	if err := os.WriteFile(block, make([]byte, BlockSize), 0o644); err != nil {
		t.Fatal(err)
	}
	calls := [][]string{ // and the one in putBlocks
		{"ebs", "put-snapshot-block", "--snapshot-id", "snap-0", "--block-index", "7", "--block-data", block, "--data-length", "524288", "--checksum", "AAAA", "--checksum-algorithm", "SHA256"},
	}
	for _, s := range steps(d) {
		if s.Argv[0] == "aws" && s.Argv[1] != "s3" && s.Argv[2] != "wait" { // which have no such check
			calls = append(calls, s.Argv[1:])
		}
	}
	for _, args := range calls {
		t.Run(strings.Join(args[:2], " "), func(t *testing.T) {
			t.Parallel()
			if args[1] == "start-snapshot" { // the CLI fails to make an example of the answer; so it connects to a closed port
				cmd := exec.Command(treetest.Tool(t, "aws"), append(args, "--region", "us-east-1", "--no-sign-request", "--endpoint-url", "http://127.0.0.1:1")...)
				cmd.Env = append(os.Environ(), "AWS_MAX_ATTEMPTS=1")
				if out, _ := cmd.CombinedOutput(); !strings.Contains(string(out), "Could not connect") {
					t.Errorf("%s", out)
				}
				return
			}
			treetest.Run(t, "aws", append(args, "--region", "us-east-1", "--generate-cli-skeleton", "output")...)
		})
	}
}

// TestSchema compares the schema with the Go types, and rejects invalid documents.
func TestSchema(t *testing.T) {
	schematest.Shipped(t, "github.com/ohp-assemble/ohp-assemble/pkg/cloud/upload", "upload.schema.json", Schema, &Document{}, "json", golden.Updating())
	if n := bytes.Count(Schema, []byte(`"description"`)); n < 30 {
		t.Errorf("%d descriptions", n)
	}
	for _, text := range []string{`{}`, `{"format-version": 2}`, `{"format-version": 1, "image": {}, "placeholders": null, "steps": []}`} {
		if schematest.Valid(t, Schema, []byte(text)) == nil {
			t.Errorf("the schema allows %s", text)
		}
	}
}
