package rollovertest_test

import (
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

func TestCloud_IsADriver(t *testing.T) {
	rollovertest.TestDriver(t, func(t *testing.T) rollovertest.Fixture {
		now := rollovertest.Epoch.AddDate(0, 0, -3)
		cert := func(subject string, from, to time.Time) rollover.Credential {
			c, _ := rollovertest.Certificate(t, subject, from, to)
			return c
		}
		begin := rollovertest.Epoch.AddDate(0, 0, 3)
		old := cert("CN=crm.dynamics.com", begin.AddDate(-2, 0, 0), begin.AddDate(0, 1, 0))
		target := rollover.Target{Kind: rollovertest.Kind, Host: "contoso-sb.accesscontrol.windows.net", Identity: "crm.dynamics.com"}
		c := rollovertest.NewCloud(func() time.Time { return now })
		broken, mode := "", rollovertest.Lost
		c.Fault = &rollovertest.Faults{Break: func(_ int, call string) (rollovertest.Mode, bool) {
			hit := broken == "read" && call == "list" || broken == "write" && call != "list"
			if hit {
				broken = ""
			}
			return mode, hit
		}}
		c.Set(target, rollovertest.Stand(old))
		return rollovertest.Fixture{
			Driver: c, Second: c,
			Work: rollover.Work{
				Rotation: "r1", Tenant: "contoso", Target: target, Old: []rollover.Credential{old.Named()}, Now: now,
				New:             cert("CN=crm.dynamics.com", begin, begin.AddDate(2, 0, 0)),
				RetireNotBefore: begin.Add(time.Hour), Margin: rollover.Margin,
			},
			Foreign:  rollovertest.Stand(cert("CN=partner", begin.AddDate(-1, 0, 0), begin.AddDate(1, 0, 0))),
			Standing: func() rollover.Observation { return c.Standing(target) },
			Edit: func(change func([]rollover.Standing) []rollover.Standing) {
				c.Set(target, change(c.Standing(target).Standing)...)
			},
			Break:  func(call string, m rollovertest.Mode) { broken, mode = call, m },
			SetNow: func(to time.Time) { now = to },
		}
	})
}
