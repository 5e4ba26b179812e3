package daemon

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/crossfade-project/crossfade/internal/secrets"
)

// Traces says where traces are sent.
type Traces struct {
	// Endpoint takes in spans by OTLP over HTTP, as https://host:port; /v1/traces is
	// added where there is no path. By http on this machine only: spans name tenants and
	// hosts. Default none: no spans are made.
	Endpoint string `yaml:"endpoint"`
	// CA is a PEM file of authorities that are trusted for it besides the machine's.
	// Default none.
	CA string `yaml:"ca"`
	// Authorization is the reference of what it wants in the Authorization header, such
	// as "Bearer …". Default none: nothing is sent.
	Authorization string `yaml:"authorization"`
	// Ratio is the share of calls that only read and are traced although their caller
	// asked for no trace, 0 to 1. Default 0.01. Calls that change something always are,
	// and with a rotation its work. A caller that sends a traceparent decides by itself.
	Ratio float64 `yaml:"ratio"`
}

// traces checks where traces are sent.
func (k *checker) traces(t Traces) {
	if !(t.Ratio >= 0 && t.Ratio <= 1) {
		k.fail("traces.ratio", "want 0 to 1")
	}
	if t.Endpoint == "" {
		for field, v := range map[string]string{"traces.ca": t.CA, "traces.authorization": t.Authorization} {
			if v != "" {
				k.fail(field, "needs traces.endpoint: no traces are made")
			}
		}
		return
	}
	u, err := url.Parse(t.Endpoint)
	switch {
	case err != nil || u.Hostname() == "" || (u.Scheme != "https" && u.Scheme != "http") || u.User != nil || u.RawQuery != "":
		k.fail("traces.endpoint", "want https://host:port")
	case u.Scheme == "http" && !thisMachine(u.Hostname()):
		k.fail("traces.endpoint", "want https: others could read which tenants there are; http is for a collector on this machine")
	}
	if _, err := secrets.ParseRef(t.Authorization); t.Authorization != "" && err != nil {
		k.fail("traces.authorization", "%v", err)
	}
}

// The bounds of the way out of spans.
const (
	spanQueue     = 8192            // spans that wait; more are dropped, at some 2 KiB each
	spanBatch     = 512             // in one request
	spanEvery     = 5 * time.Second // a batch that is not full waits so long
	exportTimeout = 10 * time.Second
	exportRetries = 30 * time.Second // with all its tries, a batch is given up after it
	maxSpanText   = 1024             // bytes of one attribute
)

// Exporting is where spans go: sent somewhere or written down.
type Exporting struct {
	To sdktrace.SpanExporter
	// Ratio is [Traces.Ratio].
	Ratio float64
	// Always reports whether calls of a method, such as
	// "crossfade.v1.RotationService/CreateRotation", are traced whoever makes them.
	Always  func(method string) bool
	Metrics *Metrics
	Log     *slog.Logger
}

// Exporter returns the exporter that t describes; nil where it names none. authorization
// is asked for the header before each request, and may be nil.
func (t Traces) Exporter(authorization func(context.Context) (secrets.Secret, error)) (sdktrace.SpanExporter, error) {
	if t.Endpoint == "" {
		return nil, nil
	}
	u, err := url.Parse(t.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("traces.endpoint: %w", err)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/traces"
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("reading the machine's authorities: %w", err)
	}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("traces.ca: %w", err)
		}
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("traces.ca: %s has no certificate", t.CA)
		}
	}
	way := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		ForceAttemptHTTP2: true, MaxIdleConns: 2, IdleConnTimeout: time.Minute, TLSHandshakeTimeout: exportTimeout,
	}
	client := &http.Client{
		Transport: way, Timeout: exportTimeout,
		// What is sent, and with what header, is for nobody else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if t.Authorization != "" {
		client.Transport = &authorized{way, authorization}
	}
	// The exporter's own start opens no connection: a collector that is away keeps nobody
	// from starting.
	return otlptracehttp.New(context.Background(),
		otlptracehttp.WithEndpointURL(u.String()), otlptracehttp.WithURLPath(u.Path), otlptracehttp.WithHTTPClient(client), otlptracehttp.WithTimeout(exportTimeout),
		otlptracehttp.WithCompression(otlptracehttp.GzipCompression),
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{Enabled: true, InitialInterval: time.Second, MaxInterval: 10 * time.Second, MaxElapsedTime: exportRetries}),
	)
}

// authorized adds the Authorization header.
type authorized struct {
	http.RoundTripper
	secret func(context.Context) (secrets.Secret, error)
}

// RoundTrip implements [http.RoundTripper].
func (a *authorized) RoundTrip(r *http.Request) (*http.Response, error) {
	s, err := a.secret(r.Context())
	if err != nil {
		return nil, fmt.Errorf("traces.authorization: %w", err)
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", s.Reveal())
	return a.RoundTripper.RoundTrip(r)
}

// Provider returns what makes the spans, and what sends those that wait and ends it.
func (e Exporting) Provider() (trace.TracerProvider, func(context.Context) error) {
	host, _ := os.Hostname() // Empty where it has none.
	p := sdktrace.NewTracerProvider(
		sdktrace.WithSampler(sdktrace.ParentBased(sampler{always: e.Always, some: sdktrace.TraceIDRatioBased(e.Ratio)})),
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "crossfade"), attribute.String("host.name", host), attribute.Int("process.pid", os.Getpid()),
		)),
		sdktrace.WithRawSpanLimits(sdktrace.SpanLimits{
			AttributeValueLengthLimit: maxSpanText, AttributeCountLimit: 32, EventCountLimit: 8, LinkCountLimit: 8,
			AttributePerEventCountLimit: 8, AttributePerLinkCountLimit: 8,
		}),
		sdktrace.WithSpanProcessor(counted{e.Metrics, sdktrace.NewBatchSpanProcessor(&told{SpanExporter: e.To, m: e.Metrics, log: e.Log},
			sdktrace.WithMaxQueueSize(spanQueue), sdktrace.WithMaxExportBatchSize(spanBatch), sdktrace.WithBatchTimeout(spanEvery),
			sdktrace.WithExportTimeout(exportTimeout+exportRetries),
		)}),
	)
	return p, p.Shutdown
}

// sampler decides of calls that are in no trace.
type sampler struct {
	always func(method string) bool
	some   sdktrace.Sampler
}

// ShouldSample implements [sdktrace.Sampler].
func (s sampler) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	if s.always != nil && s.always(p.Name) {
		return sdktrace.SamplingResult{Decision: sdktrace.RecordAndSample, Tracestate: trace.SpanContextFromContext(p.ParentContext).TraceState()}
	}
	return s.some.ShouldSample(p)
}

// Description implements [sdktrace.Sampler].
func (s sampler) Description() string { return "changes, and of reads " + s.some.Description() }

// counted counts the spans that ended and are to be sent.
type counted struct {
	m *Metrics
	sdktrace.SpanProcessor
}

// OnEnd implements [sdktrace.SpanProcessor].
func (c counted) OnEnd(s sdktrace.ReadOnlySpan) {
	if s.SpanContext().IsSampled() {
		c.m.spans.WithLabelValues("ended").Inc()
	}
	c.SpanProcessor.OnEnd(s)
}

// told counts what was sent and says, once each time it changes, whether it works.
type told struct {
	sdktrace.SpanExporter
	m    *Metrics
	log  *slog.Logger
	away atomic.Bool
}

// ExportSpans sends spans. What cannot be sent is lost: traces are no records.
func (t *told) ExportSpans(ctx context.Context, s []sdktrace.ReadOnlySpan) error {
	if err := t.SpanExporter.ExportSpans(ctx, s); err != nil {
		t.m.spans.WithLabelValues("failed").Add(float64(len(s)))
		if !t.away.Swap(true) {
			t.log.WarnContext(ctx, "traces cannot be sent; they are lost until they can", "err", err)
		}
		return nil
	}
	t.m.spans.WithLabelValues("sent").Add(float64(len(s)))
	if t.away.Swap(false) {
		t.log.InfoContext(ctx, "traces are sent again")
	}
	return nil
}
