package cli

import (
	"errors"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/inspect"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/layer"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/build"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/publish"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/source"
)

// ErrorHint returns advice about an error of the library, or "".
func ErrorHint(err error, ran *cobra.Command) string {
	var image *inspect.OpenError
	switch {
	case errors.As(err, &image) && image.Advice() != "":
		return image.Advice()
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
		return "nothing was pulled; policy.json and registries.conf decide which containers are allowed"
	case errors.Is(err, source.ErrWebAccess):
		return "download it with another program, then pass the file, or - for standard input"
	case errors.Is(err, registry.ErrAccess):
		return "log in with podman or skopeo, or pass credentials: --creds USER:PASSWORD, --authfile FILE, or the file in $REGISTRY_AUTH_FILE" + missingAuthFile(ran)
	case errors.Is(err, syscall.ENOSPC):
		return "free some space, or choose other folders with --out and --cache; the cache is always safe to delete"
	}
	return ""
}
