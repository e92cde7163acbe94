package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.podman.io/image/v5/docker/reference"
	"golang.org/x/sys/unix"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
)

func streamCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stream",
		Short: "Make, show, merge, check and edit stream and release metadata",
		Long: `Make, show, merge, check and edit stream.json, release.json and releases.json:
the documents in which coreos-installer, openshift-install and others look for
images.

A document is read from a file, from - for the standard input, from an http or
https URL, or from a registry: a reference where one is published. A ConfigMap
coreos-bootimages is read as the stream in it.`,
	}
	cmd.AddCommand(streamMakeCommand(), streamShowCommand(), streamMergeCommand(), streamCheckCommand(),
		streamGetCommand(), streamSetImageCommand(), streamConfigMapCommand(), streamSchemaCommand())
	return cmd
}

// outFlag declares where a document goes.
func outFlag(cmd *cobra.Command, out *string) {
	cmd.Flags().StringVarP(out, "out", "o", "", "`file` for the document (default: the standard output)")
}

// put writes a document to a file, or else prints it.
func put(cmd *cobra.Command, text []byte, out string) error {
	if out == "" {
		_, err := cmd.OutOrStdout().Write(text)
		return err
	}
	_, _, err := writeFile(out, 0o666, func(f *os.File) error {
		_, err := f.Write(text)
		return err
	})
	return err
}

// atLeast is cobra.MinimumNArgs with a usageError.
func atLeast(n int, what string) cobra.PositionalArgs { return rangeArgs(n, 1<<30, what) }

// makeOptions are what stream make is asked for.
type makeOptions struct {
	source
	stream       string
	baseURL      string
	repository   string
	document     string
	releaseURL   string
	lastModified string
}

func streamMakeCommand() *cobra.Command {
	var o makeOptions
	out := ""
	cmd := &cobra.Command{
		Use:   "make BUILD...",
		Short: "Make stream.json, release.json or releases.json of builds",
		Long: `Make stream.json, release.json or releases.json of builds. A build is a folder
with meta.json, or with one such folder for each architecture; the release.json
of a build made earlier is taken as well.

With --base-url the locations are those of a web server. With --repository they
are those of a registry, where the images must have been published: the
reference is that of the index that lists them.`,
		Example: `  ohp-assemble stream make images --stream stable --base-url 'https://example.org/{stream}/builds/{version}/{arch}'
  ohp-assemble stream make images --stream stable --repository registry.example/os:41-images -o stable.json
  ohp-assemble stream make images --stream stable --base-url https://example.org/{arch} --document releases --release-url https://example.org/release.json`,
		Args: atLeast(1, "builds"),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := o.make(cmd.Context(), args)
			if err != nil {
				return err
			}
			return put(cmd, d.Bytes(), out)
		},
	}
	o.flags(cmd)
	outFlag(cmd, &out)
	f := cmd.Flags()
	f.StringVar(&o.stream, "stream", "", "`name` of the stream")
	f.StringVar(&o.baseURL, "base-url", "", "`URL` below which a web server has the images; {stream}, {version} and {arch} are replaced")
	f.StringVar(&o.repository, "repository", "", "`reference` under which a registry has the images")
	f.StringVar(&o.document, "document", "stream", "`document` to make: stream, release or releases")
	f.StringVar(&o.releaseURL, "release-url", "", "`URL` of release.json, for releases.json; {stream} and {version} are replaced")
	f.StringVar(&o.lastModified, "last-modified", "", "`time` that the document says it was changed (default: when the builds' systems were made)")
	cmd.RegisterFlagCompletionFunc("document", cobra.FixedCompletions([]string{"stream", "release", "releases"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// make makes a document of what the arguments name.
func (o *makeOptions) make(ctx context.Context, args []string) (*stream.Document, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	releases, err := o.releases(ctx, args)
	if err != nil {
		return nil, err
	}
	var docs []*stream.Document
	for _, d := range releases {
		r := &stream.Release{}
		if err := d.Decode(r); err != nil {
			return nil, err
		}
		switch o.document {
		case "releases":
			d, err = stream.NewDocument(d.Name, r.Index(stream.Expand(o.releaseURL, r.Release, r.Stream, "")))
		case "stream":
			d, err = stream.NewDocument(d.Name, r.Current())
		}
		if err != nil {
			return nil, err
		}
		docs = append(docs, d)
	}
	d, err := stream.Merge(docs...)
	if err == nil && o.lastModified != "" {
		err = d.Set(o.lastModified, "metadata", "last-modified")
	}
	if err != nil {
		return nil, err
	}
	if problems, err := stream.Check(d); err != nil || len(problems) > 0 {
		return nil, errors.Join(append(texts(problems), err)...)
	}
	return d, nil
}

// texts makes errors of what is wrong with a document.
func texts(problems []string) (all []error) {
	for _, p := range problems {
		all = append(all, errors.New(p))
	}
	return all
}

func (o *makeOptions) check() error {
	if !slices.Contains([]string{"stream", "release", "releases"}, o.document) {
		return usageError{fmt.Errorf("document %q: there are stream, release and releases", o.document)}
	}
	if (o.document == "releases") != (o.releaseURL != "") {
		return usageError{errors.New("--release-url is for --document releases, which needs it")}
	}
	if o.baseURL != "" && o.repository != "" {
		return usageError{errors.New("give --base-url or --repository: where are the images?")}
	}
	if t, err := time.Parse(time.RFC3339, o.lastModified); o.lastModified != "" && (err != nil || t.Location() != time.UTC) {
		return usageError{fmt.Errorf("last-modified %q: want a time in UTC such as 2006-01-02T15:04:05Z", o.lastModified)}
	}
	return nil
}

// releases returns a release.json for every version among the builds.
func (o *makeOptions) releases(ctx context.Context, args []string) (all []*stream.Document, err error) {
	var where stream.Projection
	byVersion := map[string][]*stream.Document{}
	var versions []string
	add := func(version string, d *stream.Document) {
		if byVersion[version] == nil {
			versions = append(versions, version)
		}
		byVersion[version] = append(byVersion[version], d)
	}
	for _, arg := range args {
		info, err := os.Stat(arg)
		if err != nil || !info.IsDir() {
			d, r, err := o.release(ctx, arg)
			if err != nil {
				return nil, err
			}
			add(r.Release, d)
			continue
		}
		builds, err := stream.ReadBuilds(os.DirFS(arg))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", arg, err)
		}
		if where == nil {
			if where, err = o.projection(ctx); err != nil {
				return nil, err
			}
		}
		for _, b := range builds {
			name := filepath.Join(arg, b.Dir, stream.MetaFile)
			r, err := stream.NewRelease(b.Meta, o.stream, where)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			d, err := stream.NewDocument(name, r)
			if err != nil {
				return nil, err
			}
			add(r.Release, d)
		}
	}
	for _, version := range versions {
		d, err := stream.Merge(byVersion[version]...)
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
}

// release reads a release.json, and gives it the stream that was asked for.
func (o *makeOptions) release(ctx context.Context, arg string) (*stream.Document, *stream.Release, error) {
	d, err := o.source.document(ctx, arg)
	if err == nil {
		err = d.Want(stream.KindRelease)
	}
	if err == nil && o.stream != "" {
		err = d.Set(o.stream, "stream")
	}
	if err != nil {
		return nil, nil, err
	}
	r := &stream.Release{}
	return d, r, d.Decode(r)
}

// projection says where the files of builds are.
func (o *makeOptions) projection(ctx context.Context) (stream.Projection, error) {
	switch {
	case o.stream == "":
		return nil, usageError{errors.New("--stream NAME: what stream are the builds of?")}
	case o.baseURL != "":
		where, err := stream.HTTP(o.baseURL)
		if err != nil {
			return nil, usageError{err}
		}
		return where, nil
	case o.repository == "":
		return nil, usageError{errors.New("give --base-url or --repository: where are the images?")}
	}
	named, ok := registryReference(o.repository)
	if !ok {
		return nil, usageError{fmt.Errorf("%s: not a reference in a registry", o.repository)}
	}
	manifests, err := o.manifests(ctx, named)
	if err != nil {
		return nil, err
	}
	return stream.OCI(reference.TrimNamed(named).String(), manifests)
}

// entries is what stream show prints.
type entries []stream.Entry

func (e entries) print(w io.Writer) {
	rows := [][]string{{"ARCH", "PLATFORM", "FORMAT", "ARTIFACT", "RELEASE", "LOCATION"}}
	for _, e := range e {
		row := []string{e.Arch, e.Platform, e.Format, e.Artifact, e.Release, e.Location}
		if e.OCI != nil {
			row[5] = e.OCI.DigestRef
		}
		for i := range row {
			row[i] = oneLine(row[i])
		}
		rows = append(rows, row)
	}
	table(w, rows)
}

// readStream reads the stream that an argument names.
func (s *source) readStream(ctx context.Context, arg string) (*stream.Stream, error) {
	d, err := s.document(ctx, arg)
	if err == nil {
		err = d.Want(stream.KindStream)
	}
	if err != nil {
		return nil, err
	}
	st := &stream.Stream{}
	return st, d.Decode(st)
}

func streamShowCommand() *cobra.Command {
	var s source
	var format string
	cmd := &cobra.Command{
		Use:     "show STREAM",
		Short:   "List the files of a stream",
		Example: "  ohp-assemble stream show https://builds.coreos.fedoraproject.org/streams/stable.json",
		Args:    exactArgs(1, "one document"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			st, err := s.readStream(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return show(cmd.OutOrStdout(), format, append(entries{}, st.Entries()...))
		},
	}
	s.flags(cmd)
	formatFlag(cmd, &format)
	return cmd
}

func streamMergeCommand() *cobra.Command {
	var s source
	out := ""
	cmd := &cobra.Command{
		Use:   "merge DOCUMENT...",
		Short: "Merge documents of one kind: of architectures, of platforms, of releases",
		Long: `Merge documents of one kind. What is in one of them is in the result, fields that
are not known as well. Where two disagree, that is an error which names both,
but for metadata, where the later one is right.`,
		Example: `  ohp-assemble stream merge x86_64.json aarch64.json -o stable.json
  ohp-assemble stream merge releases.json new.json -o releases.json`,
		Args: atLeast(1, "documents"),
		RunE: func(cmd *cobra.Command, args []string) error {
			docs, err := s.each(cmd.Context(), args)
			if err != nil {
				return err
			}
			d, err := stream.Merge(docs...)
			if err != nil {
				return err
			}
			return put(cmd, d.Bytes(), out)
		},
	}
	s.flags(cmd)
	outFlag(cmd, &out)
	return cmd
}

// A checked document is what stream check prints of it.
type checked struct {
	Document string      `json:"document"`
	Kind     stream.Kind `json:"kind,omitempty"`
	Problems []string    `json:"problems"`
	Notes    []string    `json:"notes,omitempty"`
}

type checkedAll []checked

func (all checkedAll) print(w io.Writer) {
	for _, c := range all {
		if len(c.Problems) == 0 {
			fmt.Fprintf(w, "%s: %s: nothing is wrong\n", oneLine(c.Document), c.Kind)
		}
		for _, p := range c.Problems {
			fmt.Fprintf(w, "%s: %s\n", oneLine(c.Document), oneLine(p))
		}
		for _, n := range c.Notes {
			fmt.Fprintf(w, "%s: note: %s\n", oneLine(c.Document), n)
		}
	}
}

func streamCheckCommand() *cobra.Command {
	var s source
	var format string
	cmd := &cobra.Command{
		Use:   "check DOCUMENT...",
		Short: "Check documents against their schemas, and against what their readers insist on",
		Long: `Check stream.json, release.json, releases.json or meta.json against its JSON
Schema, and against what its readers insist on. If something is wrong, the exit
code is 3. Locations that no plain HTTP client can fetch are noted.`,
		Args: atLeast(1, "documents"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			all := checkedAll{}
			for _, arg := range args {
				text, err := s.text(cmd.Context(), arg)
				if err != nil {
					return err
				}
				all = append(all, check(public(arg), text)...)
			}
			if err := show(cmd.OutOrStdout(), format, all); err != nil {
				return err
			}
			if slices.ContainsFunc(all, func(c checked) bool { return len(c.Problems) > 0 }) {
				return errProblems
			}
			return nil
		},
	}
	s.flags(cmd)
	formatFlag(cmd, &format)
	return cmd
}

// check checks every document in a text.
func check(name string, text []byte) (all []checked) {
	docs, err := stream.ParseAll(name, text)
	if err != nil {
		return []checked{{Document: name, Problems: []string{err.Error()}}}
	}
	for _, d := range docs {
		kind, _ := d.Kind()
		problems, err := stream.Check(d)
		if err != nil {
			problems = append(problems, err.Error())
		}
		all = append(all, checked{d.Name, kind, append([]string{}, problems...), stream.Notes(d)})
	}
	return all
}

// got is what stream get prints.
type got struct {
	stream.Entry
	Path string `json:"path,omitempty"`
	Size int64  `json:"size,omitempty"`
}

func (g *got) print(w io.Writer) {
	rows := [][]string{{"location", g.Location}, {"sha256", g.SHA256}}
	if g.UncompressedSHA256 != "" {
		rows = append(rows, []string{"uncompressed-sha256", g.UncompressedSHA256})
	}
	if g.OCI != nil {
		rows = append(rows, []string{"digest-ref", g.OCI.DigestRef})
	}
	if g.Path != "" {
		rows = append(rows, []string{"file", g.Path})
	}
	for _, row := range rows {
		row[1] = oneLine(row[1])
	}
	table(w, rows)
}

func streamGetCommand() *cobra.Command {
	var s source
	var format, arch, out string
	cmd := &cobra.Command{
		Use:   "get STREAM PLATFORM [FORMAT [ARTIFACT]]",
		Short: "Find a file of a stream, or fetch it",
		Long: `Find a file of a stream by platform, format (qcow2.xz) and artifact (disk, kernel,
initramfs, rootfs). What there is only one of need not be given. With --out the
file is fetched, and stands there only if it has the digest that the stream
says. From a registry it is fetched as pull does it: what was cut off goes on.`,
		Example: `  ohp-assemble stream get stable.json metal pxe kernel --arch aarch64
  ohp-assemble stream get registry.example/os:stable qemu -o disk.qcow2.xz`,
		Args: rangeArgs(2, 4, "a stream, a platform, a format and an artifact"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			st, err := s.readStream(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			want := append(args[1:], "", "")
			e, err := st.Find(rootfs.MachineArch(arch), want[0], want[1], want[2])
			if err != nil {
				return fmt.Errorf("%s: %w", public(args[0]), err)
			}
			g := &got{Entry: *e, Path: out}
			if out != "" {
				ui := newUI(false)
				g.Size, err = s.download(cmd.Context(), ui, e.Download, out)
				ui.wait()
				if err != nil {
					return err
				}
			}
			return show(cmd.OutOrStdout(), format, g)
		},
	}
	s.flags(cmd)
	formatFlag(cmd, &format)
	cmd.Flags().StringVar(&arch, "arch", runtime.GOARCH, "`architecture`")
	cmd.Flags().StringVarP(&out, "out", "o", "", "`file` to fetch it to")
	return cmd
}

func streamSetImageCommand() *cobra.Command {
	var arch, release string
	cmd := &cobra.Command{
		Use:   "set-image FILE CLOUD VALUE...",
		Short: "Write into a stream which image a cloud has",
		Long: `Write into a stream which image a cloud has. The file is changed as a whole, and
nothing else in it. The values are

` + cloudHelp(),
		Example: "  ohp-assemble stream set-image stable.json aws us-east-1 ami-0123456789abcdef0",
		Args:    rangeArgs(3, 6, "a file, a cloud and its values"),
		RunE: func(cmd *cobra.Command, args []string) error {
			image, err := stream.NewImage(args[1], args[2:]...)
			if err != nil {
				return usageError{err}
			}
			return edit(args[0], func(d *stream.Document) error { return d.SetImage(rootfs.MachineArch(arch), release, image) })
		},
	}
	cmd.Flags().StringVar(&arch, "arch", runtime.GOARCH, "`architecture`")
	cmd.Flags().StringVar(&release, "release", "", "`version` of the image (default: that of the stream's files for the platform)")
	return cmd
}

// cloudHelp lists what set-image takes.
func cloudHelp() string {
	var b strings.Builder
	for _, cloud := range stream.Clouds() {
		fmt.Fprintf(&b, "  %-9s %s\n", cloud.Name, strings.ToUpper(strings.Join(cloud.Values, " ")))
	}
	return b.String()
}

// edit changes a document in its file. Of several that do so at the same time
// one waits for the other.
func edit(name string, change func(*stream.Document) error) error {
	name, err := filepath.EvalSymlinks(name) // the file is replaced, not the link
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		return &fs.PathError{Op: "lock", Path: dir.Name(), Err: err}
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	text, err := readDocument(f)
	if err != nil {
		return err
	}
	d, err := stream.Parse(name, text)
	if err != nil {
		return err
	}
	if err := change(d); err != nil {
		return err
	}
	_, _, err = writeFile(name, info.Mode().Perm(), func(f *os.File) error {
		_, err := f.Write(d.Bytes())
		return err
	})
	return err
}

func streamConfigMapCommand() *cobra.Command {
	var s source
	var format, version, out string
	cmd := &cobra.Command{
		Use:   "configmap STREAM...",
		Short: "Print streams as the ConfigMap coreos-bootimages, where OpenShift looks for them",
		Long: `Print streams as the ConfigMap coreos-bootimages, where OpenShift's machine config
operator looks for the images of new machines. The first one is the default.`,
		Args: atLeast(1, "streams"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if format != "yaml" && format != "json" {
				return usageError{fmt.Errorf("format %q: there are yaml and json", format)}
			}
			docs, err := s.each(cmd.Context(), args)
			if err != nil {
				return err
			}
			c, err := stream.NewConfigMap(version, docs...)
			if err != nil {
				return err
			}
			text := stream.Marshal(c)
			if format == "yaml" {
				if text, err = c.YAML(); err != nil {
					return err
				}
			}
			return put(cmd, text, out)
		},
	}
	s.flags(cmd)
	outFlag(cmd, &out)
	cmd.Flags().StringVar(&version, "release-version", "0.0.1-snapshot", "`version` of the cluster's release; the default is what a release replaces by its own")
	cmd.Flags().StringVar(&format, "format", "yaml", "`form` of the result: yaml or json")
	return cmd
}

func streamSchemaCommand() *cobra.Command {
	kinds := []string{"stream", "release", "releases", "meta"}
	return &cobra.Command{
		Use:       "schema stream|release|releases|meta",
		Short:     "Print the JSON Schema of a document",
		ValidArgs: kinds,
		Args:      exactArgs(1, "the name of a document"),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := stream.Schemas.ReadFile("schema/" + args[0] + ".json")
			if err != nil || !slices.Contains(kinds, args[0]) {
				return usageError{fmt.Errorf("document %q: there are %s", args[0], strings.Join(kinds, ", "))}
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
}
