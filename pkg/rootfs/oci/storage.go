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
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/types"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
)

// Stores of podman, buildah and CRI-O. They are only read, without locks and
// mounts, so what is taken from them is checked as if a registry had sent it:
//
//	ROOT/DRIVER-images/images.json       names, top layer and digest of each image
//	ROOT/DRIVER-images/ID/manifest, =…   its manifests, config and signatures; names in base64
//	ROOT/DRIVER-layers/layers.json       parent, digest and size of each layer
//	ROOT/DRIVER-layers/ID.tar-split.gz   what its tar was, without the content of files
//	ROOT/overlay/ID/diff, ROOT/vfs/dir/ID  that content
//
// A layer's tar is put together again, byte for byte. See containers-storage.conf(5)
// and the format of tar-split.

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
	digest digest.Digest // of the manifest that is wanted; may be empty
	layers []storedLayer // lowest first
}

// splitStorage takes apart what follows "containers-storage:".
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
		root, _, _ = strings.Cut(spec, "+") // what is kept while machines run
		return driver, root, name, nil
	}
	return "", "", s, nil
}

// openStorage finds an image in the stores of the user, or in the one that the
// reference names.
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
			continue // additional ones may be of another driver
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
	return nil, registry.Errorf(ErrNotFound, "no image %s in %s: there is %s", cmp.Or(name, r.digest.String()), strings.Join(roots, ", "), imageNames(stores))
}

// imageNames lists what stores have, for who has misspelt a name.
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

// find returns the image of a name, which may be the start of an ID. With a
// digest the image must have that, whichever tag it has now.
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

// sameName compares a name as users write it with one of a store.
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

// findLayers follows the layers down from the top one. Some may be in another store.
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
			return fmt.Errorf("store %s: layer %q has no sound place", l.store.root, l.ID)
		case l.Digest == "":
			return fmt.Errorf("store %s: layer %.12s was pulled in parts and has no digest: copy the image with skopeo, or pull it from its registry", l.store.root, id)
		}
		s.layers = append(s.layers, l)
		id = l.Parent
	}
	slices.Reverse(s.layers)
	return nil
}

// infos lists the layers as they are in the store, where they are not
// compressed: their digests are not those of the manifest.
func (s *stored) infos() []manifest.LayerInfo {
	all := make([]manifest.LayerInfo, len(s.layers))
	for i, l := range s.layers {
		all[i].BlobInfo = types.BlobInfo{Digest: l.Digest, Size: l.Size, MediaType: "application/vnd.oci.image.layer.v1.tar"}
	}
	return all
}

// Close has nothing to close.
func (s *stored) Close() error { return nil }

// HasThreadSafeGetBlob reports that several layers can be read at once.
func (s *stored) HasThreadSafeGetBlob() bool { return true }

// GetManifest reads the manifest, or one that an index names.
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

// holder returns the image that has a manifest: this one, or another one in the
// stores if this is a list. The store is nil if none has it.
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

// manifestFile returns where an image has a manifest of a digest, or "". A list
// that was made here has one without the digest in its name, and the digest that
// the store records is that of the list when it was empty.
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
	return registry.Errorf(ErrNotFound, "the list %.12s has the image %s, which is not in the store: pull it with podman", s.image.ID, short(d))
}

// enter replaces a list by the image in it that has a manifest.
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

// GetSignatures reads the simple signatures, which lie in one file, one behind
// the other.
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
			return nil, fmt.Errorf("image %.12s: signatures are cut off", s.image.ID)
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

// subject returns what a policy knows the image by.
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

// A storageConf is what matters here of a storage.conf.
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
	// podman unshare makes users look like root, and tells.
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
			conf.Storage.GraphRoot = conf.Storage.RootlessPath // the other is root's
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

// storageFiles lists where a storage.conf may be; the first that is there
// counts. Those of the system are named again.
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
