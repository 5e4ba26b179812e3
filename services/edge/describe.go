package edge

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/crossfade-project/crossfade/internal/audit"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// record begins a record of a call.
func record(ctx context.Context, method string) audit.Record {
	r := audit.Record{Act: short(method), Request: RequestOf(ctx)}
	if c := callerOf(ctx); c != nil {
		r.Who = c.name
		if r.By = string(c.subject.By); r.By == "" && c.name != "" {
			r.By = "claim"
		}
	}
	return r
}

// toldFields are the fields of requests that records show as they are: words of the
// contract, numbers and instants, which name nobody.
var toldFields = map[string]string{
	"plan_digest": "plan_digest", "act": "for", "wave": "wave", "result": "result", "validate_only": "validate_only",
	"retire_not_before": "retire_not_before", "force": "force", "tasks": "tasks", "allow_missing": "allow_missing",
	"accept_failures": "accept_failures", "accept_gate": "accept_gate", "first_row": "first_row", "expected_rows": "expected_rows",
	"kind": "kind", "certificate": "certificate", "sha256": "sha256", "sha1": "sha1", "key_hash": "key_hash",
}

// sealedFields are those that may name anybody: a caller's words.
var sealedFields = map[string]string{"request_id": "request_id", "filter": "filter"}

// describeRequest fills in what a request is about: names of resources and words of
// people, never what was sent along.
func describeRequest(req any, r *audit.Record) {
	m, ok := req.(proto.Message)
	if !ok || m == nil || !m.ProtoReflect().IsValid() {
		return
	}
	describeFields(m.ProtoReflect(), r)
	switch q := m.(type) {
	case *pb.CreateRotationRequest:
		describeFields(q.GetRotation().GetSpec().ProtoReflect(), r)
	case *pb.RetryRotationTasksRequest:
		noteTasks(r, q.GetNames())
	case *pb.UndoRotationRequest:
		switch of := q.GetScope().GetScope().(type) {
		case *pb.UndoScope_All:
			undoOf(r, of.All, 0, nil, nil)
		case *pb.UndoScope_Wave:
			undoOf(r, false, of.Wave, nil, nil)
		case *pb.UndoScope_Tenants:
			undoOf(r, false, 0, of.Tenants.GetNames(), nil)
		case *pb.UndoScope_Tasks:
			undoOf(r, false, 0, nil, of.Tasks.GetNames())
		}
	case *pb.ApproveRotationRequest:
		u := q.GetUndo()
		undoOf(r, u.GetAll(), u.GetWave(), u.GetTenants(), u.GetTasks())
	case *pb.UpdateTenantRequest:
		r.Object = q.GetTenant().GetName()
		note(r, "update_mask", strings.Join(q.GetUpdateMask().GetPaths(), ","))
	case *pb.ImportTenantsRequest:
		note(r, "rows", fmt.Sprint(len(q.GetTenants())))
	case *pb.ImportInventoryRequest:
		describeFields(q.GetHeader().ProtoReflect(), r)
	case *pb.AddTargetsRequest:
		note(r, "rows", fmt.Sprint(len(q.GetTargets())))
	}
	aboutObject(r)
}

// describeFields fills in the fields of a message that are told wherever they stand.
func describeFields(m protoreflect.Message, r *audit.Record) {
	if !m.IsValid() {
		return
	}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if !m.Has(f) || f.IsList() || f.IsMap() {
			continue
		}
		name, v := string(f.Name()), m.Get(f)
		switch {
		case f.Kind() == protoreflect.StringKind && (name == "name" || name == "parent"):
			r.Object = v.String()
		case f.Kind() == protoreflect.StringKind && name == "reason":
			r.Why = v.String()
		case f.Kind() == protoreflect.StringKind && sealedFields[name] != "":
			private(r, sealedFields[name], v.String())
		case toldFields[name] == "":
		case f.Kind() == protoreflect.EnumKind:
			if e := f.Enum().Values().ByNumber(v.Enum()); e != nil {
				note(r, toldFields[name], string(e.Name()))
			}
		case f.Kind() == protoreflect.MessageKind:
			if at, ok := v.Message().Interface().(interface{ AsTime() time.Time }); ok {
				note(r, toldFields[name], at.AsTime().UTC().Format(time.RFC3339Nano))
			}
		default:
			note(r, toldFields[name], v.String())
		}
	}
}

// undoOf says what an undo is for. One for some tenants is about them alone, as far as a
// record has room for them.
func undoOf(r *audit.Record, all bool, wave int32, names, tasks []string) {
	switch {
	case all:
		note(r, "scope", "all")
	case wave != 0:
		note(r, "scope", fmt.Sprintf("wave %d", wave))
	case len(tasks) > 0:
		note(r, "scope", "tasks")
		noteTasks(r, tasks)
	case len(names) > 0:
		note(r, "scope", "tenants")
		note(r, "tenants", fmt.Sprint(len(names)))
		private(r, "tenants", strings.Join(names, " "))
		if len(names) > audit.MaxTenants {
			return // All are in the digest of the request.
		}
		ids := make([]string, len(names))
		for i, n := range names {
			ids[i] = strings.TrimPrefix(n, tenants+"/")
		}
		*r = r.About(ids...)
	}
}

// noteTasks says which tasks are named: how many, and which positions as far as there is room.
func noteTasks(r *audit.Record, names []string) {
	if len(names) == 0 {
		return
	}
	var ords []int
	for _, n := range names {
		if _, ord, ok := ParseTask(n); ok {
			ords = append(ords, ord)
		}
	}
	note(r, "tasks", fmt.Sprint(len(names)))
	if ranges := audit.Ranges(ords); len(ranges) > 0 {
		note(r, "ords", ranges[0])
		if len(ranges) > 1 {
			note(r, "ords_more", "true") // All are in the digest of the request.
		}
	}
}

// aboutObject makes a record one about the tenant that its object is, or is of.
func aboutObject(r *audit.Record) {
	if id, ok := strings.CutPrefix(r.Object, tenants+"/"); ok && r.Tenants == nil {
		r.Tenant, _, _ = strings.Cut(id, "/")
	}
}

// describeAnswer fills in what came of a call that went well.
func describeAnswer(resp any, r *audit.Record) {
	if n := nameOf(resp); r.Object == "" {
		r.Object = n
	}
	counts := func(created, updated, unchanged, failed int64) {
		note(r, "created", fmt.Sprint(created))
		note(r, "updated", fmt.Sprint(updated))
		note(r, "unchanged", fmt.Sprint(unchanged))
		note(r, "failed", fmt.Sprint(failed))
	}
	switch a := resp.(type) {
	case *pb.ImportTenantsResponse:
		counts(int64(a.GetCreatedCount()), int64(a.GetUpdatedCount()), int64(a.GetUnchangedCount()), int64(a.GetFailedCount()))
	case *pb.ImportInventoryResponse:
		j := a.GetJob()
		note(r, "rows", fmt.Sprint(j.GetRowCount()))
		note(r, "state", j.GetState().String())
		counts(j.GetCreatedCount(), j.GetUpdatedCount(), j.GetUnchangedCount(), j.GetFailedCount())
	case *pb.UpdateTenantResponse:
		note(r, "created", fmt.Sprint(a.GetCreated()))
	case *pb.RetryRotationTasksResponse:
		note(r, "retried", fmt.Sprint(a.GetRetried()))
	}
	aboutObject(r)
}

// digest adds a message to a hash: its length, and its bytes as this build always makes
// them of the same message.
func digest(h hash.Hash, req any) {
	m, ok := req.(proto.Message)
	if !ok {
		return
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return // It was decoded from bytes a moment ago.
	}
	_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(b)))) // A hash never fails.
	_, _ = h.Write(b)
}

func note(r *audit.Record, key, value string) {
	if r.Detail == nil {
		r.Detail = map[string]string{}
	}
	r.Detail[key] = value
}

// private notes what may name other tenants.
func private(r *audit.Record, key, value string) {
	if r.Private == nil {
		r.Private = map[string]string{}
	}
	r.Private[key] = value
}

// nameOf returns the name of the resource that an answer is, or has in its first field.
func nameOf(resp any) string {
	m, ok := resp.(proto.Message)
	if !ok || m == nil {
		return ""
	}
	look := func(m protoreflect.Message) string {
		if f := m.Descriptor().Fields().ByName("name"); f != nil && f.Kind() == protoreflect.StringKind {
			return m.Get(f).String()
		}
		return ""
	}
	r := m.ProtoReflect()
	if n := look(r); n != "" {
		return n
	}
	fields := r.Descriptor().Fields()
	for i := range fields.Len() {
		if f := fields.Get(i); f.Kind() == protoreflect.MessageKind && !f.IsList() && !f.IsMap() && r.Has(f) {
			if n := look(r.Get(f).Message()); n != "" {
				return n
			}
		}
	}
	return ""
}
