package inventory

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/crossfade-project/crossfade/internal/rollover"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// JobBucket keeps jobs. Keys are UUIDs in lower case.
type JobBucket interface {
	// Get returns the latest value and its revision, or [rollover.ErrNotFound].
	Get(ctx context.Context, key string) ([]byte, uint64, error)
	// Create stores a value that is not there, or returns [rollover.ErrExists].
	Create(ctx context.Context, key string, value []byte) (uint64, error)
	// Update stores a value over the one of that revision, or returns
	// [rollover.ErrConflict].
	Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)
	// Purge removes the value of that revision without a trace; where another stands,
	// nothing is done.
	Purge(ctx context.Context, key string, revision uint64) error
	// All returns every key with its latest value.
	All(ctx context.Context) (map[string][]byte, error)
}

// ErrorBucket keeps what is wrong with the rows of jobs. Keys are UUIDs in lower case
// with a dot and a number.
type ErrorBucket interface {
	// Get returns the latest value and its revision, or [rollover.ErrNotFound].
	Get(ctx context.Context, key string) ([]byte, uint64, error)
	// Put stores a value whatever stands there, or returns [rollover.ErrFull].
	Put(ctx context.Context, key string, value []byte) (uint64, error)
	// Purge removes the value of that revision, 0 for any, without a trace.
	Purge(ctx context.Context, key string, revision uint64) error
}

// The bounds of jobs. Those of one caller take some 15 MB at the very most.
const (
	jobVersion   = 1
	jobsKept     = 50              // of one caller; the oldest that have ended give way
	jobsRunning  = 8               // of one caller
	errorsKept   = 1000            // of the rows of a job
	errorsAPage  = 500             // in one value: at some 300 bytes each
	errorsTold   = 100             // in the answer of an import
	jobCutOff    = 5 * time.Minute // a job of which nothing was heard for so long was cut off
	jobSaveAfter = 10 * time.Second
)

// job is an import as it is stored.
type job struct {
	V            int       `json:"v"`
	ID           string    `json:"id"`
	Run          string    `json:"run"`   // of the stream that has it
	State        string    `json:"state"` // of the contract
	ValidateOnly bool      `json:"validate_only,omitempty"`
	Rows         int64     `json:"rows,omitempty"`
	Expected     int64     `json:"expected,omitempty"`
	Created      int64     `json:"created,omitempty"`
	Updated      int64     `json:"updated,omitempty"`
	Unchanged    int64     `json:"unchanged,omitempty"`
	Failed       int64     `json:"failed,omitempty"`
	Errors       int       `json:"errors,omitempty"` // how many are kept
	Detail       string    `json:"detail,omitempty"`
	By           string    `json:"by,omitempty"`
	At           time.Time `json:"at"`
	ChangedAt    time.Time `json:"changed_at"`
	EndedAt      time.Time `json:"ended_at,omitzero"`

	rev uint64
	// discovery is set where the job is one; then it is stored by its own record, and
	// the fields above are filled in from that.
	discovery *discovery
}

func (j job) is(s pb.InventoryJob_State) bool { return j.State == s.String() }

// over reports whether nothing more happens to it.
func (j job) over() bool { return !j.is(pb.InventoryJob_STATE_RUNNING) }

// asOf returns the job as it stands at an instant: one of which nothing was heard for long
// was cut off with the process that had it.
func (j job) asOf(now time.Time) job {
	if j.discovery == nil && !j.over() && now.Sub(j.ChangedAt) > jobCutOff {
		j.State, j.EndedAt = pb.InventoryJob_STATE_FAILED.String(), j.ChangedAt
		j.Detail = fmt.Sprintf("it was cut off after %d rows; send it again", j.Rows)
	}
	return j
}

func (j job) proto() *pb.InventoryJob {
	p := &pb.InventoryJob{
		Kind: j.kind(), Name: edge.JobName(j.ID), State: pb.InventoryJob_State(pb.InventoryJob_State_value[j.State]), ValidateOnly: j.ValidateOnly,
		RowCount: j.Rows, ExpectedRows: j.Expected, CreatedCount: j.Created, UpdatedCount: j.Updated, UnchangedCount: j.Unchanged,
		FailedCount: j.Failed, Detail: j.Detail, Creator: j.By, CreateTime: timestamppb.New(j.At), UpdateTime: timestamppb.New(j.ChangedAt),
	}
	if !j.EndedAt.IsZero() {
		p.EndTime = timestamppb.New(j.EndedAt)
	}
	j.discovery.describe(p)
	return p
}

// begin makes a job, or finds the one that the request id made.
func (s *Service) begin(ctx context.Context, h *pb.ImportHeader) (job, error) {
	now := s.c.Now().UTC()
	j := job{
		V: jobVersion, ID: strings.ToLower(h.GetRequestId()), Run: rand.Text(), State: pb.InventoryJob_STATE_RUNNING.String(), ValidateOnly: h.GetValidateOnly(),
		Expected: h.GetExpectedRows(), By: edge.Caller(ctx), At: now, ChangedAt: now,
	}
	if j.ID == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return j, fmt.Errorf("naming a job: %w", err)
		}
		j.ID = id.String()
	}
	if err := s.makeRoom(ctx, j); err != nil {
		return j, err
	}
	b, err := json.Marshal(j)
	if err != nil {
		return j, fmt.Errorf("encoding a job: %w", err)
	}
	j.rev, err = s.c.Jobs.Create(ctx, j.ID, b)
	if !errors.Is(err, rollover.ErrExists) {
		return j, err
	}
	old, err := s.read(ctx, j.ID)
	if err != nil {
		return j, err
	}
	if old.discovery != nil || old.By != j.By || old.ValidateOnly != j.ValidateOnly || old.Expected != j.Expected {
		return j, edge.Reused(edge.JobName(j.ID))
	}
	if old.asOf(now).over() && !old.is(pb.InventoryJob_STATE_FAILED) && !old.is(pb.InventoryJob_STATE_RUNNING) {
		return old, nil
	}
	j.rev, j.At = old.rev, old.At
	return j, s.save(ctx, &j)
}

// makeRoom drops the oldest jobs of the caller who begins one, so that nobody fills the
// bucket, and refuses more at once than a caller may have.
func (s *Service) makeRoom(ctx context.Context, begun job) error {
	stored, err := s.c.Jobs.All(ctx)
	if err != nil {
		return fmt.Errorf("listing jobs: %w", err)
	}
	var ended []job
	running := 0
	for _, b := range stored {
		j, err := decodeJob(b, 0)
		if err != nil {
			return err
		}
		switch j = j.asOf(begun.At); {
		case j.By != begun.By || j.ID == begun.ID:
		case j.over():
			ended = append(ended, j)
		default:
			running++
		}
	}
	if running >= jobsRunning {
		return edge.Exhausted(pb.ErrorReason_ERROR_REASON_TOO_MANY_UPLOADS, "imports",
			fmt.Sprintf("you may have %d imports under way; end or cancel one", jobsRunning), 5*time.Second)
	}
	slices.SortFunc(ended, func(a, b job) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.ID, b.ID)) })
	for _, j := range ended[:max(0, running+len(ended)-(jobsKept-1))] {
		if err := s.drop(ctx, j); err != nil {
			return fmt.Errorf("dropping an old job: %w", err)
		}
	}
	return nil
}

// drop removes a job that has ended, and first what is wrong with its rows. One that a
// repeat has begun anew meanwhile stays.
func (s *Service) drop(ctx context.Context, j job) error {
	now, err := s.read(ctx, j.ID)
	if errors.Is(err, rollover.ErrNotFound) || err == nil && now.Run != j.Run {
		return nil
	}
	for page := 0; err == nil && page*errorsAPage < errorsKept; page++ {
		err = s.c.JobErrors.Purge(ctx, errorsKey(j.ID, page), 0)
	}
	if err != nil {
		return err
	}
	return s.c.Jobs.Purge(ctx, j.ID, now.rev)
}

func (s *Service) read(ctx context.Context, id string) (job, error) {
	b, rev, err := s.c.Jobs.Get(ctx, id)
	if errors.Is(err, rollover.ErrNotFound) {
		return s.known(ctx, id)
	}
	if err != nil {
		return job{}, err
	}
	return decodeJob(b, rev)
}

func decodeJob(b []byte, rev uint64) (job, error) {
	var j job
	if err := json.Unmarshal(b, &j); err != nil {
		return j, fmt.Errorf("decoding a job: %w", err)
	}
	if j.V != jobVersion {
		return j, fmt.Errorf("decoding a job: version %d is not known", j.V)
	}
	j.rev = rev
	return j, nil
}

// save stores a job over what this call read or stored last.
func (s *Service) save(ctx context.Context, j *job) error {
	if j.discovery != nil {
		return s.cancelDiscovery(ctx, j)
	}
	b, err := json.Marshal(j)
	if err != nil {
		return fmt.Errorf("encoding a job: %w", err)
	}
	j.rev, err = s.c.Jobs.Update(ctx, j.ID, b, j.rev)
	return err
}
