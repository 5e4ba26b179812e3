package edge

import (
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// MaxRows bounds the rows of an import by a job.
const MaxRows = 1_000_000

func isJob() form {
	return form{"inventoryJobs/{id}", func(n string) bool { _, ok := ParseJob(n); return ok }}
}

func isEndpoint() form {
	return form{"tenants/{tenant}/endpoints/{endpoint}, the endpoint a GUID in lower case", func(n string) bool { _, _, ok := ParseEndpoint(n); return ok }}
}

// inventory checks the requests of InventoryService that change one tenant, that about one
// endpoint, and those about jobs.
func (v *violations) inventory(m any) {
	switch m := m.(type) {
	case *pb.UpdateTenantRequest:
		v.name("tenant.name", m.GetTenant().GetName(), isTenant)
	case *pb.GetEndpointRequest:
		v.name("name", m.GetName(), isEndpoint)
	case *pb.DeleteTenantRequest:
		v.name("name", m.GetName(), isTenant)
	case *pb.ImportInventoryRequest:
		v.part(m)
	case *pb.DiscoverEndpointsRequest:
		v.requestID(m.GetRequestId())
		if len(m.GetTenants()) > 0 {
			v.tenantNames("tenants", m.GetTenants())
		}
		if m.GetFilter() != "" && len(m.GetTenants()) > 0 {
			v.add("filter", "CONFLICT", "must be absent where tenants are named")
		}
	case *pb.GetInventoryJobRequest:
		v.name("name", m.GetName(), isJob)
	case *pb.CancelInventoryJobRequest:
		v.name("name", m.GetName(), isJob)
	case *pb.ListInventoryJobsRequest:
		v.page(m)
	case *pb.ListInventoryJobErrorsRequest:
		v.name("parent", m.GetParent(), isJob)
		v.page(m)
	}
}

// part checks one message of an import.
func (v *violations) part(m *pb.ImportInventoryRequest) {
	switch p := m.GetPart().(type) {
	case *pb.ImportInventoryRequest_Header:
		v.requestID(p.Header.GetRequestId())
		if n := p.Header.GetExpectedRows(); n < 0 || n > MaxRows {
			v.add("header.expected_rows", "RANGE", "must be 1 to 1,000,000, or absent")
		}
	case *pb.ImportInventoryRequest_Chunk:
		v.count("chunk.tenants", len(p.Chunk.GetTenants()), 1, MaxImport)
		if p.Chunk.GetFirstRow() < 0 {
			v.add("chunk.first_row", "RANGE", "must not be negative")
		}
	default:
		v.add("part", "REQUIRED", "must be a header or a chunk")
	}
}
