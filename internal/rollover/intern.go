package rollover

import "unique"

// interned returns p with the words of closed sets as one copy for all tasks. A
// record that was read has its own copy of each, which a board of 100,000 tasks
// would keep 100,000 times.
func (p Progress) interned() Progress {
	p.Phase, p.Outcome, p.Reason = one(p.Phase), one(p.Outcome), one(p.Reason)
	if p.Evidence != nil {
		e := *p.Evidence // It may be in other hands.
		e.Kind = one(e.Kind)
		p.Evidence = &e
	}
	return p
}

// one returns the one copy of s.
func one[S ~string](s S) S { return S(unique.Make(string(s)).Value()) }
