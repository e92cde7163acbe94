package stream

// Annotations and media types of images in a registry. One disk is one manifest with
// one layer, which has the name of the file as its title.
const (
	AnnotationPlatform     = "dev.ohp.platform"            // as in file names: qemu, metal, ...
	AnnotationUncompressed = "dev.ohp.uncompressed-sha256" // of the file when it is decompressed, in hexadecimal
	AnnotationVirtualSize  = "dev.ohp.virtual-size"        // of the disk, in bytes
	AnnotationSectorSize   = "dev.ohp.sector-size"         // of the disk, in bytes
	AnnotationForm         = "dev.ohp.form"                // of an index: form of the manifests that it lists
	AnnotationFileType     = "dev.ohp.file-type"           // of a file in a container: media type that it has as a layer
	AnnotationFile         = "dev.ohp.file-sha256"         // of a file in a container: its SHA-256, in hexadecimal
	AnnotationDiskType     = "disktype"                    // read by podman machine and Ironic

	// StreamType is the media type of stream metadata.
	StreamType = "application/vnd.ohp.stream.v1+json"
	// ReleaseType is the media type of release metadata.
	ReleaseType = "application/vnd.ohp.release.v1+json"
	// MetaType is the media type of [Meta].
	MetaType = "application/vnd.ohp.build.v1+json"
	// IndexType is the artifact type of an index of all images of a system.
	IndexType = "application/vnd.ohp.images.v1"
	// PXEType is the artifact type of an index of kernel, initramfs and root file system.
	PXEType = "application/vnd.ohp.pxe.v1"
)
