package jet

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// The bounds of one call. A leader that was killed is replaced after about 5 s;
// a call outlives that.
const (
	attemptTimeout = 2 * time.Second
	callBudget     = 12 * time.Second
)

// The server's error codes that decide something. They are stable; see
// server/errors.json of nats-server.
const (
	codeNoPeers        = 10005 // no servers for a stream; see peersText
	codeNoResources    = 10023 // "insufficient resources"
	codeNoMessage      = 10037 // "no message found"
	codeNoStorage      = 10047 // "insufficient storage resources available"
	codeNoStream       = 10059 // "stream not found"
	codeNoSuchSequence = 10043 // "sequence N not found"
	codeWrongLast      = 10071 // "wrong last sequence: N": another value stands
	codeBadConfig      = 10052 // a stream cannot be as it is asked to be, or become so
	codeStoreFailed    = 10077 // the store's own words; see fullText
	codeAccountFull    = 10002 // "resource limits exceeded for account"
	codeLastNotReady   = 10163 // another write of the subject is on its way
	codeLastBusy       = 10164 // the same, or a real mismatch on a replicated stream
	codeBatchParts     = 10176 // a message of the batch was lost on its way
	codeBatchMany      = 10210 // too many batches at once
)

// outcome is what came of a write, or of a read.
type outcome int

const (
	done    outcome = iota // it is stored
	lost                   // another value stands
	busy                   // another write of the subject is on its way: the same again, soon
	full                   // a bound is reached
	taken                  // the slot has its message
	unclear                // no answer: it may be stored
	refused                // never, whoever asks
)

// refusal is an error of ours that asking again does not mend.
type refusal struct{ why string }

// Error returns why.
func (r *refusal) Error() string { return r.why }

// fullError is an error of ours that stands for a bound that is reached.
type fullError struct{ error }

// refuse returns a refusal.
func refuse(format string, args ...any) error { return &refusal{fmt.Sprintf(format, args...)} }

// judge says what an answer means. It is the one place that knows.
func judge(err error) outcome {
	if err == nil {
		return done
	}
	var final *refusal
	if errors.As(err, &final) {
		return refused
	}
	var bound fullError
	if errors.As(err, &bound) {
		return full
	}
	api := apiError(err)
	if api == nil {
		if errors.Is(err, nats.ErrMaxPayload) {
			return refused
		}
		return unclear
	}
	switch api.ErrorCode {
	case codeWrongLast:
		return lost
	case codeLastBusy, codeLastNotReady, codeBatchMany:
		return busy
	case codeNoResources, codeNoStorage, codeAccountFull:
		return full
	case codeStoreFailed:
		return fullText(api.Description)
	case codeNoPeers:
		return peersText(api.Description)
	case codeBatchParts, codeNoStream:
		return unclear
	case codeBadConfig: // The server counts it as an error of its own, 500.
		return refused
	}
	if api.Code >= 500 {
		return unclear
	}
	return refused
}

// apiError returns what the server said, or nil if it said nothing. The client
// wraps it in two ways.
func apiError(err error) *jetstream.APIError {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		return api
	}
	var je jetstream.JetStreamError
	if errors.As(err, &je) {
		return je.APIError()
	}
	return nil
}

// fullText tells the bounds of a stream apart. The server gives one code for
// all and says which in words (ErrMaxMsgsPerSubject, ErrMaxBytes and ErrMaxMsgs
// in server/store.go).
func fullText(words string) outcome {
	switch {
	case strings.Contains(words, "maximum messages per subject exceeded"):
		return taken
	case strings.Contains(words, "maximum bytes exceeded"), strings.Contains(words, "maximum messages exceeded"):
		return full
	default:
		return unclear
	}
}

// peersText tells apart why there are not enough servers for a stream. The server gives
// one code for all and says which in words (selectPeerError in server/jetstream_cluster.go).
// Those of a cluster that was just started count as offline, or as unknown, until the
// leader has heard of them.
func peersText(words string) outcome {
	if strings.Contains(words, "peer offline") || strings.Contains(words, "miscellaneous issue") {
		return unclear
	}
	return refused
}

// explain puts the sentinel that o stands for on err.
func explain(o outcome, err error) error {
	switch o {
	case done:
		return nil
	case lost:
		return fmt.Errorf("%w: %w", rollover.ErrConflict, err)
	case full:
		return fmt.Errorf("%w: %w", rollover.ErrFull, err)
	case taken:
		return fmt.Errorf("%w: %w", ErrBusy, err)
	case busy, unclear:
		return fmt.Errorf("%w: %w", rollover.ErrUnavailable, err)
	default:
		return err
	}
}

// connectError says what is wrong with a connection, and whether waiting may
// mend it. It takes away what may hold a password: a URL that does not parse is
// quoted in its error.
func connectError(err error) error {
	var unparsed *url.Error
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	switch {
	case errors.As(err, &unparsed):
		return refuse("the URL does not parse")
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, os.ErrNotExist), errors.Is(err, os.ErrPermission),
		errors.As(err, &authority), errors.As(err, &host):
		return refuse("%v", err)
	default:
		return err
	}
}

// pause waits for about d, or until ctx ends. It takes off up to half, so that
// those who failed together do not come back together.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d - rand.N(d/2+1)) //nolint:gosec // Jitter is no secret.
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// again calls f until it succeeds, is refused for good, or ctx ends. ctx must
// have a deadline.
func again(ctx context.Context, f func(context.Context) error) error {
	wait := 20 * time.Millisecond
	for {
		actx, cancel := context.WithTimeout(ctx, attemptTimeout)
		err := f(actx)
		cancel()
		o := judge(err)
		if o == done || o == refused || o == lost || o == taken || o == full {
			return explain(o, err)
		}
		if pause(ctx, wait) != nil {
			return explain(unclear, err)
		}
		wait = min(2*wait, time.Second)
	}
}
