package bench

import (
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
)

// Row is one measured quantity, once for each run.
type Row struct {
	Name   string
	Unit   string
	Values []float64
	// Goal is what the middle value should reach; 0: there is none.
	Goal float64
	// AtMost says that less is better: the goal is an upper bound.
	AtMost bool
}

// Min returns the least value, NaN where there is none.
func (r Row) Min() float64 { return Quantile(r.Values, 0) }

// Max returns the greatest value, NaN where there is none.
func (r Row) Max() float64 { return Quantile(r.Values, 1) }

// Median returns the middle value, NaN where there is none.
func (r Row) Median() float64 { return Quantile(r.Values, 0.5) }

// Ratio returns how well the goal was reached by the middle value: 1 and more
// is reached. Without a goal it is NaN.
func (r Row) Ratio() float64 {
	switch {
	case r.Goal == 0:
		return math.NaN()
	case r.AtMost:
		return r.Goal / r.Median()
	default:
		return r.Median() / r.Goal
	}
}

// Fields returns the row for JSON. What is not a number is left out.
func (r Row) Fields() map[string]any {
	f := map[string]any{"row": r.Name, "unit": r.Unit, "values": r.Values}
	for name, v := range map[string]float64{"min": r.Min(), "median": r.Median(), "max": r.Max(), "ratio": r.Ratio()} {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			f[name] = v
		}
	}
	if r.Goal != 0 {
		f["goal"], f["at_most"] = r.Goal, r.AtMost
	}
	return f
}

// goal returns the goal as people write it.
func (r Row) goal() string {
	switch {
	case r.Goal == 0:
		return "-"
	case r.AtMost:
		return "<= " + number(r.Goal)
	default:
		return ">= " + number(r.Goal)
	}
}

// Table writes the rows with aligned columns. Its error is that of w.
func Table(w io.Writer, rows []Row) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "row\tours\tgoal\tratio\tmin / median / max\tunit")
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s / %s / %s\t%s\n", r.Name, number(r.Median()), r.goal(), number(r.Ratio()),
			number(r.Min()), number(r.Median()), number(r.Max()), r.Unit)
	}
	return t.Flush()
}

// number writes three digits and no more than are known.
func number(v float64) string {
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return "-"
	case math.Abs(v) >= 100:
		return fmt.Sprintf("%.0f", v)
	case math.Abs(v) >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}

// Quantile returns the value below which the share q of the values lies, NaN
// where there is none. It does not change the values.
func Quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(values))
	return s[min(len(s)-1, int(q*float64(len(s))))]
}
