package conductor

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/crossfade-project/crossfade/internal/audit"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

// planned counts what planning itself decided, as the record of a frozen plan shows it:
// those tasks are never worked on and have no other record. The digest beside it names them.
func planned(plan []rollover.Item) map[string]string {
	counts := map[string]int{}
	for _, it := range plan {
		if it.Outcome == rollover.Open {
			counts["open"]++
			continue
		}
		counts[string(it.Outcome)]++
		if it.Reason != "" {
			counts[string(it.Outcome)+" "+string(it.Reason)]++
		}
	}
	out := map[string]string{"tasks": fmt.Sprint(len(plan))}
	for what, n := range counts {
		out["planned "+what] = fmt.Sprint(n)
	}
	return out
}

// maxRuns bounds the ranges of positions in one record, so that it has room for them.
const maxRuns = 36

// planWindow is how many items of a plan are read at once to learn whose tasks are.
const planWindow = 1024

// heap are tasks that end in the same way, told together.
type heap struct {
	rotation, outcome, reason string
	undo                      int
}

// many says of tasks which they are, whose, and what becomes of them: each is in one
// record, and a record has no more than fit.
func (t *telling) many(ctx context.Context, ks []rollover.Task) ([]audit.Record, error) {
	heaps := map[heap][]int{}
	for _, k := range ks {
		h := heap{k.ID.Rotation, string(k.Outcome), string(k.Reason), k.Undo}
		heaps[h] = append(heaps[h], k.ID.Ord)
	}
	order := make([]heap, 0, len(heaps))
	for h := range heaps {
		order = append(order, h)
	}
	slices.SortFunc(order, func(a, b heap) int {
		return cmp.Or(cmp.Compare(a.rotation, b.rotation), cmp.Compare(a.outcome, b.outcome), cmp.Compare(a.reason, b.reason), cmp.Compare(a.undo, b.undo))
	})
	var records []audit.Record
	for _, h := range order {
		of, err := t.owners(ctx, h.rotation, heaps[h])
		if err != nil {
			return nil, err
		}
		records = append(records, h.records(heaps[h], of)...)
	}
	return records, nil
}

// owners returns the tenants of some tasks of a rotation, by position. It sorts ords.
func (t *telling) owners(ctx context.Context, rotation string, ords []int) (map[int][]string, error) {
	slices.Sort(ords)
	out := make(map[int][]string, len(ords))
	for i := 0; i < len(ords); {
		from, j := ords[i], i
		for j < len(ords) && ords[j] < from+planWindow {
			j++
		}
		items, err := t.Plan(ctx, rotation, from, ords[j-1]+1)
		if err != nil {
			return nil, fmt.Errorf("reading whose the tasks of rotation %s are: %w", rotation, err)
		}
		for _, it := range items {
			out[it.Ord] = it.Tenants()
		}
		i = j
	}
	return out, nil
}

// records tells of sorted positions, each once.
func (h heap) records(ords []int, of map[int][]string) []audit.Record {
	var out []audit.Record
	var some []int
	var names []string
	runs := 0
	flush := func() {
		if len(some) == 0 {
			return
		}
		r := audit.Record{
			Who: "service", By: "service", Act: "tasks", Object: "rotations/" + h.rotation, Outcome: Decided, Reason: h.reason,
			Detail: map[string]string{"outcome": h.outcome, "tasks": fmt.Sprint(len(some)), "ords": audit.Ranges(some)[0]},
		}
		if h.undo > 0 {
			r.Detail["undo"] = fmt.Sprint(h.undo)
		}
		out = append(out, r.AboutAll(names)...)
		some, names, runs = nil, nil, 0
	}
	for _, ord := range ords {
		more := slices.DeleteFunc(slices.Clone(of[ord]), func(n string) bool { return slices.Contains(names, n) })
		if runs == maxRuns || len(names)+len(more) > audit.MaxTenants {
			flush()
			more = of[ord]
		}
		if len(some) == 0 || some[len(some)-1]+1 != ord {
			runs++
		}
		some, names = append(some, ord), append(names, more...)
	}
	flush()
	return out
}
