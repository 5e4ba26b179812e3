package acs

import (
	"time"
)

// Config is what a Server is made of. Its zero value works: the system clock,
// no faults, no latency and the recommended answer to every doubt.
type Config struct {
	// Now is the clock that tokens, key validity, time stamps and the journal
	// are read from. Nil means time.Now.
	Now func() time.Time
	// Seed makes Ids and generated secrets repeatable: the same seed and the
	// same host give the same ones.
	Seed int64
	// Faults are the ones at the start. SetFaults changes them later.
	Faults Faults
	// Switches say how undocumented behaviour is answered.
	Switches Switches
	// Latency is added to every answer, in real time whatever Now says. Zero
	// adds none.
	Latency time.Duration
	// JournalLimit bounds how many journal entries are kept, the oldest going
	// first. Zero means 1,000,000.
	JournalLimit int
	// TokenLifetime is how long a token for a Service Bus realm lives where the
	// relying party that AddNamespace makes says nothing else. Zero means 3
	// hours, which is what the service gave from 2014 on.
	TokenLifetime time.Duration
	// ManagementTokenLifetime is how long a token for the management service
	// lives. Zero means 8 hours, as recorded.
	ManagementTokenLifetime time.Duration
}

// Switches answer the doubts of the reference, one field each. The zero value
// of every field is the recommended answer.
type Switches struct {
	// RefusedWith403 answers a refused WRAP sign-in with 403, as in 2011,
	// instead of 401 (D1).
	RefusedWith403 bool
	// AllowDuplicateNames lets two service identities bear one name (D2).
	AllowDuplicateNames bool
	// RefuseDuplicateCertificates answers 400 when a certificate is added to an
	// identity that already has it (D2).
	RefuseDuplicateCertificates bool
	// AnyKeyDates takes key dates outside the certificate's validity (D4).
	AnyKeyDates bool
	// Challenge adds "WWW-Authenticate: WRAP" to a 401 of the management
	// service (D5).
	Challenge bool
	// RefuseEmptyDates answers 400 to a key whose StartDate or EndDate is
	// missing or 0001-01-01, instead of filling it in (D6).
	RefuseEmptyDates bool
	// BareDates writes date-times without the suffix Z (D7).
	BareDates bool
	// KeySkew widens the validity of keys at both ends (D8).
	KeySkew time.Duration
	// FoldNames compares names without regard to case, in $filter on Name and
	// in sign-ins (D9).
	FoldNames bool
	// AnyAudience takes a SAML assertion for whatever audience (D10).
	AnyAudience bool
	// ReservedWith403 answers an edit of a reserved entity with 403 instead of
	// 400 (D12).
	ReservedWith403 bool
	// RefuseExpired answers 400 to a certificate that has already expired (D14).
	RefuseExpired bool
	// NoIfMatch takes a change without an If-Match header (D17).
	NoIfMatch bool
	// Lenient takes key literals without L, the verb PATCH and $format (D18).
	Lenient bool
	// NoJSON knows Atom only and answers 415 to a wish for JSON (D19).
	NoJSON bool
	// WholeExpands writes expanded feeds whole instead of in pages of 50 (D20).
	WholeExpands bool
	// Shuffled gives results without $orderby in an order that is not
	// ascending by Id (D21).
	Shuffled bool
	// TokenDelay is how long a write stays unknown to the token endpoints (D22).
	TokenDelay time.Duration
	// ReadDelay is how long a write stays unknown to reads of the management
	// service (D22).
	ReadDelay time.Duration
	// ServerHeader adds a Server header as of IIS 7.5 (D26).
	ServerHeader bool
	// TokenRate is how many token requests a second one namespace may make,
	// measured over a minute; the service's limit was 30. Zero means no limit.
	TokenRate float64
	// ManagementCounts takes management calls out of the same bucket (D32).
	ManagementCounts bool
	// RetryAfter adds a Retry-After of that many whole seconds to 429 and 503.
	// The service never sent one, so zero sends none.
	RetryAfter time.Duration
	// Chain demands that a certificate which is not self-signed chains to
	// Roots (reference 2.5, step 5).
	Chain bool
	// Roots are the DER certificates that Chain trusts.
	Roots [][]byte
	// AssertionSkew is how far a clock may be off when the conditions of an
	// assertion are judged. Zero means 5 minutes.
	AssertionSkew time.Duration
}

// Mode is how a namespace answers as a whole (D24).
type Mode string

const (
	// ModeLive is a namespace that works.
	ModeLive Mode = ""
	// ModeRefuse drops every connection without an answer.
	ModeRefuse Mode = "refuse"
	// ModeGone answers 404 with a page of HTML, as a gateway does.
	ModeGone Mode = "gone"
	// ModeUnavailable answers 503.
	ModeUnavailable Mode = "unavailable"
)

const (
	defaultJournalLimit         = 1_000_000
	defaultTokenLifetime        = 3 * time.Hour
	defaultManagementLife       = 8 * time.Hour
	defaultAssertionSkew        = 5 * time.Minute
	pageSize                    = 50
	rulePageSize                = 100
	maxURL                      = 8 << 10
	maxBatchParts               = 100
	maxValue                    = 64 << 10
	maxBody                     = 8 << 20
	maxTokenBody                = 512 << 10
	rateWindow                  = 60 * time.Second
	firstID               int64 = 10_000_000
	firstVersion                = 2_000
)

func (c Config) withDefaults() Config {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.JournalLimit <= 0 {
		c.JournalLimit = defaultJournalLimit
	}
	if c.TokenLifetime <= 0 {
		c.TokenLifetime = defaultTokenLifetime
	}
	if c.ManagementTokenLifetime <= 0 {
		c.ManagementTokenLifetime = defaultManagementLife
	}
	if c.Switches.AssertionSkew <= 0 {
		c.Switches.AssertionSkew = defaultAssertionSkew
	}
	return c
}
