package layout

import (
	"errors"
	"fmt"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/coreos"
)

// agrees compares the disk that a container asks for with the one that was laid
// out. Numbers, names and identifiers of partitions are what the first boot of
// a CoreOS and its tools look for, so one that differs in them would not boot,
// or would break later: the error names all that differs.
func agrees(want *coreos.Disk, parts []Partition) error {
	if want == nil {
		return nil
	}
	var errs []error
	differ := func(what, asked, is string) {
		if asked != "" && !strings.EqualFold(asked, is) {
			errs = append(errs, fmt.Errorf("%s is %q, a CoreOS has %q", what, asked, is))
		}
	}
	differ("type", want.Type, "gpt")
	differ("uuid", want.UUID, DiskGUID.String())
	if len(want.Partitions) != len(parts) {
		errs = append(errs, fmt.Errorf("%d partitions, a CoreOS has %d", len(want.Partitions), len(parts)))
	}
	for i := range min(len(want.Partitions), len(parts)) {
		asked, is := want.Partitions[i], parts[i]
		at := fmt.Sprintf("partition %d: ", i+1)
		differ(at+"label", asked.Label, is.Name)
		differ(at+"type", asked.Type, is.Type.String())
		differ(at+"payload label", asked.Payload.Label, is.Label)
		differ(at+"payload uuid", asked.Payload.UUID, is.UUID)
		if i == len(parts)-1 {
			break // of the root, size and file system are a choice
		}
		differ(at+"payload type", asked.Payload.Type, strings.Replace(is.Filesystem, "fat16", "vfat", 1))
		if asked.Size != 0 && int64(asked.Size) != is.Size {
			errs = append(errs, fmt.Errorf("%ssize of %d bytes, a CoreOS has %d", at, asked.Size, is.Size))
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("%s: the partition table is not that of a CoreOS: %w", want.File, errors.Join(errs...))
}

// rootAsked returns what a container asks of its root partition.
func rootAsked(want *coreos.Disk) (p coreos.Partition) {
	if want != nil && len(want.Partitions) > 0 {
		p = want.Partitions[len(want.Partitions)-1]
	}
	return p
}
