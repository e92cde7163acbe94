package coreos

// Cloud has the settings of single platforms in image.json.
type Cloud struct {
	AWSVolumeType string `json:"aws-volume-type"`   // of the root volume; empty if the container does not say
	AWSBootMode   string `json:"aws-x86-boot-mode"` // empty if the container does not say
	AWSIMDSv2Only bool   `json:"aws-imdsv2-only"`   // machines have no version 1 of the metadata service

	VMwareHardware   int    `json:"vmware-hw-version"`
	VMwareOSType     string `json:"vmware-os-type"`
	VMwareSecureBoot bool   `json:"vmware-secure-boot"`
}

// defaultCloud has the settings of Fedora CoreOS.
var defaultCloud = Cloud{VMwareHardware: 17, VMwareOSType: "fedora64Guest", VMwareSecureBoot: true}
