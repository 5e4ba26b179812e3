package rollovertest_test

import (
	"testing"

	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

func TestMemory_IsAStore(t *testing.T) {
	c, key := rollovertest.Certificate(t, "CN=crm.dynamics.com", rollovertest.Epoch, rollovertest.Epoch.AddDate(2, 0, 0))
	if key == nil {
		t.Fatal("Certificate gave no key")
	}
	rollovertest.TestStore(t, c, func(*testing.T) rollover.Store { return rollovertest.NewMemory(c) })
}
