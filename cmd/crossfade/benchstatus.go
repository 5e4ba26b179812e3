package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/crossfade-project/crossfade/internal/bench"
	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// statusSlots makes about the load of the goal, 333 targets a second: the
// question is what watchers cost at that, not how much fits beside them.
const statusSlots = 32

// samplers is how many watchers look into what they are told; the others take
// it and throw it away, as a reader on another machine would cost us nothing.
const samplers = 4

// watchersPerConn is how many watchers share a connection.
const watchersPerConn = 50

// status measures how long a change takes to a watcher, and what watchers cost.
func (m *measuring) status(ctx context.Context) error {
	n, alone := m.sizes.status, 0.0
	for _, watchers := range append([]int{0}, m.sizes.watchers...) {
		rate, delays, err := m.watched(ctx, n, watchers)
		if err != nil {
			return fmt.Errorf("with %d watchers: %w", watchers, err)
		}
		if watchers == 0 {
			alone = rate
			m.note("status, no watchers: work", "targets/s", rate, goal{})
			continue
		}
		what := fmt.Sprintf("status, %d watchers", watchers)
		m.note(what+": p50", "ms", bench.Quantile(delays, 0.5), goal{})
		m.note(what+": p99", "ms", bench.Quantile(delays, 0.99), goal{value: 250, atMost: true})
		g := goal{}
		if watchers == 1000 {
			g.value = 0.9
		}
		m.note(what+": work, of that without", "ratio", rate/alone, g)
	}
	return nil
}

// watched rotates n targets with so many watchers, and returns the rate and, in
// milliseconds, how long each change took to each sampler.
func (m *measuring) watched(ctx context.Context, n, watchers int) (rate float64, delays []float64, err error) {
	f, err := m.newFleet(ctx, n/endpointsPerTenant, acsLatency, statusSlots)
	if err != nil {
		return 0, nil, err
	}
	defer func() { err = errors.Join(err, f.close(ctx)) }()
	r, err := f.plan(ctx, n)
	if err != nil {
		return 0, nil, err
	}
	wctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	all := make([]*watcher, watchers)
	ended := make(chan error, watchers)
	for i := range all {
		if i%watchersPerConn == 0 && i > 0 {
			if err := f.another(&wg, wctx); err != nil {
				return 0, nil, err
			}
		}
		w := &watcher{conn: f.cl.conn, name: r.GetName(), tasks: n, samples: i < samplers, ready: make(chan struct{})}
		all[i] = w
		wg.Go(func() { ended <- w.run(wctx) })
	}
	for _, w := range all {
		select {
		case <-w.ready:
		case err := <-ended:
			return 0, nil, fmt.Errorf("a watch ended before the work began: %w", err)
		}
	}
	took, err := m.timed(ctx, f, r, fmt.Sprintf("status%d", watchers))
	if err != nil {
		return 0, nil, err
	}
	for range all {
		if err := <-ended; err != nil {
			return 0, nil, err
		}
	}
	for _, w := range all[:min(samplers, watchers)] {
		delays = append(delays, w.delays...)
	}
	return float64(n) / took.Seconds(), delays, nil
}

// another opens one more connection, which the fleet uses from then on; the one
// before is closed when ctx ends.
func (f *benchFleet) another(wg *sync.WaitGroup, ctx context.Context) error { //nolint:revive // The group owns what ctx ends.
	before := f.cl
	wg.Go(func() { <-ctx.Done(); _ = before.conn.Close() })
	cl, err := f.dial()
	if err == nil {
		f.cl = cl
	}
	return err
}

// watcher follows one rotation with its tasks.
type watcher struct {
	conn    *grpc.ClientConn
	name    string
	tasks   int  // that the snapshot holds
	samples bool // it looks at all that it is told
	ready   chan struct{}
	delays  []float64 // ms; to be read when run has returned
}

// run reads until the rotation has ended.
func (w *watcher) run(ctx context.Context) error {
	desc := &crossfadev1.RotationService_ServiceDesc.Streams[0]
	stream, err := w.conn.NewStream(ctx, desc, crossfadev1.RotationService_WatchRotation_FullMethodName, grpc.ForceCodecV2(late{}))
	if err == nil {
		err = stream.SendMsg(&crossfadev1.WatchRotationRequest{Name: w.name, IncludeTasks: true})
	}
	if err == nil {
		err = stream.CloseSend()
	}
	if err != nil {
		return fmt.Errorf("watching: %w", err)
	}
	told := 0
	for {
		var raw []byte
		if err := stream.RecvMsg(&raw); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("watching: %w", err)
		}
		if told >= w.tasks && !w.samples {
			continue
		}
		now := time.Now()
		var m crossfadev1.WatchRotationResponse
		if err := proto.Unmarshal(raw, &m); err != nil {
			return fmt.Errorf("watching: %w", err)
		}
		before := told
		told += len(m.GetTasks().GetTasks())
		if before < w.tasks && told >= w.tasks {
			close(w.ready)
			continue
		}
		if before >= w.tasks {
			for _, k := range m.GetTasks().GetTasks() {
				w.delays = append(w.delays, float64(now.Sub(k.GetUpdateTime().AsTime()).Microseconds())/1000)
			}
		}
	}
}

// late is a codec that leaves answers as bytes, for their reader to decode if it
// wants to.
type late struct{}

var _ encoding.CodecV2 = late{}

// Name implements [encoding.CodecV2]: what goes over the wire is protobuf.
func (late) Name() string { return "proto" }

// Marshal implements [encoding.CodecV2].
func (late) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%T is no message", v)
	}
	b, err := proto.Marshal(m)
	return mem.BufferSlice{mem.SliceBuffer(b)}, err
}

// Unmarshal implements [encoding.CodecV2].
func (late) Unmarshal(data mem.BufferSlice, v any) error {
	into, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("%T takes no bytes", v)
	}
	*into = data.Materialize()
	return nil
}
