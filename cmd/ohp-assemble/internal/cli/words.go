package cli

// The tables in this file map words of podman, skopeo, oras, bootc, image-builder,
// coreos-assembler, coreos-installer and qemu-img to words of this program. They are
// for hints only: none of the words is an alias.

// words maps a word of other programs to words of this program, or to a hint.
type words map[string]string

// commandWords has commands. Commands of a group begin with its name.
var commandWords = words{
	"push": "publish", "upload": "publish", "deploy": "publish",
	"copy": "pull or publish", "cp": "pull or publish", "sync": "pull or publish",
	"download": "pull", "fetch": "pull", "get": "pull", "import": "pull",
	"images": "plan", "image": "plan", "layout": "plan", "preview": "plan", "dry-run": "plan",
	"mk-image": "build", "mkimage": "build", "make": "build", "make-image": "build", "create": "build", "create-image": "build",
	"build-image": "build", "compose": "build", "assemble": "build", "generate": "build", "osbuild": "build", "export": "build",
	"install": "build", "to-disk": "build", "to-existing-root": "build", "to-filesystem": "build", "customize": "build", "convert": "build",
	"show": "inspect", "info": "inspect", "describe": "inspect", "view": "inspect", "stat": "inspect", "check": "inspect",
	"list": "ls", "dir": "ls", "tree": "ls", "mount": "ls or cat", "extract": "cat", "read": "cat", "print": "cat",
	"compare": "diff", "delta": "diff", "list-stream": "stream show",
	"pack": "compress", "xz": "compress", "gzip": "compress", "zstd": "compress", "zip": "compress",
	"unpack": "decompress", "uncompress": "decompress", "unxz": "decompress", "gunzip": "decompress", "unzip": "decompress",
	"prune": "cache prune", "clean": "cache prune", "rm": "cache prune", "rmi": "cache prune", "gc": "cache prune",
	"validate": "definition validate", "lint": "definition validate", "init": "definition init", "new": "definition init", "schema": "definition schema or stream schema",
	"push-container": "publish", "push-container-manifest": "publish", "buildupload": "publish", "buildfetch": "pull",
	"generate-release-meta": "stream make", "cosa2stream": "stream make", "resolve": "inspect", "discover": "inspect", "history": "inspect", "diff-build": "diff",
	"streams": "stream", "release": "stream", "releases": "stream", "definitions": "definition", "manifests": "definition",

	"stream list": "stream show", "stream ls": "stream show", "stream cat": "stream show", "stream print": "stream show", "stream info": "stream show", "stream inspect": "stream show",
	"stream create": "stream make", "stream build": "stream make", "stream generate": "stream make", "stream new": "stream make", "stream init": "stream make",
	"stream validate": "stream check", "stream verify": "stream check", "stream lint": "stream check",
	"stream download": "stream get", "stream fetch": "stream get", "stream pull": "stream get", "stream find": "stream get",
	"stream edit": "stream set-image", "stream set": "stream set-image", "stream add": "stream merge",

	"definition check": "definition validate", "definition verify": "definition validate", "definition lint": "definition validate",
	"definition create": "definition init", "definition new": "definition init", "definition make": "definition init", "definition template": "definition init",
	"definition fetch": "inspect", "definition fetch-config": "inspect", "definition add": "build",
	"definition inspect": "inspect", "definition push": "publish", "definition show": "plan", "definition build": "build",

	"cache list": "cache ls", "cache show": "cache ls", "cache info": "cache ls", "cache du": "cache ls",
	"cache clean": "cache prune", "cache clear": "cache prune", "cache rm": "cache prune", "cache remove": "cache prune", "cache gc": "cache prune", "cache purge": "cache prune", "cache delete": "cache prune",
}

// commandSentences has hints for commands without an equivalent.
var commandSentences = words{
	"convert": "did you mean build? --platform chooses the format",
	"upload":  "did you mean publish? For a cloud, " + uploads,
	"install": "did you mean build? It writes files, and coreos-installer install --image-file writes one to a disk",
	"login":   "log in with podman login or skopeo login, or pass the file of credentials with --authfile",
	"logout":  "log out with podman logout or skopeo logout",
	"verify":  "build and inspect verify signatures with --policy; inspect checks an image",
	"sign":    noSigning, "attest": noSigning, "attach": noSigning, "generate-key-pair": noSigning,
	"verify-attestation": "build and inspect verify signatures with --policy; attestations are not verified",
	"bud":                noContainer, "buildx": noContainer, "from": noContainer, "commit": noContainer,
	"upgrade": noUpdate, "update": noUpdate, "switch": noUpdate, "rollback": noUpdate, "status": noUpdate,
	"tag": noTags, "untag": noTags, "list-tags": noTags, "delete": noTags,
	"list-images": listPlatforms, "list-types": listPlatforms,
	"iso": noLive, "pxe": noLive, "live": noLive,
	"run": noBoot, "boot": noBoot, "kola": noBoot, "qemuexec": noBoot, "start": noBoot,
}

const (
	noLive = "live ISOs and PXE sets are not supported yet"
	noBoot = "ohp-assemble does not boot images: use QEMU with an image of --platform qemu"

	noSigning     = "ohp-assemble does not sign: use cosign or skopeo to sign images in a registry"
	noContainer   = "ohp-assemble makes disk images of a container that exists: build the container with podman or buildah"
	noUpdate      = "ohp-assemble makes images: bootc or rpm-ostree updates the system that runs on one"
	noTags        = "list, set and delete tags with skopeo"
	noMessages    = "there are no more messages; " + complete
	complete      = "--format json prints the complete result"
	uploads       = "build writes the commands into IMAGE.upload.json"
	listPlatforms = "ohp-assemble build --help lists the platforms"
	podmanStore   = "the reference of a container in podman's storage is containers-storage:NAME"
)

// groupWords are groups of commands in podman, oras and oc. Their commands are meant.
var groupWords = []string{"image", "artifact", "container", "system", "blob", "repo"}

// flagWords has options without dashes, including those of one letter. Of several
// equivalents, the hint has those of the command.
var flagWords = words{
	"type": "platform image-format", "types": "platform", "image-type": "platform image-format", "target": "platform", "p": "platform", "t": "platform", "O": "platform",
	"output-format": "platform image-format", "f": "format", "json": "format", "form": "format",
	"rootfs": "root-fs", "root-filesystem": "root-fs", "root-fs-type": "root-fs", "rootfs-type": "root-fs", "filesystem": "root-fs", "file-system": "root-fs", "fs": "root-fs", "fstype": "root-fs", "fs-type": "root-fs",
	"output": "out", "output-dir": "out", "output-directory": "out", "output-file": "out", "outdir": "out", "out-dir": "out", "outfile": "out", "dest": "out", "dest-dir": "out", "destination": "out",
	"dir": "out", "directory": "out", "folder": "out", "target-dir": "out", "d": "out", "C": "out",
	"override-variant": "arch", "variant": "arch", "target-arch": "arch", "architecture": "arch", "arches": "arch", "architectures": "arch", "override-arch": "arch", "cpu": "arch", "machine": "arch", "a": "arch",
	"config": "definition ignition", "config-file": "definition ignition", "c": "definition ignition", "recipe": "definition", "spec": "definition", "file": "definition", "blueprint": "definition",
	"ignition-file": "ignition", "ignition-config": "ignition", "ign": "ignition", "i": "ignition", "butane": "ignition", "butane-file": "ignition", "user-data": "ignition", "ignition-url": "ignition", "ssh-key": "ignition", "root-ssh-authorized-keys": "ignition",
	"live-ignition": "ignition", "dest-ignition": "ignition", "embed-ignition": "ignition",
	"kargs": "karg", "append-karg": "karg", "karg-append": "karg", "append-kargs": "karg", "kernel-arg": "karg", "kernel-args": "karg", "kernel-argument": "karg", "kernel-arguments": "karg", "extra-kargs": "karg",
	"console": "karg", "append": "karg", "cmdline": "karg", "kernel-cmdline": "karg", "dest-karg-append": "karg", "live-karg-append": "karg",
	"disk-size": "size", "image-size": "size", "virtual-size": "size", "root-size": "size", "s": "size",
	"compression": "compress", "compressor": "compress", "gzip": "compress", "xz": "compress", "zstd": "compress", "level": "compress-level", "compression-level": "compress-level",
	"uncompress": "decompress", "unpack": "decompress",
	"imgref": "origin", "image-ref": "origin", "target-imgref": "origin", "update-ref": "origin", "container-image-reference": "origin",
	"insecure": "tls-verify=false", "insecure-registry": "tls-verify=false", "plain-http": "tls-verify=false", "http": "tls-verify=false", "skip-tls-verify": "tls-verify=false", "no-tls-verify": "tls-verify=false", "k": "tls-verify=false",
	"allow-insecure-registry": "tls-verify=false", "allow-http-registry": "tls-verify=false", "no-verify": "tls-verify=false",
	"src-tls-verify": "tls-verify", "dest-tls-verify": "tls-verify", "tlsverify": "tls-verify",
	"auth-file": "authfile", "auth": "authfile", "registry-config": "authfile", "src-authfile": "authfile", "dest-authfile": "authfile", "secret-file": "authfile",
	"credentials": "creds authfile", "src-creds": "creds authfile", "dest-creds": "creds authfile", "username": "creds authfile", "user": "creds authfile", "password": "creds authfile", "u": "creds authfile", "password-stdin": "creds authfile", "registry-token": "creds authfile", "identity-token": "creds authfile",
	"certs": "cert-dir", "cert": "cert-dir", "cacert": "cert-dir", "ca-file": "cert-dir", "ca-cert": "cert-dir", "src-cert-dir": "cert-dir", "dest-cert-dir": "cert-dir",
	"cache-dir": "cache", "store": "cache", "storage": "cache", "signature-policy": "policy", "key": "policy", "certificate-identity": "policy", "certificate-oidc-issuer": "policy", "force": "replace", "overwrite": "replace",
	"disable-selinux": "no-selinux", "selinux": "no-selinux", "werror": "strict", "fail-on-warning": "strict", "silent": "quiet", "progress": "quiet", "no-tty": "quiet",
	"output-name": "name", "prefix": "name", "image-name": "name", "filesdir": "files-dir", "sources": "files-dir",
}

// flagSentences has hints for options without an equivalent.
var flagSentences = words{
	"version": "did you mean ohp-assemble version?", "v": "did you mean ohp-assemble version?", "V": "did you mean ohp-assemble version?",
	"verbose": noMessages, "debug": noMessages, "log-level": noMessages, "log": noMessages, "logfile": noMessages, "progress": noMessages,
	"raw": complete, "config": complete, "digestfile": "--format json prints the digest",
	"dry-run": "did you mean the command plan?",
	"local":   podmanStore, "root": podmanStore, "runroot": podmanStore, "storage-driver": podmanStore, "storage-opt": podmanStore,
	"ociarchive": archiveFile, "oci-archive": archiveFile, "oci-layout": "the reference of such a folder is oci:FOLDER",
	"tag": noContainer, "build-arg": noContainer, "squash": noContainer, "layers": noContainer, "iidfile": noContainer, "volume": noContainer,
	"pull": alwaysPulled, "pull-always": alwaysPulled, "pull-never": alwaysPulled, "no-cache": alwaysPulled,
	"insecure-policy": "only --policy demands signatures: without it, none are verified",
	"retry":           retried, "retry-times": retried, "retry-delay": retried,
	"jobs": parallel, "j": parallel, "concurrency": parallel,
	"wipe": noDisk, "via-loopback": noDisk, "generic-image": noDisk, "dest-device": noDisk,
	"aws-ami-name": uploads, "aws-bucket": uploads, "aws-region": uploads,
	"karg-delete": onlyAdded, "delete-karg": onlyAdded,
	"s":   "did you mean the command stream get? Its first argument is the stream",
	"ref": plainReference, "to": plainReference, "reference": plainReference, "image": plainReference, "container": plainReference, "from": plainReference, "bootc-ref": plainReference, "source-imgref": plainReference,
	"sector-size": "did you mean --platform metal4k? It has sectors of 4096 bytes",
}

const (
	plainReference = "the reference is an argument, not an option"
	archiveFile    = "the reference of such a file is oci-archive:FILE"
	alwaysPulled   = "a tag is looked up in its registry each time; what the cache has is not fetched again"
	retried        = "failed requests are repeated without an option"
	parallel       = "all processors are used; the variable GOMAXPROCS limits their number"
	onlyAdded      = "arguments can only be added: the others come from the container, for example from usr/lib/bootc/kargs.d"
	noDisk         = "ohp-assemble writes files, and no disk of this machine"
)

// platformWords has names of formats, clouds and hypervisors.
var platformWords = words{
	"qcow2": "qemu", "qcow": "qemu", "kvm": "qemu", "libvirt": "qemu", "virt": "qemu", "qemu-img": "qemu", "guest-image": "qemu",
	"raw": "metal", "img": "metal", "disk": "metal", "baremetal": "metal", "bare-metal": "metal", "bare_metal": "metal", "raw.xz": "metal", "4k": "metal4k", "metal-4k": "metal4k", "raw4k": "metal4k",
	"ami": "aws", "ec2": "aws", "amazon": "aws", "vmdk": "vmware aws", "ova": "vmware virtualbox", "ovf": "vmware virtualbox", "vsphere": "vmware", "esx": "vmware", "esxi": "vmware", "vcenter": "vmware", "workstation": "vmware",
	"vhd": "azure", "vpc": "azure", "azure-stack": "azurestack", "vhdx": "hyperv", "hyper-v": "hyperv",
	"gce": "gcp", "google": "gcp", "googlecloud": "gcp", "google-cloud": "gcp", "tar.gz": "gcp", "rhosp": "openstack", "glance": "openstack", "nova": "openstack", "ironic": "openstack",
	"do": "digitalocean", "digital-ocean": "digitalocean", "ibm": "ibmcloud", "ibm-cloud": "ibmcloud", "oci": "oraclecloud", "oracle": "oraclecloud", "oracle-cloud": "oraclecloud",
	"alibaba": "aliyun", "alicloud": "aliyun", "alibabacloud": "aliyun", "proxmox": "proxmoxve", "pve": "proxmoxve", "vbox": "virtualbox", "vagrant": "virtualbox",
	"apple": "applehv", "vfkit": "applehv", "mac": "applehv", "macos": "applehv", "containerdisk": "kubevirt", "container-disk": "kubevirt", "ociarchive": "kubevirt", "cnv": "kubevirt", "ahv": "nutanix", "hcloud": "hetzner",
}

// platformSentences has hints for platforms without an equivalent.
var platformSentences = words{
	"iso": noLive, "live": noLive, "live-iso": noLive, "anaconda-iso": noLive, "bootc-installer": noLive, "installer": noLive, "pxe": noLive, "live-kernel": noLive, "live-initramfs": noLive, "live-rootfs": noLive,
}
