package rollover

import (
	"slices"
	"strings"
)

// Someone is a person as a record knows them: the name that they acted under, and what
// they had proven. The name may be one that the rights give to several subjects, and the
// rights change; what was proven does not.
type Someone struct {
	Name    string
	Subject string // as it was proven; empty: the name was claimed, or is from before this was kept
}

// People says who is whom, and whose word counts, as the rights are now. The zero
// People knows people by their names alone and counts everybody's word.
type People struct {
	// Actor does now what others have approved.
	Actor Someone
	// Person returns the name under which a subject acts now; what is no subject comes
	// back as it is. nil: everybody has the name that is stored.
	Person func(subject string) string
	// Counts reports whether who approved may still do so. nil: yes.
	Counts func(a Approval) bool
}

// same reports whether two are one person, by what they were called or by what they
// would be called now: whoever was told apart at one time only is not another.
func (p People) same(a, b Someone) bool {
	names := p.names(b)
	return slices.ContainsFunc(p.names(a), func(n string) bool { return slices.Contains(names, n) })
}

// Created reports whether somebody is the person who created r.
func (p People) Created(r Rotation, by Someone) bool { return p.same(by, r.creator()) }

// names returns all names of somebody, to be compared without regard to case.
func (p People) names(s Someone) []string {
	var out []string
	for _, n := range []string{s.Name, s.Subject} {
		if n = strings.TrimSpace(n); n == "" {
			continue
		}
		out = append(out, strings.ToLower(n))
		if p.Person != nil {
			out = append(out, strings.ToLower(p.Person(n)))
		}
	}
	return out
}

// who is who approved.
func (a Approval) who() Someone { return Someone{a.By, a.Proven} }

// creator is who created r.
func (r Rotation) creator() Someone { return Someone{r.Creator, r.CreatorProven} }

// Reconsider returns r, which is planned, without an incident's approval that is no
// other person's any more as the people are now.
func (r Rotation) Reconsider(p People) Rotation {
	a := r.Approval
	if r.State != StatePlanned || a.At.IsZero() || !p.same(a.who(), r.creator()) && (p.Counts == nil || p.Counts(a)) {
		return r
	}
	r.Approval = Approval{}
	return r
}
