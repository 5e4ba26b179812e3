package conductor

import (
	"context"
	"fmt"
	"maps"
	"sort"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/crossfade-project/crossfade/internal/audit"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/spans"
)

// Auditor takes audit records.
type Auditor interface {
	Tell(ctx context.Context, records ...audit.Record) error
}

// rememberedDecisions bounds what is remembered of what was told, at some 100 bytes each.
const rememberedDecisions = 20_000

// Decided is what the outcome of a decision reads: it is told before it is stored, so a
// crash may leave one that was taken again by a successor.
const Decided = "decided"

// telling is a store that tells the audit log what the conductor decides, before it is
// saved.
type telling struct {
	Store
	to   Auditor
	told *lru.Cache[string, string] // by rotation: what was told last
}

// Telling returns s as a store that tells to of every decision before it is saved. What
// cannot be told is not saved, and decided again.
func Telling(s Store, to Auditor) Store {
	c, err := lru.New[string, string](rememberedDecisions)
	if err != nil {
		panic(err) // Only for a size below 1.
	}
	return &telling{s, to, c}
}

// SaveRotation implements [Store].
func (t *telling) SaveRotation(ctx context.Context, r rollover.Rotation) (rollover.Rotation, error) {
	if err := t.tell(ctx, r, nil); err != nil {
		return r, err
	}
	return t.Store.SaveRotation(ctx, r)
}

// FreezePlan implements [Store].
func (t *telling) FreezePlan(ctx context.Context, r rollover.Rotation, plan []rollover.Item) (rollover.Rotation, error) {
	if err := t.tell(ctx, r, planned(plan)); err != nil {
		return r, err
	}
	return t.Store.FreezePlan(ctx, r, plan)
}

// SaveTasks implements [Store]. What the conductor does to many tasks at once, such as
// ending those of a cancelled rotation, is told with their positions and tenants.
func (t *telling) SaveTasks(ctx context.Context, ks []rollover.Task) ([]rollover.Task, error) {
	records, err := t.many(ctx, ks)
	if err != nil {
		return ks, err
	}
	if err := t.to.Tell(ctx, records...); err != nil {
		return ks, err
	}
	return t.Store.SaveTasks(ctx, ks)
}

// DeleteRotation implements [Store].
func (t *telling) DeleteRotation(ctx context.Context, id string) error {
	err := t.to.Tell(ctx, audit.Record{Who: "service", By: "service", Act: "rotation.delete", Object: "rotations/" + id, Outcome: Decided})
	if err != nil {
		return err
	}
	return t.Store.DeleteRotation(ctx, id)
}

// tell tells how a rotation is about to stand, and more of it, if that is not what was
// told last.
func (t *telling) tell(ctx context.Context, r rollover.Rotation, more map[string]string) error {
	d, sealed := decision(r)
	maps.Copy(d, more)
	keys := make([]string, 0, len(d))
	for _, m := range []map[string]string{d, sealed} {
		for k, v := range m {
			keys = append(keys, k+"="+v)
		}
	}
	sort.Strings(keys)
	text := strings.Join(keys, " ")
	if last, ok := t.told.Get(r.ID); ok && last == text {
		return nil
	}
	act, object := "rotation", "rotations/"+r.ID
	if r.Discovers() {
		act, object = "discovery", "inventoryJobs/"+r.ID
	}
	err := t.to.Tell(spans.In(ctx, r.Trace), audit.Record{
		Who: "service", By: "service", Act: act, Object: object, Outcome: Decided, Detail: d, Private: sealed,
	})
	if err != nil {
		return err
	}
	t.told.Add(r.ID, text)
	return nil
}

// decision is what the conductor decides of a rotation, as a record shows it, and the
// sentences in it, which may name tenants.
func decision(r rollover.Rotation) (d, sealed map[string]string) {
	d, sealed = map[string]string{"state": string(r.State)}, map[string]string{}
	set := func(key string, is bool, value string) {
		if is {
			d[key] = value
		}
	}
	at := func(when time.Time) string { return when.UTC().Format(time.RFC3339) }
	set("phase", r.Phase != "", string(r.Phase))
	if r.Detail != "" {
		sealed["why"] = r.Detail
	}
	if r.Opening.Why != "" {
		sealed["closed"] = r.Opening.Why
	}
	set("plan_digest", r.State == rollover.StatePlanned, r.Digest)
	set("wave", r.WaveNumber > 0, fmt.Sprint(r.WaveNumber))
	set("bake_until", !r.BakeUntil.IsZero(), at(r.BakeUntil))
	set("tolerance_exceeded", r.Exceeded, "true")
	set("tenant_tolerance_exceeded", r.TenantHeld, "true")
	set("deadline_at_risk", !r.AtRiskSince.IsZero(), at(r.AtRiskSince))
	set("gate", r.Gate.Wave > 0, fmt.Sprintf("%d.%d %s", r.Gate.Wave, r.Gate.Index, r.Gate.Result))
	set("check", r.Check.Number > 0, fmt.Sprintf("%d %s", r.Check.Number, r.Check.State))
	set("deleted", !r.Gone.IsZero(), at(r.Gone))
	if f := r.Discovered; f != nil {
		d["tenants"], d["unreachable"] = fmt.Sprint(f.Tenants), fmt.Sprint(f.Unreached)
		d["endpoints"], d["targets"], d["read"] = fmt.Sprint(f.Endpoints), fmt.Sprint(f.Targets), fmt.Sprint(f.Read)
	}
	return d, sealed
}
