package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// newView returns the view that fits: JSON lines if asked for, bars on a
// terminal, plain lines elsewhere.
func (a *app) newView(plain bool) view {
	if a.json {
		return &jsonView{a: a}
	}
	if f, ok := a.out.(*os.File); ok && !plain && term.IsTerminal(int(f.Fd())) { //nolint:gosec // A descriptor fits an int.
		return &barView{out: a.out}
	}
	return &plainView{out: a.out}
}

// jsonView prints each thing told as one object a line. The cursor stands on
// its own line after what it covers.
type jsonView struct{ a *app }

func (v *jsonView) rotation(r *crossfadev1.Rotation, reset bool) {
	v.a.object("rotation", map[string]any{"rotation": asJSON(r), "reset": reset})
}

func (v *jsonView) tasks(ks []*crossfadev1.RotationTask) {
	for _, k := range ks {
		v.a.message("task", k)
	}
}

func (v *jsonView) cursor(c string) { v.a.object("cursor", map[string]any{"cursor": c}) }
func (v *jsonView) close()          {}

// plainView prints a line when the state or phase changes, one for each task
// that ends badly, and the counts at most every two seconds.
type plainView struct {
	out    io.Writer
	state  string
	said   time.Time
	line   string // as last printed, without its time
	last   *crossfadev1.Rotation
	latest string // cursor
}

// sayEvery is the least time between two lines of progress.
const sayEvery = 2 * time.Second

func (v *plainView) rotation(r *crossfadev1.Rotation, _ bool) {
	v.last = r
	state := stateText(r)
	if state == v.state && time.Since(v.said) < sayEvery {
		return
	}
	v.state, v.said = state, time.Now()
	v.say(r)
}

// say prints the rotation as it is, unless it was just said.
func (v *plainView) say(r *crossfadev1.Rotation) {
	line := fmt.Sprintf("%-18s %s", stateText(r), countsText(r.GetCounts()))
	if w := r.GetWave(); w != nil {
		line += fmt.Sprintf("; wave %d of %d", w.GetNumber(), len(r.GetWaveSizes()))
	}
	line += leftText(r)
	if r.GetState() == crossfadev1.Rotation_STATE_UNDOING {
		line += "; undo of " + undoText(r)
	}
	if c := containText(r); c != "" {
		line += "; " + c
	}
	if d := r.GetStatusDetail(); d != nil && r.GetState() == crossfadev1.Rotation_STATE_PAUSED {
		line += ": " + d.GetMessage()
	}
	if line != v.line {
		fmt.Fprintf(v.out, "%s  %s\n", time.Now().Format("15:04:05"), line)
	}
	v.line = line
}

func (v *plainView) tasks(ks []*crossfadev1.RotationTask) {
	for _, k := range ks {
		if k.Outcome == crossfadev1.RotationTask_OUTCOME_FAILED || k.Outcome == crossfadev1.RotationTask_OUTCOME_CONFLICT {
			fmt.Fprintf(v.out, "          %s\n", taskLine(k))
		}
	}
}

func (v *plainView) cursor(c string) { v.latest = c }

func (v *plainView) close() {
	if v.last != nil {
		v.say(v.last)
	}
	if v.latest != "" && v.last != nil && !ended(v.last) {
		fmt.Fprintf(v.out, "to go on from here: crossfade rotation watch %s --cursor %s\n", v.last.GetName(), v.latest)
	}
}

// barView shows three bars, for what is staged, verified and retired, and the
// last failures under them.
type barView struct {
	out   io.Writer
	p     *mpb.Progress
	bars  [3]*mpb.Bar
	begun time.Time
	state string

	detail string // of a pause, as last printed
	warned string // of the deadline, as last printed
	waits  string // why its schedule is closed, as last printed
}

func (v *barView) rotation(r *crossfadev1.Rotation, _ bool) {
	c := r.GetCounts()
	state := stateText(r)
	if v.p == nil {
		if c.GetTotal() == 0 {
			if state != v.state {
				fmt.Fprintln(v.out, state)
			}
			v.state = state
			return
		}
		v.start()
	}
	v.state = strings.TrimSuffix(fmt.Sprintf("%s · %s%s · %s", state, countsText(c), leftText(r), containText(r)), " · ")
	if warning := deadlineText(r); r.GetForecast().GetAtRiskSince() != nil && warning != v.warned {
		v.warned = warning
		_, _ = fmt.Fprintf(v.p, "deadline %s\n", warning) // Lost only with the terminal.
	}
	if st := r.GetScheduleStatus(); st.GetReason() != v.waits {
		v.waits = st.GetReason()
		_, _ = fmt.Fprintf(v.p, "%s: %s\n", state, openText(r)) // As above.
	}
	if d := r.GetStatusDetail(); d != nil && r.GetState() == crossfadev1.Rotation_STATE_PAUSED && v.detail != d.GetMessage() {
		v.detail = d.GetMessage()
		_, _ = fmt.Fprintf(v.p, "%s: %s\n", state, v.detail) // Lost only with the terminal.
	}
	open := c.GetPlanned() + c.GetStaged() + c.GetVerified() + c.GetActivated()
	work := open + c.GetSucceeded() // handed over, skipped and the like are not worked on
	v.set(0, work-c.GetPlanned(), work)
	v.set(1, work-c.GetPlanned()-c.GetStaged(), work)
	v.set(2, c.GetSucceeded(), work)
}

func (v *barView) start() {
	v.begun = time.Now()
	v.p = mpb.New(mpb.WithOutput(v.out), mpb.WithRefreshRate(100*time.Millisecond), mpb.WithAutoRefresh())
	for i, name := range []string{"staged", "verified", "done"} {
		v.bars[i] = v.p.New(0, mpb.BarStyle(),
			mpb.PrependDecorators(decor.Name(name, decor.WC{W: 9, C: decor.DindentRight}), decor.CountersNoUnit("%6d/%-6d")),
			mpb.AppendDecorators(decor.Percentage(decor.WC{W: 5}), decor.Any(func(s decor.Statistics) string { return v.pace(s) })))
	}
}

// pace is the rate and the time left of a bar.
func (v *barView) pace(s decor.Statistics) string {
	took := time.Since(v.begun).Seconds()
	if s.Current == 0 || took < 0.5 {
		return ""
	}
	rate := float64(s.Current) / took
	if s.Current == s.Total {
		return fmt.Sprintf("  %.0f/s", rate)
	}
	left := time.Duration(float64(s.Total-s.Current)/rate) * time.Second
	return fmt.Sprintf("  %.0f/s, %s left", rate, left.Round(time.Second))
}

func (v *barView) set(i int, n, of int64) {
	v.bars[i].SetTotal(of, false)
	v.bars[i].SetCurrent(n)
}

func (v *barView) tasks(ks []*crossfadev1.RotationTask) {
	for _, k := range ks {
		if v.p != nil && (k.Outcome == crossfadev1.RotationTask_OUTCOME_FAILED || k.Outcome == crossfadev1.RotationTask_OUTCOME_CONFLICT) {
			_, _ = fmt.Fprintln(v.p, taskLine(k)) // Lost only with the terminal.
		}
	}
}

func (v *barView) cursor(string) {}

func (v *barView) close() {
	if v.p == nil {
		return
	}
	for _, b := range v.bars {
		b.Abort(false)
	}
	v.p.Wait()
	fmt.Fprintln(v.out, v.state)
}

// stateText is "running/overlap".
func stateText(r *crossfadev1.Rotation) string {
	s := enumText(r.GetState().String(), "STATE_")
	busy := r.GetState() == crossfadev1.Rotation_STATE_RUNNING || r.GetState() == crossfadev1.Rotation_STATE_PAUSED
	if busy && r.GetPhase() != crossfadev1.Rotation_PHASE_UNSPECIFIED {
		s += "/" + enumText(r.GetPhase().String(), "PHASE_")
	}
	return s
}

// enumText is an enum's name as people write it.
func enumText(name, prefix string) string {
	return strings.ToLower(strings.TrimPrefix(name, prefix))
}

// amount is so many of what one is called, such as "1 task" and "2 tasks".
func amount[N int | int32 | int64](n N, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

// countsText names what there is, and leaves out what there is not.
func countsText(c *crossfadev1.TaskCounts) string {
	if c.GetTotal() == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString(amount(c.GetTotal(), "task"))
	for _, part := range []struct {
		name string
		n    int64
	}{
		{"planned", c.GetPlanned()}, {"staged", c.GetStaged()}, {"verified", c.GetVerified()}, {"in overlap", c.GetActivated()},
		{"retrying", c.GetRetrying()}, {"succeeded", c.GetSucceeded()}, {"already present", c.GetAlreadyPresent()},
		{"retired", c.GetRetired()}, {"handed over", c.GetHandedOver()}, {"skipped", c.GetSkipped()},
		{"conflict", c.GetConflict()}, {"failed", c.GetFailed()}, {"cancelled", c.GetCancelled()}, {"undone", c.GetUndone()},
	} {
		if part.n > 0 {
			fmt.Fprintf(&b, ", %d %s", part.n, part.name)
		}
	}
	return b.String()
}

// taskLine is one task in one line: what, where, whose, why, and what to do.
func taskLine(k *crossfadev1.RotationTask) string {
	var b strings.Builder
	b.WriteString(strings.TrimPrefix(k.GetName(), "rotations/"))
	fmt.Fprintf(&b, "  %s  ", strings.TrimPrefix(k.GetTenant(), "tenants/"))
	if k.GetHost() != "" {
		fmt.Fprintf(&b, "%s@%s  ", k.GetIdentity(), k.GetHost())
	} else if len(k.GetEndpoints()) > 0 {
		fmt.Fprintf(&b, "endpoint %s  ", k.GetEndpoints()[0].GetDisplayName())
	}
	b.WriteString(enumText(k.GetPhase().String(), "PHASE_"))
	if k.GetOutcome() != crossfadev1.RotationTask_OUTCOME_OPEN {
		fmt.Fprintf(&b, "  %s", enumText(k.GetOutcome().String(), "OUTCOME_"))
	}
	if k.GetReason() != crossfadev1.RotationTask_REASON_UNSPECIFIED {
		fmt.Fprintf(&b, " (%s)", enumText(k.GetReason().String(), "REASON_"))
	}
	if k.GetDetail() != "" {
		fmt.Fprintf(&b, ": %s", k.GetDetail())
	}
	return b.String()
}
