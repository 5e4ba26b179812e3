package acs

import (
	"net/url"
	"sort"
	"strings"
)

const (
	maxInputClaims = 80
	maxPasses      = 8
)

// claim is what an issuer says: a type and a value.
type claim struct {
	issuer int64
	typ    string
	value  string
}

// relyingParty finds the relying party whose realm is the longest one that
// scope lies under, counted in path segments.
func (s *Server) relyingParty(st *state, scope string) *row {
	ta, tp := s.model.byName["RelyingPartyAddress"], s.model.byName["RelyingParty"]
	var best *row
	longest := -1
	for _, a := range st.sets[ta.index] {
		if a.str(ta.at("EndpointType")) != "Realm" {
			continue
		}
		n := realmMatch(a.str(ta.at("Address")), scope)
		if n > longest {
			if rp := st.find(tp, a.num(ta.at("RelyingPartyId"))); rp != nil {
				best, longest = rp, n
			}
		}
	}
	return best
}

// realmMatch is how many path segments of scope the realm covers, or -1 where
// scope is not under it.
func realmMatch(realm, scope string) int {
	r, err1 := url.Parse(realm)
	c, err2 := url.Parse(scope)
	if err1 != nil || err2 != nil || r.Host == "" || c.Host == "" {
		if realm != "" && realm == scope {
			return 0
		}
		return -1
	}
	if !strings.EqualFold(r.Scheme, c.Scheme) || !strings.EqualFold(r.Hostname(), c.Hostname()) || portOf(r) != portOf(c) {
		return -1
	}
	rs, cs := segments(r.Path), segments(c.Path)
	if len(rs) > len(cs) {
		return -1
	}
	for i := range rs {
		if !strings.EqualFold(rs[i], cs[i]) {
			return -1
		}
	}
	return len(rs)
}

func portOf(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	if strings.EqualFold(u.Scheme, "https") {
		return "443"
	}
	return "80"
}

func segments(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}

// rule is a Rule or ConditionalRule read from its row.
type rule struct {
	issuer, condIssuer                 int64
	inType, inValue, outType, outValue string
	conditional                        bool
	condType, condValue                string
}

func (s *Server) rulesOf(st *state, rp *row) []rule {
	tr, tl := s.model.byName["Rule"], s.model.byName["RelyingPartyRuleGroup"]
	tc := s.model.byName["ConditionalRule"]
	groups := make(map[int64]bool)
	for _, l := range st.sets[tl.index] {
		if l.num(tl.at("RelyingPartyId")) == rp.id {
			groups[l.num(tl.at("RuleGroupId"))] = true
		}
	}
	var out []rule
	for _, t := range []*entityType{tr, tc} {
		for _, r := range st.sets[t.index] {
			if !groups[r.num(t.at("RuleGroupId"))] {
				continue
			}
			k := rule{issuer: r.num(t.at("IssuerId")), inType: r.str(t.at("InputClaimType")), inValue: r.str(t.at("InputClaimValue")),
				outType: r.str(t.at("OutputClaimType")), outValue: r.str(t.at("OutputClaimValue"))}
			if t == tc {
				k.conditional, k.condIssuer = true, r.num(t.at("ConditionIssuerId"))
				k.condType, k.condValue = r.str(t.at("ConditionClaimType")), r.str(t.at("ConditionClaimValue"))
			}
			out = append(out, k)
		}
	}
	return out
}

// runRules gives the claims that the rules of a relying party make of the
// input, in up to eight passes. What a rule leaves empty matches anything, or
// passes through.
func (s *Server) runRules(st *state, rp *row, input []claim) ([]claim, *refusal) {
	if len(input) > maxInputClaims {
		return nil, badRequest("ACS60000: Policy engine execution error. The number of input claims, %d, exceeds the limit of %d", len(input), maxInputClaims)
	}
	local := int64(0)
	if r := st.byName(s.model.byName["Issuer"], nameLocal, func(a, b string) bool { return a == b }); r != nil {
		local = r.id
	}
	rules := s.rulesOf(st, rp)
	known := append([]claim(nil), input...)
	seen := make(map[claim]bool)
	var out []claim
	for range maxPasses {
		before := len(known)
		for _, r := range rules {
			for _, c := range known[:before] {
				if !r.takes(c, known[:before]) {
					continue
				}
				o := claim{issuer: local, typ: or(r.outType, c.typ), value: or(r.outValue, c.value)}
				if !seen[o] {
					seen[o] = true
					out = append(out, o)
					known = append(known, o)
				}
			}
		}
		if len(known) == before {
			break
		}
	}
	return out, nil
}

func (r *rule) takes(c claim, all []claim) bool {
	if c.issuer != r.issuer || (r.inType != "" && r.inType != c.typ) || (r.inValue != "" && r.inValue != c.value) {
		return false
	}
	if !r.conditional {
		return true
	}
	for _, o := range all {
		if o.issuer == r.condIssuer && (r.condType == "" || r.condType == o.typ) && (r.condValue == "" || r.condValue == o.value) {
			return true
		}
	}
	return false
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// joined makes one pair of each claim type, its values sorted and joined with
// commas.
func joined(claims []claim) []Pair {
	var order []string
	values := make(map[string][]string)
	for _, c := range claims {
		if values[c.typ] == nil {
			order = append(order, c.typ)
		}
		values[c.typ] = append(values[c.typ], c.value)
	}
	out := make([]Pair, 0, len(order))
	for _, t := range order {
		sort.Strings(values[t])
		out = append(out, Pair{t, strings.Join(values[t], ",")})
	}
	return out
}
