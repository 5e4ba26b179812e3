package webhooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

// need is how many others the rules want for the start of one plan.
type need struct {
	digest    string
	approvers int
}

// keyOf returns where it is noted how far a rotation has been told to a webhook.
func keyOf(hook, rotation string) string { return hook + "/" + rotation }

// rotationOf returns the rotation of a key. A rotation's id has no slash.
func rotationOf(key string) string { return key[strings.LastIndexByte(key, '/')+1:] }

// forget drops what is remembered of rotations that are not there any more, but for
// what is on its way: whoever delivers it notes what came of it first.
func (r *reign) forget(views []mirror.View) {
	there := make(map[string]bool, len(views))
	for _, v := range views {
		there[v.Rotation.ID] = true
	}
	for key := range r.records {
		if !there[rotationOf(key)] && !r.flying[key] {
			delete(r.records, key)
		}
	}
	maps.DeleteFunc(r.absent, func(key string, _ bool) bool { return !there[rotationOf(key)] })
	for id := range r.needs {
		if !there[id] {
			delete(r.needs, id)
		}
	}
}

// list reads once, in one go, what was noted by those who led before: a read for each
// rotation and webhook, one after the other, would hold up everything for as long as
// there are many. Should something be noted meanwhile, saving loses the race and it is
// read then.
func (r *reign) list(ctx context.Context, views []mirror.View) error {
	if r.listed {
		return nil
	}
	absent, found := map[string]bool{}, map[string]*record{}
	for _, h := range r.Hooks {
		for _, v := range views {
			absent[keyOf(h.Name, v.Rotation.ID)] = true
		}
	}
	err := r.Bucket.Each(ctx, func(key string, b []byte, rev uint64) error {
		if !absent[key] && found[key] == nil {
			return nil // Of a rotation that is not there any more, or of no rotation.
		}
		delete(absent, key)
		if rec, err := decode(key, b, rev); err == nil { // Else it is read and told of when it is its turn.
			found[key] = rec
		}
		return nil
	})
	if err != nil {
		return err
	}
	r.listed, r.records, r.absent = true, found, absent
	return nil
}

// recall returns what is noted of a rotation.
func (r *reign) recall(ctx context.Context, key string, v sight, since time.Time) (*record, error) {
	if rec, ok := r.records[key]; ok {
		return rec, nil
	}
	var b []byte
	var rev uint64
	err := rollover.ErrNotFound
	if !r.absent[key] {
		b, rev, err = r.Bucket.Get(ctx, key)
	}
	delete(r.absent, key)
	var rec *record
	switch {
	case errors.Is(err, rollover.ErrNotFound):
		rec = r.fresh(v, since)
	case err != nil:
		return nil, err
	default:
		if rec, err = decode(key, b, rev); err != nil {
			return nil, err
		}
	}
	r.records[key] = rec
	return rec, nil
}

// see adds what the rules want to each rotation that waits to be started. One of which
// that cannot be said now is left out until it can, and the others are told.
func (r *reign) see(ctx context.Context, views []mirror.View) []sight {
	out := make([]sight, 0, len(views))
	for _, v := range views {
		if v.Rotation.ID == "" {
			continue
		}
		approvers, err := r.needed(ctx, v)
		if err != nil {
			if ctx.Err() == nil {
				r.Log.WarnContext(ctx, "webhook: how many must approve is not known; trying on", "rotation", v.Rotation.ID, "err", err)
			}
			continue
		}
		out = append(out, sight{View: v, approvers: approvers})
	}
	return out
}

// needed returns how many others the rules want for the start of a rotation that waits
// for it. It is asked once for each plan: to ask for clouds is to list all tenants.
func (r *reign) needed(ctx context.Context, v mirror.View) (int, error) {
	rot := v.Rotation
	if len(r.Approvals.Rules) == 0 || rot.State != rollover.StatePlanned {
		return 0, nil
	}
	if n, ok := r.needs[rot.ID]; ok && n.digest == rot.Digest {
		return n.approvers, nil
	}
	c := rollover.ApprovalCase{Act: rollover.ActStart, Targets: v.Counts.Workable, Incident: rot.Spec.Incident != nil}
	if r.Approvals.AsksClouds() {
		var err error
		if c.Clouds, err = r.Clouds(ctx, rot.ID); err != nil {
			return 0, err
		}
		c.Clouds = append(c.Clouds, rot.Clouds...) // As it was made and planned.
	}
	n := need{rot.Digest, r.Approvals.Needed(c)}
	r.needs[rot.ID] = n
	return n.approvers, nil
}

// fresh returns the record of a rotation of which nothing is noted. Of one that is older
// than the webhook, or than any try would last, nothing is told but what happens from now
// on.
func (r *reign) fresh(v sight, since time.Time) *record {
	rec := &record{V: recordVersion}
	// The rotation's times may be those of a test clock, so the id tells its age, in
	// whole milliseconds: one of the very millisecond is told.
	if made := madeAt(v.Rotation.ID); made.Before(since.Truncate(time.Millisecond)) || r.Now().Sub(made) > tooOld {
		rec.Told = caughtUp(v)
	}
	return rec
}

// decode reads a record.
func decode(key string, b []byte, rev uint64) (*record, error) {
	rec := &record{}
	if err := json.Unmarshal(b, rec); err != nil || rec.V != recordVersion {
		return nil, fmt.Errorf("record %s is not of this program", key)
	}
	rec.rev = rev
	return rec, nil
}
