package acs

import (
	"crypto/hmac"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// signIn is what a client says to be let in.
type signIn struct {
	format    string // password, SWT or SAML
	name      string
	secret    string
	assertion string
	scope     string
}

// visitor is who was let in, and by which key.
type visitor struct {
	name       string
	management bool
	key        *row // of ServiceIdentityKeys, or nil
	claims     []Pair
}

const (
	formatPassword = "password"
	formatSWT      = "SWT"
	formatSAML     = "SAML"
)

// token answers both token endpoints.
func (x *exchange) token(body []byte) *answer {
	x.s.count.tokens.Add(1)
	e := Entry{At: x.now, Host: x.ns.host, Op: OpToken, Entity: x.protocol(), Fault: x.faultKind()}
	a := x.signIn(body, &e)
	e.Applied = a.status == http.StatusOK
	if e.Applied {
		x.s.count.issued.Add(1)
	}
	e.Status = x.seen(a.status)
	x.s.journal.add(e)
	return a
}

func (x *exchange) signIn(body []byte, e *Entry) *answer {
	if x.r.Method != http.MethodPost {
		r := refuse(http.StatusMethodNotAllowed, "The method is not allowed on a token endpoint")
		r.allow = http.MethodPost
		return x.refusal(r)
	}
	in, r := x.readSignIn(body)
	if r != nil {
		return x.refusal(r)
	}
	e.Entity += " " + in.format
	e.Identity = in.name
	st := x.ns.stateAt(x.now, x.s.cfg.Switches.TokenDelay)
	who, r := x.admit(st, in)
	if who != nil {
		e.Identity = who.name
		x.noteKey(e, who.key)
	}
	if r != nil {
		return x.refusal(r)
	}
	swt, life, r := x.issue(st, who, in.scope)
	if r != nil {
		return x.refusal(r)
	}
	seconds := strconv.FormatInt(int64(life/time.Second), 10)
	if x.door == doorWRAP {
		return newAnswer(http.StatusOK, "application/x-www-form-urlencoded; charset=us-ascii",
			[]byte("wrap_access_token="+Escape(swt)+"&wrap_access_token_expires_in="+seconds))
	}
	out, err := json.Marshal(struct {
		Type    string `json:"token_type"`
		Token   string `json:"access_token"`
		Expires string `json:"expires_in"`
		Scope   string `json:"scope"`
	}{"http://schemas.xmlsoap.org/ws/2009/11/swt-token-profile-1.0", swt, seconds, in.scope})
	if err != nil {
		return x.refusal(refuse(http.StatusInternalServerError, msgInternal))
	}
	return newAnswer(http.StatusOK, "application/json; charset=utf-8", out)
}

func (x *exchange) noteKey(e *Entry, key *row) {
	if key == nil {
		return
	}
	t := x.s.model.byName["ServiceIdentityKey"]
	e.KeyID = key.id
	if key.str(t.at("Type")) == typeCertificate {
		e.SHA256 = hashOf(key.bytes(t.at("Value")))
	}
}

// unauthorized refuses a sign-in with the status of D1.
func (x *exchange) unauthorized(format string, args ...any) *refusal {
	status := http.StatusUnauthorized
	if x.s.cfg.Switches.RefusedWith403 {
		status = http.StatusForbidden
	}
	return refuse(status, format, args...)
}

// admit finds out who signs in. Where it refuses, it may still say who it was.
func (x *exchange) admit(st *state, in signIn) (*visitor, *refusal) {
	switch in.format {
	case formatSAML:
		return x.admitSAML(st, in.assertion)
	case formatSWT:
		return x.admitSWT(st, in.assertion)
	}
	return x.admitPassword(st, in)
}

func (x *exchange) admitPassword(st *state, in signIn) (*visitor, *refusal) {
	if who, r := x.admitAccount(st, in); who != nil || r != nil {
		return who, r
	}
	id := st.byName(x.s.model.byName["ServiceIdentity"], in.name, x.sameName())
	if id == nil {
		return nil, x.unauthorized(msgRefused)
	}
	who := &visitor{name: id.str(x.s.model.byName["ServiceIdentity"].at("Name"))}
	t := x.s.model.byName["ServiceIdentityKey"]
	expired := false
	for _, k := range x.keysOf(st, id) {
		if k.str(t.at("Type")) != "Password" || !hmac.Equal(k.bytes(t.at("Value")), []byte(in.secret)) {
			continue
		}
		if x.usable(t, k) {
			who.key = k
			return who, nil
		}
		expired = true
	}
	if expired {
		return who, x.unauthorized("ACS50006: Unable to verify the credential. It is not valid at this time")
	}
	return who, x.unauthorized(msgRefused)
}

// admitAccount lets a management account in. It returns nothing where the name
// is not one.
func (x *exchange) admitAccount(st *state, in signIn) (*visitor, *refusal) {
	same := x.sameName()
	for _, a := range x.ns.accounts {
		if same(a.Name, in.name) {
			if hmac.Equal([]byte(a.Password), []byte(in.secret)) {
				return &visitor{name: a.Name, management: true}, nil
			}
			return &visitor{name: a.Name}, x.unauthorized(msgRefused)
		}
	}
	if !same(x.ns.builtin, in.name) {
		return nil, nil
	}
	for _, k := range x.managementKeys(st) {
		t := x.s.model.byName["ServiceKey"]
		value := k.bytes(t.at("Value"))
		if k.str(t.at("Type")) == "Symmetric" {
			value = []byte(base64.StdEncoding.EncodeToString(value))
		}
		if hmac.Equal(value, []byte(in.secret)) {
			return &visitor{name: x.ns.builtin, management: true}, nil
		}
	}
	return &visitor{name: x.ns.builtin}, x.unauthorized(msgRefused)
}

func (x *exchange) managementKeys(st *state) []*row {
	t := x.s.model.byName["ServiceKey"]
	var out []*row
	for _, k := range st.sets[t.index] {
		if k.str(t.at("Usage")) == "Management" && x.usable(t, k) {
			out = append(out, k)
		}
	}
	return out
}

// admitSWT takes a token that an identity signed for itself with its symmetric
// key.
func (x *exchange) admitSWT(st *state, assertion string) (*visitor, *refusal) {
	token, err := parseSWT(assertion)
	if err != nil {
		return nil, x.unauthorized(msgToken)
	}
	name, ok := token.get("Issuer")
	if !ok {
		return nil, x.unauthorized(msgToken)
	}
	if until, ok := token.get("ExpiresOn"); ok {
		n, err := strconv.ParseInt(until, 10, 64)
		if err != nil || !x.now.Before(time.Unix(n, 0)) {
			return nil, x.unauthorized(msgToken)
		}
	}
	if x.sameName()(x.ns.builtin, name) {
		t := x.s.model.byName["ServiceKey"]
		for _, k := range x.managementKeys(st) {
			if k.str(t.at("Type")) == "Symmetric" && token.verify(k.bytes(t.at("Value"))) {
				return &visitor{name: x.ns.builtin, management: true}, nil
			}
		}
	}
	ti, t := x.s.model.byName["ServiceIdentity"], x.s.model.byName["ServiceIdentityKey"]
	id := st.byName(ti, name, x.sameName())
	if id == nil {
		return nil, x.unauthorized(msgRefused)
	}
	who := &visitor{name: id.str(ti.at("Name"))}
	for _, k := range x.keysOf(st, id) {
		if k.str(t.at("Type")) == "Symmetric" && x.usable(t, k) && token.verify(k.bytes(t.at("Value"))) {
			who.key = k
			return who, nil
		}
	}
	return who, x.unauthorized("%s. ACS50006: Unable to verify token signature", msgToken)
}

func (x *exchange) keysOf(st *state, identity *row) []*row {
	return st.children(x.s.model.byName["ServiceIdentity"].nav("ServiceIdentityKeys"), identity.id)
}

// usable says whether a key may be used now: an expired one is as though
// absent, one from the future as though not yet there.
func (x *exchange) usable(t *entityType, k *row) bool {
	skew := x.s.cfg.Switches.KeySkew
	start, end := k.when(t.at("StartDate")), k.when(t.at("EndDate"))
	return !x.now.Add(skew).Before(start) && x.now.Add(-skew).Before(end)
}

func (x *exchange) sameName() func(a, b string) bool {
	if x.s.cfg.Switches.FoldNames {
		return strings.EqualFold
	}
	return func(a, b string) bool { return a == b }
}

// issue makes the token for a scope.
func (x *exchange) issue(st *state, who *visitor, scope string) (string, time.Duration, *refusal) {
	self := "https://" + x.ns.host + "/"
	if x.managementAudience(scope) {
		if !who.management {
			return "", 0, badRequest("ACS50001: Relying party with name '%s' was not found", scope)
		}
		life := x.s.cfg.ManagementTokenLifetime
		pairs := []Pair{{claimNameIdentifier, who.name}, {claimProvider, self}}
		return x.seal(pairs, scope, life, x.ns.derive("management tokens")), life, nil
	}
	if who.management {
		return "", 0, x.unauthorized(msgRefused)
	}
	rp := x.s.relyingParty(st, scope)
	if rp == nil {
		return "", 0, badRequest("ACS50001: Relying party with name '%s' was not found", scope)
	}
	claims, r := x.s.runRules(st, rp, x.inputClaims(st, who))
	if r != nil {
		return "", 0, r
	}
	if len(claims) == 0 {
		return "", 0, x.unauthorized("ACS50000: There was an error issuing a token. ACS60001: No output claims were generated during rules processing")
	}
	t := x.s.model.byName["RelyingParty"]
	life := x.s.cfg.TokenLifetime
	if n, _ := rp.vals[t.at("TokenLifetime")].(int32); n > 0 {
		life = time.Duration(n) * time.Second
	}
	pairs := joined(claims)
	if u, err := url.Parse(scope); err != nil || !strings.Contains(strings.ToLower(u.Host), ".servicebus.") {
		pairs = withName(pairs, who.name)
	}
	key := x.signingKey(st, rp)
	if key == nil {
		return "", 0, x.unauthorized("ACS50000: There was an error issuing a token. No token signing key is configured")
	}
	return x.seal(append(pairs, Pair{claimProvider, self}), scope, life, key), life, nil
}

func withName(pairs []Pair, name string) []Pair {
	for _, p := range pairs {
		if p.Name == claimNameIdentifier {
			return pairs
		}
	}
	return append([]Pair{{claimNameIdentifier, name}}, pairs...)
}

func (x *exchange) seal(pairs []Pair, audience string, life time.Duration, key []byte) string {
	pairs = append(pairs, Pair{"Audience", audience},
		Pair{"ExpiresOn", fmt.Sprint(x.now.Add(life).Unix())}, Pair{"Issuer", "https://" + x.ns.host + "/"})
	return SignSWT(pairs, key)
}

// inputClaims are what an assertion says, by the Issuer of the identity's
// name, and the identity's name, by ACS itself.
func (x *exchange) inputClaims(st *state, who *visitor) []claim {
	ti := x.s.model.byName["Issuer"]
	same := x.sameName()
	var out []claim
	if local := st.byName(ti, nameLocal, same); local != nil {
		out = append(out, claim{local.id, claimNameIdentifier, who.name})
	}
	if issuer := st.byName(ti, who.name, same); issuer != nil {
		for _, c := range who.claims {
			out = append(out, claim{issuer.id, c.Name, c.Value})
		}
	}
	return out
}

// signingKey is the relying party's own symmetric key, else the namespace's.
func (x *exchange) signingKey(st *state, rp *row) []byte {
	tp, ts := x.s.model.byName["RelyingPartyKey"], x.s.model.byName["ServiceKey"]
	own := st.children(x.s.model.byName["RelyingParty"].nav("RelyingPartyKeys"), rp.id)
	if k := x.primary(tp, own); k != nil {
		return k
	}
	return x.primary(ts, st.sets[ts.index])
}

func (x *exchange) primary(t *entityType, rows []*row) []byte {
	var found []byte
	for _, k := range rows {
		if k.str(t.at("Usage")) != "Signing" || k.str(t.at("Type")) != "Symmetric" || !x.usable(t, k) {
			continue
		}
		if k.yes(t.at("IsPrimary")) {
			return k.bytes(t.at("Value"))
		}
		found = k.bytes(t.at("Value"))
	}
	return found
}
