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
		return "build it without --ignition and configure the machines by other means, or say --allow-secret if the repository is private"
	case errors.Is(err, publish.ErrFile), errors.Is(err, build.ErrFile):
		return "the file has changed since it was built, or is damaged: build it again"
	case errors.Is(err, layer.ErrHoles):
		return "--size with a larger disk raises the limit"
	case errors.Is(err, registry.ErrDamaged):
		return "the container itself is damaged: its layers match their digests, but their content is wrong; build the container again"
	case errors.Is(err, registry.ErrVerify):
		return "the data does not match its digest and was discarded; retry, and tell the registry's operator if it happens again"
	case errors.Is(err, registry.ErrForbidden):
		return "nothing of it was pulled; whoever keeps the policy, or registries.conf, says what is allowed here"
	case errors.Is(err, source.ErrWebAccess):
		return "fetch it with another program, and name the file, or - for the standard input"
	case errors.Is(err, registry.ErrAccess):
		return "log in with podman or skopeo, or give credentials: --creds USER:PASSWORD, --authfile FILE, or a file that $REGISTRY_AUTH_FILE names" + missingAuthFile(ran)
	case errors.Is(err, syscall.ENOSPC):
		return "make room, or choose other places with --out and --cache; the cache is always safe to delete"
	}
	return ""
}
