package inventory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/crossfade-project/crossfade/internal/rollover"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// ImportInventory takes chunks in until the caller ends, and says what became of them.
func (s *Service) ImportInventory(stream grpc.ClientStreamingServer[pb.ImportInventoryRequest, pb.ImportInventoryResponse]) error {
	ctx := stream.Context()
	first, err := stream.Recv()
	if errors.Is(err, io.EOF) || err == nil && first.GetHeader() == nil {
		return edge.Invalid(edge.Violated("header", "REQUIRED", "must be the first message"))
	}
	if err != nil {
		return err
	}
	i := &importing{s: s, seen: newSeen()}
	if i.job, err = s.begin(ctx, first.GetHeader()); err != nil {
		return err
	}
	if i.job.over() { // It is a repeat, which is answered as the first was.
		i.told, err = s.firstErrors(ctx, i.job)
	} else {
		err = i.run(stream)
		if errors.Is(err, errOver) {
			err = i.overtaken(ctx)
		} else if err != nil {
			i.cut(ctx, err)
		}
	}
	if err != nil {
		return err
	}
	return stream.SendAndClose(&pb.ImportInventoryResponse{Job: i.job.proto(), Errors: i.told})
}

// overtaken says what became of a job that another call wrote: it was cancelled, or a
// repeat has it now, which is not for this stream to answer for.
func (i *importing) overtaken(ctx context.Context) error {
	now, err := i.s.read(ctx, i.job.ID)
	switch {
	case err != nil:
		return edge.About(edge.JobName(i.job.ID), err)
	case now.Run != i.job.Run || !now.over():
		return &edge.Problem{
			Code: codes.Aborted, Reason: pb.ErrorReason_ERROR_REASON_CONFLICT,
			Message: "another stream with the same request_id has taken " + edge.JobName(i.job.ID) + " over; what this one stored stays, and the other finds it unchanged",
		}
	}
	i.job = now
	return nil
}

// firstErrors returns what the answer of an import says of its rows.
func (s *Service) firstErrors(ctx context.Context, j job) (out []*pb.ImportError, err error) {
	for e, err := range s.jobErrors(ctx, j) {
		if err != nil {
			return nil, err
		}
		if out = append(out, e.proto()); len(out) == errorsTold {
			break
		}
	}
	return out, nil
}

// importing is one stream of an import.
type importing struct {
	s     *Service
	job   job
	seen  *seen
	told  []*pb.ImportError
	page  []*pb.ImportError // those that are not stored yet
	full  bool              // no more of them are kept
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

// take stores one chunk, if the job is still this stream's: whoever has cancelled it was
// told that nothing more is taken in.
func (i *importing) take(ctx context.Context, chunk *pb.ImportChunk) error {
	ctx, cancel := context.WithTimeout(ctx, chunkTimeout)
	defer cancel()
	if now, err := i.s.read(ctx, i.job.ID); errors.Is(err, rollover.ErrNotFound) || err == nil && now.rev != i.job.rev {
		return errOver
	} else if err != nil {
		return fmt.Errorf("looking at the job: %w", err)
	}
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
		if !i.full && i.job.Errors+len(i.page) < errorsKept {
			i.page = append(i.page, e)
		}
	}
}

// flush stores a page of what is wrong. Where there is no room for it, the import goes on
// all the same: it counts what it cannot name.
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
	_, err = i.s.c.JobErrors.Put(ctx, errorsKey(i.job.ID, i.job.Errors/errorsAPage), b)
	if errors.Is(err, rollover.ErrFull) {
		i.full, i.page = true, nil
		i.s.c.Log.WarnContext(ctx, "there is no room for what is wrong with the rows of an import", "job", i.job.ID, "err", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("storing errors of a job: %w", err)
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

func (e jobError) proto() *pb.ImportError {
	return &pb.ImportError{Row: e.Row, Tenant: e.Tenant, Field: e.Field, Description: e.Description}
}

// jobErrors yields what is wrong with the rows of a job, in their order.
func (s *Service) jobErrors(ctx context.Context, j job) iter.Seq2[jobError, error] {
	return func(yield func(jobError, error) bool) {
		n := 0
		for page := 0; page*errorsAPage < j.Errors; page++ {
			var list []jobError
			b, _, err := s.c.JobErrors.Get(ctx, errorsKey(j.ID, page))
			if errors.Is(err, rollover.ErrNotFound) {
				return // It was forgotten, or dropped with its job.
			}
			if err == nil {
				err = json.Unmarshal(b, &list)
			}
			if err != nil {
				yield(jobError{}, fmt.Errorf("reading errors of a job: %w", err))
				return
			}
			for _, e := range list {
				if n++; n > j.Errors || !yield(e, nil) {
					return
				}
			}
		}
	}
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
