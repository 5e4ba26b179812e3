package acs

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// txn is a set of changes that become visible together or not at all. It is
// made under the namespace's lock and lives no longer than that is held.
type txn struct {
	s       *Server
	ns      *namespace
	st      *state
	now     time.Time
	entries []Entry
}

// begin locks the namespace. The caller calls commit or rollback.
func (s *Server) begin(ns *namespace, now time.Time) *txn {
	ns.mu.Lock()
	st := *ns.cur.Load()
	return &txn{s: s, ns: ns, st: &st, now: now}
}

// commit publishes the changes and enters them in the journal, with the status
// and fault of the request as its client sees them.
func (tx *txn) commit(status func(int) int, fault string) {
	ns := tx.ns
	for i := range tx.entries {
		e := &tx.entries[i]
		e.At, e.Host, e.Fault, e.Applied = tx.now, ns.host, fault, true
		e.Status = status(e.Status)
	}
	ns.before.Store(ns.cur.Load())
	ns.changed.Store(&tx.now)
	ns.cur.Store(tx.st)
	if tx.s.keepsHistory() {
		ns.history = append(ns.history, moment{at: tx.now, st: tx.st})
		ns.forget(tx.now.Add(-max(tx.s.cfg.Switches.TokenDelay, tx.s.cfg.Switches.ReadDelay)))
	}
	// Entered under the lock, so that the journal has the order of the changes.
	tx.s.journal.add(tx.entries...)
	ns.mu.Unlock()
}

// rollback leaves everything as it was, but for the Ids taken: those are never
// used again.
func (tx *txn) rollback() { tx.ns.mu.Unlock() }

func (tx *txn) note(op string, t *entityType, r *row, status int) {
	e := Entry{Op: op, Entity: t.set, Status: status}
	switch t.name {
	case "ServiceIdentity":
		e.Identity = r.str(t.at("Name"))
	case "ServiceIdentityKey":
		e.KeyID = r.id
		if id := tx.st.find(tx.s.model.byName["ServiceIdentity"], r.num(t.at("ServiceIdentityId"))); id != nil {
			e.Identity = id.str(tx.s.model.byName["ServiceIdentity"].at("Name"))
		}
		if r.str(t.at("Type")) == typeCertificate {
			e.SHA256 = hashOf(r.bytes(t.at("Value")))
		}
	}
	tx.entries = append(tx.entries, e)
}

func hashOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// forget drops the states that no read can ask for any more.
func (ns *namespace) forget(before time.Time) {
	for len(ns.history) > 1 && !ns.history[1].at.After(before) {
		ns.history = ns.history[1:]
	}
}

func (s *Server) keepsHistory() bool {
	return s.cfg.Switches.TokenDelay > 0 || s.cfg.Switches.ReadDelay > 0
}

// stateAt is what stood a while ago: the present where there is no delay.
func (ns *namespace) stateAt(now time.Time, delay time.Duration) *state {
	if delay <= 0 {
		return ns.cur.Load()
	}
	ns.mu.Lock()
	defer ns.mu.Unlock()
	st := ns.history[0].st
	for _, m := range ns.history {
		if !m.at.After(now.Add(-delay)) {
			st = m.st
		}
	}
	return st
}

// SetKeys replaces all keys of an identity, as someone else's edit that the
// journal does not show. Keys with ID zero are given one; each gets a new
// Version, and zero dates are filled in. It does not check the keys, so that a
// test can put anything there.
func (s *Server) SetKeys(host, identity string, keys []Key) error {
	ns := s.namespace(host)
	if ns == nil {
		return fmt.Errorf("setting keys: no namespace %s", host)
	}
	ti, tk := s.model.byName["ServiceIdentity"], s.model.byName["ServiceIdentityKey"]
	tx := s.begin(ns, s.cfg.Now().UTC())
	parent := tx.st.byName(ti, identity, func(a, b string) bool { return a == b })
	if parent == nil {
		tx.rollback()
		return fmt.Errorf("setting keys: no identity %q in %s", identity, host)
	}
	for _, r := range tx.st.children(ti.nav("ServiceIdentityKeys"), parent.id) {
		tx.st.remove(tk, r.id)
	}
	for _, k := range keys {
		r := s.keyRow(parent.id, k, tx.now)
		if r.id == 0 {
			r.id = ns.takeID()
		} else if tx.st.find(tk, r.id) != nil {
			tx.rollback()
			return errors.New("setting keys: two keys have one ID")
		}
		ns.nextID = max(ns.nextID, r.id)
		r.vals[0] = r.id
		r.vals[tk.version] = ns.takeVersion()
		tx.st.put(tk, r)
	}
	tx.commit(func(s int) int { return s }, "")
	return nil
}

// Renumber gives every service identity key of a namespace a new Id, as an
// upgrade of the service might (D29). An unknown host is left alone.
func (s *Server) Renumber(host string) {
	ns := s.namespace(host)
	if ns == nil {
		return
	}
	tk := s.model.byName["ServiceIdentityKey"]
	tx := s.begin(ns, s.cfg.Now().UTC())
	old := tx.st.sets[tk.index]
	rows := make([]*row, 0, len(old))
	for _, r := range old {
		n := r.clone()
		n.id = ns.takeID()
		n.vals[0] = n.id
		rows = append(rows, n)
	}
	tx.st.sets[tk.index] = rows
	tx.commit(func(s int) int { return s }, "")
}
