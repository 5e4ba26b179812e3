package main

import (
	"fmt"
	"slices"
	"strconv"
	"testing"

	"github.com/crossfade-project/crossfade/internal/audit"
)

// told checks that the audit log tells of every refusal, by itself or among those that
// are counted, and of every change that somebody asked for who may.
func (c *castle) told(t *testing.T, refused int) {
	t.Helper()
	told, asked, answered := 0, map[string]bool{}, map[string]bool{}
	err := c.node.broker.AuditRecords(t.Context(), func(_ uint64, b []byte) error {
		r, err := audit.Decode(b)
		if err != nil {
			return err
		}
		switch {
		case r.Reason == "UNAUTHENTICATED" || r.Reason == "PERMISSION_DENIED":
			told++
		case r.Act == "calls.refused":
			n, err := strconv.Atoi(r.Detail["more"])
			if err != nil {
				return err
			}
			told += n
		case r.Outcome == audit.Asked:
			asked[r.Act+" "+r.Who] = true
		default:
			answered[r.Act+" "+r.Who] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	// Those that were counted since the last that was told by itself are told with the
	// next one.
	if told < 200 || told > refused {
		t.Errorf("the audit log tells of %d refusals, want 200 at least, and no more than the %d there were", told, refused)
	}
	roles := mayCall()
	for _, m := range methods() {
		if slices.Contains(roles["viewers"], string(m.Name())) {
			continue
		}
		who := "corp:x"
		act := fmt.Sprintf("%s/%s", m.Parent().Name(), m.Name())
		if !asked[act+" "+who] || !answered[act+" "+who] {
			t.Errorf("the audit log does not tell that %s called %s, and what came of it", who, act)
		}
	}
}
