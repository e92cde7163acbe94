package butane

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ignition"
)

// Load reads Ignition configs, and Butane configs (.bu), and merges them to one
// Ignition config; later files win. It returns nil without files, and the unchanged
// bytes of a single Ignition config. The local files of Butane configs are in filesDir,
// see [Options].
func Load(filesDir string, files ...string) (config []byte, warnings []string, err error) {
	var configs [][]byte
	for _, name := range files {
		config, said, err := load(name, filesDir)
		if err != nil {
			return nil, nil, err
		}
		configs, warnings = append(configs, config), append(warnings, said...)
	}
	switch len(configs) {
	case 0:
		return nil, warnings, nil
	case 1:
		return configs[0], warnings, nil
	}
	config, err = ignition.Merge(configs...)
	return config, warnings, err
}

// load reads an Ignition config, or translates a Butane config.
func load(name, filesDir string) (config []byte, warnings []string, err error) {
	text, err := readLimited(name)
	if err != nil {
		return nil, nil, err
	}
	if strings.HasSuffix(name, ".bu") {
		return Translate(text, Options{Name: name, FilesDir: filesDir})
	}
	said, err := ignition.Validate(text)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	for _, w := range said {
		warnings = append(warnings, fmt.Sprintf("%s: %s", name, w))
	}
	return text, warnings, nil
}

// readLimited reads a file or a pipe, at most [ignition.MaxSize] bytes.
func readLimited(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, ignition.MaxSize+1))
	if err == nil && len(text) > ignition.MaxSize {
		err = fmt.Errorf("%s: config is larger than %d MiB", name, ignition.MaxSize>>20)
	}
	return text, err
}
