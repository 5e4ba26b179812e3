package daemon_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

func TestNewIncidents_CountsWhatTheLatestSays(t *testing.T) {
	about := func(state rollover.RotationState, all, rid, dark int, took time.Duration, hashes ...string) daemon.Incident {
		i := daemon.Incident{State: state, Containment: rollover.Containment{Elapsed: took}}
		i.All, i.Rid, i.Dark = all, rid, dark
		for _, h := range hashes {
			i.Compromised = append(i.Compromised, rollover.Compromised{Sort: rollover.CompromisedSHA1, Hash: h})
		}
		return i
	}
	for _, tt := range []struct {
		name string
		all  []daemon.Incident
		want []string
	}{
		{"none", nil, []string{"crossfade_incident_uncontained_targets 0"}},
		{"one under way", []daemon.Incident{about(rollover.StateRunning, 5, 2, 1, time.Minute, "a")},
			[]string{"crossfade_incident_uncontained_targets 4", "crossfade_incident_contain_seconds 60"}},
		{"one that failed, and a later one that did it", []daemon.Incident{
			about(rollover.StateSucceeded, 3, 3, 0, time.Second, "a", "b"), about(rollover.StateFailed, 5, 2, 0, time.Hour, "a"),
		}, []string{"crossfade_incident_uncontained_targets 0", "crossfade_incident_contain_seconds 1"}},
		{"one that failed, and a later one about something else", []daemon.Incident{
			about(rollover.StateSucceeded, 3, 3, 0, time.Second, "b"), about(rollover.StateFailed, 5, 2, 0, time.Hour, "a", "b"),
		}, []string{"crossfade_incident_uncontained_targets 3"}},
		{"a cancelled one hides nothing", []daemon.Incident{
			about(rollover.StateCancelled, 9, 0, 0, time.Second, "a"), about(rollover.StateFailed, 5, 2, 0, time.Hour, "a"),
		}, []string{"crossfade_incident_uncontained_targets 3", "crossfade_incident_contain_seconds 3600"}},
	} {
		r := daemon.NewRegistry()
		r.MustRegister(daemon.NewIncidents(func() []daemon.Incident { return tt.all }))
		url := serveOps(t, daemon.Ops{Metrics: r, Log: slog.New(slog.DiscardHandler), Ready: func(context.Context) error { return nil }}, "127.0.0.1")
		_, text := get(t, url+"/metrics")
		for _, want := range tt.want {
			if !strings.Contains(text, want+"\n") {
				t.Errorf("%s: GET /metrics lacks %s", tt.name, want)
			}
		}
		if tt.all == nil && strings.Contains(text, "crossfade_incident_contain_seconds ") {
			t.Error("a time is told although there is no incident")
		}
	}
}
