package manifests

import (
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/assemble"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/coreos"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/system"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/usage"
)

// keys maps fields of options to keys.
var keys = map[string]string{
	"Source": "spec.source", "Name": "metadata.name", "Merge": "spec.merge", "Origin": "spec.origin", "NoSELinux": "spec.noSELinux",
	"Arch": "spec.architectures", "Platforms": "spec.platforms", "Strict": "spec.strict",
	"Size": "spec.disk.size", "Boot": "spec.disk.bootSize", "ESP": "spec.disk.espSize", "RootFS": "spec.disk.rootFilesystem",
	"Kargs": "spec.kernelArguments", "Ignition": "spec.ignition", "FilesDir": "spec.filesDir", "Compression": "spec.compression",
}

// Place returns the file, line, column and key of a field of [system.Options] or
// [assemble.Request], or of Arch, Source, Strict or FilesDir.
func (m *Image) Place(field string) string { return m.At(keys[field]) }

// At returns the file, line, column and path of a key, such as
// os.yaml:7:11: spec.disk.size. Without such a key, the place is the mapping that
// should have it.
func (m *Image) At(key string) string {
	_, value := m.doc.find(strings.Split(key, "."))
	return m.doc.place(value) + ": " + key
}

// System returns the options for the operating system.
func (m *Image) System() system.Options {
	return system.Options{Origin: m.Spec.Origin, Name: m.Metadata.Name, Merge: m.Spec.Merge, NoSELinux: m.Spec.NoSELinux}
}

// Request returns the request for the images. It has no platforms, which depend on the
// architecture, and no Ignition config, which is in other files. Errors are of type
// [usage.Error].
func (m *Image) Request() (assemble.Request, error) {
	r := assemble.Request{RootFS: m.Spec.Disk.RootFilesystem, Kargs: m.Spec.KernelArguments}
	for _, size := range []struct {
		field, text string
		bytes       *int64
	}{
		{"Size", m.Spec.Disk.Size, &r.Size},
		{"Boot", m.Spec.Disk.BootSize, &r.Boot.Bytes},
		{"ESP", m.Spec.Disk.ESPSize, &r.ESP.Bytes},
	} {
		if size.text == "" {
			continue
		}
		var err error
		if *size.bytes, err = usage.ParseSize(size.text); err != nil {
			return r, usage.Error{Field: size.field, Err: err}
		}
	}
	for field, size := range map[string]*coreos.Size{"Boot": &r.Boot, "ESP": &r.ESP} {
		if size.Bytes != 0 {
			size.By = m.Place(field)
		}
	}
	if c := m.Spec.Compression; c != "" {
		if err := r.SetCompression(c); err != nil {
			return r, usage.Error{Field: "Compression", Err: err}
		}
	}
	return r, nil
}
