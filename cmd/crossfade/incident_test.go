package main

import (
	"strings"
	"testing"

	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

func TestIncidentFlags_SayWhatIsCompromised(t *testing.T) {
	long, short := strings.Repeat("aB", 32), strings.Repeat("9a", 20)
	colons := strings.TrimSuffix(strings.Repeat("9A:", 20), ":")
	for _, tt := range []struct {
		in   []string
		want string
	}{
		{[]string{short}, "sha1:" + short},
		{[]string{colons}, "sha1:" + short},
		{[]string{"SHA1:" + colons}, "sha1:" + short},
		{[]string{long}, "sha256:" + strings.ToLower(long) + " key:" + strings.ToLower(long)},
		{[]string{"key:" + long, short}, "key:" + strings.ToLower(long) + " sha1:" + short},
		{[]string{"sha256:" + long}, "sha256:" + strings.ToLower(long)},
		{[]string{"key:" + short}, ""},
		{[]string{"sha256:" + short}, ""},
		{[]string{"sha1:" + long}, ""},
		{[]string{"leaked.cer"}, ""},
		{nil, ""},
	} {
		f := incidentFlags{on: true, compromised: tt.in}
		i, err := f.incident()
		if (err != nil) != (tt.want == "") || err != nil && exitStatus(err) != exitUsage {
			t.Errorf("--compromised %q = %v", tt.in, err)
			continue
		}
		r := &crossfadev1.Rotation{Spec: &crossfadev1.RotationSpec{Incident: i}}
		if got := compromisedText(r); got != tt.want {
			t.Errorf("--compromised %q is %q, want %q", tt.in, got, tt.want)
		}
	}
	for _, f := range []incidentFlags{{compromised: []string{short}}, {summary: "x"}, {shortened: 1}, {on: true, compromised: []string{short}, shortened: -1}} {
		if _, err := f.incident(); err == nil {
			t.Errorf("%+v is taken", f)
		}
	}
}

func TestCaller_IsWhoIsNamed(t *testing.T) {
	if got, err := (&app{as: "alice"}).caller(); got != "alice" || err != nil {
		t.Errorf("--as alice = %q, %v", got, err)
	}
	for _, bad := range []string{"zoë", "a\nb", strings.Repeat("x", 129)} {
		if _, err := (&app{as: bad}).caller(); err == nil {
			t.Errorf("--as %q is taken", bad)
		}
	}
}
