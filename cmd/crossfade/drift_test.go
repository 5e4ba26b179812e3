package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

func TestDrift_WrongUseIsTwo(t *testing.T) {
	for _, args := range [][]string{
		{"--drifted-of", "r1", "--tenant", "contoso"}, {"--drifted-of", "r1", "--select", "disabled = false"},
		{"--check-every", "24h"}, {"--check-for", "24h"},
	} {
		var out, errOut bytes.Buffer
		err := run(t.Context(), append([]string{"rotate", "--certificate", "new.cer"}, args...), &out, &errOut)
		if status := exitStatus(err); status != exitUsage || errOut.Len() == 0 {
			t.Errorf("rotate %s: exit status %d, want 2, and it said %q", strings.Join(args, " "), status, errOut.String())
		}
	}
}

func TestCheckText_SaysWhereItStands(t *testing.T) {
	at := timestamppb.New(time.Date(2016, 11, 5, 1, 0, 0, 0, time.UTC))
	for want, k := range map[string]*crossfadev1.CheckStatus{
		"":                             nil,
		"next at 2016-11-05T01:00:00Z": {NextTime: at},
		"check 2 done, 7 of 7 targets checked, 1 drifted, 1 unreadable, 1 new_missing; begun 2016-11-05T01:00:00Z, ended 2016-11-05T01:00:00Z; next at 2016-11-05T01:00:00Z": {
			State: crossfadev1.CheckStatus_STATE_DONE, Number: 2, Targets: 7, Checked: 7, Drifted: 1, Unreadable: 1,
			Counts:    []*crossfadev1.DriftCount{{Kind: crossfadev1.Drift_KIND_NEW_MISSING, Count: 1}, {Kind: crossfadev1.Drift_KIND_UNREADABLE, Count: 1}},
			StartTime: at, EndTime: at, NextTime: at,
		},
	} {
		if got := checkText(k); got != want {
			t.Errorf("checkText = %q, want %q", got, want)
		}
	}
}

func TestCheckVerdict_IsWellOnlyIfAllWasReadAndNothingDrifted(t *testing.T) {
	done := crossfadev1.CheckStatus_STATE_DONE
	for name, test := range map[string]struct {
		k    *crossfadev1.CheckStatus
		want int
	}{
		"clean":      {&crossfadev1.CheckStatus{State: done}, 0},
		"drifted":    {&crossfadev1.CheckStatus{State: done, Drifted: 1}, exitFailures},
		"unreadable": {&crossfadev1.CheckStatus{State: done, Unreadable: 1}, exitFailures},
		"stopped":    {&crossfadev1.CheckStatus{State: crossfadev1.CheckStatus_STATE_STOPPED}, exitFailures},
		"none":       {nil, exitFailures},
	} {
		if got := exitStatus(checkVerdict(&crossfadev1.Rotation{Name: "rotations/r1", Check: test.k})); got != test.want {
			t.Errorf("%s: exit status %d, want %d", name, got, test.want)
		}
	}
}
