package stream

// Names that images have in a registry: one disk is one manifest with one
// layer, which has the file's name as its title.
const (
	AnnotationPlatform     = "dev.ohp.platform"            // as in file names: qemu, metal, ...
	AnnotationUncompressed = "dev.ohp.uncompressed-sha256" // of the file when it is decompressed, in hexadecimal
	AnnotationVirtualSize  = "dev.ohp.virtual-size"        // of the disk, in bytes
	AnnotationSectorSize   = "dev.ohp.sector-size"         // of the disk, in bytes
	AnnotationDiskType     = "disktype"                    // what podman machine and Ironic look for

	// MediaTypePrefix is what types of disk images begin with; a format follows,
	// and a compression where there is one: qcow2, raw.gzip.
	MediaTypePrefix = "application/vnd.diskimage."
	// StreamType is the type of stream metadata.
	StreamType = "application/vnd.ohp.stream.v1+json"
)
