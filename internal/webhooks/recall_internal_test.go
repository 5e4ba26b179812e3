package webhooks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/crossfade-project/crossfade/internal/mirror"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/secrets"
)

// shelf is a bucket in memory that counts how it is asked.
type shelf struct {
	values map[string][]byte
	gets   int
	each   int
}

func (s *shelf) Each(_ context.Context, fn func(string, []byte, uint64) error) error {
	s.each++
	for k, v := range s.values {
		if err := fn(k, v, 1); err != nil {
			return err
		}
	}
	return nil
}

func (s *shelf) Get(_ context.Context, key string) ([]byte, uint64, error) {
	s.gets++
	if v, ok := s.values[key]; ok {
		return v, 1, nil
	}
	return nil, 0, rollover.ErrNotFound
}

func (s *shelf) Create(_ context.Context, key string, v []byte) (uint64, error) {
	if _, ok := s.values[key]; ok {
		return 0, rollover.ErrExists
	}
	s.values[key] = v
	return 1, nil
}

func (s *shelf) Update(_ context.Context, key string, v []byte, _ uint64) (uint64, error) {
	s.values[key] = v
	return 1, nil
}

// noKeys has no secret, so that nothing is sent.
type noKeys struct{}

func (noKeys) Secret(context.Context, secrets.Ref) (secrets.Secret, error) {
	return secrets.Secret{}, errors.New("there is none")
}

// reignOf returns a reign over hooks that want nothing but ends, so that nothing is sent.
func reignOf(b Bucket, views *[]mirror.View, hooks ...string) *reign {
	c := Config{
		Rotations: func() []mirror.View { return *views }, Bucket: b, Now: time.Now, Log: slog.New(slog.DiscardHandler),
		Sender: &Sender{HTTP: http.DefaultClient, Secrets: noKeys{}, Now: time.Now}, Waiting: func(int) {}, Count: func(string, Result) {},
	}
	for _, name := range hooks {
		c.Hooks = append(c.Hooks, Hook{Name: name, URL: "https://example.com", Secret: "env:NONE", Events: []string{Ended}})
	}
	return newReign(c)
}

func many(n int) []mirror.View {
	var out []mirror.View
	for i := range n {
		v := at(func(r *rollover.Rotation) { r.ID = fmt.Sprintf("01900000-0000-7000-8000-%012x", i) })
		out = append(out, v.View)
	}
	return out
}

// Who comes to lead reads what was noted in one go, however many rotations and webhooks
// there are, and goes on from there.
func TestReign_ReadsWhatWasNotedAtOnce(t *testing.T) {
	b := &shelf{values: map[string][]byte{}}
	for i, v := range many(100) {
		if i%2 == 0 { // Half of them are noted.
			b.values[keyOf("one", v.Rotation.ID)] = []byte(`{"v":1,"told":{"created":true,"planned":true,"started":true,"state":"running"}}`)
		}
	}
	b.values["one/gone"], b.values["another/x"] = []byte(`{"v":1}`), []byte(`{"v":9}`)
	views := many(100)
	r := reignOf(b, &views, "one", "two", "three")
	r.look(t.Context())
	r.look(t.Context())
	if b.each != 1 || b.gets > 3 {
		t.Errorf("the bucket was listed %d times and asked %d times, want once and once for each webhook", b.each, b.gets)
	}
	if len(r.records) != 300 || !r.records[keyOf("one", views[0].Rotation.ID)].Told.Started {
		t.Errorf("%d records are remembered, want 300 and what was noted", len(r.records))
	}
	if len(r.absent) != 0 {
		t.Errorf("%d keys are remembered as absent, want none once they were asked for", len(r.absent))
	}
}

// A record that is not of this program holds up its own webhook alone.
func TestReign_ABadRecordHoldsUpItsWebhookAlone(t *testing.T) {
	views := many(2)
	b := &shelf{values: map[string][]byte{keyOf("one", views[0].Rotation.ID): []byte(`{"v":9}`)}}
	r := reignOf(b, &views, "one", "two")
	r.look(t.Context())
	for _, v := range views {
		if r.records[keyOf("two", v.Rotation.ID)] == nil {
			t.Errorf("rotation %s was not looked at for the other webhook", v.Rotation.ID)
		}
	}
	if r.records[keyOf("one", views[0].Rotation.ID)] != nil {
		t.Error("the record that cannot be read was taken for one that is not there")
	}
}

// What is remembered goes with the rotations that retention deletes.
func TestReign_ForgetsRotationsThatAreGone(t *testing.T) {
	views := many(50)
	r := reignOf(&shelf{values: map[string][]byte{}}, &views, "one", "two")
	r.Approvals = rollover.ApprovalPolicy{Rules: []rollover.ApprovalRule{{Approvers: 1}}}
	for i := range views {
		views[i].Rotation.State, views[i].Rotation.Digest = rollover.StatePlanned, "d"
	}
	r.look(t.Context())
	if len(r.records) != 100 || len(r.needs) != 50 {
		t.Fatalf("%d records and %d needs are remembered, want 100 and 50", len(r.records), len(r.needs))
	}
	flying := keyOf("one", views[0].Rotation.ID)
	r.flying[flying] = true
	views = views[40:]
	r.look(t.Context())
	if len(r.records) != 21 || r.records[flying] == nil || len(r.needs) != 10 {
		t.Errorf("%d records and %d needs are remembered, want those of ten rotations and what is on its way", len(r.records), len(r.needs))
	}
	delete(r.flying, flying)
	r.look(t.Context())
	if len(r.records) != 20 {
		t.Errorf("%d records are remembered, want those of ten rotations", len(r.records))
	}
}

// How many must approve is asked once for a plan, and again for another; where that
// cannot be said, the others are looked at all the same.
func TestReign_AsksTheRulesOnceForAPlan(t *testing.T) {
	views := many(2)
	for i := range views {
		views[i].Rotation.State, views[i].Rotation.Digest = rollover.StatePlanned, "d"
	}
	asked, lost := map[string]int{}, views[1].Rotation.ID
	r := reignOf(&shelf{values: map[string][]byte{}}, &views, "one")
	r.Approvals = rollover.ApprovalPolicy{Rules: []rollover.ApprovalRule{{Clouds: []string{"gov"}, Approvers: 2}}}
	r.Clouds = func(_ context.Context, id string) ([]string, error) {
		if asked[id]++; id == lost {
			return nil, rollover.ErrUnavailable
		}
		return []string{"gov"}, nil
	}
	r.look(t.Context())
	r.look(t.Context())
	first := views[0].Rotation.ID
	if asked[first] != 1 || asked[lost] != 2 || r.records[keyOf("one", first)] == nil || r.records[keyOf("one", lost)] != nil {
		t.Errorf("asked %v; want once of the first and again of the other, which is left out", asked)
	}
	views[0].Rotation.Digest = "e"
	if n, err := r.needed(t.Context(), views[0]); n != 2 || err != nil || asked[first] != 2 {
		t.Errorf("needed of another plan = %d, %v after %d questions, want 2 after 2", n, err, asked[first])
	}
}
