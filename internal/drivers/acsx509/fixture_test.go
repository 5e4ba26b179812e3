package acsx509_test

import (
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

const (
	host     = "contoso-sb.accesscontrol.windows.net"
	identity = "crm9.dynamics.com"
)

// begin is when the new certificate of KB 3200643 became valid.
func begin() time.Time { return time.Date(2016, 11, 4, 1, 0, 0, 0, time.UTC) }

// certificates are those of one test: the old one, the new one and a stranger's.
type certificates struct{ old, next, foreign rollover.Credential }

func newCertificates(t testing.TB) (c certificates) {
	t.Helper()
	c.old, _ = rollovertest.Certificate(t, "CN="+identity, begin().AddDate(-2, 0, 0), begin().AddDate(0, 1, 0))
	c.next, _ = rollovertest.Certificate(t, "CN="+identity, begin(), begin().AddDate(2, 0, 0))
	c.foreign, _ = rollovertest.Certificate(t, "CN=partner", begin().AddDate(-1, 0, 0), begin().AddDate(1, 0, 0))
	return c
}

// work is for the target of all tests, three days before the switch.
func (c certificates) work() rollover.Work {
	return rollover.Work{
		Rotation: "0199a1b2-0000-7000-8000-000000000001", Tenant: "contoso",
		Target: rollover.Target{Kind: "acs-x509", Host: host, Identity: identity},
		New:    c.next, Old: []rollover.Credential{c.old.Named()},
		RetireNotBefore: begin().Add(time.Hour), Margin: rollover.Margin,
		Now: begin().AddDate(0, 0, -3),
	}
}

// retiring is the same at the first instant at which the old one may go.
func (c certificates) retiring() rollover.Work {
	w := c.work()
	w.Now = w.RetireNotBefore.Add(w.Margin)
	return w
}
