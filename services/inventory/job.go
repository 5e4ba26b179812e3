package inventory

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/crossfade-project/crossfade/internal/rollover"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// JobBucket keeps jobs and what is wrong with their rows. Keys are UUIDs in lower case,
// and UUIDs with a dot and a number.
type JobBucket interface {
	// Get returns the latest value and its revision, or [rollover.ErrNotFound].
	Get(ctx context.Context, key string) ([]byte, uint64, error)
	// Create stores a value that is not there, or returns [rollover.ErrExists].
	Create(ctx context.Context, key string, value []byte) (uint64, error)
	// Update stores a value over the one of that revision, or returns
	// [rollover.ErrConflict].
	Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)
	// Put stores a value whatever stands there.
	Put(ctx context.Context, key string, value []byte) (uint64, error)
	// All returns every key with its latest value.
	All(ctx context.Context) (map[string][]byte, error)
}

// The bounds of a job.
const (
	jobVersion   = 1
	errorsKept   = 10_000          // of the rows of a job
	errorsAPage  = 500             // in one value: at some 600 bytes each
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

// ImportInventory takes chunks in until the caller ends, and says what became of them.
func (s *Service) ImportInventory(stream grpc.ClientStreamingServer[pb.ImportInventoryRequest, pb.ImportInventoryResponse]) error {
	first, err := stream.Recv()
	if errors.Is(err, io.EOF) || err == nil && first.GetHeader() == nil {
		return edge.Invalid(edge.Violated("header", "REQUIRED", "must be the first message"))
	}
	if err != nil {
		return err
	}
	i := &importing{s: s, seen: map[string]int{}}
	if i.job, err = s.begin(stream.Context(), first.GetHeader()); err != nil {
		return err
	}
	if !i.job.over() {
		err = i.run(stream)
	}
	if errors.Is(err, errOver) { // Cancelled, or taken over by a repeat: what is stored tells.
		i.job, err = s.job(stream.Context(), edge.JobName(i.job.ID))
	}
	if err != nil {
		i.cut(stream.Context(), err)
		return err
	}
	return stream.SendAndClose(&pb.ImportInventoryResponse{Job: i.job.proto(), Errors: i.told})
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
	if old.By != j.By || old.ValidateOnly != j.ValidateOnly || old.Expected != j.Expected {
		return j, edge.Reused(edge.JobName(j.ID))
	}
	if old.asOf(now).over() && !old.is(pb.InventoryJob_STATE_FAILED) && !old.is(pb.InventoryJob_STATE_RUNNING) {
		return old, nil
	}
	j.rev, j.At = old.rev, old.At
	return j, s.save(ctx, &j)
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

// importing is one stream of an import.
type importing struct {
	s     *Service
	job   job
	seen  map[string]int
	told  []*pb.ImportError
	page  []*pb.ImportError // those that are not stored yet
	saved time.Time         // real time
}

// errOver says that the job is not this stream's any more.
var errOver = errors.New("the job has ended, or another call has it")

func (i *importing) run(stream grpc.ClientStreamingServer[pb.ImportInventoryRequest, pb.ImportInventoryResponse]) error {
	ctx := stream.Context()
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return i.end(ctx)
		}
		if err != nil {
			return err
		}
		chunk := m.GetChunk()
		switch {
		case chunk == nil:
			return edge.Invalid(edge.Violated("header", "CONFLICT", "must be the first message alone"))
		case chunk.GetFirstRow() != i.job.Rows:
			return edge.Invalid(edge.Violated("chunk.first_row", "CONFLICT", fmt.Sprintf("must be %d, the number of rows that were sent before", i.job.Rows)))
		case i.job.Rows+int64(len(chunk.GetTenants())) > edge.MaxRows:
			return edge.Invalid(edge.Violated("chunk.tenants", "LENGTH", "an import has at most 1,000,000 rows"))
		}
		if err := i.take(ctx, chunk); err != nil {
			return err
		}
	}
}

// take stores one chunk.
func (i *importing) take(ctx context.Context, chunk *pb.ImportChunk) error {
	ctx, cancel := context.WithTimeout(ctx, chunkTimeout)
	defer cancel()
	rows, err := i.s.take(ctx, chunk.GetTenants(), taking{validateOnly: i.job.ValidateOnly, first: int(i.job.Rows), seen: i.seen})
	if err != nil {
		return err
	}
	i.job.Rows += int64(len(rows))
	for _, r := range rows {
		switch {
		case len(r.errors) > 0:
			i.job.Failed++
			i.note(r.errors)
		case r.created:
			i.job.Created++
		case r.changed:
			i.job.Updated++
		default:
			i.job.Unchanged++
		}
	}
	for len(i.page) >= errorsAPage {
		if err := i.flush(ctx); err != nil {
			return err
		}
	}
	if time.Since(i.saved) < time.Second && i.job.Rows > int64(len(rows)) {
		return nil // Its readers need no more than that.
	}
	return i.save(ctx)
}

// chunkTimeout bounds what is done with one chunk.
const chunkTimeout = time.Minute

// note keeps what is wrong with a row.
func (i *importing) note(errs []*pb.ImportError) {
	for _, e := range errs {
		if len(i.told) < errorsTold {
			i.told = append(i.told, e)
		}
		if i.job.Errors+len(i.page) < errorsKept {
			i.page = append(i.page, e)
		}
	}
}

// flush stores a page of what is wrong.
func (i *importing) flush(ctx context.Context) error {
	n := min(len(i.page), errorsAPage)
	if n == 0 {
		return nil
	}
	var list []jobError
	for _, e := range i.page[:n] {
		list = append(list, jobError{e.GetRow(), e.GetTenant(), e.GetField(), e.GetDescription()})
	}
	b, err := json.Marshal(list)
	if err != nil {
		return fmt.Errorf("encoding errors of a job: %w", err)
	}
	if _, err := i.s.c.Jobs.Put(ctx, errorsKey(i.job.ID, i.job.Errors/errorsAPage), b); err != nil {
		return err
	}
	i.job.Errors += n
	i.page = i.page[n:]
	return nil
}

// jobError is what is wrong with a row, as it is stored.
type jobError struct {
	Row         int32  `json:"r"`
	Tenant      string `json:"t,omitempty"`
	Field       string `json:"f,omitempty"`
	Description string `json:"d"`
}

func errorsKey(id string, page int) string { return fmt.Sprintf("%s.%d", id, page) }

// save stores how far the job has come. Where another wrote it, it is over for this one.
func (i *importing) save(ctx context.Context) error {
	i.job.ChangedAt, i.saved = i.s.c.Now().UTC(), time.Now()
	err := i.s.save(ctx, &i.job)
	if errors.Is(err, rollover.ErrConflict) {
		return errOver
	}
	return err
}

// end says how the job ended.
func (i *importing) end(ctx context.Context) error {
	if err := i.flush(ctx); err != nil {
		return err
	}
	state := pb.InventoryJob_STATE_SUCCEEDED
	switch {
	case i.job.Expected > 0 && i.job.Rows != i.job.Expected:
		state = pb.InventoryJob_STATE_FAILED
		i.job.Detail = fmt.Sprintf("%d rows came, and %d were said to come; those that came are stored", i.job.Rows, i.job.Expected)
	case i.job.Failed > 0:
		state = pb.InventoryJob_STATE_PARTIALLY_SUCCEEDED
	}
	i.job.State, i.job.EndedAt = state.String(), i.s.c.Now().UTC()
	return i.save(ctx)
}

// cut notes that the stream broke. If that is lost, the job's age tells.
func (i *importing) cut(ctx context.Context, cause error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), jobSaveAfter)
	defer cancel()
	i.job.State, i.job.EndedAt = pb.InventoryJob_STATE_FAILED.String(), i.s.c.Now().UTC()
	i.job.Detail = fmt.Sprintf("it was cut off after %d rows: %s", i.job.Rows, edge.ProblemOf(cause).Message)
	err := errors.Join(i.flush(ctx), i.save(ctx))
	if errors.Is(err, errOver) {
		// What was written last may have been done though its answer was lost with the call.
		var now job
		if now, err = i.s.read(ctx, i.job.ID); err == nil && !now.over() && now.Run == i.job.Run {
			i.job.rev = now.rev
			err = i.save(ctx)
		}
	}
	if err != nil && !errors.Is(err, errOver) {
		i.s.c.Log.WarnContext(ctx, "a job was cut off and is not noted as such", "job", i.job.ID, "err", err)
	}
}
