package acs

import (
	"sync"
	"sync/atomic"
	"time"
)

// The operations of a journal entry.
const (
	OpCreate = "create"
	OpUpdate = "update"
	OpDelete = "delete"
	OpToken  = "token"
	OpRead   = "read"
)

// Entry is one thing that was asked of a namespace. It never holds a secret.
type Entry struct {
	// At is when, by the Server's Now.
	At time.Time
	// Host is the namespace.
	Host string
	// Identity is the name of the service identity concerned, where there is one.
	Identity string
	// Op is one of the Op constants. Reads are counted and never entered.
	Op string
	// Entity is the entity set of a write, or the token protocol and format.
	Entity string
	// KeyID is the key that was written, or that a sign-in matched.
	KeyID int64
	// SHA256 is that key's Value, hashed, in lower-case hex, when it is a certificate.
	SHA256 string
	// Status is the HTTP status answered; zero when the connection was cut.
	Status int
	// Fault is the kind of the fault that hit the request, if any.
	Fault string
	// Applied says that it was done, whatever was answered.
	Applied bool
}

// Counters are what a Server has been asked so far.
type Counters struct {
	// Calls are all management and token requests of known namespaces.
	Calls int64
	// Reads and Writes are management operations, those within a batch singly.
	Reads, Writes int64
	// Tokens are token requests, and TokensIssued those that succeeded.
	Tokens, TokensIssued int64
	// Refused429, Refused503 and Unauthorized count answers by status.
	Refused429, Refused503, Unauthorized int64
	// Errors5xx counts all answers of 500 and above.
	Errors5xx int64
	// Resets counts connections closed by a fault.
	Resets int64
	// Faults counts the faults that fired.
	Faults int64
	// UnknownHost counts requests for a host that is no namespace.
	UnknownHost int64
}

type counters struct {
	calls, reads, writes, tokens, issued   atomic.Int64
	refused429, refused503, unauthorized   atomic.Int64
	errors5xx, resets, faults, unknownHost atomic.Int64
}

// Counters returns what has been counted since New.
func (s *Server) Counters() Counters {
	c := &s.count
	return Counters{
		Calls: c.calls.Load(), Reads: c.reads.Load(), Writes: c.writes.Load(),
		Tokens: c.tokens.Load(), TokensIssued: c.issued.Load(),
		Refused429: c.refused429.Load(), Refused503: c.refused503.Load(), Unauthorized: c.unauthorized.Load(),
		Errors5xx: c.errors5xx.Load(), Resets: c.resets.Load(), Faults: c.faults.Load(),
		UnknownHost: c.unknownHost.Load(),
	}
}

func (c *counters) answered(status int) {
	switch {
	case status == 429:
		c.refused429.Add(1)
	case status == 401:
		c.unauthorized.Add(1)
	case status == 503:
		c.refused503.Add(1)
	}
	if status >= 500 {
		c.errors5xx.Add(1)
	}
}

// journal keeps the last entries in the order in which they happened.
type journal struct {
	mu      sync.Mutex // guards what follows
	limit   int
	entries []Entry
	next    int // where the ring goes on once it is full
}

func (j *journal) add(entries ...Entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, e := range entries {
		if len(j.entries) < j.limit {
			j.entries = append(j.entries, e)
			continue
		}
		j.entries[j.next] = e
		j.next = (j.next + 1) % j.limit
	}
}

// Journal returns the writes and sign-ins so far, oldest first. What came
// before the last JournalLimit entries is forgotten.
func (s *Server) Journal() []Entry {
	j := &s.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	out := make([]Entry, 0, len(j.entries))
	out = append(out, j.entries[j.next:]...)
	return append(out, j.entries[:j.next]...)
}
