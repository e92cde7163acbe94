package upload

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// A recipe is the way that one or more platforms take images.
type recipe struct {
	platforms    []string
	compressions []filetype.Compression // accepted as they are
	arches       map[string]string      // the cloud's names of the architectures it has; nil for any
	prepare      func(d *Document, w words) error
	steps        []step
}

// A step is a [Step] of the table. The arguments of its command have no spaces;
// {word} is replaced by a word of the image, ${NAME} is a placeholder.
type step struct {
	what    string
	command string
	gives   string // the placeholder whose value the command prints
	arch    string // the only architecture of the step; empty for all
}

// meanings are the meanings of the placeholders.
var meanings = map[string]string{
	"BUCKET":          "the bucket of the cloud's object storage that the image goes through",
	"CLUSTER":         "the address of Nutanix's Prism Central, such as prism.example.com",
	"COMPARTMENT":     "the OCID of the compartment that the image belongs to",
	"CONTAINER":       "the blob container of the storage account",
	"DEVICE":          "the disk of this machine that is overwritten, such as /dev/sda",
	"GALLERY":         "the Azure compute gallery that the image goes into",
	"GALLERY_SERIAL":  "the number of the image in the gallery, such as 1.0.0",
	"IGNITION":        "the path of the Ignition config, absolute",
	"IGNITION_BASE64": "the path of a file with the Ignition config in base64",
	"IGNITION_TEXT":   "the Ignition config itself",
	"IMAGE":           "the id of the image, as the cloud gave it",
	"IMAGE_PATH":      "the folder that the image is in, absolute",
	"MD5":             "the MD5 of the image, as md5sum prints it",
	"NAMESPACE":       "the namespace of the object storage",
	"OS_TYPE":         "the id of CloudStack's type of guest, such as that of Fedora Linux (64 bit)",
	"REGION":          "the cloud's region",
	"REPOSITORY":      "the repository of a registry that the image goes to, such as quay.io/example/coreos",
	"RESOURCE_GROUP":  "the Azure resource group that the image belongs to",
	"SNAPSHOT":        "the id of the snapshot, as the cloud gave it",
	"SNIPPET":         "the Ignition config as a snippet of Proxmox VE, such as local:snippets/config.ign",
	"STACK":           "the region and domain of the Azure Stack Hub, such as local.azurestack.external",
	"STORAGE":         "the storage of Proxmox VE that the disk goes to, such as local-lvm",
	"STORAGE_ACCOUNT": "the Azure storage account that the image goes through",
	"SWITCH":          "the virtual switch of Hyper-V that the machine is on",
	"TASK":            "the id of the task that imports the image",
	"URL":             "the address under which the cloud can fetch the image's file",
	"WORKSPACE":       "the name of the workspace of Power Virtual Server",
	"ZONE":            "the cloud's zone",
	"PRISM_USER":      "the name of the user of Prism Central, whose password is asked for",
	"VM":              "the number or the name of the machine that is made",
}

var (
	amd64Only = map[string]string{"x86_64": "x86_64"}
	bothArchs = map[string]string{"x86_64": "x86_64", "aarch64": "arm64"}
)

// registerAMI is the last step of AWS, for both ways to make a snapshot.
var registerAMI = step{what: "Register the AMI.", gives: "IMAGE",
	command: "aws ec2 register-image --cli-input-json {register-image} --query ImageId --output text"}

// uploadBlob is the first step of Azure and Azure Stack Hub.
var uploadBlob = step{what: "Upload the image as a page blob.",
	command: "az storage blob upload --account-name ${STORAGE_ACCOUNT} --container-name ${CONTAINER} --type page --file {file} --name {file}"}

// installFromMemory is the step for machines that get their Ignition config from
// their platform.
var installFromMemory = step{what: "Install the image, from a system that was booted into memory. The image has no signature beside it, which --insecure accepts.",
	command: "coreos-installer install --image-file {file} --insecure ${DEVICE}"}

// clouds is the table of all platforms with a document.
var clouds = []recipe{
	{
		platforms: []string{"aws"}, arches: bothArchs, prepare: prepareAWS,
		steps: []step{
			{what: "Upload the image to S3.", command: "aws s3 cp {file} s3://${BUCKET}/{file}"},
			{what: "Import it as a snapshot, for which the account needs the role vmimport.", gives: "TASK",
				command: "aws ec2 import-snapshot --cli-input-json {import-snapshot} --query ImportTaskId --output text"},
			{what: "Wait for the snapshot.", command: "aws ec2 wait snapshot-imported --import-task-ids ${TASK}"},
			{what: "Get its id.", gives: "SNAPSHOT",
				command: "aws ec2 describe-import-snapshot-tasks --import-task-ids ${TASK} --query ImportSnapshotTasks[0].SnapshotTaskDetail.SnapshotId --output text"},
			registerAMI,
		},
	},
	{
		platforms: []string{"azure"}, arches: map[string]string{"x86_64": "x64", "aarch64": "Arm64"}, prepare: prepareAzure,
		steps: []step{
			uploadBlob,
			{what: "Make an image of generation 2, which boots by UEFI. With V1 it is one of generation 1, which boots by BIOS.", arch: "x86_64",
				command: "az image create --resource-group ${RESOURCE_GROUP} --name {name} --os-type Linux --hyper-v-generation V2 --source {blob}"},
			{what: "Define the image in a gallery: only there are images for Arm.", arch: "aarch64",
				command: "az sig image-definition create --resource-group ${RESOURCE_GROUP} --gallery-name ${GALLERY} --gallery-image-definition {name} --publisher {os} --offer {os} --sku {version} --os-type Linux --os-state Generalized --hyper-v-generation V2 --architecture {cloud-arch}"},
			{what: "Make the image in the gallery.", arch: "aarch64",
				command: "az sig image-version create --resource-group ${RESOURCE_GROUP} --gallery-name ${GALLERY} --gallery-image-definition {name} --gallery-image-version ${GALLERY_SERIAL} --os-vhd-storage-account ${STORAGE_ACCOUNT} --os-vhd-uri {blob}"},
		},
	},
	{
		platforms: []string{"azurestack"}, arches: amd64Only, prepare: prepareAzureStack,
		steps: []step{
			uploadBlob,
			{what: "Make an image.", command: "az image create --resource-group ${RESOURCE_GROUP} --name {name} --os-type Linux --source {blob}"},
		},
	},
	{
		platforms: []string{"gcp"}, arches: map[string]string{"x86_64": "X86_64", "aarch64": "ARM64"}, prepare: prepareGCP,
		steps: []step{
			{what: "Upload the image to Cloud Storage.", command: "gcloud storage cp {file} gs://${BUCKET}/{file}"},
			{what: "Make an image.",
				command: "gcloud compute images create {dns-name} --source-uri gs://${BUCKET}/{file} --architecture {cloud-arch} --guest-os-features {features} --licenses {licenses} --family {family} --description {title}"},
		},
	},
	{
		platforms: []string{"openstack"}, prepare: prepareOpenStack,
		steps: []step{{what: "Upload the image to Glance.",
			command: "openstack image create --disk-format qcow2 --container-format bare --min-disk {gib} --min-ram 2048 {properties} --file {file} {name}"}},
	},
	{
		platforms: []string{"ibmcloud"}, arches: map[string]string{"x86_64": "fedora-coreos-stable-amd64", "s390x": "red-8-s390x-byol"}, prepare: prepareIBM,
		steps: []step{
			{what: "Upload the image to Cloud Object Storage.", command: "ibmcloud cos upload --bucket ${BUCKET} --key {file} --file {file}"},
			{what: "Make an image. The service must be allowed to read the bucket.",
				command: "ibmcloud is image-create {dns-name} --file cos://${REGION}/${BUCKET}/{file} --os-name {cloud-arch}"},
		},
	},
	{
		platforms: []string{"aliyun"}, arches: bothArchs,
		steps: []step{
			{what: "Upload the image to OSS.", command: "aliyun oss cp {file} oss://${BUCKET}/{file} --region=${REGION} --acl=private"},
			{what: "Import it, which takes a while.",
				command: "aliyun ecs ImportImage --region=${REGION} --ImageName={name} --OSType=linux --Architecture={cloud-arch} --DiskDeviceMapping.1.Format=qcow2 --DiskDeviceMapping.1.OSSBucket=${BUCKET} --DiskDeviceMapping.1.OSSObject={file}"},
		},
	},
	{
		platforms: []string{"digitalocean"}, compressions: []filetype.Compression{filetype.Gzip}, arches: amd64Only, prepare: prepareDigitalOcean,
		steps: []step{{what: "Have the image fetched from where it can be downloaded.",
			command: "doctl compute image create {name} --region ${REGION} --image-url ${URL}"}},
	},
	{
		platforms: []string{"exoscale"}, arches: amd64Only,
		steps: []step{
			{what: "Upload the image to object storage.", command: "exo storage upload --acl public-read {file} sos://${BUCKET}/"},
			{what: "Get its address.", gives: "URL", command: "exo storage show sos://${BUCKET}/{file} --output-template {{.URL}}"},
			{what: "Make a template of it.", command: "exo compute instance-template register --boot-mode=uefi {name} ${URL} ${MD5}"},
		},
	},
	{
		platforms: []string{"hetzner"}, compressions: []filetype.Compression{filetype.Xz}, arches: map[string]string{"x86_64": "x86", "aarch64": "arm"}, prepare: prepareHetzner,
		steps: []step{{what: "Write the image to the disk of a machine made for it, and take a snapshot.",
			command: "hcloud-upload-image upload --image-path {file} {hetzner-compression} --architecture {cloud-arch} --labels os={os} --description {title}"}},
	},
	{
		platforms: []string{"oraclecloud"}, arches: bothArchs, prepare: prepareOracle,
		steps: []step{
			{what: "Upload the image to object storage.", command: "oci os object put --bucket-name ${BUCKET} --file {file}"},
			{what: "Import it.", gives: "IMAGE",
				command: "oci compute image import from-object --compartment-id ${COMPARTMENT} --namespace ${NAMESPACE} --bucket-name ${BUCKET} --name {file} --display-name {title} --launch-mode PARAVIRTUALIZED --source-image-type QCOW2 --operating-system Linux --query data.id --raw-output"},
		},
	},
	{
		platforms: []string{"vultr"}, arches: amd64Only,
		steps: []step{
			{what: "Upload the image to object storage.", command: "s3cmd put --acl-public {file} s3://${BUCKET}/"},
			{what: "Make a snapshot of it.", command: "vultr-cli snapshot create-url -u ${URL}"},
		},
	},
	{
		platforms: []string{"nutanix"}, arches: map[string]string{"x86_64": "X86_64"}, prepare: prepareNutanix,
		steps: []step{{what: "Have the image fetched from where it can be downloaded.",
			command: "curl --fail --user ${PRISM_USER} --json {images} https://${CLUSTER}:9440/api/nutanix/v3/images"}},
	},
	{
		platforms: []string{"kubevirt"},
		steps: []step{{what: "Push the image to a registry, from where KubeVirt takes it.",
			command: "skopeo copy oci-archive:{file} docker://${REPOSITORY}:{version}"}},
	},
	{
		platforms: []string{"vmware"}, arches: amd64Only,
		steps: []step{
			{what: "Import the appliance.", command: "govc import.ova -name ${VM} {file}"},
			{what: "Say how the Ignition config is encoded.", command: "govc vm.change -vm ${VM} -e guestinfo.ignition.config.data.encoding=base64"},
			{what: "Give it the Ignition config.", command: "govc vm.change -vm ${VM} -f guestinfo.ignition.config.data=${IGNITION_BASE64}"},
		},
	},
	{
		platforms: []string{"virtualbox"}, arches: amd64Only,
		steps: []step{
			{what: "Import the appliance.", command: "VBoxManage import {file} --vsys 0 --vmname ${VM}"},
			{what: "Have it boot by UEFI.", command: "VBoxManage modifyvm ${VM} --firmware efi"},
			{what: "Give it the Ignition config.", command: "VBoxManage guestproperty set ${VM} /Ignition/Config ${IGNITION_TEXT}"},
		},
	},
	{
		platforms: []string{"proxmoxve"}, arches: amd64Only, prepare: prepareProxmox,
		steps: []step{
			{what: "Make a machine.", command: "qm create ${VM} --name {dns-name} --cores 2 --memory 4096 --net0 virtio,bridge=vmbr0 --scsihw virtio-scsi-pci --serial0 socket"},
			{what: "Give it the image for a disk.", command: "qm set ${VM} --scsi0 ${STORAGE}:0,import-from=${IMAGE_PATH}/{file}"},
			{what: "Boot from the disk.", command: "qm set ${VM} --boot order=scsi0"},
			{what: "Give it the Ignition config.", command: "qm set ${VM} --ide2 ${STORAGE}:cloudinit --cicustom vendor=${SNIPPET} --ciupgrade 0"},
		},
	},
	{
		platforms: []string{"hyperv"}, arches: bothArchs, prepare: prepareHyperV,
		steps: []step{
			{what: "Make a machine with the image for a disk, in PowerShell.",
				command: "New-VM -Name ${VM} -Generation 2 -MemoryStartupBytes 4GB -SwitchName ${SWITCH} -VHDPath {file}"},
			{what: "Set up Secure Boot.", command: "Set-VMFirmware -VMName ${VM} {secure-boot}"},
		},
	},
	{
		platforms: []string{"qemu"}, prepare: prepareQEMU,
		steps: []step{{what: "Make a machine of libvirt with the image for a disk, which is not written to.",
			command: "virt-install --connect qemu:///system --name ${VM} --arch {arch} --vcpus 2 --memory 4096 --os-variant fedora-coreos-stable --import --graphics none --disk size={gib},backing_store=${IMAGE_PATH}/{file} --network bridge=virbr0 {ignition}"}},
	},
	{
		platforms: []string{"applehv"},
		steps: []step{{what: "Run a machine with the image for a disk.",
			command: "vfkit --cpus 2 --memory 4096 --bootloader efi,variable-store=efi-variable-store,create --device virtio-blk,path={file} --device virtio-net,nat --ignition ${IGNITION}"}},
	},
	{
		platforms: []string{"metal", "metal4k"}, compressions: []filetype.Compression{filetype.Gzip, filetype.Xz, filetype.Zstd},
		steps: []step{{what: "Install the image. It has no signature beside it, which is what --insecure is for.",
			command: "coreos-installer install --image-file {file} --insecure --ignition-file ${IGNITION} ${DEVICE}"}},
	},
	{
		platforms: []string{"packet"}, compressions: []filetype.Compression{filetype.Gzip, filetype.Xz, filetype.Zstd}, arches: bothArchs,
		steps: []step{installFromMemory},
	},
	{
		platforms: []string{"nvidiabluefield"}, compressions: []filetype.Compression{filetype.Gzip, filetype.Xz, filetype.Zstd}, arches: map[string]string{"aarch64": "arm64"},
		steps: []step{installFromMemory},
	},
	{
		platforms: []string{"akamai"}, compressions: []filetype.Compression{filetype.Gzip}, arches: amd64Only, prepare: prepareAkamai,
		steps: []step{{what: "Upload the image.",
			command: "linode-cli image-upload --region ${REGION} --label {name} --description {title} --cloud-init {file}"}},
	},
	{
		platforms: []string{"brightbox"}, arches: amd64Only,
		steps: []step{{what: "Have the image fetched from where it can be downloaded.",
			command: "brightbox images register --arch={cloud-arch} --name={name} --url=${URL}"}},
	},
	{
		platforms: []string{"cloudstack"}, arches: map[string]string{"x86_64": "x86_64", "aarch64": "aarch64"},
		steps: []step{{what: "Have the image fetched from where it can be downloaded.",
			command: "cmk register template name={name} displaytext={title} url=${URL} hypervisor=KVM format=QCOW2 arch={cloud-arch} ostypeid=${OS_TYPE} zoneid=${ZONE} requireshvm=true"}},
	},
	{
		platforms: []string{"powervs"}, compressions: []filetype.Compression{filetype.Gzip}, arches: map[string]string{"ppc64le": "ppc64le"},
		steps: []step{
			{what: "Make an OVA of the image.",
				command: "pvsadm image qcow2ova --image-name {name} --image-dist coreos --image-url ${IMAGE_PATH}/{file} --image-size {gib}"},
			{what: "Upload the OVA to Cloud Object Storage.", command: "pvsadm image upload --bucket ${BUCKET} --object-name {name}.ova.gz --region ${REGION}"},
			{what: "Import the OVA.",
				command: "pvsadm image import --workspace-name ${WORKSPACE} --bucket ${BUCKET} --bucket-region ${REGION} --object {name}.ova.gz --pvs-image-name {name}"},
		},
	},
	{
		platforms: []string{"scaleway"}, arches: bothArchs,
		steps: []step{
			{what: "Upload the image to Object Storage, with the AWS CLI.", command: "aws s3 cp {file} s3://${BUCKET}/{file}"},
			{what: "Import it as a snapshot.",
				command: "scw block snapshot import-from-object-storage bucket=${BUCKET} key={file} name={name} zone=${ZONE}"},
			{what: "Make an image of the snapshot.", command: "scw instance image create name={name} snapshot-id=${SNAPSHOT} arch={cloud-arch} zone=${ZONE}"},
		},
	},
	{
		platforms: []string{"upcloud"}, compressions: []filetype.Compression{filetype.Gzip, filetype.Xz}, arches: amd64Only,
		steps: []step{{what: "Import the image.",
			command: "upctl storage import --title {name} --zone ${ZONE} --size {gib} --source-location {file}"}},
	},
}

var notDNS = regexp.MustCompile(`[^a-z0-9]+`)

// dnsName turns a name into a DNS label as coreos-assembler does: with dashes in
// place of all other characters.
func dnsName(name string) string {
	return strings.Trim(notDNS.ReplaceAllString(strings.ToLower(name), "-"), "-")
}

// label matches the names that Google and IBM accept.
var label = regexp.MustCompile(`^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$`)

func checkLabel(name string) error {
	if !label.MatchString(name) {
		return fmt.Errorf("name %q: must be at most 63 letters, digits and dashes, and begin with a letter", name)
	}
	return nil
}

var azureName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,78}[A-Za-z0-9_])?$`)

func prepareAzure(d *Document, w words) error { return d.blob(w, "core.windows.net") }

func prepareAzureStack(d *Document, w words) error { return d.blob(w, "${STACK}") }

// blob checks that the image can be a page blob in Azure, and adds the word of the
// blob's address. The image must be a fixed VHD of whole MiB: the disk, followed
// by a footer of 512 bytes.
func (d *Document) blob(w words, domain string) error {
	m := d.Image
	size := m.Size
	if m.Compression != filetype.None {
		size = m.UncompressedSize
	}
	switch {
	case m.VirtualSize%mib != 0:
		return fmt.Errorf("a disk of %s: must be whole MiB", rootfs.Bytes(m.VirtualSize))
	case size != m.VirtualSize+512:
		return fmt.Errorf("%s for a disk of %s: must be a fixed VHD", rootfs.Bytes(size), rootfs.Bytes(m.VirtualSize))
	case !azureName.MatchString(w["name"]):
		return fmt.Errorf("name %q: must be at most 80 letters, digits and . _ -", w["name"])
	}
	w["blob"] = "https://${STORAGE_ACCOUNT}.blob." + domain + "/${CONTAINER}/" + w["file"]
	return nil
}

// prepareGCP adds the features of the image's kernel and boot loader.
func prepareGCP(d *Document, w words) error {
	if d.Image.VirtualSize%gib != 0 {
		return fmt.Errorf("a disk of %s: must be whole GiB", rootfs.Bytes(d.Image.VirtualSize))
	}
	features := "UEFI_COMPATIBLE,VIRTIO_SCSI_MULTIQUEUE,GVNIC"
	if d.Image.Arch == "x86_64" {
		features += ",SEV_CAPABLE"
	}
	w["features"] = features
	w["licenses"] = "https://www.googleapis.com/compute/v1/projects/vm-options/global/licenses/enable-vmx"
	w["family"] = dnsName(d.Image.OS)
	if err := checkLabel(w["family"]); err != nil {
		return err
	}
	return checkLabel(w["dns-name"])
}

// prepareOpenStack adds the properties from which Nova configures a machine.
func prepareOpenStack(d *Document, w words) error {
	properties := map[string]string{
		"architecture":     d.Image.Arch,
		"os_type":          "linux",
		"os_distro":        d.Image.OS,
		"os_version":       d.Image.Version,
		"hw_disk_bus":      "scsi",
		"hw_scsi_model":    "virtio-scsi", // its disks support discard everywhere
		"hw_vif_model":     "virtio",
		"hw_rng_model":     "virtio",
		"img_config_drive": "optional", // Ignition also fetches its config over the network
	}
	switch d.Image.Arch {
	case "x86_64": // boots with both, and some clouds lack UEFI
		properties["hw_firmware_type"] = "bios"
	case "aarch64":
		properties["hw_firmware_type"] = "uefi"
	}
	var args []string
	for _, key := range slices.Sorted(maps.Keys(properties)) {
		args = append(args, "--property", key+"="+properties[key])
	}
	w["properties"] = list(args...)
	d.Requests = map[string]any{"properties": properties}
	return nil
}

func prepareProxmox(d *Document, w words) error { return checkLabel(w["dns-name"]) }

func prepareIBM(d *Document, w words) error {
	if err := d.checkSize(250); err != nil {
		return err
	}
	return checkLabel(w["dns-name"])
}

func prepareDigitalOcean(d *Document, w words) error { return d.checkSize(100) }

func prepareOracle(d *Document, w words) error { return d.checkSize(400) }

// checkSize checks that the disk is not larger than limit GiB.
func (d *Document) checkSize(limit int64) error {
	if d.Image.VirtualSize > limit*gib {
		return fmt.Errorf("a disk of %s: must be at most %d GiB", rootfs.Bytes(d.Image.VirtualSize), limit)
	}
	return nil
}

// prepareAkamai adds a step that compresses the image: Akamai takes gzip files of at
// most 6 GiB, before and after decompression.
func prepareAkamai(d *Document, w words) error {
	if d.Image.Compression != filetype.Gzip {
		d.Steps = append(d.Steps, step{what: "Compress the image.", command: "gzip --keep {file}"}.made(w))
		w["file"] += ".gz"
	}
	return d.checkSize(6)
}

func prepareHetzner(d *Document, w words) error {
	w["hetzner-compression"] = ""
	if d.Image.Compression == filetype.Xz {
		w["hetzner-compression"] = list("--compression", "xz")
	}
	return nil
}

func prepareHyperV(d *Document, w words) error {
	w["secure-boot"] = list("-EnableSecureBoot", "Off")
	if d.Image.SecureBoot {
		w["secure-boot"] = list("-EnableSecureBoot", "On", "-SecureBootTemplate", "MicrosoftUEFICertificateAuthority")
	}
	return nil
}

// prepareQEMU adds the device with the Ignition config: fw_cfg, or a disk on
// machines without fw_cfg.
func prepareQEMU(d *Document, w words) error {
	switch d.Image.Arch {
	case "x86_64", "aarch64":
		w["ignition"] = "--qemu-commandline=-fw_cfg name=opt/com.coreos/config,file=${IGNITION}"
	default:
		w["ignition"] = list("--disk", "path=${IGNITION},format=raw,readonly=on,serial=ignition")
	}
	return nil
}

func prepareNutanix(d *Document, w words) error {
	type resources struct {
		ImageType    string `json:"image_type"`
		SourceURI    string `json:"source_uri"`
		Architecture string `json:"architecture"`
	}
	type spec struct {
		Name      string    `json:"name"`
		Resources resources `json:"resources"`
	}
	type metadata struct {
		Kind string `json:"kind"`
	}
	d.request(w, "images", struct {
		APIVersion string   `json:"api_version"`
		Metadata   metadata `json:"metadata"`
		Spec       spec     `json:"spec"`
	}{"3.1.0", metadata{"image"}, spec{w["name"], resources{"DISK_IMAGE", "${URL}", w["cloud-arch"]}}})
	return nil
}

// request adds a request of the cloud's API, and the word with which a command
// refers to it.
func (d *Document) request(w words, name string, v any) {
	if d.Requests == nil {
		d.Requests = map[string]any{}
	}
	d.Requests[name] = v
	w[name] = string(encode(v, ""))
}
