package rollover

import (
	"math"
	"time"
)

// Forecast says when the last task of the stage phase will be past its risk, if a
// rotation goes on as it does.
type Forecast struct {
	Rate     float64   // tasks a second of open time; 0: not measured yet
	Earliest time.Time // zero: out of sight, as are the two below
	Likely   time.Time
	Latest   time.Time
	Assumed  bool      // from [TaskTime], since nothing was measured
	Done     time.Time // when the last one was, where none is left; zero: not known
}

// Predict returns the forecast at now, and false where nothing of the stage phase
// is left, or the plan is not there yet. It depends on its arguments only, so that
// every process that knows the tasks' states says the same.
//
// A wave goes at the rate of the sliding window once that is trusted, and before
// at what the waves before it lead one to expect: with twice as many tasks at
// once, as much faster as it became the last time.
func Predict(r Rotation, c Counts, p Trail, t Timetable, now time.Time) (Forecast, bool) {
	if r.Digest == "" || r.State.Ended() || r.State == StateCancelling || c.Past() >= c.Workable ||
		(r.Phase != PhaseNone && r.Phase != PhaseStage && r.Phase != PhaseVerify) {
		if r.Digest != "" && c.Past() >= c.Workable {
			return Forecast{Done: p.last.at}, false
		}
		return Forecast{}, false
	}
	h := t.hours(r.Spec, func(h Hours) bool {
		o := outlookOf(r, c, p, h, now)
		finish, ok := o.finish(likely)
		return !ok || finish.After(r.Spec.StageDeadline)
	})
	o := outlookOf(r, c, p, h, now)
	f := Forecast{Assumed: o.assumed}
	if !f.Assumed {
		f.Rate = o.rate
	}
	f.Likely, _ = o.finish(likely)
	f.Earliest, _ = o.finish(earliest)
	f.Latest, _ = o.finish(latest)
	if !f.Likely.IsZero() && f.Earliest.After(f.Likely) {
		f.Earliest = f.Likely
	}
	if !f.Latest.IsZero() && f.Latest.Before(f.Likely) {
		f.Latest = f.Likely
	}
	return f, true
}

// outlook is what is known about the speed of a rotation at one instant.
type outlook struct {
	r     Rotation
	hours Hours
	now   time.Time
	sizes []int
	total int // tasks to be worked on
	wave  int // the one in progress, from 0
	in    int // tasks of it that are past

	from    time.Time // what is left of the wave is counted from here: its beginning, or its latest task
	rate    float64   // tasks a second
	base    int       // how many were worked on at once at that rate
	gain    float64   // how the rate follows the number at once: 1 in proportion, 0 not at all
	current bool      // rate is that of the wave in progress, and trusted
	spread  float64   // uncertainty of the rate, as a part of it
	assumed bool
}

// variant is which of the three ends of a forecast is asked for.
type variant int

const (
	likely variant = iota
	earliest
	latest
)

// outlookOf looks at the waves that are done and at the one in progress.
func outlookOf(r Rotation, c Counts, p Trail, h Hours, now time.Time) outlook {
	o := outlook{r: r, hours: h, now: now, total: c.Workable, sizes: r.Spec.Strategy.Sizes(c.Workable), from: now, gain: 1}
	if w, ok := r.Wave(c); ok {
		o.wave = w.Number - 1
	}
	base := 0
	for _, n := range o.sizes[:o.wave] {
		base += n
	}
	o.in = min(max(0, c.Past()-base), o.sizes[o.wave])
	if !o.measure(p, base) {
		o.assumed, o.spread = true, assumedSpread
		o.rate, o.base = 1/TaskTime.Seconds(), 1
	}
	return o
}

// The parts of the rate by which it may be off. Even a steady one is not known
// better than by a twentieth; one that is carried over from smaller waves may be
// off by a half, and one that was assumed, fourfold.
const (
	leastSpread   = 0.05
	carriedSpread = 0.5
	assumedSpread = 3
)

// measure finds the rate. It reports false where no task is past yet.
func (o *outlook) measure(p Trail, base int) bool {
	type done struct {
		rate float64
		base int
	}
	var before []done // waves, in their order
	begun, n := o.r.StartedAt, 0
	if begun.IsZero() { // As if it were started now.
		begun = o.now
	}
	for i := range o.wave {
		n += o.sizes[i]
		end, ok := p.when(n)
		if i == o.wave-1 && !o.r.WaveAt.IsZero() {
			end, ok = o.r.WaveAt.Add(-o.r.Spec.Strategy.Bake), true
		}
		if !ok {
			break
		}
		if took := o.hours.OpenTime(begun, end); took > 0 {
			before = append(before, done{float64(o.sizes[i]) / took.Seconds(), o.atOnce(i)})
		}
		begun = end.Add(o.r.Spec.Strategy.Bake)
	}
	if o.in == 0 && o.now.After(begun) || o.in > 0 {
		o.from = begun
	}
	if rate, spread, ok := o.window(p, base, begun); ok {
		o.current, o.spread = true, spread
		before = append(before, done{rate, o.atOnce(o.wave)})
	}
	if len(before) == 0 {
		return false
	}
	last := before[len(before)-1]
	o.rate, o.base = last.rate, last.base
	if !o.current {
		o.spread = carriedSpread
	}
	if len(before) > 1 {
		if prior := before[len(before)-2]; last.base > prior.base {
			o.gain = math.Log(last.rate/prior.rate) / math.Log(float64(last.base)/float64(prior.base))
			o.gain = min(1, max(0, o.gain))
		}
	}
	return true
}

// window returns the rate of the wave in progress over the sliding window, which is
// the last quarter of all that is done but at least four times what is worked on at
// once, and not before the wave began.
//
// All that are worked on at once tend to come in together. Half of such a burst
// tells nothing, so the window ends half a task's time before the latest one, and
// the rate is trusted from the second burst on; where waves before it lead one to
// expect something, from the third; and where there was but one task before, as soon
// as there are a few, since any rate is better than one that was scaled up from one.
func (o *outlook) window(p Trail, base int, begun time.Time) (rate, spread float64, ok bool) {
	first, known := p.when(base + 1)
	if o.in == 0 || !known {
		return 0, 0, false
	}
	once := o.hours.OpenTime(begun, first) // how long one takes
	past, end := p.before(p.last.at.Add(-first.Sub(begun) / 2))
	early := past <= base && o.wave <= 1 && o.in >= fewTasks
	if !early && (past <= base || o.wave > 1 && o.hours.OpenTime(begun, end) < once*9/5) {
		return 0, 0, false
	}
	// While the wave comes into its stride that end may lie before the flood; then all
	// that is done tells more. It cannot tell too much.
	if all := o.hours.OpenTime(begun, p.last.at); early || float64(o.in)*o.hours.OpenTime(begun, end).Seconds() > float64(past-base)*all.Seconds() {
		past, end = base+o.in, p.last.at
	}
	from, since := base, begun
	if n := past - max(4*o.atOnce(o.wave), past/4); n > base {
		since, _ = p.when(n)
		from, since = p.before(since)
	}
	took := o.hours.OpenTime(since, end)
	if took <= 0 || past <= from {
		return 0, 0, false
	}
	o.in, o.from = past-base, end
	if idle := o.hours.OpenTime(p.last.at, o.now); idle > 3*once && idle > took/8 { // It stands still.
		o.from = o.now
		if o.r.State == StateRunning {
			took += idle
		}
	}
	rate = float64(past-from) / took.Seconds()
	if early {
		return rate, carriedSpread, true
	}
	return rate, o.scatter(p, since, end, rate), true
}

// fewTasks is how many make a rate.
const fewTasks = 16

// parts is into how many the window is cut to see how steady the rate is.
const parts = 6

// scatter returns the standard error of the rate, as a part of it, at least
// leastSpread.
func (o *outlook) scatter(p Trail, since, end time.Time, rate float64) float64 {
	part := end.Sub(since) / parts
	if part <= 0 || rate <= 0 {
		return carriedSpread
	}
	sum, n := 0.0, 0
	for i := range parts {
		from, to := since.Add(time.Duration(i)*part), since.Add(time.Duration(i+1)*part)
		open := o.hours.OpenTime(from, to).Seconds()
		if open <= 0 {
			continue
		}
		off := float64(p.at(to)-p.at(from))/open/rate - 1
		sum, n = sum+off*off, n+1
	}
	if n < 2 {
		return carriedSpread
	}
	return min(1, max(leastSpread, math.Sqrt(sum/float64(n-1)/float64(n))))
}

// atOnce returns how many tasks of a wave are worked on at once at most.
func (o *outlook) atOnce(wave int) int { return o.r.Spec.atOnce(o.sizes[wave], o.total) }

// finish returns when the last wave will be done, and false if that is out of
// sight.
func (o *outlook) finish(v variant) (time.Time, bool) {
	gain, stretch := o.gain, 1.0
	switch v {
	case earliest:
		gain, stretch = 1, 1/(1+2*o.spread)
	case latest:
		stretch = 1 + 2*o.spread
		if !o.assumed {
			gain /= 2
		}
	}
	at := o.from
	for i := o.wave; i < len(o.sizes); i++ {
		n := o.sizes[i]
		if i == o.wave && o.current {
			n -= o.in
		}
		if i > o.wave {
			at = o.baked(at, i)
		}
		rate := o.rate * math.Pow(float64(o.atOnce(i))/float64(o.base), gain)
		took := float64(n) / rate * stretch
		if took > outOfSight.Seconds() {
			return time.Time{}, false
		}
		next, ok := o.hours.Advance(at, time.Duration(took*float64(time.Second)))
		if !ok {
			return time.Time{}, false
		}
		if at = next; i == o.wave && at.Before(o.now) {
			at = o.now
		}
	}
	return at, true
}

// outOfSight is the longest that is counted with.
const outOfSight = 10 * 365 * 24 * time.Hour

// baked returns when wave i begins, the one before it being done at done. What was
// held for longer than it had to bake has not begun yet.
func (o *outlook) baked(done time.Time, i int) time.Time {
	if i == o.wave+1 && !o.r.BakeUntil.IsZero() {
		if o.now.After(o.r.BakeUntil) {
			return o.now
		}
		return o.r.BakeUntil
	}
	return done.Add(o.r.Spec.Strategy.Bake)
}
