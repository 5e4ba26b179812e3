// Package spans carries traces through the service: from a call of the API through
// records and messages of the broker to the calls that workers make. It makes spans
// only within a trace that somebody began; work by itself begins none.
package spans

import (
	"context"
	"crypto/rand"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Header is the header of calls and messages that says in which trace they are made,
// as https://www.w3.org/TR/trace-context/ has it.
const Header = "traceparent"

// Of a rotation's tasks and tenants, the first wholeTasks are recorded, and after them
// each sparseTasks-th: a trace of 100,000 tasks is none that anybody can look at.
const (
	wholeTasks  = 100
	sparseTasks = 100
)

// maxText bounds a text in a span, in bytes.
const maxText = 512

// Text returns the name of ctx's trace and span for [In], 55 bytes; "" where ctx is in
// no trace.
func Text(ctx context.Context) string {
	c := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, c)
	return c[Header]
}

// In returns ctx within the trace that text names, or ctx where it names none.
func In(ctx context.Context, text string) context.Context {
	if text == "" {
		return ctx
	}
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{Header: text})
}

// Begin returns ctx within a trace: its own, or a new one where it is in none. A new one
// has an id, so that all that follows from it is found, and is recorded nowhere.
func Begin(ctx context.Context) context.Context {
	if trace.SpanContextFromContext(ctx).IsValid() {
		return ctx
	}
	var c trace.SpanContextConfig
	_, _ = rand.Read(c.TraceID[:]) // It never fails.
	_, _ = rand.Read(c.SpanID[:])
	c.Remote = true
	return trace.ContextWithRemoteSpanContext(ctx, trace.NewSpanContext(c))
}

// Part is In for one of many equal parts of a rotation, counted from 0: the same ones
// are recorded in every process, and the others only keep their trace's name.
func Part(ctx context.Context, text string, ord int) context.Context {
	ctx = In(ctx, text)
	if ord < wholeTasks || ord%sparseTasks == 0 {
		return ctx
	}
	sc := trace.SpanContextFromContext(ctx)
	if !sc.IsValid() {
		return ctx
	}
	return trace.ContextWithRemoteSpanContext(ctx, sc.WithTraceFlags(sc.TraceFlags().WithSampled(false)))
}

// ID returns the id of ctx's trace, 32 hex digits; "" where ctx is in none.
func ID(ctx context.Context) string {
	if sc := trace.SpanContextFromContext(ctx); sc.HasTraceID() {
		return sc.TraceID().String()
	}
	return ""
}

// Tracer makes spans. A nil one makes none.
type Tracer struct{ t trace.Tracer }

// NewTracer returns a tracer of p.
func NewTracer(p trace.TracerProvider) *Tracer {
	return &Tracer{p.Tracer("github.com/crossfade-project/crossfade")}
}

// Start begins a span of what is done within ctx's trace, and returns the context to do
// it in and what to call at its end, with what came of it. In no trace it does nothing.
// Nothing secret may be among attrs, and no error has a secret in it.
func (t *Tracer) Start(ctx context.Context, name string, attrs ...attribute.KeyValue) (context.Context, func(error)) {
	return t.start(ctx, name, trace.SpanKindInternal, attrs)
}

// Take is Start for work that came as a message.
func (t *Tracer) Take(ctx context.Context, name string, attrs ...attribute.KeyValue) (context.Context, func(error)) {
	return t.start(ctx, name, trace.SpanKindConsumer, attrs)
}

func (t *Tracer) start(ctx context.Context, name string, kind trace.SpanKind, attrs []attribute.KeyValue) (context.Context, func(error)) {
	if t == nil || !trace.SpanContextFromContext(ctx).IsValid() {
		return ctx, func(error) {}
	}
	ctx, span := t.t.Start(ctx, name, trace.WithAttributes(attrs...), trace.WithSpanKind(kind))
	return ctx, func(err error) {
		if err != nil {
			span.SetStatus(codes.Error, clip(err.Error()))
		}
		span.End()
	}
}

func clip(s string) string {
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "")
}

// Note says more of ctx's span, once it is known.
func Note(ctx context.Context, attrs ...attribute.KeyValue) {
	trace.SpanFromContext(ctx).SetAttributes(attrs...)
}

// Rotation and the others are what spans are told of, by the words of the contract.
func Rotation(id string) attribute.KeyValue { return attribute.String("crossfade.rotation", id) }

// Tenant is the id of a tenant.
func Tenant(id string) attribute.KeyValue { return attribute.String("crossfade.tenant", id) }

// Ord is the position of a task in its plan, of a tenant in its selection, or of a part
// in its check.
func Ord(n int) attribute.KeyValue { return attribute.Int("crossfade.ord", n) }

// Kind is the kind of a credential.
func Kind(k string) attribute.KeyValue { return attribute.String("crossfade.kind", k) }

// Host is the host of a target.
func Host(h string) attribute.KeyValue { return attribute.String("server.address", h) }

// Tries is how often something was delivered or tried, this time included.
func Tries(n int) attribute.KeyValue { return attribute.Int("crossfade.tries", n) }

// Outcome is what came of something, as a word of the contract.
func Outcome(o string) attribute.KeyValue { return attribute.String("crossfade.outcome", o) }
