package ignition

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/coreos/go-semver/semver"
	"github.com/coreos/ignition/v2/config/util"
	"github.com/coreos/ignition/v2/config/v3_0"
	"github.com/coreos/ignition/v2/config/v3_1"
	"github.com/coreos/ignition/v2/config/v3_2"
	"github.com/coreos/ignition/v2/config/v3_3"
	"github.com/coreos/ignition/v2/config/v3_4"
	"github.com/coreos/ignition/v2/config/v3_5"
	"github.com/coreos/vcontext/report"
	"github.com/vincent-petithory/dataurl"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ignition/v3_6"
)

// Merge merges configs by Ignition's rules: entries with the same path, name or
// device are merged, and the later config wins; other entries are added. The result
// has the newest version among them. A single config stays as it is.
//
// References to other configs, in ignition.config, are not resolved. The result
// refers to configs with references, so that Ignition fetches them and merges all
// in the same order.
func Merge(configs ...[]byte) ([]byte, error) {
	if len(configs) == 0 {
		return nil, errors.New("ignition: nothing to merge")
	}
	refer := false
	var newest semver.Version
	for i, text := range configs {
		if _, err := Validate(text); err != nil {
			return nil, fmt.Errorf("config %d: %w", i+1, err)
		}
		version, _, _ := util.GetConfigVersion(text) // it is valid
		if newest.LessThan(version) {
			newest = version
		}
		refer = refer || len(sources(text)) != 0
	}
	if len(configs) == 1 {
		return configs[0], nil
	}
	var merged []byte
	var err error
	if refer {
		merged, err = referring(newest.String(), configs)
	} else if merger := mergers[newest.String()]; merger != nil {
		merged, err = merger(configs)
	} else {
		err = fmt.Errorf("ignition: version %s cannot be merged", newest)
	}
	if err != nil {
		return nil, err
	}
	if _, err := Validate(merged); err != nil {
		return nil, fmt.Errorf("merged config: %w", err)
	}
	return merged, nil
}

// mergers has those of all versions. Each brings its configs up to its version.
var mergers = map[string]func(configs [][]byte) ([]byte, error){
	"3.0.0": merger(v3_0.ParseCompatibleVersion, v3_0.Merge),
	"3.1.0": merger(v3_1.ParseCompatibleVersion, v3_1.Merge),
	"3.2.0": merger(v3_2.ParseCompatibleVersion, v3_2.Merge),
	"3.3.0": merger(v3_3.ParseCompatibleVersion, v3_3.Merge),
	"3.4.0": merger(v3_4.ParseCompatibleVersion, v3_4.Merge),
	"3.5.0": merger(v3_5.ParseCompatibleVersion, v3_5.Merge),
	"3.6.0": merger(v3_6.ParseCompatibleVersion, v3_6.Merge),
}

func merger[C any](parse func([]byte) (C, report.Report, error), merge func(parent, child C) C) func([][]byte) ([]byte, error) {
	return func(configs [][]byte) ([]byte, error) {
		var merged C
		for i, text := range configs {
			c, _, err := parse(text)
			if err != nil {
				return nil, fmt.Errorf("ignition: config %d: %w", i+1, err)
			}
			if i == 0 {
				merged = c
			} else {
				merged = merge(merged, c)
			}
		}
		return Marshal(merged)
	}
}

// A source is where a config is that another one wants.
type source struct{ Source, Compression *string }

// sources returns those of a config.
func sources(text []byte) (sources []source) {
	var c struct {
		Ignition struct {
			Config struct {
				Merge   []source
				Replace source
			}
		}
	}
	if json.Unmarshal(text, &c) != nil {
		return nil
	}
	for _, s := range append(c.Ignition.Config.Merge, c.Ignition.Config.Replace) {
		if s.Source != nil {
			sources = append(sources, s)
		}
	}
	return sources
}

// embedded returns the config of a data: URL, at most limit bytes of it, and
// nil for other URLs.
func (s source) embedded(limit int64) []byte {
	u, err := dataurl.DecodeString(*s.Source)
	if err != nil {
		return nil
	}
	if s.Compression == nil || *s.Compression != "gzip" {
		return u.Data
	}
	z, err := gzip.NewReader(bytes.NewReader(u.Data))
	if err != nil {
		return nil
	}
	text, _ := io.ReadAll(io.LimitReader(z, limit))
	return text
}

// referring has the configs merged by the system's own Ignition.
func referring(version string, configs [][]byte) ([]byte, error) {
	var list []map[string]string
	for _, text := range configs {
		list = append(list, map[string]string{"source": "data:;base64," + base64.StdEncoding.EncodeToString(text)})
	}
	return Marshal(map[string]any{"ignition": map[string]any{
		"version": version,
		"config":  map[string]any{"merge": list},
	}})
}

// Marshal encodes a config of any version, without the nulls and empty objects
// that the structs of Ignition's library would leave in it.
func Marshal(config any) ([]byte, error) {
	text, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var plain map[string]any
	if err := d.Decode(&plain); err != nil {
		return nil, err
	}
	prune(plain)
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(plain); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// prune removes nulls and empty objects, but not from lists, where they count.
func prune(v any) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			prune(value)
			if m, ok := value.(map[string]any); ok && len(m) == 0 || value == nil {
				delete(v, key)
			}
		}
	case []any:
		for _, item := range v {
			prune(item)
		}
	}
}
