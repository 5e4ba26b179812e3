package tenants

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// Seen is an endpoint as planning last saw it, with what stood on its targets.
type Seen struct {
	rollover.Endpoint
	Version string       `json:"version,omitempty"` // of the CRM organisation; empty: not known
	Targets []SeenTarget `json:"targets,omitempty"` // where its credential hangs: none, one, or two
}

// SeenTarget is the service identity of an endpoint on one host.
type SeenTarget struct {
	Host     string    `json:"host"`
	Identity string    `json:"identity,omitempty"`
	Observed bool      `json:"observed,omitempty"` // it was read at least once; without that Carries says nothing
	Carries  []Carried `json:"carries,omitempty"`  // what stood on it when it was last read
}

// Carried is a certificate that stood on a target. It is named, not kept.
type Carried struct {
	SHA256   string    `json:"sha256"`             // lower-case hex over the DER
	SHA1     string    `json:"sha1"`               // upper-case hex over the DER
	KeyHash  string    `json:"key_hash,omitempty"` // see [rollover.KeyHash]; empty where it cannot be read
	NotAfter time.Time `json:"not_after,omitzero"` // last instant of validity; zero where it cannot be read
}

// CarriedOf names what stood on a target, by SHA-256: the service lists keys in any
// order, and the same must be stored as the same.
func CarriedOf(o rollover.Observation) []Carried {
	out := make([]Carried, 0, len(o.Standing))
	for _, s := range o.Standing {
		c := Carried{SHA256: s.SHA256, SHA1: s.SHA1, NotAfter: s.NotAfter.UTC()}
		if key, err := rollover.KeyHash(s.DER); err == nil {
			c.KeyHash = key
		}
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b Carried) int { return strings.Compare(a.SHA256, b.SHA256) })
	return out
}

// AllEndpoints returns what was last found of every tenant that somebody has looked
// at, in one pass over the bucket.
func (v *Inventory) AllEndpoints(ctx context.Context) (map[string][]Seen, error) {
	all, err := v.endpoints.all(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing endpoints: %w", err)
	}
	out := make(map[string][]Seen, len(all))
	for id, b := range all {
		var r endpointsRecord
		if err := json.Unmarshal(b, &r); err != nil {
			return nil, fmt.Errorf("decoding endpoints of %s: %w", id, err)
		}
		out[id] = r.Endpoints
	}
	return out, nil
}
