package main

import (
	"bytes"
	"strings"
	"testing"

	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

func TestShow_AnOutlineSaysSo(t *testing.T) {
	out := &bytes.Buffer{}
	(&app{out: out}).showRotation(&crossfadev1.Rotation{Name: "rotations/one", State: crossfadev1.Rotation_STATE_RUNNING, Partial: true})
	for _, want := range []string{"rotations/one", "an outline"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("an outline is shown as %q, want %q in it", out, want)
		}
	}
	// Of these nothing was told, so that a number or an empty name would be made up.
	for line := range strings.Lines(out.String()) {
		if strings.HasPrefix(line, "tenants ") || strings.HasSuffix(line, " by \n") {
			t.Errorf("an outline shows %q", line)
		}
	}
}
