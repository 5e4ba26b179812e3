package main

import (
	"fmt"
	"strconv"
	"strings"

	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// tolerance reads the flags about failures; nothing said is the service's default.
func (f rotateFlags) tolerance() (*crossfadev1.Tolerance, error) {
	text := f.tolerate
	switch {
	case text == "" && !f.soft:
		return nil, nil
	case text == "":
		text = "10%" // What the service takes where nothing is said.
	}
	n, percent, ok := share(text)
	if !ok {
		return nil, usage("--tolerate %q: want a number of tasks such as 5, or a percentage from 0%% to 100%%", f.tolerate)
	}
	t := &crossfadev1.Tolerance{Limit: &crossfadev1.Tolerance_Failures{Failures: n}}
	if percent {
		t.Limit = &crossfadev1.Tolerance_Percent{Percent: n}
	}
	if f.soft {
		t.Mode = crossfadev1.Tolerance_MODE_SOFT
	}
	return t, nil
}

// share reads a number of tasks, or a percentage from 0 to 100.
func share(text string) (n int32, percent, ok bool) {
	number, percent := strings.CutSuffix(text, "%")
	v, err := strconv.ParseInt(strings.TrimSpace(number), 10, 32)
	return int32(v), percent, err == nil && v >= 0 && (!percent || v <= 100)
}

// toleranceText is the rule as it holds for this rotation, or empty where it has
// none.
func toleranceText(r *crossfadev1.Rotation) string {
	t, b := r.GetSpec().GetTolerance(), r.GetFailureBudget()
	if t == nil || b.GetWorkable() == 0 { // Nothing can fail, or an undo has not marked its tasks yet.
		return ""
	}
	n := fmt.Sprint(b.GetTolerated())
	if _, ok := t.GetLimit().(*crossfadev1.Tolerance_Percent); ok {
		n = fmt.Sprintf("%d (%d %%)", b.GetTolerated(), t.GetPercent())
	}
	how := "strict, so no more than one above that"
	if t.GetMode() == crossfadev1.Tolerance_MODE_SOFT {
		how = "soft, so those in hand may fail as well"
	}
	if len(r.GetWaveSizes()) > 1 {
		how += "; the same holds within each wave"
	}
	return fmt.Sprintf("new starts stop when more than %s of %d tasks have failed; %s", n, b.GetWorkable(), how)
}

// budgetText says how much of the tolerance is used up.
func budgetText(r *crossfadev1.Rotation) string {
	b := r.GetFailureBudget()
	if b.GetWorkable() == 0 {
		return ""
	}
	s := fmt.Sprintf("%d failed, %d tolerated", b.GetFailed(), b.GetTolerated())
	if b.GetAccepted() > 0 {
		s += fmt.Sprintf(", %d accepted before", b.GetAccepted())
	}
	return s
}
