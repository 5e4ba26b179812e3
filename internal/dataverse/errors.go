package dataverse

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// ErrPaused says that the organisation asked for a pause that is not over, and so
// was not asked. It comes as a [rollover.RetryAfter] with what is left of the pause.
var ErrPaused = errors.New("the organisation asked for a pause")

// StatusError is an answer of the Web API that is not 200.
type StatusError struct {
	Status  int    // HTTP
	Code    uint32 // of Dataverse, 0 if it gave none
	Message string // of Dataverse, cut and without our token
}

// Error gives all three.
func (e *StatusError) Error() string {
	text := fmt.Sprintf("answer %d", e.Status)
	if e.Code != 0 {
		text += fmt.Sprintf(" 0x%08x", e.Code)
	}
	if e.Message != "" {
		text += ": " + e.Message
	}
	return text
}

// isStatus reports whether err is an answer with that HTTP status.
func isStatus(err error, status int) bool {
	var s *StatusError
	return errors.As(err, &s) && s.Status == status
}

// ErrorCode reads the code of a Dataverse error in any of its three forms: empty,
// hexadecimal as 0x80072322, decimal and negative as -2147015902. It returns 0
// for none and for anything else.
func ErrorCode(s string) uint32 {
	s = strings.TrimSpace(s)
	if hex, ok := strings.CutPrefix(strings.ToLower(s), "0x"); ok {
		n, err := strconv.ParseUint(hex, 16, 32)
		if err != nil {
			return 0
		}
		return uint32(n)
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < -1<<31 || n >= 1<<32 {
		return 0
	}
	return uint32(n) //nolint:gosec // The same 32 bits, read as a signed or an unsigned number.
}

const (
	// notAMember: the application user is missing in the organisation.
	notAMember = 0x80072560
	// defaultPause is for an organisation that asks for a pause of unsaid
	// length; its windows are 300 s long.
	defaultPause = time.Minute
	// longestPause bounds what the other side can make us wait.
	longestPause = time.Hour
)

// statusError says what an answer means: who has to do something about it.
func (s *session) statusError(resp *http.Response, body []byte, token string) error {
	e := &StatusError{Status: resp.StatusCode}
	var envelope struct {
		Error struct {
			Code    json.RawMessage `json:"code"`
			Message string          `json:"message"`
		} `json:"error"`
	}
	if json.Unmarshal(body, &envelope) == nil {
		e.Code = ErrorCode(strings.Trim(string(envelope.Error.Code), `"`))
		e.Message = clip(redact(envelope.Error.Message, token), 300)
	}
	pause, asked := retryAfter(resp.Header, s.c.c.Now())
	switch code := resp.StatusCode; {
	case code == http.StatusUnauthorized, code == http.StatusNotFound, code == http.StatusBadRequest:
		// The caller may have another token, path or column set; if not, 401 is
		// handed over there, and the others are for good.
		return s.retryable(e, code)
	case code == http.StatusForbidden:
		return rollover.HandOver(rollover.NoAccess, fmt.Errorf("%s: %w", s.onboarding(e.Code), e))
	case code == http.StatusTooManyRequests:
		if !asked {
			pause = defaultPause
		}
		s.c.park(s.base.Host, pause)
		return rollover.RetryAfter(pause, e)
	case code == http.StatusRequestTimeout, code >= http.StatusInternalServerError:
		if asked {
			return rollover.RetryAfter(pause, e)
		}
		return e
	default:
		return rollover.Permanent(rollover.InventoryUnreadable, e)
	}
}

// retryable marks a 401 as undecided and the others as permanent; isStatus sees
// through the mark.
func (s *session) retryable(e *StatusError, code int) error {
	if code == http.StatusUnauthorized {
		return e
	}
	return rollover.Permanent(rollover.InventoryUnreadable, e)
}

// onboarding says what is missing where an organisation knows us but does not
// let us read.
func (s *session) onboarding(code uint32) string {
	if code == notAMember {
		return fmt.Sprintf("the application user of client %s is missing in %s; add it with a role that may read service endpoints",
			clip(s.login.ClientID, 64), s.base.Host)
	}
	return fmt.Sprintf("the application user of client %s in %s needs a role with the read privilege on service endpoints",
		clip(s.login.ClientID, 64), s.base.Host)
}

// retryAfter reads how long to wait: seconds, a date, or a duration such as
// 00:05:00 or 5m. It is at least a second and at most an hour.
func retryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	v := strings.TrimSpace(h.Get("Retry-After"))
	if v == "" {
		return 0, false
	}
	d, ok := parsePause(v, now)
	return min(max(d, time.Second), longestPause), ok
}

func parsePause(v string, now time.Time) (time.Duration, bool) {
	if n, err := strconv.ParseFloat(v, 64); err == nil {
		return time.Duration(min(max(n, 0), longestPause.Seconds()) * float64(time.Second)), n >= 0
	}
	if t, err := http.ParseTime(v); err == nil {
		return t.Sub(now), true
	}
	if d, err := time.ParseDuration(v); err == nil {
		return d, true
	}
	var hours, minutes, seconds int
	if n, err := fmt.Sscanf(v, "%d:%d:%d", &hours, &minutes, &seconds); err == nil && n == 3 {
		return time.Duration(min(hours, 24))*time.Hour + time.Duration(min(minutes, 60))*time.Minute +
			time.Duration(min(seconds, 60))*time.Second, true
	}
	return 0, false
}

// redact takes our token, and anything shaped like one, out of text that the
// other side sent.
func redact(text, token string) string {
	if token != "" {
		text = strings.ReplaceAll(text, token, "[redacted]")
	}
	return regexp.MustCompile(`[A-Za-z0-9_\-+/=.]{40,}`).ReplaceAllString(text, "[redacted]")
}

// entraError says what a failed login means. The description that Entra gives
// is not repeated, for it may hold what was sent; its number is enough.
func (s *session) entraError(ctx context.Context, err error) error {
	var failed *azidentity.AuthenticationFailedError
	if !errors.As(err, &failed) || failed.RawResponse == nil {
		if ctx.Err() != nil {
			return fmt.Errorf("signing in: %w", context.Cause(ctx))
		}
		return fmt.Errorf("signing in: %s", clip(redact(err.Error(), s.login.Secret.Reveal()), 300))
	}
	resp := failed.RawResponse
	word, number := entraCode(resp)
	cause := fmt.Errorf("signing in to directory %s as client %s: Entra answered %d %s%s",
		clip(s.login.EntraTenant, 64), clip(s.login.ClientID, 64), resp.StatusCode, word, triage(number))
	pause, asked := retryAfter(resp.Header, s.c.c.Now())
	switch {
	case resp.StatusCode == http.StatusTooManyRequests && !asked:
		return rollover.RetryAfter(defaultPause, cause)
	case asked && (resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= http.StatusInternalServerError):
		return rollover.RetryAfter(pause, cause)
	case resp.StatusCode >= http.StatusInternalServerError, resp.StatusCode == http.StatusRequestTimeout,
		word == "temporarily_unavailable", number == 90033:
		return cause
	default:
		return rollover.HandOver(rollover.NoAccess, cause)
	}
}

// entraCode reads the error word and the AADSTS number of an answer of Entra;
// empty and 0 where it has none.
func entraCode(resp *http.Response) (word string, number int) {
	const longest = 64 << 10
	b, err := io.ReadAll(io.LimitReader(resp.Body, longest))
	if err != nil {
		return "", 0
	}
	var e struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
		Codes       []int  `json:"error_codes"`
	}
	if json.Unmarshal(b, &e) != nil {
		return "", 0
	}
	if m := regexp.MustCompile(`^\s*AADSTS(\d{4,8})`).FindStringSubmatch(e.Description); m != nil {
		number, _ = strconv.Atoi(m[1]) // At most eight digits.
	} else if len(e.Codes) > 0 {
		number = e.Codes[0]
	}
	if !regexp.MustCompile(`^[a-z_]{1,40}$`).MatchString(e.Error) {
		e.Error = ""
	}
	return e.Error, number
}

// triage says what an AADSTS number means to the one who has to mend it.
func triage(number int) string {
	if number == 0 {
		return ""
	}
	meaning := map[int]string{
		700016:  "the application is not in this directory; an administrator has to consent",
		90002:   "there is no such directory",
		7000215: "the client secret is wrong",
		7000222: "the client secret has expired",
		700027:  "the certificate is not registered with the application, or has expired",
		700024:  "the login was not made within its time; check the clock",
		53003:   "conditional access refuses the application",
		7000112: "the application is disabled",
		90033:   "Entra is not available for a moment",
	}[number]
	if meaning == "" {
		return fmt.Sprintf(" AADSTS%d", number)
	}
	return fmt.Sprintf(" AADSTS%d: %s", number, meaning)
}
