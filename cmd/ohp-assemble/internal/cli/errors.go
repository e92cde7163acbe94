package cli

import (
	"errors"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/inspect"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/layer"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/oci"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/usage"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/build"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/publish"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/pull"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/source"
)

// ErrorHint returns advice about an error of the library, or "".
func ErrorHint(err error, ran *cobra.Command) string {
	var image *inspect.OpenError
	var avoidable usage.Avoidable
	var compressed *inspect.CompressedError
	switch {
	case errors.As(err, &avoidable):
		return fieldHint(avoidable.Field, ran)
	case errors.As(err, &image) && errors.As(err, &compressed) && !compressed.Tar:
		return image.Advice() + ", or ohp-assemble decompress FOLDER for a build"
	case errors.As(err, &image) && image.Advice() != "":
		return image.Advice()
	case errors.Is(err, source.ErrNoStream):
		return "publish --stream publishes the metadata of a stream"
	case errors.Is(err, pull.ErrContainer):
		return "build makes disk images of a container"
	case errors.Is(err, publish.ErrLost):
		return "publish the folders of all architectures in one, with the images of all platforms, or drop the others with --replace"
	case errors.Is(err, publish.ErrSecret):
		return "build without --ignition and configure the machines by other means, or use --allow-secret if the repository is private"
	case errors.Is(err, publish.ErrFile), errors.Is(err, build.ErrFile):
		return "the file was changed or damaged after the build: build it again"
	case errors.Is(err, layer.ErrHoles):
		return "a larger disk, see --size, raises the limit"
	case errors.Is(err, registry.ErrDamaged):
		return "the container itself is damaged: its layers match their digests, but their content is wrong; build the container again"
	case errors.Is(err, registry.ErrVerify):
		return "the data does not match its digest and was discarded; retry, and tell the registry's operator if it happens again"
	case errors.Is(err, registry.ErrForbidden):
		return "policy.json and registries.conf decide which images are allowed; nothing was transferred"
	case errors.Is(err, source.ErrWebAccess):
		return "download it with another program, then pass the file, or - for standard input"
	case errors.Is(err, registry.ErrAccess):
		return "log in with podman or skopeo, or pass credentials: --creds USER:PASSWORD, --authfile FILE, or the file in $REGISTRY_AUTH_FILE" + missingAuthFile(ran)
	case errors.Is(err, oci.ErrCache):
		return "choose another folder with --cache, or with the variable XDG_CACHE_HOME"
	case errors.Is(err, syscall.ENOSPC):
		return "free some space, or choose other folders with --out and --cache; the cache is always safe to delete"
	}
	return ""
}

// fieldHints say, for a field of the library's options, what its option does. Each
// begins with the option.
var fieldHints = map[string]string{
	"Boot":      "--boot-size chooses the size of the boot partition",
	"FilesDir":  "--files-dir names the folder of local files",
	"Merge":     "--merge oci copies the file, as container runtimes do",
	"NoSELinux": "--no-selinux makes an image without labels",
	"RootFS":    "--root-fs chooses the root file system",
}

// fieldHint returns the hint for a field, or "" if the command does not have its option.
func fieldHint(field string, ran *cobra.Command) string {
	hint := fieldHints[field]
	option, _, _ := strings.Cut(strings.TrimPrefix(hint, "--"), " ")
	if ran.Flags().Lookup(option) == nil {
		return ""
	}
	return hint
}

// remarkHints are hints about warnings and notes of the library, by a part of their
// text.
var remarkHints = []struct{ part, hint string }{
	{"updates may fail for lack of room", "--boot-size chooses the size of the boot partition"},
	{"does not fit on the disk", "--size chooses the size of the disk"},
	{"has an access control list", "--root-fs ext4 avoids that"},
	{"key Partition.Format has no effect", "--root-fs overrides that"},
	{"no source of updates", "--origin names one"},
}

// WithOptions adds to warnings and notes of the library the options that matter.
func WithOptions(remarks []string) []string {
	all := slices.Clone(remarks)
	for i, remark := range remarks {
		for _, r := range remarkHints {
			if strings.Contains(remark, r.part) {
				all[i] = remark + "; " + r.hint
				break
			}
		}
	}
	return all
}
