package stream

// Names that images have in a registry: one disk is one manifest with one
// layer, which has the file's name as its title.
const (
	AnnotationPlatform     = "dev.ohp.platform"            // as in file names: qemu, metal, ...
	AnnotationUncompressed = "dev.ohp.uncompressed-sha256" // of the file when it is decompressed, in hexadecimal
	AnnotationVirtualSize  = "dev.ohp.virtual-size"        // of the disk, in bytes
	AnnotationSectorSize   = "dev.ohp.sector-size"         // of the disk, in bytes
	AnnotationForm         = "dev.ohp.form"                // of an index: how what it lists is put into the registry
	AnnotationFileType     = "dev.ohp.file-type"           // of a file in a container: the type that it has where it is a layer
	AnnotationFile         = "dev.ohp.file-sha256"         // of a file in a container: its SHA-256, in hexadecimal
	AnnotationDiskType     = "disktype"                    // what podman machine and Ironic look for

	// MediaTypePrefix is what types of disk images begin with; a format follows,
	// and a compression where there is one: qcow2, raw.gzip.
	MediaTypePrefix = "application/vnd.diskimage."
	// StreamType is the type of stream metadata.
	StreamType = "application/vnd.ohp.stream.v1+json"
	// ReleaseType is the type of release metadata.
	ReleaseType = "application/vnd.ohp.release.v1+json"
	// MetaType is the type of [Meta].
	MetaType = "application/vnd.ohp.build.v1+json"
	// IndexType is the type of an index of all that was made of a system.
	IndexType = "application/vnd.ohp.images.v1"
	// PXEType is the type of an index of kernel, initramfs and root file system.
	PXEType = "application/vnd.ohp.pxe.v1"
)

// MediaType returns the type of a file that has a disk in it, as Konflux and
// Fedora call it.
func MediaType(format, compression string) string {
	if format == "tar.gz" || format == "tar" && compression == "gzip" {
		return MediaTypePrefix + "gce.tgz" // only that cloud wants a disk in a tarball
	}
	if compression == "" {
		return MediaTypePrefix + format
	}
	return MediaTypePrefix + format + "." + compression
}
