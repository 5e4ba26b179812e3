package spans_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"pgregory.net/rapid"

	"github.com/crossfade-project/crossfade/internal/spans"
)

const (
	name    = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	unasked = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
	traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
)

func recording(t *testing.T) (*spans.Tracer, trace.TracerProvider, *tracetest.SpanRecorder) {
	t.Helper()
	r := tracetest.NewSpanRecorder()
	p := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(r), sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.AlwaysSample())))
	t.Cleanup(func() { _ = p.Shutdown(context.Background()) })
	return spans.NewTracer(p), p, r
}

func TestText_IsReadAgain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sc := trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: trace.TraceID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "trace")),
			SpanID:  trace.SpanID(rapid.SliceOfN(rapid.Byte(), 8, 8).Draw(t, "span")),
			Remote:  true, TraceFlags: trace.FlagsSampled * trace.TraceFlags(rapid.IntRange(0, 1).Draw(t, "sampled")), //nolint:gosec // 0 or 1.
		})
		if !sc.IsValid() {
			return
		}
		text := spans.Text(trace.ContextWithSpanContext(context.Background(), sc))
		got := trace.SpanContextFromContext(spans.In(context.Background(), text))
		if len(text) != 55 || !got.Equal(sc) {
			t.Fatalf("%+v is %q and read as %+v", sc, text, got)
		}
	})
}

func TestIn_TextThatIsNoTraceChangesNothing(t *testing.T) {
	for _, text := range []string{"", "00", "x", strings.Repeat("0", 55), name + "x", "00-00000000000000000000000000000000-00f067aa0ba902b7-01"} {
		if got := spans.ID(spans.In(t.Context(), text)); got != "" {
			t.Errorf("In(%q) is in trace %q, want none", text, got)
		}
	}
	if got := spans.ID(spans.In(t.Context(), name)); got != traceID {
		t.Errorf("ID = %q, want %q", got, traceID)
	}
}

// Of many parts a few are recorded, and all keep the name of their trace.
func TestPart_FewAreRecorded(t *testing.T) {
	recorded := 0
	for ord := range 10_000 {
		sc := trace.SpanContextFromContext(spans.Part(t.Context(), name, ord))
		if sc.TraceID().String() != traceID {
			t.Fatalf("part %d is of trace %s", ord, sc.TraceID())
		}
		if sc.IsSampled() {
			recorded++
		} else if ord < 100 {
			t.Errorf("part %d is not recorded", ord)
		}
		if trace.SpanContextFromContext(spans.Part(t.Context(), unasked, ord)).IsSampled() {
			t.Fatalf("part %d of a trace that nobody records is recorded", ord)
		}
	}
	if recorded != 199 {
		t.Errorf("%d of 10,000 parts are recorded, want 100 and 99 more", recorded)
	}
	if spans.ID(spans.Part(t.Context(), "", 5)) != "" {
		t.Error("a part of no trace is in one")
	}
}

func TestTracer_OnlyWithinATrace(t *testing.T) {
	tr, _, r := recording(t)
	_, end := tr.Start(t.Context(), "alone")
	end(nil)
	ctx, end := tr.Take(spans.In(t.Context(), name), "task", spans.Rotation("r1"), spans.Ord(7))
	spans.Note(ctx, spans.Outcome("succeeded"))
	_, inner := tr.Start(ctx, "stage")
	inner(errors.New("it broke " + strings.Repeat("é", 400)))
	end(nil)
	_, end = tr.Start(spans.In(t.Context(), unasked), "not recorded")
	end(nil)

	got := r.Ended()
	if len(got) != 2 || got[0].Name() != "stage" || got[1].Name() != "task" {
		t.Fatalf("%d spans ended, want stage and task", len(got))
	}
	stage, task := got[0], got[1]
	if task.SpanContext().TraceID().String() != traceID || task.Parent().SpanID().String() != "00f067aa0ba902b7" || task.SpanKind() != trace.SpanKindConsumer {
		t.Errorf("the task is %v within %v, want a consumer within the caller's span", task.SpanContext(), task.Parent())
	}
	if stage.Parent().SpanID() != task.SpanContext().SpanID() {
		t.Error("the step is not within its task")
	}
	if s := stage.Status(); s.Code != codes.Error || !strings.HasPrefix(s.Description, "it broke é") || len(s.Description) > 512 || !strings.HasSuffix(s.Description, "é") {
		t.Errorf("the step's status is %+v", s)
	}
	var none *spans.Tracer
	ctx, end = none.Start(spans.In(t.Context(), name), "x")
	end(nil)
	if spans.ID(ctx) != traceID {
		t.Error("a nil tracer loses the trace")
	}
}

// Exchanges are spans, and the other side is told nothing.
func TestTransport_TellsTheOtherSideNothing(t *testing.T) {
	tr, p, r := recording(t)
	heads := make(chan http.Header, 4)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		heads <- q.Header
		w.WriteHeader(http.StatusTeapot)
	}))
	defer s.Close()
	client := &http.Client{Transport: spans.Transport(p, http.DefaultTransport.(*http.Transport).Clone())} //nolint:forcetypeassert // It is one.
	defer client.CloseIdleConnections()
	get := func(ctx context.Context) {
		t.Helper()
		q, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/v2/mgmt?$top=1", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		h := <-heads
		for _, k := range []string{"Traceparent", "Tracestate", "Baggage"} {
			if h.Get(k) != "" {
				t.Errorf("the other side was told %s: %s", k, h.Get(k))
			}
		}
	}
	get(t.Context())
	get(spans.In(t.Context(), unasked))
	if n := len(r.Ended()); n != 0 {
		t.Errorf("%d spans of exchanges that nobody records", n)
	}
	ctx, end := tr.Start(spans.In(t.Context(), name), "stage")
	get(ctx)
	end(nil)
	got := r.Ended()
	if len(got) != 2 || got[0].Name() != "GET 127.0.0.1" || got[0].Parent().SpanID() != got[1].SpanContext().SpanID() || got[0].SpanKind() != trace.SpanKindClient {
		t.Fatalf("the exchange is no span within its step: %d spans", len(got))
	}
	if spans.Transport(nil, http.DefaultTransport) != http.DefaultTransport {
		t.Error("without a provider there is another transport")
	}
}

func TestBegin_ANewTraceOnlyWhereThereIsNone(t *testing.T) {
	one, two := spans.Begin(t.Context()), spans.Begin(t.Context())
	if spans.ID(one) == "" || spans.ID(one) == spans.ID(two) || spans.ID(spans.Begin(one)) != spans.ID(one) {
		t.Errorf("Begin gives the traces %q and %q", spans.ID(one), spans.ID(two))
	}
	if sc := trace.SpanContextFromContext(one); sc.IsSampled() || spans.ID(spans.In(t.Context(), spans.Text(one))) != spans.ID(one) {
		t.Errorf("%+v is recorded, or cannot be carried on", sc)
	}
	if in := spans.In(t.Context(), name); spans.ID(spans.Begin(in)) != traceID {
		t.Errorf("Begin within a trace gives %q", spans.ID(spans.Begin(in)))
	}
}
