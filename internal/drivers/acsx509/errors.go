package acsx509

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/crossfade-project/crossfade/internal/drivers/kit"
	"github.com/crossfade-project/crossfade/internal/outbound"
	"github.com/crossfade-project/crossfade/internal/rollover"
)

// maxRetryAfter bounds how long a server may ask us to stay away.
const maxRetryAfter = 10 * time.Minute

// StatusError is an answer of ACS other than success. What it means is decided
// by its status alone: the codes in ACS's texts may change without notice, so
// they are for people (ACS documentation, "error codes" and "retry guidelines").
type StatusError struct {
	Op     string        // what was asked, such as "adding a key"
	Host   string        //
	Status int           // HTTP status
	Codes  []string      // ACSnnnnn codes found in the answer, at most four
	Trace  string        // the Trace ID that Microsoft's support asks for; may be empty
	After  time.Duration // what Retry-After said; 0: nothing
}

// Error holds nothing of the answer but codes and trace: a page that echoes a
// request would echo its secret.
func (e *StatusError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s on %s: HTTP %d", e.Op, e.Host, e.Status)
	if t := http.StatusText(e.Status); t != "" {
		b.WriteString(" " + t)
	}
	if len(e.Codes) > 0 {
		b.WriteString(", " + strings.Join(e.Codes, " "))
	}
	if e.Trace != "" {
		b.WriteString(", trace " + e.Trace)
	}
	return b.String()
}

// statusOf returns the HTTP status in err's chain, 0 if there is none.
func statusOf(err error) int {
	var s *StatusError
	if errors.As(err, &s) {
		return s.Status
	}
	return 0
}

// statusError makes a StatusError of an answer and the beginning of its body,
// which may be Atom XML, JSON, plain text or a proxy's HTML.
func statusError(op, host string, r *http.Response, body []byte, now time.Time) *StatusError {
	e := &StatusError{Op: op, Host: host, Status: r.StatusCode, After: retryAfter(r.Header.Get("Retry-After"), now)}
	for _, c := range regexp.MustCompile(`\bACS\d{5}\b`).FindAllString(string(body), -1) {
		if len(e.Codes) < 4 && !slices.Contains(e.Codes, c) {
			e.Codes = append(e.Codes, c)
		}
	}
	const guid = `[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}`
	for _, h := range []string{"x-ms-request-id", "request-id"} {
		if v := r.Header.Get(h); e.Trace == "" && regexp.MustCompile(`^`+guid+`$`).MatchString(v) {
			e.Trace = v
		}
	}
	if m := regexp.MustCompile(`(?i)trace ?id:\s*(` + guid + `)`).FindSubmatch(body); e.Trace == "" && m != nil {
		e.Trace = string(m[1])
	}
	return e
}

// retryAfter reads a Retry-After header, seconds or a date, bounded.
func retryAfter(v string, now time.Time) time.Duration {
	var d time.Duration
	if n, err := strconv.Atoi(v); err == nil {
		d = time.Duration(min(n, 24*3600)) * time.Second
	} else if t, err := http.ParseTime(v); err == nil {
		d = t.Sub(now)
	}
	return min(max(d, 0), maxRetryAfter)
}

// mark says what an error of a call means for the task: the one place of this
// driver that decides it. What is marked already stays as it is.
func mark(err error) error {
	var step *rollover.StepError
	var status *StatusError
	switch {
	case err == nil, errors.As(err, &step):
		return err
	case errors.As(err, &status):
		return markStatus(status.Status, status.After, err)
	case errors.Is(err, kit.ErrNoAccess):
		return rollover.HandOver(rollover.NoAccess, err)
	case hostUnknown(err):
		return rollover.HandOver(rollover.NamespaceUnknown, err)
	case unreachable(err):
		return rollover.Throttled(rollover.HostDown, 0, err)
	default: // An answer that is none: again.
		return err
	}
}

// unreachable reports whether no answer came: a cut line, or a deadline. Our own
// stopping is neither.
func unreachable(err error) bool {
	var sent *url.Error
	return !errors.Is(err, context.Canceled) && (errors.As(err, &sent) || errors.Is(err, context.DeadlineExceeded))
}

func markStatus(status int, after time.Duration, err error) error {
	switch {
	case status == http.StatusTooManyRequests:
		return rollover.Throttled(rollover.ByHost, after, err)
	case status == http.StatusServiceUnavailable:
		return rollover.Throttled(rollover.ByService, after, err)
	case status >= 500, status == http.StatusRequestTimeout:
		return rollover.Throttled(rollover.HostDown, 0, err)
	case status == http.StatusPreconditionFailed:
		return err
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return rollover.HandOver(rollover.NoAccess, err)
	default:
		return rollover.Permanent(rollover.Refused, err)
	}
}

// hostUnknown reports whether no such host exists, or its name leads where we do
// not go. A namespace without ACS has no DNS record, and since 2018 none has.
func hostUnknown(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) && dns.IsNotFound || errors.Is(err, outbound.ErrForbiddenAddress)
}

// sendError wraps an error of the HTTP client. The address of a request holds
// nothing secret, its body and headers do and are not in the error.
func sendError(ctx context.Context, op, host string, err error) error {
	if cause := context.Cause(ctx); cause != nil && ctx.Err() != nil {
		return fmt.Errorf("%s on %s: %w", op, host, cause)
	}
	return fmt.Errorf("%s on %s: %w", op, host, err)
}
