package oci

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/types"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
)

// Stores of podman, buildah and CRI-O. They are only read, without locks and mounts, so
// their content is verified like that of a registry:
//
//	ROOT/DRIVER-images/images.json       names, top layer and digest of each image
//	ROOT/DRIVER-images/ID/manifest, =…   its manifests, config and signatures; names in base64
//	ROOT/DRIVER-layers/layers.json       parent, digest and size of each layer
//	ROOT/DRIVER-layers/ID.tar-split.gz   its tar without the content of files
//	ROOT/overlay/ID/diff, ROOT/vfs/dir/ID  that content
//
// The tar of a layer is assembled again, byte for byte. See containers-storage.conf(5) and
// the format of tar-split.

// A store is one directory of images.
type store struct {
	driver, root string
	images       []storedImage
	layers       map[string]storedLayer
}

type storedImage struct {
	ID       string   `json:"id"`
	Names    []string `json:"names"`
	Layer    string   `json:"layer"`
	Metadata string   `json:"metadata"`
}

type storedLayer struct {
	ID     string        `json:"id"`
	Parent string        `json:"parent"`
	Digest digest.Digest `json:"diff-digest"`
	Size   int64         `json:"diff-size"`
	store  *store
}

// A stored source is an image in a store.
type stored struct {
	stores []*store
	store  *store
	image  storedImage   // or a list of images, as podman manifest makes it
	digest digest.Digest // of the wanted manifest; may be empty
	layers []storedLayer // lowest first
}

// splitStorage parses a reference without its transport: [DRIVER@ROOT]NAME.
func splitStorage(s string) (driver, root, name string, err error) {
	if s, ok := strings.CutPrefix(s, "["); ok {
		spec, name, ok := strings.Cut(s, "]")
		if !ok {
			return "", "", "", fmt.Errorf("%q: store without closing bracket", s)
		}
		spec, _, _ = strings.Cut(spec, ":") // options of the driver
		if d, rest, ok := strings.Cut(spec, "@"); ok {
			driver, spec = d, rest
		}
		root, _, _ = strings.Cut(spec, "+") // the folder for temporary data
		return driver, root, name, nil
	}
	return "", "", s, nil
}

// openStorage finds an image in the store of the reference, or in those of the user.
func openStorage(r ref, conf string) (*stored, error) {
	driver, root, name, err := splitStorage(r.name)
	if err != nil {
		return nil, err
	}
	roots := []string{root}
	if root == "" {
		config, err := readStorageConf(conf)
		if err != nil {
			return nil, err
		}
		roots, driver = config.roots, cmp.Or(driver, config.driver)
	}
	var stores []*store
	for i, root := range roots {
		st, err := openStore(driver, root)
		if i > 0 && errors.Is(err, fs.ErrNotExist) {
			continue // additional stores may have another driver
		}
		if err != nil && !(errors.Is(err, fs.ErrNotExist) && len(roots) > 1) {
			return nil, err
		}
		if st != nil {
			stores = append(stores, st)
		}
	}
	for _, st := range stores {
		if image := st.find(name, r.digest); image != nil {
			s := &stored{stores: stores, store: st, image: *image, digest: r.digest}
			return s, s.findLayers()
		}
	}
	if name != "" && r.digest != "" {
		name += " of that digest"
	}
	return nil, registry.Errorf(registry.ErrNotFound, "no image %s in %s: there is %s", cmp.Or(name, r.digest.String()), strings.Join(roots, ", "), imageNames(stores))
}

// imageNames lists the images of stores, for the error about an unknown name.
func imageNames(stores []*store) string {
	const most = 10
	var all []string
	for _, st := range stores {
		for _, i := range st.images {
			all = append(all, i.Names...)
		}
	}
	slices.Sort(all)
	switch {
	case len(all) == 0:
		return "none"
	case len(all) > most:
		return fmt.Sprintf("%s, and %d more", strings.Join(all[:most], ", "), len(all)-most)
	}
	return strings.Join(all, ", ")
}

func openStore(driver, root string) (*store, error) {
	drivers := []string{"overlay", "vfs"}
	if driver != "" {
		if !slices.Contains(drivers, driver) {
			return nil, fmt.Errorf("store %s: driver %q is not supported: overlay and vfs are", root, driver)
		}
		drivers = []string{driver}
	}
	for _, d := range drivers {
		st := &store{driver: d, root: root, layers: map[string]storedLayer{}}
		err := readJSON(filepath.Join(root, d+"-images", "images.json"), &st.images)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("store: %w", err)
		}
		var layers []storedLayer
		if err := readJSON(filepath.Join(root, d+"-layers", "layers.json"), &layers); err != nil {
			return nil, fmt.Errorf("store: %w", err)
		}
		for _, l := range layers {
			l.store = st
			st.layers[l.ID] = l
		}
		return st, nil
	}
	return nil, fmt.Errorf("store %s: has no images of the driver %s: %w", root, strings.Join(drivers, " or "), fs.ErrNotExist)
}

func readJSON(name string, v any) error {
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// find returns the image of a name or of the beginning of an ID. With a digest, the image must
// have it, under any tag.
func (st *store) find(name string, d digest.Digest) *storedImage {
	var named reference.Named
	if n, err := reference.ParseNormalizedNamed(name); err == nil {
		named = n
	}
	var found *storedImage
	for i, image := range st.images {
		if d != "" {
			if !st.hasManifest(image, d) {
				continue
			}
		}
		id := strings.TrimPrefix(name, "@")
		switch {
		case named != nil && slices.ContainsFunc(image.Names, func(has string) bool { return sameName(named, has, d != "") }):
			return &st.images[i]
		case len(id) >= 12 && strings.HasPrefix(image.ID, id) && found == nil:
			found = &st.images[i]
		}
	}
	return found
}

// sameName compares a name as users write it with a name of a store.
func sameName(want reference.Named, has string, anyTag bool) bool {
	n, err := reference.ParseNormalizedNamed(has)
	if err != nil {
		return false
	}
	if anyTag && reference.IsNameOnly(want) {
		return n.Name() == want.Name()
	}
	return n.String() == reference.TagNameOnly(want).String()
}

// bigData returns the path of a file that belongs to an image.
func (st *store) bigData(id, key string) string {
	if strings.Trim(key, ".0123456789abcdefghijklmnopqrstuvwxyz") != "" {
		key = "=" + base64.StdEncoding.EncodeToString([]byte(key))
	}
	return filepath.Join(st.root, st.driver+"-images", id, key)
}

// findLayers lists the layers from the top one down. Some may be in another store.
func (s *stored) findLayers() error {
	s.layers = nil
	for id := s.image.Layer; id != ""; {
		var l storedLayer
		for _, st := range append([]*store{s.store}, s.stores...) {
			if has, ok := st.layers[id]; ok {
				l = has
				break
			}
		}
		switch {
		case l.store == nil:
			return fmt.Errorf("store %s: layer %.12s is missing", s.store.root, id)
		case l.ID != filepath.Base(l.ID) || len(s.layers) > maxLayers:
			return fmt.Errorf("store %s: layer %q is not a valid ID, or the image has too many layers", l.store.root, l.ID)
		case l.Digest == "":
			return fmt.Errorf("store %s: layer %.12s was pulled in parts and has no digest: copy the image with skopeo, or pull it from its registry", l.store.root, id)
		}
		s.layers = append(s.layers, l)
		id = l.Parent
	}
	slices.Reverse(s.layers)
	return nil
}

// infos lists the layers in the store. They are not compressed, so their digests are not those
// of the manifest.
func (s *stored) infos() []manifest.LayerInfo {
	all := make([]manifest.LayerInfo, len(s.layers))
	for i, l := range s.layers {
		all[i].BlobInfo = types.BlobInfo{Digest: l.Digest, Size: l.Size, MediaType: imgspec.MediaTypeImageLayer}
	}
	return all
}

// Close does nothing.
func (s *stored) Close() error { return nil }

// HasThreadSafeGetBlob reports that several layers can be read at once.
func (s *stored) HasThreadSafeGetBlob() bool { return true }

// GetManifest reads the manifest, or another one by digest.
func (s *stored) GetManifest(_ context.Context, d *digest.Digest) ([]byte, string, error) {
	if d == nil && s.digest != "" {
		d = &s.digest
	}
	name := s.store.bigData(s.image.ID, "manifest")
	if d != nil {
		st, image := s.holder(*d)
		if st == nil {
			return nil, "", s.notHere(*d)
		}
		name = st.manifestFile(image, *d)
	}
	b, err := os.ReadFile(name)
	return b, manifest.GuessMIMEType(b), err
}

// holder returns the image with a manifest: this one, or another one in the stores if this is
// a list. The store is nil if there is none.
func (s *stored) holder(d digest.Digest) (*store, storedImage) {
	if s.store.hasManifest(s.image, d) {
		return s.store, s.image
	}
	for _, st := range s.stores {
		for _, image := range st.images {
			if st.hasManifest(image, d) {
				return st, image
			}
		}
	}
	return nil, storedImage{}
}

func (st *store) hasManifest(image storedImage, d digest.Digest) bool {
	return st.manifestFile(image, d) != ""
}

// manifestFile returns the path of an image's manifest by digest, or "". The manifest of a list
// that was made on this machine has no digest in its name, and the store records the digest
// of the empty list.
func (st *store) manifestFile(image storedImage, d digest.Digest) string {
	name := st.bigData(image.ID, "manifest-"+d.String())
	if _, err := os.Stat(name); err == nil {
		return name
	}
	name = st.bigData(image.ID, "manifest")
	if b, err := os.ReadFile(name); err != nil || digest.FromBytes(b) != d {
		return ""
	}
	return name
}

func (s *stored) notHere(d digest.Digest) error {
	return registry.Errorf(registry.ErrNotFound, "the list %.12s has the image %s, which is not in the store: pull it with podman", s.image.ID, short(d))
}

// enter changes from a list to its image with a manifest.
func (s *stored) enter(d digest.Digest) error {
	st, image := s.holder(d)
	if st == nil {
		return s.notHere(d)
	}
	if st == s.store && image.ID == s.image.ID {
		return nil
	}
	s.store, s.image = st, image
	return s.findLayers()
}

// GetSignatures reads the simple signatures, which are concatenated in one file.
func (s *stored) GetSignatures(_ context.Context, d *digest.Digest) ([][]byte, error) {
	var sizes struct {
		Image     []int                   `json:"signature-sizes"`
		Instances map[digest.Digest][]int `json:"signatures-sizes"`
	}
	if err := json.Unmarshal([]byte(s.image.Metadata), &sizes); err != nil {
		return nil, fmt.Errorf("image %.12s: metadata: %w", s.image.ID, err)
	}
	key, lengths := "signatures", sizes.Image
	if d != nil && sizes.Instances[*d] != nil {
		key, lengths = "signature-"+d.Encoded(), sizes.Instances[*d]
	}
	if len(lengths) == 0 {
		return nil, nil
	}
	b, err := os.ReadFile(s.store.bigData(s.image.ID, key))
	if err != nil {
		return nil, err
	}
	var all [][]byte
	for _, n := range lengths {
		if n < 0 || n > len(b) {
			return nil, fmt.Errorf("image %.12s: the file of signatures is too short", s.image.ID)
		}
		all, b = append(all, b[:n]), b[n:]
	}
	return all, nil
}

// GetBlob opens a layer, as a tar, or the config.
func (s *stored) GetBlob(_ context.Context, info types.BlobInfo, _ types.BlobInfoCache) (io.ReadCloser, int64, error) {
	for _, l := range s.layers {
		if l.Digest == info.Digest {
			r, err := l.open()
			return r, l.Size, err
		}
	}
	f, err := os.Open(s.store.bigData(s.image.ID, info.Digest.String()))
	return f, -1, err
}

// subject returns the names of the image that policies use.
func (s *stored) subject() subject {
	root, base := s.store.driver+"@"+s.store.root, "["+s.store.root+"]"
	sub := subject{transport: "containers-storage"}
	for _, name := range s.image.Names {
		if n, err := reference.ParseNormalizedNamed(name); err == nil && sub.named == nil {
			sub.named = n
			sub.scopes = append(sub.scopes, "["+root+"]"+n.String())
			for path := n.Name(); ; path = path[:strings.LastIndex(path, "/")] {
				sub.scopes = append(sub.scopes, "["+root+"]"+path)
				if !strings.Contains(path, "/") {
					break
				}
			}
		}
	}
	sub.scopes = append(sub.scopes, "["+root+"]", base)
	return sub
}

// A storageConf has the used settings of a storage.conf.
type storageConf struct {
	driver string
	roots  []string // the user's store first
}

// readStorageConf finds the stores of the user as podman does.
func readStorageConf(file string) (storageConf, error) {
	var conf struct {
		Storage struct {
			Driver       string `toml:"driver"`
			GraphRoot    string `toml:"graphroot"`
			ImageStore   string `toml:"imagestore"`
			RootlessPath string `toml:"rootless_storage_path"`
			Options      struct {
				Additional []string `toml:"additionalimagestores"`
			} `toml:"options"`
		} `toml:"storage"`
	}
	// podman unshare makes users look like root, and sets this variable.
	rootless := os.Geteuid() != 0 || os.Getenv("_CONTAINERS_ROOTLESS_UID") != ""
	files, system := storageFiles(file, rootless)
	for _, name := range files {
		_, err := toml.DecodeFile(name, &conf)
		if errors.Is(err, fs.ErrNotExist) && file == "" {
			continue
		}
		if err != nil {
			return storageConf{}, fmt.Errorf("%s: %w", name, err)
		}
		if rootless && slices.Contains(system, name) {
			conf.Storage.GraphRoot = conf.Storage.RootlessPath // the other one is root's
		}
		break
	}
	root := conf.Storage.GraphRoot
	if root == "" {
		root = "/var/lib/containers/storage"
		if rootless {
			root = filepath.Join(cmp.Or(os.Getenv("XDG_DATA_HOME"), filepath.Join(os.Getenv("HOME"), ".local/share")), "containers/storage")
		}
	}
	roots := []string{root}
	if conf.Storage.ImageStore != "" {
		roots = append(roots, conf.Storage.ImageStore)
	}
	roots = append(roots, conf.Storage.Options.Additional...)
	for i := range roots {
		roots[i] = os.Expand(roots[i], func(name string) string {
			if name == "UID" {
				return cmp.Or(os.Getenv("_CONTAINERS_ROOTLESS_UID"), fmt.Sprint(os.Getuid()))
			}
			return os.Getenv(name)
		})
	}
	return storageConf{conf.Storage.Driver, roots}, nil
}

// storageFiles lists the possible paths of a storage.conf, of which the first existing one
// counts. Those of the system are also returned separately.
func storageFiles(file string, rootless bool) (all, system []string) {
	if file = cmp.Or(file, os.Getenv("CONTAINERS_STORAGE_CONF")); file != "" {
		return []string{file}, nil
	}
	system = []string{"/etc/containers/storage.conf", "/usr/share/containers/storage.conf"}
	if rootless {
		all = append(all, filepath.Join(cmp.Or(os.Getenv("XDG_CONFIG_HOME"), filepath.Join(os.Getenv("HOME"), ".config")), "containers/storage.conf"))
	}
	return append(all, system...), system
}
