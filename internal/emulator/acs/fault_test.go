package acs_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/emulator/acs"
)

// TestFaults_DoWhatTheySay adds a key under each fault and looks at the answer,
// at what stands and at what the journal says.
func TestFaults_DoWhatTheySay(t *testing.T) {
	fresh := next2016(t)
	for _, tt := range []struct {
		kind    string
		status  int // 0 is a cut connection
		applied bool
		says    string
	}{
		{acs.FaultThrottled, 429, false, "ACS90055"},
		{acs.FaultInternal, 500, false, "Trace ID"},
		{acs.FaultBusy, 503, false, "ACS90046"},
		{acs.FaultTimeoutApplied, 504, true, "ACS90005"},
		{acs.FaultResetBefore, 0, false, ""},
		{acs.FaultResetApplied, 0, true, ""},
		{acs.FaultSlow, 201, true, ""},
		{acs.FaultCorruptWrite, 201, true, ""},
	} {
		t.Run(tt.kind, func(t *testing.T) {
			b := newBench(t, acs.Config{})
			id := b.identityID()
			f := acs.Faults{Rules: []acs.FaultRule{{Kind: tt.kind, Method: "POST", PathContains: "serviceidentitykeys",
				Host: "contoso-*", Times: 1, Delay: time.Millisecond}}}
			if err := f.Check(); err != nil {
				t.Fatal(err)
			}
			b.s.SetFaults(f)
			r, err := b.try("POST", "ServiceIdentities("+id+"L)/ServiceIdentityKeys", keyEntry(fresh))
			if (err != nil) != (tt.status == 0) || r.status != tt.status || !strings.Contains(r.body, tt.says) {
				t.Errorf("POST = %d %s (%v), want %d with %q", r.status, r.body, err, tt.status, tt.says)
			}
			if r.header.Get("Retry-After") != "" {
				t.Errorf("the answer has Retry-After")
			}
			keys := b.s.Identity(host, crm)
			if got := len(keys) == 4; got != tt.applied {
				t.Errorf("the key stands: %t, want %t", got, tt.applied)
			}
			if tt.applied && bytes.Equal(keys[3].Value, fresh.der) == (tt.kind == acs.FaultCorruptWrite) {
				t.Errorf("the value that stands is the one sent: %t", tt.kind == acs.FaultCorruptWrite)
			}
			var writes []acs.Entry
			for _, e := range b.s.Journal() {
				if e.Op == acs.OpCreate {
					writes = append(writes, e)
				}
			}
			if len(writes) != 1 || writes[0].Fault != tt.kind || writes[0].Status != tt.status || writes[0].Applied != tt.applied {
				t.Errorf("the journal has %+v", writes)
			}
			if r := b.call("POST", "ServiceIdentities("+id+"L)/ServiceIdentityKeys", keyEntry(fresh)); r.status != 201 {
				t.Errorf("the next POST = %d", r.status)
			}
		})
	}
}

func TestFaults_StaleReadIsTheStateBefore(t *testing.T) {
	b := newBench(t, acs.Config{})
	id := b.identityID()
	if r := b.call("POST", "ServiceIdentities("+id+"L)/ServiceIdentityKeys", keyEntry(next2016(t))); r.status != 201 {
		t.Fatal(r.body)
	}
	b.s.SetFaults(acs.Faults{Rules: []acs.FaultRule{{Kind: acs.FaultStaleRead, Method: "GET", After: 1, Times: 1}}})
	for i, want := range []string{"4", "3", "4"} {
		if got := b.call("GET", "ServiceIdentities("+id+"L)/ServiceIdentityKeys/$count", "").body; got != want {
			t.Errorf("read %d counts %s, want %s", i, got, want)
		}
	}
}

// With a delay only reads that soon after a write are stale.
func TestFaults_StaleReadOfAYoungWriteOnly(t *testing.T) {
	b := newBench(t, acs.Config{})
	id := b.identityID()
	if r := b.call("POST", "ServiceIdentities("+id+"L)/ServiceIdentityKeys", keyEntry(next2016(t))); r.status != 201 {
		t.Fatal(r.body)
	}
	for delay, want := range map[time.Duration]string{time.Hour: "3", time.Nanosecond: "4"} {
		b.s.SetFaults(acs.Faults{Rules: []acs.FaultRule{{Kind: acs.FaultStaleRead, Method: "GET", Delay: delay}}})
		b.clock.add(time.Second)
		if got := b.call("GET", "ServiceIdentities("+id+"L)/ServiceIdentityKeys/$count", "").body; got != want {
			t.Errorf("a read that may be stale for %s counts %s, want %s", delay, got, want)
		}
	}
}

func TestFaults_HitTokensInTheirOwnShape(t *testing.T) {
	b := newBench(t, acs.Config{Switches: acs.Switches{RetryAfter: 1500 * time.Millisecond}})
	b.s.SetFaults(acs.Faults{Rules: []acs.FaultRule{{Kind: acs.FaultThrottled, Match: func(r *http.Request) bool { return r.Method == "POST" }}}})
	r := b.form("/WRAPv0.9/", "wrap_name", crm, "wrap_password", "pass & word", "wrap_scope", realm)
	if r.status != 429 || !strings.HasPrefix(r.body, "Error:Code:429:SubCode:T0:Detail:ACS90055") || r.header.Get("Retry-After") != "2" {
		t.Errorf("WRAP = %d %s %v", r.status, r.body, r.header)
	}
	r = b.form("/v2/OAuth2-13", "grant_type", "client_credentials", "client_id", crm, "client_secret", "pass & word", "scope", realm)
	if r.status != 429 || !strings.HasPrefix(r.body, `{"error":`) {
		t.Errorf("OAuth = %d %s", r.status, r.body)
	}
}

// TestRough_IsTheSameForTheSameSeed asks two servers in different orders and
// expects the same answers per host.
func TestRough_IsTheSameForTheSameSeed(t *testing.T) {
	run := func(seed int64, swapped bool) string {
		b := newBench(t, acs.Config{})
		b.login()
		b.s.SetFaults(acs.Faults{Profile: acs.ProfileRough, Seed: seed})
		got := map[string]string{}
		ask := func(h string) {
			r, err := b.try("GET", "https://"+h+"/v2/mgmt/service/$metadata", "")
			got[h] += fmt.Sprint(r.status, err != nil, " ")
		}
		for range 150 {
			if swapped {
				ask(plain)
				ask(host)
			} else {
				ask(host)
				ask(plain)
			}
		}
		return got[host] + "|" + got[plain]
	}
	one := run(1, false)
	if two := run(1, true); one != two {
		t.Errorf("the same seed gives\n%s\nand\n%s", one, two)
	}
	if other := run(2, false); one == other {
		t.Errorf("another seed gives the same")
	}
	if n := strings.Count(one, "200"); n < 240 || n > 290 {
		t.Errorf("%d of 300 calls went well, want about eleven in twelve: %s", n, one)
	}
}

func TestFaults_CheckRefusesNonsense(t *testing.T) {
	for _, f := range []acs.Faults{
		{Profile: "worse"},
		{Rules: []acs.FaultRule{{Kind: "418"}}},
		{Rules: []acs.FaultRule{{Kind: acs.FaultBusy, Host: "["}}},
		{Rules: []acs.FaultRule{{Kind: acs.FaultBusy, Probability: 2}}},
		{Rules: []acs.FaultRule{{Kind: acs.FaultBusy, HostShare: 1.5}}},
		{Rules: []acs.FaultRule{{Kind: acs.FaultBusy, RetryAfter: -time.Second}}},
	} {
		if f.Check() == nil {
			t.Errorf("Check(%+v) = nil", f)
		}
	}
	if err := (acs.Faults{Profile: acs.ProfileRough}).Check(); err != nil {
		t.Errorf("Check(rough) = %v", err)
	}
}

// A storm strikes a share of the hosts that the seed chooses, says how long to stay
// away, and ends by itself.
func TestFaults_AStormStrikesItsShareOfTheHosts(t *testing.T) {
	var hosts []string
	for i := range 2000 {
		hosts = append(hosts, fmt.Sprintf("ns%04d-sb.accesscontrol.windows.net", i))
	}
	storm := acs.Faults{Seed: 7}
	n := len(storm.StruckHosts(0.05, hosts))
	if n < 70 || n > 130 {
		t.Errorf("a storm on 5 %% of 2000 hosts strikes %d, want about 100", n)
	}
	if other := (acs.Faults{Seed: 8}).StruckHosts(0.05, hosts); fmt.Sprint(other) == fmt.Sprint(storm.StruckHosts(0.05, hosts)) {
		t.Error("another seed strikes the same hosts")
	}
	b := newBench(t, acs.Config{})
	b.login()
	for _, share := range []float64{0.3, 0.7} {
		struck := len(storm.StruckHosts(share, []string{host})) == 1
		storm.Rules = []acs.FaultRule{{Kind: acs.FaultThrottled, HostShare: share, For: time.Hour, RetryAfter: 1500 * time.Millisecond}}
		b.s.SetFaults(storm)
		r := b.call("GET", "$metadata", "")
		if (r.status == 429) != struck || struck && r.header.Get("Retry-After") != "2" {
			t.Errorf("share %v: GET = %d, Retry-After %q; the host is struck: %v", share, r.status, r.header.Get("Retry-After"), struck)
		}
	}
	storm.Rules = []acs.FaultRule{{Kind: acs.FaultThrottled, For: time.Nanosecond}}
	b.s.SetFaults(storm)
	if r := b.call("GET", "$metadata", ""); r.status != 200 {
		t.Errorf("GET after the storm = %d, want 200", r.status)
	}
}
