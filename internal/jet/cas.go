package jet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

// maxPart bounds the data of one message. The server's default limit is 1 MiB
// with headers.
const maxPart = 768 << 10

// maxBatch is how many messages one atomic batch may have (the server's
// JetStreamLimits.MaxBatchSize).
const maxBatch = 1000

// batchMessageTime is how long each message of a batch may take at worst.
const batchMessageTime = 20 * time.Millisecond

// busyTries is how often a write is tried again because another one of its
// subject is on its way, before the leader is asked what stands.
const busyTries = 10

// write is one compare-and-swap.
type write struct {
	stream  string
	subject string
	data    []byte
	expect  uint64 // the sequence that must be the subject's last; 0: none
	parts   int    // of the value whose head this is; 0 or 1: it is whole
	ttl     time.Duration
	gone    bool // it says that there is no value any more
}

// msg returns the message to publish.
func (w write) msg() *nats.Msg {
	m := &nats.Msg{Subject: w.subject, Data: w.data, Header: nats.Header{
		jetstream.ExpectedStreamHeader:      {w.stream},
		jetstream.ExpectedLastSubjSeqHeader: {strconv.FormatUint(w.expect, 10)},
	}}
	if w.parts > 1 {
		m.Header.Set(headerParts, strconv.Itoa(w.parts))
	}
	if w.gone {
		m.Header.Set(headerGone, "1")
	}
	if w.ttl > 0 {
		m.Header.Set(jetstream.MsgTTLHeader, w.ttl.String())
	}
	return m
}

// answer is what the server says to a publish.
type answer struct {
	Stream string              `json:"stream"`
	Seq    uint64              `json:"seq"`
	Error  *jetstream.APIError `json:"error"`
}

// publish sends m once and returns its sequence.
func (b *Broker) publish(ctx context.Context, m *nats.Msg) (uint64, error) {
	resp, err := b.nc.RequestMsgWithContext(ctx, m)
	if err != nil {
		return 0, fmt.Errorf("publishing: %w", err)
	}
	var a answer
	if err := json.Unmarshal(resp.Data, &a); err != nil {
		return 0, fmt.Errorf("reading the answer to a publish: %w", err)
	}
	if a.Error != nil {
		return 0, fmt.Errorf("publishing: %w", a.Error)
	}
	return a.Seq, nil
}

// publishBatch sends messages of one stream as one atomic batch, once, and
// returns the sequence of the last. They are stored side by side.
func (b *Broker) publishBatch(ctx context.Context, ws []write) (uint64, error) {
	msgs := make([]*nats.Msg, len(ws))
	for i, w := range ws {
		msgs[i] = w.msg()
	}
	flow := jetstreamext.BatchFlowControl{AckEvery: 64, AckTimeout: attemptTimeout}
	a, err := jetstreamext.PublishMsgBatch(ctx, b.js, msgs, flow)
	if err != nil {
		return 0, fmt.Errorf("publishing a batch of %d: %w", len(ws), err)
	}
	return a.Sequence, nil
}

// swap writes w, and tries again as long as that cannot do harm. It returns the
// new sequence, or an error that is ErrConflict, ErrFull or ErrUnavailable.
func (b *Broker) swap(ctx context.Context, w write) (uint64, error) {
	return b.settle(ctx, w, false, attemptTimeout, func(ctx context.Context) (uint64, error) { return b.publish(ctx, w.msg()) })
}

// swapAll writes all or nothing. The last one decides whose write it was when
// an answer was lost, so it must be a record with a compare-and-swap of its own.
func (b *Broker) swapAll(ctx context.Context, ws []write) (uint64, error) {
	if len(ws) > maxBatch {
		return 0, fmt.Errorf("%d messages in one write, at most %d fit: %w", len(ws), maxBatch, rollover.ErrFull)
	}
	limit := attemptTimeout + time.Duration(len(ws))*batchMessageTime
	return b.settle(ctx, ws[len(ws)-1], false, limit, func(ctx context.Context) (uint64, error) { return b.publishBatch(ctx, ws) })
}

// settle tries until the outcome is known, limit being the time for one try.
// doubt says that w may have been stored before.
func (b *Broker) settle(ctx context.Context, w write, doubt bool, limit time.Duration, try func(context.Context) (uint64, error)) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, callBudget+2*limit)
	defer cancel()
	wait, inTheWay := 20*time.Millisecond, 0
	for {
		actx, cancel := context.WithTimeout(ctx, limit)
		seq, err := try(actx)
		cancel()
		nap := time.Duration(0)
		o := judge(err)
		switch o {
		case done:
			return seq, nil
		case lost:
			if !doubt {
				return 0, explain(lost, err)
			}
			return b.mine(ctx, w, err)
		case busy:
			// 10164 is also what a replicated stream says to a real mismatch.
			if inTheWay++; inTheWay%busyTries == 0 {
				if seq, known, rerr := b.stands(ctx, w, doubt); known {
					return seq, rerr
				}
			}
			nap = min(50*time.Microsecond<<min(inTheWay, 10), 20*time.Millisecond)
		case unclear:
			doubt = true
			nap = wait
			wait = min(2*wait, 500*time.Millisecond)
		default:
			return 0, explain(o, err)
		}
		if pause(ctx, nap) != nil {
			return 0, explain(o, err)
		}
	}
}

// mine finds out whether the value that stands is w, stored by a try whose
// answer was lost. Two writers of equal bytes have done the same.
func (b *Broker) mine(ctx context.Context, w write, cause error) (uint64, error) {
	m, err := b.last(ctx, w.stream, w.subject)
	switch {
	case err != nil:
		return 0, err
	case m != nil && m.Sequence > w.expect && bytes.Equal(m.Data, w.data):
		return m.Sequence, nil
	default:
		return 0, explain(lost, cause)
	}
}

// stands asks the leader whether w can still be written. known is false if it
// can, or if there is no answer.
func (b *Broker) stands(ctx context.Context, w write, doubt bool) (seq uint64, known bool, err error) {
	m, err := b.last(ctx, w.stream, w.subject)
	switch {
	case err != nil, m == nil && w.expect == 0, m != nil && m.Sequence == w.expect:
		return 0, false, nil
	case doubt && m != nil && m.Sequence > w.expect && bytes.Equal(m.Data, w.data):
		return m.Sequence, true, nil
	default:
		return 0, true, fmt.Errorf("another value of %s stands: %w", w.subject, rollover.ErrConflict)
	}
}

// last reads the last message of a subject, which may hold wildcards, from the
// leader of its stream; nil if there is none. A direct get is faster and may be
// answered by a replica that lags, so it is used where there is one server only.
func (b *Broker) last(ctx context.Context, stream, subject string) (*stored, error) {
	ask, err := json.Marshal(map[string]string{"last_by_subj": subject})
	if err != nil {
		return nil, fmt.Errorf("encoding a request: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, callBudget)
	defer cancel()
	get := b.fromLeader
	if b.direct(stream) {
		get = b.directly
	}
	var out *stored
	err = again(ctx, func(ctx context.Context) (err error) {
		out, err = get(ctx, stream, ask)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the last of %s: %w", subject, err)
	}
	return out, nil
}

// direct reports whether a stream is read by direct gets: its only copy is the
// embedded server's. The work queue has few and odd reads and is left out.
func (b *Broker) direct(stream string) bool { return b.srv != nil && stream != streamWork }

// fromLeader asks the leader by its API.
func (b *Broker) fromLeader(ctx context.Context, stream string, ask []byte) (*stored, error) {
	resp, err := b.nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+stream, ask)
	if err != nil {
		return nil, fmt.Errorf("asking the leader: %w", err)
	}
	var a struct {
		Message *stored             `json:"message"`
		Error   *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(resp.Data, &a); err != nil {
		return nil, fmt.Errorf("reading the leader's answer: %w", err)
	}
	if a.Error != nil && a.Error.ErrorCode != codeNoMessage {
		return nil, fmt.Errorf("asking the leader: %w", a.Error)
	}
	return a.Message, nil
}

// statusNone is what a direct get answers where there is no message.
const statusNone = "404"

// directly asks the stream itself. Its answer is the message as it is, with what
// is to be known of it in headers.
func (b *Broker) directly(ctx context.Context, stream string, ask []byte) (*stored, error) {
	resp, err := b.nc.RequestWithContext(ctx, "$JS.API.DIRECT.GET."+stream, ask)
	if errors.Is(err, nats.ErrNoResponders) {
		// Another process that began in the same moment has updated the stream from what it
		// was before us: it takes no direct gets until this process begins again.
		return b.fromLeader(ctx, stream, ask)
	}
	if err != nil {
		return nil, fmt.Errorf("asking the stream: %w", err)
	}
	switch status := resp.Header.Get("Status"); {
	case status == statusNone:
		return nil, nil
	case status != "":
		return nil, fmt.Errorf("asking the stream: it answered %s %s", status, resp.Header.Get("Description"))
	}
	seq, err := strconv.ParseUint(resp.Header.Get(jetstream.SequenceHeader), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("reading the stream's answer: %w", err)
	}
	at, err := time.Parse(time.RFC3339Nano, resp.Header.Get(jetstream.TimeStampHeaer))
	if err != nil {
		return nil, fmt.Errorf("reading the stream's answer: %w", err)
	}
	return &stored{Subject: resp.Header.Get(jetstream.SubjectHeader), Sequence: seq, Data: resp.Data, Time: at, parsed: resp.Header}, nil
}

// stored is a message as the leader has it.
type stored struct {
	Subject  string    `json:"subject"`
	Sequence uint64    `json:"seq"`
	Headers  []byte    `json:"hdrs"`
	Data     []byte    `json:"data"`
	Time     time.Time `json:"time"`

	parsed nats.Header // what Headers say, if it was read already
}

// header returns the headers of the message.
func (m *stored) header() (nats.Header, error) {
	if m.parsed != nil || len(m.Headers) == 0 {
		return m.parsed, nil
	}
	h, err := nats.DecodeHeadersMsg(m.Headers)
	if err != nil {
		return nil, fmt.Errorf("reading the headers of %s: %w", m.Subject, err)
	}
	return h, nil
}

// parts returns of how many messages the value is whose head this is.
func (m *stored) parts() (int, error) {
	h, err := m.header()
	if err != nil {
		return 0, err
	}
	return partsOf(h)
}

// partsOf reads the header that says so.
func partsOf(h nats.Header) (int, error) {
	v := h.Get(headerParts)
	if v == "" {
		return 1, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 2 || n > maxBatch {
		return 0, fmt.Errorf("header %s is %q", headerParts, v)
	}
	return n, nil
}
