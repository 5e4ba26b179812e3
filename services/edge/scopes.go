package edge

import (
	"strings"

	"github.com/crossfade-project/crossfade/internal/rights"
)

// scopes says what each method needs. One that is not here is denied to everybody.
func scopes() map[string]map[string]rights.Scope {
	const read, rotate = rights.Read, rights.Rotate
	return map[string]map[string]rights.Scope{
		"RotationService": {
			"CreateRotation": rotate, "StartRotation": rotate, "PauseRotation": rotate, "ResumeRotation": rotate, "CancelRotation": rotate,
			"RetireRotation": rotate, "CheckRotation": rotate, "RetryRotationTasks": rotate, "UndoRotation": rotate, "DecideWave": rotate,
			"ApproveRotation": rights.Approve,
			"GetRotation":     read, "ListRotations": read, "ListRotationTasks": read, "GetRotationTask": read, "WatchRotation": read, "WatchRotations": read, "ListDrifts": read,
		},
		"DeskService": {"ListDeadLetters": read, "SummarizeDeadLetters": read},
		"InventoryService": {
			"ImportTenants": rights.Inventory, "GetTenant": read, "ListTenants": read, "GetEndpoint": read, "ListEndpoints": read,
			"UpdateTenant": rights.Inventory, "DeleteTenant": rights.Inventory, "ImportInventory": rights.Inventory, "DiscoverEndpoints": rights.Inventory, "CancelInventoryJob": rights.Inventory,
			"GetInventoryJob": rights.Inventory, "ListInventoryJobs": rights.Inventory, "ListInventoryJobErrors": rights.Inventory,
		},
		"CertificateService": {
			// Public certificates, named by what they are: whoever rotates brings the new
			// one along.
			"UploadCertificate": rotate, "GetCertificate": read, "ListCertificates": read,
			"BlockCertificate": rights.Block, "UnblockCertificate": rights.Block, "ListBlocks": read,
		},
		"TargetSetService": {
			"CreateTargetSet": rotate, "AddTargets": rotate, "UploadTargets": rotate, "DeleteTargetSet": rotate,
			"GetTargetSet": read, "ListTargetSets": read,
		},
	}
}

// servicePrefix begins the full name of each of our methods.
const servicePrefix = "/crossfade.v1."

// MethodScopes returns the scope that each method needs, by its full name. What is not
// here is denied to everybody; health is open. The contract may be asked for by
// everybody who may read.
func MethodScopes() map[string]rights.Scope {
	out := map[string]rights.Scope{}
	for service, calls := range scopes() {
		for call, s := range calls {
			out[servicePrefix+service+"/"+call] = s
		}
	}
	for _, version := range []string{"v1", "v1alpha"} {
		out["/grpc.reflection."+version+".ServerReflection/ServerReflectionInfo"] = rights.Read
	}
	return out
}

// open reports whether anybody may call a method: load balancers ask for health.
func open(method string) bool { return strings.HasPrefix(method, "/grpc.health.v1.Health/") }
