package bridge

import "time"

// Bounds on what one caller may send and hold.
const (
	maxBody        = 4 << 20  // bytes of a request
	maxHeaders     = 64 << 10 // bytes of the headers of a request
	maxConnections = 4096     // at once
	maxTimeout     = 10       // digits of connect-timeout-ms, as Connect says
	maxViolations  = 20       // fields that one refusal names
)

// Time-outs.
const (
	headerTimeout = 5 * time.Second // from the first byte of a request to the end of its headers
	idleTimeout   = 2 * time.Minute // of a connection without a call
	defaultBody   = 30 * time.Second
	defaultWrite  = 30 * time.Second
	defaultAlive  = 10 * time.Second
	defaultOpen   = 250 * time.Millisecond
	defaultRetry  = time.Second
	defaultStop   = 3 * time.Second
)
