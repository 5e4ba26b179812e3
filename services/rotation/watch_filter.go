package rotation

import (
	"github.com/crossfade-project/crossfade/internal/rollover"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// taskFilter reads the filter of a watch; nil: it has none.
func taskFilter(req *pb.WatchRotationRequest) (*edge.Filter, error) {
	if req.GetTaskFilter() == "" {
		return nil, nil
	}
	if !req.GetIncludeTasks() {
		return nil, edge.Invalid(edge.Violated("task_filter", "CONFLICT", "is about tasks, and include_tasks is not set"))
	}
	return edge.ParseFilter(req.GetTaskFilter(), taskFields())
}

// matching lets through the tasks that a watch is for. It is for one goroutine.
type matching struct {
	filter *edge.Filter
	// unknown is whether a watch before this one may have told tasks: its reader went on
	// from a cursor, which does not say which.
	unknown bool
	told    map[int]bool // whether a task matched when it was told last, by its number
}

// tasks returns those that match, and those that a reader still has as they were when
// they did: it would keep them so for ever. reset is whether the reader begins anew.
func (m *matching) tasks(reset bool, ks []rollover.Task) []rollover.Task {
	if reset {
		m.unknown = false
		clear(m.told)
	}
	var out []rollover.Task
	for _, k := range ks {
		ord := k.ID.Ord
		before, known := m.told[ord]
		now := m.filter.Match(taskValue(k))
		if !now && !before && (known || !m.unknown) {
			continue
		}
		m.told[ord] = now
		out = append(out, k)
	}
	return out
}
