package assemble

import (
	"reflect"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/coreos"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/system"
)

const keyRef = "docker://registry.example/os:stable@sha256:0000000000000000000000000000000000000000000000000000000000000000"

var keyDigest = digest.FromString("manifest")

// TestKeyGolden: keys are stable. They change only together with FormatVersion.
func TestKeyGolden(t *testing.T) {
	full := Request{
		Platforms: cloud.Named("qemu", "aws"), Size: 10 << 30, Boot: coreos.Size{Bytes: 1 << 30}, ESP: coreos.Size{Bytes: 600 << 20}, RootFS: "ext4",
		Kargs: []string{"quiet"}, Ignition: []byte(config), Compression: filetype.Zstd, Level: 19,
	}
	for _, tc := range []struct {
		reference string
		o         system.Options
		r         Request
		want      digest.Digest
	}{
		{keyRef, system.Options{}, Request{}, "sha256:eac51cbb3e0a148403ceb0219eb40792d3823a66b6f643fe3e04863a441d2d1b"},
		{"oci:os", system.Options{}, Request{Platforms: cloud.Named("qemu")}, "sha256:12b7360d4470b90d26c09dbfd23df62b312078c8073693795668b6a9d2ad3a11"},
		{keyRef, system.Options{Origin: "ostree-image-signed:docker://registry.example/os", Name: "os", Merge: "oci", NoSELinux: true}, full, "sha256:922ae71ebc8b2f0421e38384655c5cc695e047ce1215e42c98d8b6b0f8ad43f0"},
	} {
		if got := Key(tc.reference, keyDigest, tc.o, tc.r); got != tc.want {
			t.Errorf("%s, %+v: %s, want %s", tc.reference, tc.r, got, tc.want)
		}
	}
}

// TestKeyFields: each field of the options and of the request changes the key. A
// new field that is not part of it fails here.
func TestKeyFields(t *testing.T) {
	usual := Key(keyRef, keyDigest, system.Options{}, Request{})
	seen := map[digest.Digest]string{usual: "no field"}
	check := func(field string, key digest.Digest) {
		if other := seen[key]; other != "" {
			t.Errorf("%s has the key of %s", field, other)
		}
		seen[key] = field
	}
	for field := range reflect.TypeFor[system.Options]().Fields() {
		var o system.Options
		fill(t, reflect.ValueOf(&o).Elem().FieldByIndex(field.Index))
		check(field.Name, Key(keyRef, keyDigest, o, Request{}))
	}
	for field := range reflect.TypeFor[Request]().Fields() {
		var r Request
		fill(t, reflect.ValueOf(&r).Elem().FieldByIndex(field.Index))
		check(field.Name, Key(keyRef, keyDigest, system.Options{}, r))
	}
	check("container", Key(keyRef, digest.FromString("other"), system.Options{}, Request{}))
	check("reference", Key("docker://registry.example/other:stable@"+keyDigest.String(), keyDigest, system.Options{}, Request{}))
}

// fill sets a field to a value that is not zero.
func fill(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Interface().(type) {
	case []cloud.Platform:
		v.Set(reflect.ValueOf(cloud.Named("qemu")))
		return
	case coreos.Size:
		v.Set(reflect.ValueOf(coreos.Size{Bytes: 1 << 30}))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Slice:
		one := reflect.MakeSlice(v.Type(), 1, 1)
		fillElement(one.Index(0))
		v.Set(one)
	default:
		t.Fatalf("no value for a field of type %s", v.Type())
	}
}

func fillElement(v reflect.Value) {
	if v.Kind() == reflect.Uint8 {
		v.SetUint('{')
	} else {
		v.SetString("x")
	}
}

// TestKeyEqual: requests for the same files that differ in form have one key.
func TestKeyEqual(t *testing.T) {
	key := func(o system.Options, r Request) digest.Digest { return Key(keyRef, keyDigest, o, r) }
	for name, pair := range map[string][2]digest.Digest{
		"order of platforms": {
			key(system.Options{}, Request{Platforms: cloud.Named("qemu", "aws")}),
			key(system.Options{}, Request{Platforms: cloud.Named("aws", "qemu")}),
		},
		"place of a size": {
			key(system.Options{}, Request{Boot: coreos.Size{Bytes: 1, By: "--boot-size"}}),
			key(system.Options{}, Request{Boot: coreos.Size{Bytes: 1, By: "os.yaml:1:1"}}),
		},
		"default merge":  {key(system.Options{}, Request{}), key(system.Options{Merge: "ostree"}, Request{})},
		"default origin": {key(system.Options{}, Request{}), key(system.Options{Origin: "ostree-unverified-registry:registry.example/os:stable"}, Request{})},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: %s, %s", name, pair[0], pair[1])
		}
	}
}
