package deploy

import (
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/bls"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree/internal/ostreetest"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/selinux"
)

// fedora is a policy that knows ostree, debian one that does not.
const (
	fedora = `/.*                      system_u:object_r:default_t:s0
/[^/]+                --  system_u:object_r:etc_runtime_t:s0
/usr/.*                   system_u:object_r:usr_t:s0
/var/.*                   system_u:object_r:var_t:s0
/boot/.*                  system_u:object_r:boot_t:s0
/etc/.*                   system_u:object_r:etc_t:s0
/ostree(/.*)?             system_u:object_r:usr_t:s0
/ostree/repo(/.*)?        system_u:object_r:system_conf_t:s0
/etc/ostree/remotes.d(/.*)? system_u:object_r:system_conf_t:s0
/                     -d  system_u:object_r:root_t:s0
/usr                  -d  system_u:object_r:usr_t:s0
/etc                  -d  system_u:object_r:etc_t:s0
/var                  -d  system_u:object_r:var_t:s0
/var/tmp/.*               <<none>>
/boot                 -d  system_u:object_r:boot_t:s0
/etc/ssh/sshd_config      system_u:object_r:sshd_conf_t:s0
/usr/etc/ssh/sshd_config  system_u:object_r:usr_t:s0
`
	debian = `/.*                      system_u:object_r:default_t:s0
/usr/.*                   system_u:object_r:usr_t:s0
/var/.*                   system_u:object_r:var_t:s0
/etc/.*                   system_u:object_r:etc_t:s0
/                     -d  system_u:object_r:root_t:s0
/usr                  -d  system_u:object_r:usr_t:s0
/boot                 -d  system_u:object_r:boot_t:s0
`
)

func selinuxContext(kind string) string { return "system_u:object_r:" + kind + ":s0\x00" }

// system returns the tree that the vectors were deployed from, but for its
// policy, which is a parameter, "" for none.
func system(t testing.TB, policy string) *rootfs.Inode {
	t.Helper()
	root := rootfs.Dir(0o755)
	for name, n := range map[string]*rootfs.Inode{
		"boot": rootfs.Dir(0o755), "dev": rootfs.Dir(0o755), "proc": rootfs.Dir(0o755), "run": rootfs.Dir(0o755),
		"sys": rootfs.Dir(0o755), "sysroot": rootfs.Dir(0o755), "tmp": rootfs.Dir(0o1777),
		"home": rootfs.Link("var/home"), "ostree": rootfs.Link("sysroot/ostree"),
		"usr/bin/true":                                          rootfs.Text(0o755, "bin\n"),
		"usr/etc/os-release":                                    rootfs.Link("../usr/lib/os-release"),
		"usr/etc/ssh/sshd_config":                               rootfs.Text(0o600, "ssh\n"),
		"usr/lib/emptyfile":                                     rootfs.Text(0o644, ""),
		"usr/lib/modules/6.1.0-1.fc/vmlinuz":                    rootfs.Text(0o644, "KERNEL\n"),
		"usr/lib/modules/6.1.0-1.fc/initramfs.img":              rootfs.Text(0o644, "INITRAMFS\n"),
		"usr/lib/modules/6.1.0-1.fc/.vmlinuz.hmac":              rootfs.Text(0o644, "HMAC 1234\n"),
		"usr/lib/os-release":                                    rootfs.Text(0o644, fmt.Sprintf("%-87s\n", "NAME=Fedora\n# =\nID=fedora\nPRETTY_NAME=\"Fedora CoreOS 42.20250101.3.0\"")),
		"usr/lib/ostree/prepare-root.conf":                      rootfs.Text(0o644, "[composefs]\nenabled = true\n"),
		"usr/lib/sysimage":                                      rootfs.Dir(0o755),
		"usr/lib/tmpfiles.d":                                    rootfs.Dir(0o755),
		"var/lib/foo/vfile":                                     rootfs.Text(0o644, "vf\n"),
		"var/tmp":                                               rootfs.Dir(0o1777),
		"usr/etc/selinux/config":                                rootfs.Text(0o644, "SELINUX=enforcing\nSELINUXTYPE=targeted\n"),
		"usr/etc/selinux/targeted/contexts/files/file_contexts": rootfs.Text(0o644, policy),
	} {
		if policy == "" && strings.HasPrefix(name, "usr/etc/selinux/") {
			continue
		}
		place(t, root, name, n)
	}
	return root
}

func place(t testing.TB, root *rootfs.Inode, name string, n *rootfs.Inode) {
	t.Helper()
	if err := root.Place(name, n); err != nil {
		t.Fatal(err)
	}
}

// commit puts a tree into a repository, labelled by its own policy.
func commit(t testing.TB, root *rootfs.Inode) (*ostree.Repo, ostree.Checksum) {
	t.Helper()
	policy, err := selinux.Load(root)
	if err != nil {
		t.Fatal(err)
	}
	repo := ostree.NewRepo()
	tree, meta := ostreetest.Write(repo, policy.Label(root, "/"))
	c := ostree.Commit{Metadata: []ostree.Property{ostree.StringProperty("version", "42.20250101.3.0")}, Tree: tree, Meta: meta}
	id := repo.AddMetadata(ostree.CommitObject, c.Bytes())
	repo.Refs["ostree/container/image/test"] = id
	return repo, id
}

var aleph = Aleph{
	Ref:     "ostree-image-signed:docker://quay.io/fedora/fedora-coreos:stable",
	Version: "42.20250101.3.0",
	Image:   AlephImage{Name: "quay.io/fedora/fedora-coreos:stable", Digest: "sha256:abc", Labels: map[string]string{"b": "<2>", "a": "1"}},
}

func options(id ostree.Checksum) Options {
	return Options{
		Commit: id,
		Origin: "ostree-image-signed:docker://quay.io/fedora/fedora-coreos:stable",
		Aleph:  aleph,
		Time:   rootfs.Time{Sec: 1000},
	}
}

func deploy(t testing.TB, root *rootfs.Inode) (*ostree.Repo, *Deployment) {
	t.Helper()
	repo, id := commit(t, root)
	d, err := New(repo, options(id))
	if err != nil {
		t.Fatal(err)
	}
	return repo, d
}

// args are those of the vector.
var args = bls.Args{"rw", "$ignition_firstboot", "mitigations=auto,nosmt"}

func boot(t testing.TB, d *Deployment, args bls.Args) *rootfs.Inode {
	t.Helper()
	b, _, err := d.Boot(args)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func readFile(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func content(t testing.TB, root *rootfs.Inode, name string) string {
	t.Helper()
	n := root.Lookup(name)
	if n == nil {
		t.Fatalf("%s is missing", name)
	}
	b, err := rootfs.ReadAll(n.Content, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// vectorCommit is the checksum of ostree's commit, which has another policy.
const vectorCommit = "44a53f28111a1d510d5889709f1df1d1ac92a08017b87a1e7ab0835308f893f1"

func (d *Deployment) dirPath() string {
	return "ostree/deploy/" + d.options.Stateroot + "/deploy/" + d.name()
}

// TestVector compares with the result of "ostree admin deploy" for the same tree,
// line by line of a listing.
func TestVector(t *testing.T) {
	_, d := deploy(t, system(t, fedora))
	d.Root.Children["boot"] = boot(t, d, args)

	want := map[string]string{}
	for line := range strings.Lines(readFile(t, "tree-listing.txt")) {
		fields := strings.Fields(line)
		name, target, _ := strings.Cut(line[strings.IndexByte(line, '\'')+1:], "' -> '")
		name, target = strings.Trim(name, "'\n"), strings.Trim(target, "'\n")
		name = path.Clean(strings.ReplaceAll(name, vectorCommit, d.options.Commit.String()))
		target = strings.ReplaceAll(target, vectorCommit, d.options.Commit.String())
		size := ""
		if fields[0][0] == '-' && !strings.HasSuffix(name, composefsName) {
			size = fields[4]
		}
		nlink := ""
		if fields[0][0] != 'd' && !strings.HasPrefix(name, "boot/") {
			nlink = strings.Replace(fields[3], "=3", "=2", 1) // the kernel is linked into /boot there
		}
		mtime := fields[5]
		if fields[0][0] == 'l' || strings.HasPrefix(name, "boot/ostree/") {
			mtime = "" // no content of a commit there; the kernel is copied here
		}
		want[name] = strings.Join([]string{fields[0][:1], fields[1], fields[2], nlink, size, mtime, target}, " ")
	}
	delete(want, "ostree/repo/.lock") // made on demand

	links := map[*rootfs.Inode]int{}
	for _, n := range d.Root.Walk() {
		links[n]++
	}
	got := map[string]string{}
	for name, n := range d.Root.Walk() {
		if strings.HasPrefix(name, "ostree/repo/objects") || strings.Contains(name, "/etc/selinux/") {
			continue
		}
		got[name] = describe(d, name, n, links[n])
	}
	// Not ostree's, or not of that ostree.
	for _, name := range []string{"boot/efi", "boot/ignition.firstboot", ".aleph-version.json", ".coreos-aleph-version.json"} {
		if got[name] == "" {
			t.Errorf("%s is missing", name)
		}
		delete(got, name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func describe(d *Deployment, name string, n *rootfs.Inode, links int) string {
	kind := map[uint32]string{rootfs.ModeDir: "d", rootfs.ModeLink: "l", rootfs.ModeFile: "-"}[n.Type()]
	size, nlink, mtime := "", "", "mtime=0"
	if n.IsFile() && !strings.HasSuffix(name, composefsName) {
		size = fmt.Sprintf("size=%d", n.Size())
	}
	if !n.IsDir() && !strings.HasPrefix(name, "boot/") {
		nlink = fmt.Sprintf("nlink=%d", links)
	}
	if n.MTime == d.options.Time {
		mtime = "mtime=NOW"
	}
	if n.IsLink() || strings.HasPrefix(name, "boot/ostree/") {
		mtime = ""
	}
	return strings.Join([]string{kind, fmt.Sprintf("%o", n.Mode&0o7777), fmt.Sprintf("%d:%d", n.UID, n.GID), nlink, size, mtime, n.Target}, " ")
}

// TestVectorText compares with the text files of the same deployment.
func TestVectorText(t *testing.T) {
	_, d := deploy(t, system(t, ""))
	b := boot(t, d, args)
	for file, got := range map[string]string{
		"ostree-1.conf":     content(t, b, "loader.1/entries/ostree-1.conf"),
		"deployment.origin": content(t, d.Root, d.dirPath()+".origin"),
		"repo-config":       content(t, d.Root, "ostree/repo/config"),
	} {
		if diff := cmp.Diff(readFile(t, file), got); diff != "" {
			t.Errorf("%s: %s", file, diff)
		}
	}
	if got := content(t, d.Root, "ostree/repo/refs/heads/ostree/1/1/0"); got != d.options.Commit.String()+"\n" {
		t.Errorf("ref: %q", got)
	}
}

func TestAleph(t *testing.T) {
	_, d := deploy(t, system(t, ""))
	const want = `{
    "ref": "ostree-image-signed:docker://quay.io/fedora/fedora-coreos:stable",
    "version": "42.20250101.3.0",
    "container-image": {
        "image-name": "quay.io/fedora/fedora-coreos:stable",
        "image-digest": "sha256:abc",
        "image-labels": {
            "a": "1",
            "b": "<2>"
        }
    }
}
`
	if diff := cmp.Diff(want, content(t, d.Root, ".aleph-version.json")); diff != "" {
		t.Error(diff)
	}
	if n := d.Root.Lookup(".coreos-aleph-version.json"); n == nil || n.Target != ".aleph-version.json" || d.Root.Lookup(".bootc-aleph.json") != nil {
		t.Errorf("%v", d.Root.Names())
	}
}

// TestAlephBootc has the fields of bootc and the classic ones in one file,
// under three names.
func TestAlephBootc(t *testing.T) {
	const common = `    "ref": "ostree-image-signed:docker://quay.io/fedora/fedora-coreos:stable",
    "version": "42.20250101.3.0",
    "container-image": {
        "image-name": "docker://quay.io/fedora/fedora-coreos:stable",
        "image-digest": "sha256:abc",
        "image-labels": {`
	for name, tt := range map[string]struct {
		created time.Time
		labels  map[string]string
		policy  string
		want    string
	}{
		"all": {time.Date(2026, 7, 20, 14, 0, 0, 0, time.FixedZone("", 7200)), map[string]string{"b": "<2>", "a": "1"}, fedora, `{
    "image": "quay.io/fedora/fedora-coreos:stable",
    "digest": "sha256:abc",
    "target-image": "ostree-image-signed:docker://quay.io/fedora/fedora-coreos:stable",
    "labels": {
        "a": "1",
        "b": "<2>"
    },
    "timestamp": "2026-07-20T12:00:00Z",
    "kernel": "KERNEL",
    "selinux": "enabled",
` + common + `
            "a": "1",
            "b": "<2>"
        }
    }
}
`},
		"little": {time.Time{}, nil, "", `{
    "image": "quay.io/fedora/fedora-coreos:stable",
    "digest": "sha256:abc",
    "target-image": "ostree-image-signed:docker://quay.io/fedora/fedora-coreos:stable",
    "timestamp": null,
    "kernel": "KERNEL",
    "selinux": "disabled",
` + common + `}
    }
}
`},
	} {
		t.Run(name, func(t *testing.T) {
			repo, id := commit(t, system(t, tt.policy))
			o := options(id)
			o.Aleph.Bootc, o.Aleph.Created = true, tt.created
			o.Aleph.Image.Name, o.Aleph.Image.Labels = "docker://quay.io/fedora/fedora-coreos:stable", tt.labels
			d, err := New(repo, o)
			if err != nil {
				t.Fatal(err)
			}
			want := strings.Replace(tt.want, "KERNEL", d.Kernel, 1)
			if diff := cmp.Diff(want, content(t, d.Root, ".bootc-aleph.json")); diff != "" {
				t.Error(diff)
			}
			for _, name := range []string{".aleph-version.json", ".coreos-aleph-version.json"} {
				if n := d.Root.Lookup(name); n == nil || n.Target != ".bootc-aleph.json" {
					t.Errorf("%s is not a link to it", name)
				}
			}
			if tt.policy != "" {
				for name, want := range map[string]string{".bootc-aleph.json": "etc_runtime_t", ".aleph-version.json": "default_t", ".coreos-aleph-version.json": "default_t"} {
					if label := d.Root.Lookup(name).Xattrs[selinux.Xattr]; !strings.Contains(label, ":"+want+":") {
						t.Errorf("%s has the label %q, want %s", name, label, want)
					}
				}
			}
		})
	}
}

// TestObjects has every object under its name, and the deployment made of them.
func TestObjects(t *testing.T) {
	repo, d := deploy(t, system(t, fedora))
	objects := d.Root.Lookup("ostree/repo/objects")
	n := 0
	for name, file := range objects.Walk() {
		if file.IsDir() {
			continue
		}
		n++
		id, kind, err := ostree.ParseObjectPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if kind == ostree.FileObject {
			if repo.Files[id] != file {
				t.Errorf("%s is not the file of the repository", name)
			}
			continue
		}
		if got := content(t, objects, name); ostree.Sum([]byte(got)) != id {
			t.Errorf("%s: content of another object", name)
		}
	}
	if n != len(repo.Files)+len(repo.Metadata) {
		t.Errorf("%d objects, want %d", n, len(repo.Files)+len(repo.Metadata))
	}
	deployment := d.Root.Lookup(d.dirPath())
	if !deployment.Immutable || d.Root.Immutable {
		t.Errorf("immutable: deployment %v, physical root %v", deployment.Immutable, d.Root.Immutable)
	}
	shared := 0
	for name, file := range d.System.Walk() {
		got := deployment.Lookup(name)
		if name == "etc" || file.IsDir() {
			continue
		}
		if (got == file) != (file.IsLink() || file.Size() > 0) {
			t.Errorf("%s: wrong about sharing", name)
		}
		shared++
	}
	if shared < 10 {
		t.Errorf("only %d files", shared)
	}
}

func TestLabels(t *testing.T) {
	for policy, wants := range map[string]map[string]string{
		fedora: {
			".": "root_t", "boot": "boot_t", "ostree": "usr_t", "ostree/boot.1": "usr_t", "ostree/boot.1.1/fedora-coreos": "usr_t",
			"ostree/repo": "system_conf_t", "ostree/repo/config": "system_conf_t", "ostree/repo/refs/heads/ostree/1/1/0": "system_conf_t",
			"ostree/deploy/fedora-coreos": "usr_t", "ORIGIN": "system_conf_t", "DEPLOYMENT": "root_t", "DEPLOYMENT/.ostree.cfs": "usr_t",
			"DEPLOYMENT/etc": "etc_t", "DEPLOYMENT/etc/ssh/sshd_config": "sshd_conf_t", "DEPLOYMENT/usr/etc/ssh/sshd_config": "usr_t",
			".aleph-version.json": "etc_runtime_t", "ostree/deploy/fedora-coreos/var/lib/foo/vfile": "var_t",
			"ostree/deploy/fedora-coreos/var/.ostree-selabeled": "var_t",
			"BACKING": "usr_t", "BACKING/root-transient/upper": "root_t", "BACKING/root-transient/work": "usr_t",
		},
		debian: {
			".": "root_t", "boot": "boot_t", "ostree": "usr_t", "ostree/repo/config": "usr_t", "ORIGIN": "etc_t",
			"DEPLOYMENT/.ostree.cfs": "usr_t", ".aleph-version.json": "default_t", "BACKING/root-transient/upper": "root_t",
		},
	} {
		repo, d := deploy(t, system(t, policy))
		names := strings.NewReplacer("DEPLOYMENT", d.dirPath(), "ORIGIN", d.dirPath()+".origin", "BACKING", "ostree/deploy/fedora-coreos/backing/"+d.name())
		for name, want := range wants {
			n := d.Root.Lookup(names.Replace(name))
			if n == nil {
				t.Errorf("%s is missing", name)
			} else if got := n.Xattrs[selinux.Xattr]; got != selinuxContext(want) {
				t.Errorf("%s: %q, want %s", name, got, want)
			}
		}
		for name, n := range d.Root.Walk() {
			if n.Xattrs[selinux.Xattr] == "" {
				t.Errorf("%s has no context", name)
			}
		}
		// The context of a metadata object is not in the object's checksum.
		object := ostree.ObjectPath(d.options.Commit, ostree.CommitObject)
		if got, want := d.Root.Lookup("ostree/repo/objects/"+object).Xattrs, d.Root.Lookup("ostree/repo").Xattrs; !maps.Equal(got, want) {
			t.Errorf("%s: %q, want %q", object, got, want)
		}
		ids := d.IDs()
		for id, n := range repo.Files {
			if ids[n] != id {
				t.Errorf("%s has changed", id)
			}
		}
		b := d.Policy.Label(boot(t, d, args), "/boot")
		for name, n := range b.Walk() {
			if n.Xattrs[selinux.Xattr] == "" {
				t.Errorf("boot/%s has no context", name)
			}
		}
	}
}

func TestWithoutPolicy(t *testing.T) {
	_, d := deploy(t, system(t, ""))
	for name, n := range d.Root.Walk() {
		if len(n.Xattrs) > 0 {
			t.Errorf("%s: %q", name, n.Xattrs)
		}
	}
	if d.Root.Lookup("ostree/deploy/fedora-coreos/var/.ostree-selabeled") != nil {
		t.Error("/var counts as labelled")
	}
}

func TestBoot(t *testing.T) {
	root := system(t, fedora)
	const modules = "usr/lib/modules/6.1.0-1.fc/"
	place(t, root, modules+"dtb/b", rootfs.Text(0o644, "3"))
	place(t, root, modules+"dtb/a/z", rootfs.Text(0o644, "1"))
	place(t, root, modules+"dtb/a.dtb", rootfs.Text(0o644, "2"))
	root.Lookup(modules + "vmlinuz").Mode = rootfs.ModeFile | 0o755
	_, d := deploy(t, root)
	// sha256 of "KERNEL\nINITRAMFS\n123"
	if d.Bootcsum.String() != "52107c2c8abe05cb1f992580d5df7c219e88e042a14753a82bf4e00f2e78f387" {
		t.Errorf("bootcsum %s", d.Bootcsum)
	}
	b := boot(t, d, bls.Args{"rw", "ignition.platform.id=qemu", "console=ttyS0"})
	dir := "ostree/fedora-coreos-" + d.Bootcsum.String()
	if names := b.Lookup(dir).Names(); !slices.Equal(names, []string{".vmlinuz-6.1.0-1.fc.hmac", "dtb", "initramfs-6.1.0-1.fc.img", "vmlinuz-6.1.0-1.fc"}) {
		t.Errorf("%q", names)
	}
	kernel := b.Lookup(dir + "/vmlinuz-6.1.0-1.fc")
	if kernel.Mode != rootfs.ModeFile|0o755 || kernel.Xattrs != nil || kernel == d.System.Lookup(modules+"vmlinuz") {
		t.Errorf("%+v", kernel)
	}
	if got := content(t, b, dir+"/dtb/a/z"); got != "1" {
		t.Errorf("dtb/a/z: %q", got)
	}
	e, err := bls.Parse(content(t, b, "loader.1/entries/ostree-1.conf"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "rw ostree=/ostree/boot.1/fedora-coreos/" + d.Bootcsum.String() + "/0 ignition.platform.id=qemu console=ttyS0"; e.Options().String() != want {
		t.Errorf("%s, want %s", e.Options(), want)
	}
	if want := "/boot/" + dir + "/dtb"; e[len(e)-1] != (bls.Field{Key: "fdtdir", Value: want}) {
		t.Errorf("%v, want fdtdir %s at the end", e, want)
	}
	// The target of ostree= must lead to the deployment.
	at := "ostree/boot.1.1/fedora-coreos/" + d.Bootcsum.String() + "/0"
	if d.Root.Resolve("ostree/boot.1/fedora-coreos/"+d.Bootcsum.String()+"/0") != d.Root.Lookup(d.dirPath()) {
		t.Errorf("%s leads elsewhere: %s", at, d.Root.Lookup(at).Target)
	}
	for name, want := range map[string]uint32{"efi": 0o040755, "ignition.firstboot": 0o100644} {
		if n := b.Lookup(name); n == nil || n.Mode != want || n.Size() != 0 {
			t.Errorf("%s: %+v", name, n)
		}
	}
}

func TestTitle(t *testing.T) {
	for release, want := range map[string]string{
		"ID=x\n":                                "x 42.20250101.3.0",
		"PRETTY_NAME='It is \"42\"'\n":          `It is "42" 42.20250101.3.0`,
		"PRETTY_NAME=\"a \\\"b\\\" c\\$\"\n=\n": `a "b" c$ 42.20250101.3.0`,
		"PRETTY_NAME=OS\\ 42.20250101.3.0.1":    "OS 42.20250101.3.0.1",
	} {
		root := system(t, "")
		root.Lookup("usr/lib/os-release").Content = strings.NewReader(release)
		repo, id := commit(t, root)
		d, err := New(repo, options(id))
		if err != nil {
			t.Errorf("%q: %v", release, err)
		} else if d.title != want {
			t.Errorf("%q: %q, want %q", release, d.title, want)
		}
	}
}

// TestVar finds the files of /var of a commit in /var of the system, as copies.
func TestVar(t *testing.T) {
	root := system(t, fedora)
	file := rootfs.Text(0o644, "same")
	place(t, root, "var/one", file)
	place(t, root, "var/two", file)
	place(t, root, "var/.updated", rootfs.Text(0o644, ""))
	place(t, root, "usr/etc/.updated", rootfs.Text(0o644, ""))
	_, d := deploy(t, root)
	v := d.Root.Lookup("ostree/deploy/fedora-coreos/var")
	if v.Lookup("one") == v.Lookup("two") || v.Lookup("one") == d.Root.Lookup(d.dirPath()+"/var/one") {
		t.Error("/var is linked to the commit")
	}
	for _, name := range []string{"ostree/deploy/fedora-coreos/var/.updated", d.dirPath() + "/var/.updated", d.dirPath() + "/etc/.updated"} {
		if d.Root.Lookup(name) != nil {
			t.Errorf("%s exists", name)
		}
	}
	if d.Root.Lookup(d.dirPath()+"/usr/etc/.updated") == nil || d.System.Lookup("var/.updated") == nil {
		t.Error("the commit has changed")
	}
}

// TestTime has no directory of time zero where libostree would not read it.
func TestTime(t *testing.T) {
	repo, id := commit(t, system(t, ""))
	o := options(id)
	o.Time = rootfs.Time{}
	d, err := New(repo, o)
	if err != nil {
		t.Fatal(err)
	}
	if n := d.Root.Lookup("ostree/deploy"); n.MTime.Sec <= 0 {
		t.Errorf("ostree/deploy of time %v", n.MTime)
	}
}

func TestClassicVar(t *testing.T) {
	root := system(t, fedora)
	delete(root.Lookup("usr/lib").Children, "tmpfiles.d")
	_, d := deploy(t, root)
	v := d.Root.Lookup("ostree/deploy/fedora-coreos/var")
	if names := v.Names(); !slices.Equal(names, []string{".ostree-selabeled", "lib", "lock", "log", "run", "tmp"}) {
		t.Errorf("%q", names)
	}
	if v.Lookup("lib/foo/vfile") == nil || v.Lookup("run").Target != "../run" || v.Lookup("log").Xattrs == nil {
		t.Error("not what ostree makes")
	}
}

func TestManyLinks(t *testing.T) {
	root := rootfs.Dir(0o755)
	file := rootfs.Text(0o644, "x")
	for i := range maxLinks + 10 {
		root.Children[fmt.Sprint(i)] = file
	}
	c := checkout{links: map[*rootfs.Inode]int{}}
	links := 1 // the object
	for _, n := range c.tree(root).Children {
		if n == file {
			links++
		}
	}
	if links != maxLinks {
		t.Errorf("%d links", links)
	}
}

func TestRefused(t *testing.T) {
	for want, change := range map[string]func(root *rootfs.Inode, o *Options){
		"/etc, which belongs":     func(root *rootfs.Inode, _ *Options) { root.Children["etc"] = root.Lookup("usr/etc") },
		"no directory /usr/etc":   func(root *rootfs.Inode, _ *Options) { delete(root.Lookup("usr").Children, "etc") },
		"/.ostree.cfs of its own": func(root *rootfs.Inode, _ *Options) { root.Children[".ostree.cfs"] = rootfs.Text(0o644, "") },
		"missing kernel":          func(root *rootfs.Inode, _ *Options) { delete(root.Lookup("usr/lib").Children, "modules") },
		"os-release is a link to ../usr/lib/os-release, which does not exist": func(root *rootfs.Inode, _ *Options) { delete(root.Lookup("usr/lib").Children, "os-release") },
		"aboot.img": func(root *rootfs.Inode, _ *Options) {
			root.Lookup("usr/lib/modules/6.1.0-1.fc").Children["aboot.img"] = rootfs.Text(0o644, "x")
		},
		`stateroot "a/b"`: func(_ *rootfs.Inode, o *Options) { o.Stateroot = "a/b" },
		`origin ""`:       func(_ *rootfs.Inode, o *Options) { o.Origin = "" },
		`origin "a\nb"`:   func(_ *rootfs.Inode, o *Options) { o.Origin = "a\nb" },
		"is missing":      func(_ *rootfs.Inode, o *Options) { o.Commit[0]++ },
	} {
		root := system(t, fedora)
		o := options(ostree.Checksum{})
		change(root, &o)
		repo, id := commit(t, root)
		if o.Commit == (ostree.Checksum{}) {
			o.Commit = id
		}
		d, err := New(repo, o)
		if err == nil {
			_, _, err = d.Boot(args)
		}
		if err == nil || !strings.HasPrefix(err.Error(), "deploy: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	repo, id := commit(t, system(t, fedora))
	repo.Refs["ostree/container/image/test/below"] = id
	if _, err := New(repo, options(id)); err == nil || !strings.Contains(err.Error(), "directory") {
		t.Errorf("a ref below a ref: %v", err)
	}
}
