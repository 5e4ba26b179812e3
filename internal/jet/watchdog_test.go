package jet

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/crossfade-project/crossfade/internal/rollover"
)

func TestJudgeConsumer(t *testing.T) {
	led, unknown := &jetstream.ClusterInfo{Leader: "n0"}, &jetstream.ClusterInfo{}
	for name, c := range map[string]struct {
		info      *jetstream.ConsumerInfo
		err       error
		clustered bool
		want      trouble
	}{
		"alone, some to give":             {info: &jetstream.ConsumerInfo{NumPending: 1}, want: noTrouble},
		"alone, some given":               {info: &jetstream.ConsumerInfo{NumAckPending: 1}, want: noTrouble},
		"alone, neither":                  {info: &jetstream.ConsumerInfo{}, want: stranded},
		"led, some to give":               {info: &jetstream.ConsumerInfo{NumPending: 1, Cluster: led}, clustered: true, want: noTrouble},
		"led, neither":                    {info: &jetstream.ConsumerInfo{Cluster: led}, clustered: true, want: stranded},
		"answered for a missing leader":   {info: &jetstream.ConsumerInfo{Cluster: unknown}, clustered: true, want: unled},
		"answered by one without a group": {info: &jetstream.ConsumerInfo{}, clustered: true, want: unled},
		"unavailable":                     {err: &jetstream.APIError{Code: 503, ErrorCode: 10008}, clustered: true, want: unled},
		"silence":                         {err: nats.ErrTimeout, clustered: true, want: unled},
		"not there":                       {err: jetstream.ErrConsumerNotFound, clustered: true, want: noTrouble},
	} {
		if got := judgeConsumer(c.info, c.err, c.clustered); got != c.want {
			t.Errorf("%s: judgeConsumer = %v, want %v", name, got, c.want)
		}
	}
}

func TestWatchdog_DoesTheLessFirst(t *testing.T) {
	const none, broken = noTrouble, trouble(-1)
	for name, c := range map[string]struct {
		seen []trouble
		want []string
	}{
		"an election ends":               {[]trouble{unled, unled, none, unled, unled, none}, nil},
		"stranded for a moment":          {[]trouble{stranded, none, stranded, none}, nil},
		"one trouble, then another":      {[]trouble{stranded, unled, stranded, unled, stranded}, nil},
		"nothing is known in between":    {[]trouble{unled, unled, broken, unled, unled, broken}, nil},
		"stranded":                       {[]trouble{stranded, stranded, stranded, none}, []string{"remake"}},
		"stranded twice":                 {[]trouble{stranded, stranded, stranded, stranded, stranded, stranded}, []string{"remake", "remake"}},
		"unled, mended by a new one":     {[]trouble{unled, unled, unled, unled, none, unled, unled, unled, unled, none}, []string{"remake", "remake"}},
		"unled, not mended by a new one": {[]trouble{unled, unled, unled, unled, unled, unled, unled, unled, none}, []string{"remake", "empty"}},
	} {
		t.Run(name, func(t *testing.T) {
			var did []string
			ctx, cancel := context.WithCancel(t.Context())
			do := func(what string) func(context.Context) error {
				return func(context.Context) error {
					did = append(did, what)
					return errors.New("said to fail, which changes nothing")
				}
			}
			next := 0
			w := &watchdog{remake: do("remake"), empty: do("empty"), every: 10 * time.Millisecond, log: slog.New(slog.DiscardHandler)}
			now := time.Unix(0, 0)
			w.now = func() time.Time { return now }
			w.strandedFor, w.unledFor = 2*time.Second, 3*time.Second
			w.look = func(context.Context) (trouble, error) {
				now = now.Add(time.Second)
				if next++; next == len(c.seen) {
					cancel()
				}
				if c.seen[next-1] == broken {
					return noTrouble, errors.New("no answer")
				}
				return c.seen[next-1], nil
			}
			w.run(ctx)
			if !reflect.DeepEqual(did, c.want) {
				t.Errorf("after %v it did %q, want %q", c.seen, did, c.want)
			}
		})
	}
}

func TestEmpty_LeavesAQueueThatWorks(t *testing.T) {
	b := inside(t, Config{AckWait: time.Second})
	if err := b.NudgeTask(t.Context(), "old", rollover.Nudge{Rotation: "r1"}); err != nil {
		t.Fatal(err)
	}
	for range 2 { // The second by another process, which saw the same.
		if err := b.empty(t.Context()); err != nil {
			t.Fatalf("empty = %v", err)
		}
	}
	if err := b.NudgeTask(t.Context(), "new", rollover.Nudge{Rotation: "r1", Ord: 1}); err != nil {
		t.Fatalf("NudgeTask = %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got []string
	_ = b.Consume(ctx, Tasks, 1, func(ctx context.Context, d *Delivery) {
		got = append(got, d.Slot)
		_ = d.Done(ctx)
		cancel()
	})
	if !reflect.DeepEqual(got, []string{"new"}) {
		t.Errorf("the queue gave %q, want what was sent after it was emptied", got)
	}
}
