package ova

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

var hypervisors = []Hypervisor{VMware, VirtualBox}

// options has names that XML must be told with care.
func options(t testing.TB) Options {
	spool, err := os.Create(filepath.Join(t.TempDir(), "spool"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { spool.Close() })
	if _, err := io.Copy(spool, disktest.Noise(1<<20)); err != nil { // old content must not show
		t.Fatal(err)
	}
	return Options{
		Name: "fedora-coreos-44.1.0", Product: `<Fedora> & "CoreOS"`, Vendor: "Fedora\x00", Version: "44.1.0",
		SecureBoot: true, DiskID: 7, Time: time.Unix(1700000000, 0), Spool: spool,
	}
}

func write(t testing.TB, img *disk.Image, h Hypervisor) string {
	t.Helper()
	o := options(t)
	return disktest.Write(t, "image.ova", func(w io.Writer) error { return Write(w, img, h, o) })
}

// TestTools: GNU tar takes the files out, the manifest is right, QEMU finds the
// disk in the VMDK, and libxml2 parses the descriptor.
func TestTools(t *testing.T) {
	img := disktest.Images(t, 512)["text and noise"]
	for _, h := range hypervisors {
		t.Run(string(h), func(t *testing.T) { checkTools(t, write(t, img, h), img) })
		t.Run(string(h)+"/sparse", func(t *testing.T) {
			file, err := Format(img, h, options(t))
			if err != nil {
				t.Fatal(err)
			}
			path := disktest.File(t, "image.ova", file)
			checkTools(t, path, img)
			if _, contents := read(t, path); !strings.Contains(string(contents["coreos.ovf"]), "vmdk.html#sparse") {
				t.Errorf("%s", contents["coreos.ovf"])
			}
		})
	}
	disktest.Refuses(t, disktest.Written(func(img *disk.Image) (*disk.Image, error) { return Format(img, VMware, options(t)) }))
}

func checkTools(t *testing.T, path string, img *disk.Image) {
	t.Helper()
	dir := t.TempDir()
	list := treetest.Run(t, "tar", "--numeric-owner", "--full-time", "-tvf", path)
	for i, line := range strings.Split(strings.TrimSpace(list), "\n") {
		f := strings.Fields(line)
		if want := []string{"coreos.ovf", "coreos.mf", "disk.vmdk"}; f[0] != "-rw-r--r--" || f[1] != "0/0" || f[3]+f[4] != "2023-11-1422:13:20" || f[5] != want[i] {
			t.Errorf("%s", line)
		}
	}
	treetest.Run(t, "tar", "-C", dir, "-xf", path)
	manifest, err := os.ReadFile(filepath.Join(dir, "coreos.mf"))
	if err != nil {
		t.Fatal(err)
	}
	var want string
	for _, name := range []string{"coreos.ovf", "disk.vmdk"} {
		sum, _, _ := strings.Cut(treetest.Run(t, "sha256sum", filepath.Join(dir, name)), " ")
		want += fmt.Sprintf("SHA256(%s)= %s\n", name, sum)
	}
	if string(manifest) != want {
		t.Errorf("manifest\n%swant\n%s", manifest, want)
	}
	disktest.Compare(t, filepath.Join(dir, "disk.vmdk"), "vmdk", img)
	treetest.Run(t, "xmllint", "--noout", "--nonet", filepath.Join(dir, "coreos.ovf"))
}

// read returns the names of the files of an appliance and their contents.
func read(t testing.TB, path string) (names []string, contents map[string][]byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	contents = map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(b)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return names, contents
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Format != tar.FormatUSTAR {
			t.Errorf("%s: format %v", h.Name, h.Format)
		}
		if contents[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
}

// An element is one of XML.
type element struct {
	XMLName  xml.Name
	Attrs    []xml.Attr `xml:",any,attr"`
	Children []element  `xml:",any"`
	Text     string     `xml:",chardata"`
}

const (
	ovf  = "http://schemas.dmtf.org/ovf/envelope/1"
	rasd = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"
	vssd = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData"
	vmw  = "http://www.vmware.com/schema/ovf"
	vbox = "http://www.virtualbox.org/ovf/machine"
)

func (e element) attr(space, name string) string {
	for _, a := range e.Attrs {
		if a.Name.Space == space && a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// all returns the children of a name.
func (e element) all(space, name string) (found []element) {
	for _, c := range e.Children {
		if c.XMLName.Space == space && c.XMLName.Local == name {
			found = append(found, c)
		}
	}
	return found
}

// one returns the element at the end of a path of names of OVF. There must be one of
// each.
func (e element) one(t testing.TB, path ...string) element {
	t.Helper()
	for _, name := range path {
		found := e.all(ovf, name)
		if len(found) != 1 {
			t.Fatalf("%d elements %s in %s", len(found), name, e.XMLName.Local)
		}
		e = found[0]
	}
	return e
}

// TestRules holds an appliance against the rules of DSP0243 1.1.0. Those in
// quotation marks are its words.
func TestRules(t *testing.T) {
	img := disktest.Images(t, 512)["edges"]
	for _, h := range hypervisors {
		t.Run(string(h), func(t *testing.T) {
			names, files := read(t, write(t, img, h))
			// "the files shall be in the following order inside the archive: 1) OVF descriptor 2) OVF manifest (optional) ...
			// 4) The remaining files shall be in the same order as listed in the References section"
			if want := []string{"coreos.ovf", "coreos.mf", "disk.vmdk"}; !slices.Equal(names, want) {
				t.Errorf("files %q", names)
			}
			// The manifest has the descriptor's name but for the extension. A line is
			// file_digest = algorithm "(" file_name ")" "=" sp digest nl
			for line := range strings.Lines(string(files["coreos.mf"])) {
				name, sum, ok := strings.Cut(strings.TrimPrefix(line, "SHA256("), ")= ")
				if !ok || sum != fmt.Sprintf("%x\n", sha256.Sum256(files[name])) {
					t.Errorf("manifest: %q", line)
				}
			}
			var envelope element
			if err := xml.Unmarshal(files["coreos.ovf"], &envelope); err != nil {
				t.Fatal(err)
			}
			checkReferences(t, envelope, img, int64(len(files["disk.vmdk"])))
			checkInfo(t, envelope)
			checkHardware(t, envelope)
		})
	}
}

// checkReferences: the file, the disk in it and the drive with the disk find
// each other.
func checkReferences(t *testing.T, envelope element, img *disk.Image, size int64) {
	if envelope.XMLName != (xml.Name{Space: ovf, Local: "Envelope"}) {
		t.Errorf("root %v", envelope.XMLName)
	}
	// An envelope has references, sections and content, in this order.
	for i, name := range []string{"References", "DiskSection", "NetworkSection", "VirtualSystem"} {
		if got := envelope.Children[i].XMLName; got != (xml.Name{Space: ovf, Local: name}) {
			t.Errorf("element %d is %v", i, got)
		}
	}
	file, disk := envelope.one(t, "References", "File"), envelope.one(t, "DiskSection", "Disk")
	// The size of a file is in bytes.
	if file.attr(ovf, "href") != "disk.vmdk" || file.attr(ovf, "size") != strconv.FormatInt(size, 10) {
		t.Errorf("file of %d bytes: %v", size, file.Attrs)
	}
	// "The capacity of a virtual disk shall be specified by the ovf:capacity attribute with an xs:long integer value. The
	// default unit of allocation shall be bytes."
	if disk.attr(ovf, "capacity") != strconv.FormatInt(img.Size(), 10) || disk.attr(ovf, "capacityAllocationUnits") != "byte" {
		t.Errorf("disk: %v", disk.Attrs)
	}
	// "ovf:populatedSize is allowed to be an estimate of used disk size but shall not be larger than ovf:capacity."
	if n, err := strconv.ParseInt(disk.attr(ovf, "populatedSize"), 10, 64); err != nil || n <= 0 || n > img.Size() {
		t.Errorf("populatedSize %d, %v", n, err)
	}
	if disk.attr(ovf, "fileRef") != file.attr(ovf, "id") || file.attr(ovf, "id") == "" {
		t.Errorf("fileRef %q of file %q", disk.attr(ovf, "fileRef"), file.attr(ovf, "id"))
	}
	if got := disk.attr(ovf, "format"); !strings.HasSuffix(got, "vmdk.html#streamOptimized") {
		t.Errorf("format %q", got)
	}
	networks := map[string]bool{}
	for _, n := range envelope.one(t, "NetworkSection").all(ovf, "Network") {
		networks[n.attr(ovf, "name")] = true
	}
	for _, item := range envelope.one(t, "VirtualSystem", "VirtualHardwareSection").all(ovf, "Item") {
		switch value(item, "ResourceType") {
		case "17":
			// A drive names its disk by the diskId.
			if value(item, "HostResource") != "ovf:/disk/"+disk.attr(ovf, "diskId") {
				t.Errorf("HostResource %q", value(item, "HostResource"))
			}
		case "10":
			// An adapter is on one of the networks.
			if !networks[value(item, "Connection")] {
				t.Errorf("network %q of %v", value(item, "Connection"), networks)
			}
		}
	}
}

// checkInfo: every section, and the content, begins with a text for people.
func checkInfo(t *testing.T, e element) {
	if name := e.XMLName.Local; strings.HasSuffix(name, "Section") || name == "VirtualSystem" {
		if len(e.Children) == 0 || e.Children[0].XMLName != (xml.Name{Space: ovf, Local: "Info"}) || e.Children[0].Text == "" {
			t.Errorf("%s does not begin with Info", name)
		}
	}
	for _, c := range e.Children {
		checkInfo(t, c)
	}
}

func value(item element, name string) string {
	if found := item.all(rasd, name); len(found) == 1 {
		return found[0].Text
	}
	return ""
}

// checkHardware: the items are complete, and their elements in order.
func checkHardware(t *testing.T, envelope element) {
	hardware := envelope.one(t, "VirtualSystem", "VirtualHardwareSection")
	ids := map[string]bool{}
	for _, item := range hardware.all(ovf, "Item") {
		// The elements of CIM's schema are an xs:sequence, in the order of the alphabet.
		var names []string
		for _, c := range item.Children {
			names = append(names, c.XMLName.Local)
			if c.XMLName.Space != rasd {
				t.Errorf("%v in an Item", c.XMLName)
			}
		}
		if !slices.IsSorted(names) {
			t.Errorf("elements %q", names)
		}
		// These three must be there, and an id is of one item only.
		id := value(item, "InstanceID")
		if id == "" || ids[id] || value(item, "ElementName") == "" || value(item, "ResourceType") == "" {
			t.Errorf("item %+v", item)
		}
		ids[id] = true
	}
	for _, item := range hardware.all(ovf, "Item") {
		// A device is on a controller that is there.
		if parent := value(item, "Parent"); parent != "" && !ids[parent] {
			t.Errorf("parent %q", parent)
		}
	}
}

// TestMachine: the machines are those that Fedora CoreOS's appliances have.
func TestMachine(t *testing.T) {
	img := disktest.Images(t, 512)["small"]
	for h, want := range map[Hypervisor]struct{ kind, controller, network string }{
		VMware:     {"vmx-17", "VirtualSCSI", "VmxNet3"},
		VirtualBox: {"virtualbox-2.2", "AHCI", "E1000"},
	} {
		_, files := read(t, write(t, img, h))
		var envelope element
		if err := xml.Unmarshal(files["coreos.ovf"], &envelope); err != nil {
			t.Fatal(err)
		}
		system := envelope.one(t, "VirtualSystem")
		hardware := system.one(t, "VirtualHardwareSection")
		if got := hardware.one(t, "System").all(vssd, "VirtualSystemType"); len(got) != 1 || got[0].Text != want.kind {
			t.Errorf("%s: %v", h, got)
		}
		items := map[string]element{}
		for _, item := range hardware.all(ovf, "Item") {
			items[value(item, "ResourceType")] = item
		}
		controller := items["6"]
		if h == VirtualBox {
			controller = items["20"]
		}
		if value(items["3"], "VirtualQuantity") != "2" || value(items["4"], "VirtualQuantity") != "4096" ||
			value(controller, "ResourceSubType") != want.controller || value(items["10"], "ResourceSubType") != want.network {
			t.Errorf("%s: %+v", h, items)
		}
		product := system.one(t, "ProductSection")
		if got := product.one(t, "Product").Text; got != `<Fedora> & "CoreOS"` {
			t.Errorf("%s: product %q", h, got)
		}
		properties := map[string]string{}
		for _, p := range product.all(ovf, "Property") {
			properties[p.attr(ovf, "key")] = p.attr(ovf, "userConfigurable") + p.attr(ovf, "type")
		}
		guest := system.one(t, "OperatingSystemSection")
		if h == VirtualBox {
			if kind := guest.all(vbox, "OSType"); len(kind) != 1 || kind[0].Text != "Fedora_64" {
				t.Errorf("guest %+v", guest)
			}
			continue
		}
		config := map[string]string{}
		for _, c := range hardware.all(vmw, "Config") {
			config[c.attr(vmw, "key")] = c.attr(vmw, "value")
		}
		if config["firmware"] != "efi" || config["bootOptions.efiSecureBootEnabled"] != "true" || guest.attr(vmw, "osType") != "fedora64Guest" {
			t.Errorf("config %v, guest %v", config, guest.Attrs)
		}
		if hardware.attr(ovf, "transport") != "com.vmware.guestInfo" ||
			properties["guestinfo.ignition.config.data"] != "truestring" || properties["guestinfo.ignition.config.data.encoding"] != "truestring" {
			t.Errorf("properties %v", properties)
		}
	}
}

type broken struct{}

func (broken) ReadAt([]byte, int64) (int, error)  { return 0, errors.New("a torn spool") }
func (broken) WriteAt([]byte, int64) (int, error) { return 0, errors.New("a full spool") }

// unreadable takes everything and gives nothing.
type unreadable struct{ broken }

func (unreadable) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }

func TestErrors(t *testing.T) {
	img := disktest.Images(t, 512)["small"]
	for want, change := range map[string]func(*Options){
		"missing spool":       func(o *Options) { o.Spool = nil },
		"a full spool":        func(o *Options) { o.Spool = broken{} },
		"a torn spool":        func(o *Options) { o.Spool = unreadable{} },
		"missing name of":     func(o *Options) { o.Name = "" },
		"hardware version -1": func(o *Options) { o.HardwareVersion = -1 },
	} {
		o := options(t)
		change(&o)
		if err := Write(io.Discard, img, VMware, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if err := Write(io.Discard, img, "xen", options(t)); err == nil || !strings.Contains(err.Error(), `unknown hypervisor "xen", must be "vmware"`) {
		t.Errorf("%v", err)
	}
	disktest.Refuses(t, func(w io.Writer, img *disk.Image) error { return Write(w, img, VirtualBox, options(t)) })
}

// TestTimes: the time of the files is the nearest one that they can have.
func TestTimes(t *testing.T) {
	for sec, want := range map[int64]int64{-5: 0, 1700000000: 1700000000, 8589934591: 8589934591, 8589934592: 8589934591, 10737418239: 8589934591} {
		o := options(t)
		o.Time = time.Unix(sec, 0)
		path := disktest.Write(t, "image.ova", func(w io.Writer) error { return Write(w, disktest.Images(t, 512)["text and noise"], hypervisors[0], o) })
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		h, err := tar.NewReader(f).Next()
		if err != nil || h.ModTime.Unix() != want {
			t.Errorf("%d: %v, %v", sec, h, err)
		}
	}
}

// TestLargeDisk: sizes that ustar cannot represent are in GNU's form, others are not.
func TestLargeDisk(t *testing.T) {
	for size, magic := range map[int64]string{1: "ustar\x0000", 8<<30 - 1: "ustar\x0000", 8 << 30: "ustar  \x00", 1 << 40: "ustar  \x00"} {
		var b bytes.Buffer
		if err := tar.NewWriter(&b).WriteHeader(header("disk.vmdk", size, Options{})); err != nil {
			t.Fatal(err)
		}
		if got := b.String(); len(got) != 512 || got[257:265] != magic {
			t.Errorf("%d bytes: a header of %d with %q", size, len(got), got[257:265])
		}
		if h, err := tar.NewReader(&b).Next(); err != nil || h.Size != size {
			t.Errorf("%d bytes: %v, %v", size, h, err)
		}
	}
}
