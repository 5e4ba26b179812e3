package main

import (
	"context"
	"fmt"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/crossfade-project/crossfade/internal/daemon"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/secrets"
	"github.com/crossfade-project/crossfade/internal/spans"
	"github.com/crossfade-project/crossfade/services/edge"
)

// flushTimeout bounds the sending of the last spans when a process stops.
const flushTimeout = 2 * time.Second

// openTraces makes what makes spans, if they go anywhere.
func (n *node) openTraces() error {
	if n.c.traces == nil {
		return nil
	}
	to, err := n.c.traces(n.secrets)
	if err != nil {
		return fmt.Errorf("opening the way out of traces: %w", err)
	}
	if to == nil {
		return nil
	}
	n.provider, n.flush = daemon.Exporting{To: to, Ratio: n.c.ratio, Always: edge.Changes, Metrics: n.metrics, Log: n.c.log}.Provider()
	n.tracer = spans.NewTracer(n.provider)
	n.http.Transport = spans.Transport(n.provider, n.http.Transport)
	return nil
}

// tracesOf returns where a configuration sends traces.
func tracesOf(c daemon.Config) func(*secrets.Resolver) (sdktrace.SpanExporter, error) {
	return func(r *secrets.Resolver) (sdktrace.SpanExporter, error) {
		return c.Traces.Exporter(func(ctx context.Context) (secrets.Secret, error) {
			return r.Secret(ctx, secrets.Ref(c.Traces.Authorization))
		})
	}
}

// beginStep makes a span of a step of a task.
func (n *node) beginStep(ctx context.Context, k rollover.Task, s rollover.Step) (context.Context, func(error)) {
	return n.tracer.Start(ctx, string(s), spans.Host(k.Item.Target.Host), spans.Tries(k.Tries+1))
}
