package edge

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/crossfade-project/crossfade/internal/certs"
	tenant "github.com/crossfade-project/crossfade/internal/tenants"
)

// The collections of which resource names are made.
const (
	rotations    = "rotations"
	tasks        = "tasks"
	tenants      = "tenants"
	endpoints    = "endpoints"
	certificates = "certificates"
	blocks       = "blocks"
	targetSets   = "targetSets"
	jobs         = "inventoryJobs"
)

// RotationName returns rotations/{id}.
func RotationName(id string) string { return rotations + "/" + id }

// TaskName returns rotations/{id}/tasks/{ord}.
func TaskName(rotation string, ord int) string {
	return fmt.Sprintf("%s/%s/%s/%06d", rotations, rotation, tasks, ord)
}

// TenantName returns tenants/{id}.
func TenantName(id string) string { return tenants + "/" + id }

// EndpointName returns tenants/{tenant}/endpoints/{id}.
func EndpointName(tenant, id string) string {
	return TenantName(tenant) + "/" + endpoints + "/" + id
}

// CertificateName returns certificates/{sha256}.
func CertificateName(sha256 string) string { return certificates + "/" + sha256 }

// ParseRotation returns the id in rotations/{id}: a UUID in lower case.
func ParseRotation(name string) (string, bool) {
	id, ok := strings.CutPrefix(name, rotations+"/")
	return id, ok && isUUID(id)
}

// ParseTask returns the rotation and the position in
// rotations/{id}/tasks/{position}.
func ParseTask(name string) (rotation string, ord int, ok bool) {
	parts := strings.Split(name, "/")
	if len(parts) != 4 || parts[0] != rotations || parts[2] != tasks || !isUUID(parts[1]) {
		return "", 0, false
	}
	ord, err := strconv.Atoi(parts[3])
	if err != nil || ord < 0 || TaskName(parts[1], ord) != name {
		return "", 0, false
	}
	return parts[1], ord, true
}

// AllRotations stands for all rotations where a request says so; see AIP-159.
const AllRotations = rotations + "/-"

// AllTenants stands for all tenants where a request says so; see AIP-159.
const AllTenants = tenants + "/-"

// ParseTenant returns the id in tenants/{id}. That of [AllTenants] is none.
func ParseTenant(name string) (string, bool) {
	id, ok := strings.CutPrefix(name, tenants+"/")
	return id, ok && tenant.ValidID(id)
}

// ParseCertificate returns the hash in certificates/{sha256}: 64 hex digits in
// lower case.
func ParseCertificate(name string) (string, bool) {
	sha, ok := strings.CutPrefix(name, certificates+"/")
	return sha, ok && isHex(sha, 64)
}

// BlockName returns blocks/{sort}.{hash}.
func BlockName(id certs.BlockID) string { return blocks + "/" + id.String() }

// ParseBlock returns the id in blocks/{sort}.{hash}.
func ParseBlock(name string) (certs.BlockID, bool) {
	text, ok := strings.CutPrefix(name, blocks+"/")
	id, valid := certs.ParseBlockID(text)
	return id, ok && valid
}

// TargetSetName returns targetSets/{id}.
func TargetSetName(id string) string { return targetSets + "/" + id }

// ParseTargetSet returns the id in targetSets/{id}, which looks like a tenant's.
func ParseTargetSet(name string) (string, bool) {
	id, ok := strings.CutPrefix(name, targetSets+"/")
	return id, ok && tenant.ValidID(id)
}

// JobName returns inventoryJobs/{id}.
func JobName(id string) string { return jobs + "/" + id }

// ParseJob returns the id in inventoryJobs/{id}: a UUID in lower case.
func ParseJob(name string) (string, bool) {
	id, ok := strings.CutPrefix(name, jobs+"/")
	return id, ok && isUUID(id)
}

// ParseEndpoint returns the tenant and the endpoint in
// tenants/{tenant}/endpoints/{endpoint}: a GUID in lower case.
func ParseEndpoint(name string) (of, id string, ok bool) {
	parts := strings.Split(name, "/")
	if len(parts) != 4 || parts[0] != tenants || parts[2] != endpoints || !tenant.ValidID(parts[1]) || !isUUID(parts[3]) {
		return "", "", false
	}
	return parts[1], parts[3], true
}

func isUUID(s string) bool {
	u, err := uuid.Parse(s)
	return err == nil && u.String() == s
}

func isHex(s string, n int) bool {
	if len(s) != n {
		return false
	}
	for _, c := range s {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// resourceType returns the type that ResourceInfo gives a name.
func resourceType(name string) string {
	switch parts := strings.Split(name, "/"); {
	case len(parts) == 4 && parts[2] == tasks:
		return "crossfade/RotationTask"
	case parts[0] == rotations:
		return "crossfade/Rotation"
	case parts[0] == tenants && len(parts) == 4:
		return "crossfade/Endpoint"
	case parts[0] == tenants:
		return "crossfade/Tenant"
	case parts[0] == certificates:
		return "crossfade/Certificate"
	case parts[0] == blocks:
		return "crossfade/Block"
	case parts[0] == targetSets:
		return "crossfade/TargetSet"
	case parts[0] == jobs:
		return "crossfade/InventoryJob"
	default:
		return ""
	}
}
