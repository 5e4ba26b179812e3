package acs

import (
	"encoding/json"
	"io"
	"net/http"
)

// Verdict is the answer of POST /_emulator/verify.
type Verdict struct {
	// Accepted says whether the sign-in would be let in.
	Accepted bool `json:"accepted"`
	// Host is the namespace.
	Host string `json:"host"`
	// Identity is who signs in, as far as it became known.
	Identity string `json:"identity,omitempty"`
	// KeyID is the Id of the key that matched; absent for management accounts.
	KeyID int64 `json:"keyId,omitempty"`
	// SHA256 is the hash of that key's certificate, in lower-case hex.
	SHA256 string `json:"sha256,omitempty"`
	// Reason says why it would be refused.
	Reason string `json:"reason,omitempty"`
}

// emulator answers what the real service never had: POST /_emulator/verify
// takes the form of a WRAP request and says which key matches, and
// POST /_emulator/renumber gives the keys new Ids (D29).
func (x *exchange) emulator() *answer {
	if x.r.Method != http.MethodPost {
		a := newAnswer(http.StatusMethodNotAllowed, "text/plain; charset=utf-8", []byte("POST only\n"))
		a.header.Set("Allow", http.MethodPost)
		return a
	}
	if x.door == doorRenumber {
		x.s.Renumber(x.ns.host)
		return newAnswer(http.StatusNoContent, "", nil)
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, x.r.Body, maxTokenBody))
	if err != nil {
		return newAnswer(http.StatusRequestEntityTooLarge, "text/plain; charset=utf-8", []byte("the body is too large\n"))
	}
	v := x.verdict(body)
	out, err := json.Marshal(v)
	if err != nil {
		return newAnswer(http.StatusInternalServerError, "", nil)
	}
	return newAnswer(http.StatusOK, "application/json; charset=utf-8", out)
}

func (x *exchange) verdict(body []byte) Verdict {
	v := Verdict{Host: x.ns.host}
	in, r := x.readSignIn(body)
	if r != nil {
		v.Reason = r.msg
		return v
	}
	st := x.ns.stateAt(x.now, x.s.cfg.Switches.TokenDelay)
	who, r := x.admit(st, in)
	if who != nil {
		var e Entry
		x.noteKey(&e, who.key)
		v.Identity, v.KeyID, v.SHA256 = who.name, e.KeyID, e.SHA256
	}
	if r == nil {
		_, _, r = x.issue(st, who, in.scope)
	}
	if r != nil {
		v.Reason = r.msg
		return v
	}
	v.Accepted = true
	return v
}
