package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ignition"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree/container"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/packages"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
)

// A difference is what diff prints. Lists are empty where nothing differs.
type difference struct {
	Arch        string            `json:"arch,omitempty"` // of one of several
	A           string            `json:"a"`
	B           string            `json:"b"`
	Equal       bool              `json:"equal"`              // all that can be compared was, and is the same
	Platform    string            `json:"platform,omitempty"` // of two builds, the one whose images are compared inside
	About       []change          `json:"about"`              // digest, commit, format and the like
	Images      []imageChange     `json:"images"`             // of two builds
	Partitions  []partitionChange `json:"partitions"`
	Kargs       []kargChange      `json:"kernel_arguments"`
	Packages    []packages.Change `json:"packages"`
	Files       []fileChange      `json:"files"`
	Ignition    []change          `json:"ignition"`
	Sizes       []sizeChange      `json:"sizes"`
	NotCompared []string          `json:"not_compared"`            // what should have been, and why it was not
	Arches      []*difference     `json:"architectures,omitempty"` // of two builds of several, those that both have

	same []string // for people: how much of what is the same
}

// A change is a property that both have, or "" where one has not.
type change struct {
	Name string `json:"name"`
	A    string `json:"a"`
	B    string `json:"b"`
}

type sizeChange struct {
	Name string `json:"name"`
	A    int64  `json:"a"`
	B    int64  `json:"b"`
}

type imageChange struct {
	Platform string           `json:"platform"`
	A        *stream.Artifact `json:"a"` // null if it is not there
	B        *stream.Artifact `json:"b"`
}

type partitionChange struct {
	Number  int        `json:"number"`
	A       *partition `json:"a"` // null if it is not there
	B       *partition `json:"b"`
	Content bool       `json:"content"` // bytes differ of what has no file system
}

type kargChange struct {
	Entry   string   `json:"entry"`
	Removed []string `json:"removed"`
	Added   []string `json:"added"`
	Other   []change `json:"other"` // title, linux, initrd, any other key, or the order of the arguments
}

type fileChange struct {
	Path string      `json:"path"`
	What []string    `json:"what"` // removed or added; or type, mode, owner, device, target, xattr NAME, size, content, flags
	A    *diffedFile `json:"a"`    // null if it is not there
	B    *diffedFile `json:"b"`
}

type diffedFile struct {
	listed
	Below  int    `json:"below,omitempty"`  // how many more are in a folder that only one has
	SHA256 string `json:"sha256,omitempty"` // where content differs
}

func diffCommand() *cobra.Command {
	var o buildOptions
	exitCode := false
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Show how two images, containers or builds differ",
		Long: `Show how two images, two containers, or the folders of two builds differ, or
an image and a container: in partitions, kernel arguments, packages (dpkg and
rpm), files, Ignition config and sizes. Of a file, all counts but its times and
how it is linked.

Of two images, the systems are compared as they are when they are booted, with
/boot and /boot/efi; /sysroot/ostree is left out, whose objects are those files
again. Of a container it is the system that it would be on a disk. Of two builds,
images are compared by what meta.json says, and those of one platform inside;
of several architectures, each is compared with itself.

Images may be of any format but those that are compressed as a whole: decompress
them first. Google's tar.gz is one of these, its disk.raw is none.

The room that a file takes on this machine's disk is shown, and is no difference.
The exit code is 0 whether or not they differ. With --exit-code it is 3 if they
do: 1 stays what says that they could not be compared.`,
		Example: `  ohp-assemble diff old.qcow2 new.qcow2
  ohp-assemble diff registry.example/os:43 registry.example/os:44 --format json
  ohp-assemble diff my-os.vmdk registry.example/os@sha256:... --exit-code`,
		Args: exactArgs(2, "two images, references or folders of builds"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkFormat(o.format); err != nil {
				return err
			}
			d, err := o.diff(cmd.Context(), args[0], args[1])
			if err != nil {
				return err
			}
			if err := show(cmd.OutOrStdout(), o.format, d); err != nil {
				return err
			}
			if exitCode && !d.Equal {
				return fmt.Errorf("%s and %s: %w", args[0], args[1], errDiffer)
			}
			return nil
		},
	}
	o.pullFlags(cmd)
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "exit with 3 if they differ")
	return cmd
}

// diff compares whatever the two names are of.
func (o *buildOptions) diff(ctx context.Context, a, b string) (*difference, error) {
	ui := newUI(false)
	defer ui.wait()
	if isFolder(a) != isFolder(b) {
		return nil, usageError{errors.New("the folder of a build is compared with that of another")}
	}
	d := newDifference(a, b)
	compare := o.images
	if isFolder(a) {
		compare = o.folders
	}
	if err := compare(ctx, ui, d, a, b); err != nil {
		return nil, err
	}
	return d.judge(), nil
}

func newDifference(a, b string) *difference {
	return &difference{
		A: a, B: b, About: []change{}, Images: []imageChange{}, Partitions: []partitionChange{}, Kargs: []kargChange{},
		Packages: []packages.Change{}, Files: []fileChange{}, Ignition: []change{}, Sizes: []sizeChange{}, NotCompared: []string{},
	}
}

// folders compares the builds in two folders: one in each, or those of the
// architectures that both have.
func (o *buildOptions) folders(ctx context.Context, ui *ui, d *difference, a, b string) error {
	var byArch [2]map[string]stream.Build
	for i, dir := range []string{a, b} {
		builds, err := stream.ReadBuilds(os.DirFS(dir))
		if err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
		byArch[i] = map[string]stream.Build{}
		for _, build := range builds {
			build.Dir = filepath.Join(dir, build.Dir)
			if other, ok := byArch[i][build.BaseArch]; ok {
				return fmt.Errorf("%s and %s are both builds of %s: compare one of them", other.Dir, build.Dir, build.BaseArch)
			}
			byArch[i][build.BaseArch] = build
		}
	}
	if len(byArch[0]) == 1 && len(byArch[1]) == 1 {
		for _, buildA := range byArch[0] {
			for _, buildB := range byArch[1] {
				return o.builds(ctx, ui, d, buildA, buildB)
			}
		}
	}
	arches := func(i int) string { return strings.Join(slices.Sorted(maps.Keys(byArch[i])), " ") }
	d.about("architectures", arches(0), arches(1))
	for _, arch := range union(byArch[0], byArch[1]) {
		buildA, inA := byArch[0][arch]
		buildB, inB := byArch[1][arch]
		if !inA || !inB {
			continue
		}
		one := newDifference(buildA.Dir, buildB.Dir)
		one.Arch = arch
		if err := o.builds(ctx, ui, one, buildA, buildB); err != nil {
			return err
		}
		d.Arches = append(d.Arches, one.judge())
	}
	return nil
}

// builds compares what two builds say of themselves, and inside what one
// platform has.
func (o *buildOptions) builds(ctx context.Context, ui *ui, d *difference, a, b stream.Build) error {
	platform := d.builds(a.Meta, b.Meta)
	if platform == "" {
		return nil
	}
	err := o.images(ctx, ui, d, filepath.Join(a.Dir, a.Images[platform].Path), filepath.Join(b.Dir, b.Images[platform].Path))
	if errors.Is(err, errPacked) {
		d.NotCompared = append(d.NotCompared, err.Error())
		return nil
	}
	return err
}

// images compares two images or containers.
func (o *buildOptions) images(ctx context.Context, ui *ui, d *difference, a, b string) error {
	var views [2]*view
	for i, name := range []string{a, b} {
		v, err := o.view(ctx, ui, name)
		if err != nil {
			return err
		}
		defer v.close()
		views[i] = v
	}
	return d.views(views[0], views[1])
}

func isFolder(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

// judge says whether nothing differs.
func (d *difference) judge() *difference {
	if len(d.Sizes) == 1 && d.Sizes[0].Name == sizeAllocated {
		d.Sizes = d.Sizes[:0]
	}
	differs := func(one *difference) bool { return !one.Equal }
	d.Equal = !slices.ContainsFunc(d.Arches, differs) && len(d.About)+len(d.Images)+len(d.Partitions)+len(d.Kargs)+len(d.Packages)+len(d.Files)+len(d.Ignition)+len(d.Sizes)+len(d.NotCompared) == 0
	return d
}

// agree remembers what was compared, if that many differences are none.
func (d *difference) agree(differences int, format string, args ...any) {
	if differences == 0 {
		d.same = append(d.same, fmt.Sprintf(format, args...))
	}
}

// builds compares what two builds say of themselves. It returns the platform
// whose images are to be compared inside, or "" for none.
func (d *difference) builds(ma, mb *stream.Meta) string {
	d.about("build", ma.BuildID, mb.BuildID)
	d.about("name", ma.Name, mb.Name)
	d.about("architecture", ma.BaseArch, mb.BaseArch)
	d.about("version", ma.OSTreeVersion, mb.OSTreeVersion)
	d.about("commit", ma.OSTreeCommit, mb.OSTreeCommit)
	d.about("commit time", ma.OSTreeTimestamp, mb.OSTreeTimestamp)
	var from [2]stream.Container
	for i, m := range []*stream.Meta{ma, mb} {
		if m.Container != nil {
			from[i] = *m.Container
		}
	}
	d.about("container", from[0].Image, from[1].Image)
	d.about("container digest", from[0].Digest, from[1].Digest)
	var common []string
	for _, platform := range union(ma.Images, mb.Images) {
		c := imageChange{Platform: platform}
		if image, ok := ma.Images[platform]; ok {
			image.Published = nil // where it was put does not make it another image
			c.A = &image
		}
		if image, ok := mb.Images[platform]; ok {
			image.Published = nil
			c.B = &image
		}
		if c.A != nil && c.B != nil {
			common = append(common, platform)
			if reflect.DeepEqual(c.A, c.B) {
				continue
			}
		}
		d.Images = append(d.Images, c)
	}
	d.agree(len(d.Images), "%d images", len(common))
	if len(common) == 0 {
		return ""
	}
	if slices.Contains(common, "qemu") {
		common = slices.Insert(common, 0, "qemu")
	}
	open := func(a stream.Artifact) bool { return a.Compression == "" && a.Format != "tar.gz" }
	d.Platform = common[max(0, slices.IndexFunc(common, func(p string) bool { return open(ma.Images[p]) && open(mb.Images[p]) }))]
	if ma.Images[d.Platform].SHA256 == mb.Images[d.Platform].SHA256 {
		return ""
	}
	return d.Platform
}

// union returns the keys of both maps, in order.
func union[V any](a, b map[string]V) []string {
	all := maps.Collect(maps.All(a))
	maps.Copy(all, b)
	return slices.Sorted(maps.Keys(all))
}

// A view is an image or a container, opened to be compared.
type view struct {
	close     func() error
	disk      rootfs.Blob   // of an image
	found     *inspection   // of an image
	container *system       // of a container
	root      *rootfs.Inode // of the system; nil if it cannot be read
	rootErr   error
	size      map[string]int64
}

// Names of sizes.
const (
	sizeFile      = "file"
	sizeAllocated = "allocated" // on the disk of this machine
	sizeVirtual   = "virtual"
	sizeLayers    = "layers"  // of a container, compressed
	sizeContent   = "content" // of all files, each once
)

func (o buildOptions) view(ctx context.Context, ui *ui, name string) (*view, error) {
	if isPath(name) {
		return viewImage(name)
	}
	var err error
	if o.cache, err = cacheDir(o.cache); err != nil {
		return nil, err
	}
	o.reference = name
	image, err := o.pull(ctx, ui)
	if err != nil {
		return nil, missingFile(name, err)
	}
	o.merge, o.rootFS = container.MergeOSTree, "xfs" // which no file of the deployment depends on
	o.noSELinux = true                               // labels that are not there are a difference
	system, err := deployed(image, &request{buildOptions: o})
	if err != nil {
		image.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	v := &view{close: system.Close, container: system, size: map[string]int64{}}
	for _, l := range image.Layers {
		v.size[sizeLayers] += l.Size
	}
	_, v.root = firstDeployment(system.deployment.Root)
	return v, nil
}

func viewImage(name string) (*view, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	v := &view{close: f.Close, size: map[string]int64{}}
	if err := v.open(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return v, nil
}

func (v *view) open(f *os.File) (err error) {
	if v.size[sizeFile], v.size[sizeAllocated], err = fileSizes(f); err != nil {
		return err
	}
	var format string
	if v.disk, format, err = openImage(f); err != nil {
		return damage(err)
	}
	v.size[sizeVirtual] = v.disk.Size()
	if v.found, err = inspectDisk(f.Name(), v.disk, format); err != nil {
		return damage(err)
	}
	root, broken, err := booted(v.disk)
	switch {
	case err != nil:
		v.rootErr = err
	case len(broken) > 0: // what is not there would look removed
		v.rootErr = errors.New(strings.Join(broken.why(), "; "))
	default:
		v.root = root
	}
	return nil
}

// views compares two views.
func (d *difference) views(a, b *view) error {
	switch {
	case a.found != nil && b.found != nil:
		if err := d.disks(a, b); err != nil {
			return err
		}
	case a.container != nil && b.container != nil:
		d.containers(a.container, b.container)
	default:
		d.about("commit", a.commit(), b.commit())
	}
	for i, v := range []*view{a, b} {
		if v.found != nil {
			for _, p := range v.found.Problems {
				d.skip(i, "", errors.New(p))
			}
		}
		if v.rootErr != nil {
			d.skip(i, "files: ", v.rootErr)
		}
	}
	if a.root != nil && b.root != nil {
		if err := d.systems(a, b); err != nil {
			return err
		}
	}
	for _, name := range []string{sizeFile, sizeAllocated, sizeVirtual, sizeLayers, sizeContent} {
		sizeA, inA := a.size[name]
		sizeB, inB := b.size[name]
		if inA && inB && sizeA != sizeB {
			d.Sizes = append(d.Sizes, sizeChange{name, sizeA, sizeB})
		}
	}
	return nil
}

// skip remembers what of one of the two could not be compared.
func (d *difference) skip(which int, what string, err error) {
	d.NotCompared = append(d.NotCompared, fmt.Sprintf("%s: %s%v", []string{d.A, d.B}[which], what, err))
}

// systems compares what is installed.
func (d *difference) systems(a, b *view) error {
	if a.found != nil && b.found != nil {
		if err := d.ignition(a, b); err != nil {
			return err
		}
	}
	d.packages(a.root, b.root)
	rootA, rootB := inCommon(a, b)
	a.size[sizeContent], b.size[sizeContent] = contentSize(rootA), contentSize(rootB)
	return d.files(rootA, rootB, a.ids(), b.ids())
}

// commit returns what is deployed.
func (v *view) commit() string {
	switch {
	case v.container != nil:
		return v.container.commit.String()
	case len(v.found.Deployments) > 0:
		return v.found.Deployments[0].Commit
	}
	return ""
}

// ids returns the checksums of files where they were verified.
func (v *view) ids() map[*rootfs.Inode]ostree.Checksum {
	if v.container == nil {
		return nil
	}
	return v.container.ids
}

// inCommon returns of two systems what both may have. Of an image and a
// container those are the files of the deployment.
func inCommon(a, b *view) (rootA, rootB *rootfs.Inode) {
	rootA, rootB = a.root, b.root
	if a.found != nil && b.found != nil {
		return withoutRepo(rootA), withoutRepo(rootB)
	}
	if a.container != nil && b.container != nil {
		return rootA, rootB
	}
	none := rootfs.Dir(0o755)
	for _, name := range []string{"boot", "sysroot", "var"} {
		rootA, rootB = mounted(rootA, name, none), mounted(rootB, name, none)
	}
	return rootA, rootB
}

// withoutRepo returns a booted system without the repository and deployments.
func withoutRepo(root *rootfs.Inode) *rootfs.Inode {
	sysroot := root.Children["sysroot"]
	if sysroot == nil || sysroot.Children["ostree"] == nil {
		return root
	}
	return mounted(root, "sysroot", mounted(sysroot, "ostree", rootfs.Dir(0o755)))
}

func contentSize(root *rootfs.Inode) (n int64) {
	seen := map[*rootfs.Inode]bool{}
	for _, in := range root.Walk() {
		if in.IsFile() && !seen[in] {
			seen[in] = true
			n += in.Size()
		}
	}
	return n
}

func (d *difference) about(name, a, b string) { d.About = compare(d.About, name, a, b) }

func compare(to []change, name, a, b string) []change {
	if a != b {
		to = append(to, change{name, a, b})
	}
	return to
}

func (d *difference) containers(a, b *system) {
	d.about("digest", a.image.Digest.String(), b.image.Digest.String())
	d.about("architecture", a.image.Arch, b.image.Arch)
	d.about("created", a.image.Created.String(), b.image.Created.String())
	d.about("commit", a.commit.String(), b.commit.String())
	for _, name := range union(a.image.Labels, b.image.Labels) {
		d.about("label "+name, a.image.Labels[name], b.image.Labels[name])
	}
}

// disks compares what images have and containers have not.
func (d *difference) disks(a, b *view) error {
	d.about("format", a.found.Format, b.found.Format)
	d.about("sector size", fmt.Sprint(a.found.SectorSize), fmt.Sprint(b.found.SectorSize))
	d.about("disk GUID", a.found.DiskGUID, b.found.DiskGUID)
	deployments := func(v *view, of func(deployment) string) string {
		var all []string
		for _, d := range v.found.Deployments {
			all = append(all, of(d))
		}
		return strings.Join(all, " ")
	}
	for _, of := range []struct {
		name string
		of   func(deployment) string
	}{
		{"stateroot", func(d deployment) string { return d.Stateroot }},
		{"commit", func(d deployment) string { return d.Commit }},
		{"origin", func(d deployment) string { return d.Origin }},
	} {
		d.about(of.name, deployments(a, of.of), deployments(b, of.of))
	}
	if err := d.partitions(a, b); err != nil {
		return err
	}
	d.kargs(a.found.Entries, b.found.Entries)
	return nil
}

// bootCode is what the first sector has before its partition table.
const bootCode = 440

func (d *difference) partitions(a, b *view) error {
	var code [2]string
	for i, v := range []*view{a, b} {
		var err error
		if code[i], err = contentSum(rootfs.File(0, io.NewSectionReader(v.disk, 0, bootCode))); err != nil {
			return err
		}
	}
	d.about("boot code", code[0], code[1])
	byNumber := func(v *view) map[string]partition {
		all := map[string]partition{}
		for _, p := range v.found.Partitions {
			all[fmt.Sprintf("%4d", p.Number)] = p
		}
		return all
	}
	partsA, partsB := byNumber(a), byNumber(b)
	for _, number := range union(partsA, partsB) {
		pa, inA := partsA[number]
		pb, inB := partsB[number]
		c := partitionChange{Number: max(pa.Number, pb.Number)}
		if inA {
			c.A = &pa
		}
		if inB {
			c.B = &pb
		}
		if inA && inB && opaque(pa.Filesystem) && opaque(pb.Filesystem) && pa.Size == pb.Size {
			same, err := sameBytes(io.NewSectionReader(a.disk, pa.Start, pa.Size), io.NewSectionReader(b.disk, pb.Start, pb.Size))
			if err != nil {
				return fmt.Errorf("partition %d: %w", pa.Number, err)
			}
			c.Content = !same
		}
		if pa != pb || c.Content {
			d.Partitions = append(d.Partitions, c)
		}
	}
	d.agree(len(d.Partitions), "%d partitions", len(partsA))
	return nil
}

func sameBytes(a, b *io.SectionReader) (bool, error) {
	return rootfs.SameContent(rootfs.File(0, a), rootfs.File(0, b))
}

func (d *difference) kargs(a, b []bootEntry) {
	byFile := func(all []bootEntry) map[string]bootEntry {
		m := map[string]bootEntry{}
		for _, e := range all {
			m[e.File] = e
		}
		return m
	}
	entriesA, entriesB := byFile(a), byFile(b)
	for _, file := range union(entriesA, entriesB) {
		ea, eb := entriesA[file], entriesB[file]
		wordsA, wordsB := strings.Fields(ea.Options), strings.Fields(eb.Options)
		c := kargChange{Entry: file, Removed: without(wordsA, wordsB), Added: without(wordsB, wordsA), Other: []change{}}
		c.Other = compare(c.Other, "title", ea.Title, eb.Title)
		c.Other = compare(c.Other, "linux", ea.Linux, eb.Linux)
		c.Other = compare(c.Other, "initrd", strings.Join(ea.Initrd, " "), strings.Join(eb.Initrd, " "))
		otherA, otherB := otherFields(ea), otherFields(eb)
		for _, key := range union(otherA, otherB) {
			c.Other = compare(c.Other, key, otherA[key], otherB[key])
		}
		if len(c.Removed)+len(c.Added) == 0 {
			c.Other = compare(c.Other, "order", ea.Options, eb.Options)
		}
		if len(c.Removed)+len(c.Added)+len(c.Other) > 0 {
			d.Kargs = append(d.Kargs, c)
		}
	}
	d.agree(len(d.Kargs), "kernel arguments")
}

// otherFields returns the values of an entry's other keys, several of one key
// as lines.
func otherFields(e bootEntry) map[string]string {
	m := map[string]string{}
	for _, f := range e.Other {
		if have, ok := m[f.Key]; ok {
			f.Value = have + "\n" + f.Value
		}
		m[f.Key] = f.Value
	}
	return m
}

// without returns the words that are not in others, in order. A word that is
// there more often is one that is not there.
func without(words, others []string) []string {
	count := map[string]int{}
	for _, w := range others {
		count[w]++
	}
	left := []string{}
	for _, w := range words {
		if count[w]--; count[w] < 0 {
			left = append(left, w)
		}
	}
	return left
}

func (d *difference) ignition(a, b *view) error {
	var configs [2]string
	for i, v := range []*view{a, b} {
		in := v.root.Lookup(path.Join("boot", ignition.Path))
		if in == nil {
			configs[i] = "not embedded"
			continue
		}
		sum, err := contentSum(in)
		if err != nil {
			return fmt.Errorf("%s: %w", ignition.Path, err)
		}
		configs[i] = fmt.Sprintf("%s, SHA-256 %s", rootfs.Bytes(in.Size()), sum)
	}
	d.Ignition = compare(d.Ignition, "config", configs[0], configs[1])
	firstBoot := map[bool]string{true: "still to come", false: "over"}
	d.Ignition = compare(d.Ignition, "first boot", firstBoot[a.found.FirstBoot], firstBoot[b.found.FirstBoot])
	d.agree(len(d.Ignition), "Ignition")
	return nil
}

// contentSum returns the SHA-256 of a file, in hexadecimal.
func contentSum(in *rootfs.Inode) (string, error) {
	h := sha256.New()
	if in.Content != nil {
		if _, err := io.Copy(h, io.NewSectionReader(in.Content, 0, in.Size())); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func (d *difference) packages(a, b *rootfs.Inode) {
	var all [2][]packages.Package
	for i, root := range []*rootfs.Inode{a, b} {
		var err error
		if all[i], err = packages.Read(root); err != nil {
			d.skip(i, "packages: ", err)
			return
		}
	}
	d.Packages = packages.Diff(all[0], all[1])
	if len(all[0]) > 0 {
		d.agree(len(d.Packages), "%d packages", len(all[0]))
	}
}

// A pair is two files of a path whose contents are to be compared.
type pair struct {
	path string
	a, b *rootfs.Inode
}

// A verdict is what is found about a pair.
type verdict struct {
	pair
	same       bool
	sumA, sumB string
	err        error
}

// files compares two trees: first all but contents, and then those that may
// differ, on all cores.
func (d *difference) files(a, b *rootfs.Inode, idsA, idsB map[*rootfs.Inode]ostree.Checksum) error {
	found := map[string]*fileChange{}
	at := func(path string, a, b *rootfs.Inode) *fileChange {
		if found[path] == nil {
			found[path] = &fileChange{Path: path, A: newDiffedFile(path, a), B: newDiffedFile(path, b)}
		}
		return found[path]
	}
	var pairs []pair
	for diff, err := range rootfs.DiffFunc(a, b, func(path string, a, b *rootfs.Inode) (bool, error) {
		idA, okA := idsA[a]
		idB, okB := idsB[b]
		if !okA || !okB || idA != idB {
			pairs = append(pairs, pair{path, a, b})
		}
		return true, nil
	}) {
		if err != nil {
			return err
		}
		if what := counted(diff); what != nil {
			c := at(diff.Path, diff.A, diff.B)
			switch c.What = what; {
			case c.A == nil:
				c.B.Below = below(diff.B)
			case c.B == nil:
				c.A.Below = below(diff.A)
			}
			if slices.Contains(what, "size") {
				pairs = append(pairs, pair{diff.Path, diff.A, diff.B})
			}
		}
	}
	for v, err := range disk.InOrder(values(pairs), func() func(pair) verdict { return pair.compare }) {
		if err = cmp.Or(err, v.err); err != nil {
			return fmt.Errorf("/%s: %w", v.path, err)
		}
		if !v.same {
			c := at(v.path, v.a, v.b)
			c.What = append(c.What, "content")
			c.A.SHA256, c.B.SHA256 = v.sumA, v.sumB
		}
	}
	for _, path := range slices.Sorted(maps.Keys(found)) {
		d.Files = append(d.Files, *found[path])
	}
	d.agree(len(d.Files), "%d files", below(a))
	return nil
}

// counted returns what counts of how two inodes differ, nil for nothing.
func counted(d rootfs.Difference) (what []string) {
	switch {
	case d.A == nil:
		return []string{"added"}
	case d.B == nil:
		return []string{"removed"}
	}
	for _, w := range d.What {
		if w != "mtime" && w != "links" {
			what = append(what, w)
		}
	}
	return what
}

// values yields what is in a slice, which costs no error.
func values[T any](s []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, v := range s {
			if !yield(v, nil) {
				return
			}
		}
	}
}

func (p pair) compare() (v verdict) {
	v.pair = p
	if p.a.Size() == p.b.Size() {
		if v.same, v.err = rootfs.SameContent(p.a, p.b); v.same || v.err != nil {
			return v
		}
	}
	if v.sumA, v.err = contentSum(p.a); v.err == nil {
		v.sumB, v.err = contentSum(p.b)
	}
	return v
}

func newDiffedFile(name string, in *rootfs.Inode) *diffedFile {
	if in == nil {
		return nil
	}
	return &diffedFile{listed: newListed(path.Base(name), in)}
}

// below returns how many names there are in a folder and in those in it.
func below(in *rootfs.Inode) int {
	n := -1
	for range in.Walk() {
		n++
	}
	return n
}
