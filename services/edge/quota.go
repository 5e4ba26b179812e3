package edge

import (
	"context"
	"fmt"
	"math"
	"net"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/protoadapt"

	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// Quota is what one caller may take of one server. A person is one caller, however they
// prove who they are; nobody is one caller for each address.
type Quota struct {
	// CallsPerSecond is how many calls a caller may make in the long run, and twice as
	// many at once; 0: as many as they like.
	CallsPerSecond float64
	// Watches is how many streams of answers a caller may have open; 0: as many as the
	// server takes.
	Watches int
	// Uploads is how many streams of requests a caller may have open; 0: as many as
	// they like.
	Uploads int
}

// maxQuotas bounds of how many callers it is remembered how much they called, at some
// 200 bytes each. One that is forgotten begins anew.
const maxQuotas = 10_000

// quotas keeps callers within theirs.
type quotas struct {
	q    Quota
	rate *lru.Cache[string, *rate.Limiter]

	mu   sync.Mutex
	open map[holding]int // of those that have any open
}

// holding is one sort of streams of one caller.
type holding struct {
	who    string
	upload bool
}

func newQuotas(q Quota) *quotas {
	c, err := lru.New[string, *rate.Limiter](maxQuotas)
	if err != nil {
		panic(err) // Only for a size below 1.
	}
	return &quotas{q: q, rate: c, open: map[holding]int{}}
}

// who names whose quota a call takes from.
func who(ctx context.Context) string {
	if c := callerOf(ctx); c != nil && c.name != "" {
		return "name " + c.name
	}
	if p, ok := peer.FromContext(ctx); ok {
		if host, _, err := net.SplitHostPort(p.Addr.String()); err == nil {
			return "address " + host
		}
		return "address " + p.Addr.String()
	}
	return ""
}

// call takes one call from the caller's quota, or says when there will be one.
func (s *quotas) call(ctx context.Context) error {
	if s.q.CallsPerSecond <= 0 {
		return nil
	}
	burst := max(1, int(math.Ceil(2*s.q.CallsPerSecond)))
	fresh := rate.NewLimiter(rate.Limit(s.q.CallsPerSecond), burst)
	l, known, _ := s.rate.PeekOrAdd(who(ctx), fresh)
	if !known {
		l = fresh
	} else {
		s.rate.Get(who(ctx)) // Marks it as used.
	}
	r := l.Reserve()
	wait := r.Delay()
	if wait <= 0 {
		return nil
	}
	r.Cancel()
	return Exhausted(pb.ErrorReason_ERROR_REASON_TOO_MANY_CALLS, "calls_per_second",
		fmt.Sprintf("you may make %g calls a second here, and %d at once", s.q.CallsPerSecond, burst), roundUp(wait))
}

// roundUp makes a wait one that is worth being told.
func roundUp(d time.Duration) time.Duration {
	return max(10*time.Millisecond, d.Round(time.Millisecond)+time.Millisecond)
}

// hold takes one stream from the caller's quota and returns what gives it back.
func (s *quotas) hold(ctx context.Context, upload bool) (func(), error) {
	most := s.q.Watches
	reason, of, what := pb.ErrorReason_ERROR_REASON_TOO_MANY_WATCHES, "watches", "you may have %d watches open here; end one, or watch many rotations with one"
	if upload {
		most = s.q.Uploads
		reason, of, what = pb.ErrorReason_ERROR_REASON_TOO_MANY_UPLOADS, "uploads", "you may have %d uploads under way here; finish one"
	}
	if most <= 0 {
		return func() {}, nil
	}
	h := holding{who(ctx), upload}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[h] >= most {
		return nil, Exhausted(reason, of, fmt.Sprintf(what, most), 5*time.Second)
	}
	s.open[h]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.open[h]--; s.open[h] <= 0 {
			delete(s.open, h)
		}
	}, nil
}

func (s *quotas) unary(ctx context.Context, req any, i *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
	if !open(i.FullMethod) {
		if err := s.call(ctx); err != nil {
			return nil, err
		}
	}
	return h(ctx, req)
}

func (s *quotas) stream(srv any, ss grpc.ServerStream, i *grpc.StreamServerInfo, h grpc.StreamHandler) error {
	if open(i.FullMethod) {
		return h(srv, ss)
	}
	if err := s.call(ss.Context()); err != nil {
		return err
	}
	giveBack, err := s.hold(ss.Context(), upload(i))
	if err != nil {
		return err
	}
	defer giveBack()
	return h(srv, ss)
}

// Exhausted returns the problem that a caller's quota is used up. subject names it, what
// says how large it is, and after is when to ask again.
func Exhausted(reason pb.ErrorReason, subject, what string, after time.Duration) *Problem {
	return &Problem{
		Code: codes.ResourceExhausted, Reason: reason, Message: what, Retry: after,
		Details: []protoadapt.MessageV1{quota(subject, what)},
	}
}
