package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

// Refusals with an HTTP status of their own.
var (
	errMediaType = errors.New("content type")
	errTooLarge  = errors.New("too large")
)

func unimplemented(message string) error {
	return &edge.Problem{Code: codes.Unimplemented, Reason: pb.ErrorReason_ERROR_REASON_UNKNOWN_METHOD, Message: message}
}

func unknown(path string) error {
	return unimplemented(fmt.Sprintf("there is no method %q; want /crossfade.v1.Service/Method, see docs/api-reference.md", path))
}

// new returns an empty message of the type d.
func newMessage(d protoreflect.MessageDescriptor) (proto.Message, error) {
	t, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	if err != nil {
		return nil, fmt.Errorf("a method with a type that is not linked in: %w", err)
	}
	return t.New().Interface(), nil
}

// outgoing returns the context of the call that r asks for: what it takes along, and its
// end.
func outgoing(r *http.Request) (context.Context, context.CancelFunc, error) {
	if v := r.Header.Values("Connect-Protocol-Version"); len(v) > 0 && (len(v) > 1 || v[0] != "1") {
		return nil, nil, edge.Invalid(edge.Violated("metadata.connect-protocol-version", "UNKNOWN", `want "1", or leave it out`))
	}
	md := metadata.MD{}
	for _, h := range headers() {
		if v := r.Header.Values(h); len(v) > 0 {
			md[h] = slices.Clone(v)
		}
	}
	ctx := metadata.NewOutgoingContext(r.Context(), md)
	v := r.Header.Values("Connect-Timeout-Ms")
	if len(v) == 0 {
		ctx, cancel := context.WithCancel(ctx)
		return ctx, cancel, nil
	}
	ms, err := strconv.ParseInt(v[0], 10, 64)
	if len(v) > 1 || err != nil || ms < 0 || len(v[0]) > maxTimeout {
		return nil, nil, edge.Invalid(edge.Violated("metadata.connect-timeout-ms", "FORMAT", "want whole milliseconds, at most 10 digits"))
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(ms)*time.Millisecond)
	return ctx, cancel, nil
}

// read returns what r asks m for.
func (s *Server) read(w http.ResponseWriter, r *http.Request, m method) (proto.Message, error) {
	req, err := newMessage(m.desc.Input())
	if err != nil {
		return nil, err
	}
	var body []byte
	if r.Method == http.MethodGet {
		body, err = fromQuery(r.URL.Query(), m.desc.Input())
	} else {
		body, err = s.body(w, r)
	}
	if err != nil {
		return nil, err
	}
	if err := protojson.Unmarshal(body, req); err != nil {
		// The parser's own words are not passed on: they quote values, and a private key
		// that was sent by mistake would be among them.
		return nil, edge.Invalid(violations(body, m.desc.Input())...)
	}
	if last := r.Header.Get("Last-Event-ID"); last != "" && m.desc.IsStreamingServer() {
		if f := cursorOf(m.desc.Input()); f != nil {
			req.ProtoReflect().Set(f, protoreflect.ValueOfString(strings.ToValidUTF8(last, "?")))
		}
	}
	return req, nil
}

// body reads the JSON of a request.
func (s *Server) body(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	media, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset := strings.ToLower(params["charset"])
	if err != nil || media != "application/json" || (charset != "" && charset != "utf-8") {
		w.Header().Set("Accept-Post", "application/json")
		p := edge.Invalid(edge.Violated("metadata.content-type", "UNKNOWN", "want application/json"))
		if strings.HasPrefix(media, "application/connect+") || strings.HasPrefix(media, "application/grpc") {
			p.Message = "streams are answered here as text/event-stream or application/x-ndjson, asked for with application/json"
		}
		p.Cause = errMediaType
		return nil, p
	}
	if e := r.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return nil, unimplemented("want the body as it is, without content-encoding")
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err == nil { // It is here whole. The deadline goes, or it would end a stream of this request too.
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	}
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, &edge.Problem{
			Code: codes.ResourceExhausted, Reason: pb.ErrorReason_ERROR_REASON_MESSAGE_TOO_LARGE, Message: "the request is larger than 4 MiB", Cause: errTooLarge,
			Details: []protoadapt.MessageV1{&errdetails.QuotaFailure{Violations: []*errdetails.QuotaFailure_Violation{
				{Subject: "request", Description: "at most 4 MiB"},
			}}},
		}
	case err != nil:
		return nil, &edge.Problem{
			Code: codes.DeadlineExceeded, Reason: pb.ErrorReason_ERROR_REASON_DEADLINE, Message: "the request did not come in whole", Cause: err,
		}
	case len(b) == 0:
		return []byte("{}"), nil
	}
	return b, nil
}

// fromQuery returns the JSON of a request that came as a query: all of it as "message",
// or its fields, as far as those are plain values.
func fromQuery(q url.Values, d protoreflect.MessageDescriptor) ([]byte, error) {
	var vs []*edge.Violation
	if whole := q["message"]; len(whole) > 0 && d.Fields().ByName("message") == nil {
		if len(whole) > 1 || len(q) > 1 {
			vs = append(vs, edge.Violated("message", "CONFLICT", "holds the whole request; leave the other parameters out"))
			return nil, edge.Invalid(vs...)
		}
		return []byte(whole[0]), nil
	}
	out := map[string]any{}
	for name, values := range q {
		f := field(d, name)
		switch {
		case f == nil:
			vs = append(vs, edge.Violated(name, "UNKNOWN", "there is no such field"))
		case f.Message() != nil || f.IsMap():
			vs = append(vs, edge.Violated(name, "FORMAT", "is no plain value; send the whole request as JSON in message"))
		case f.IsList():
			out[f.JSONName()] = values
		case len(values) > 1:
			vs = append(vs, edge.Violated(name, "CONFLICT", "is there more than once"))
		case f.Kind() == protoreflect.BoolKind:
			v, err := strconv.ParseBool(values[0])
			if err != nil {
				vs = append(vs, edge.Violated(name, "FORMAT", "want true or false"))
			}
			out[f.JSONName()] = v
		default: // Numbers may be strings in the JSON of Protobuf.
			out[f.JSONName()] = values[0]
		}
	}
	if len(vs) > 0 {
		slices.SortFunc(vs, func(a, b *edge.Violation) int { return strings.Compare(a.GetField(), b.GetField()) })
		return nil, edge.Invalid(vs[:min(len(vs), maxViolations)]...)
	}
	b, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("encoding a query: %w", err)
	}
	return b, nil
}

// field finds a field by the name in the contract or the one in JSON.
func field(d protoreflect.MessageDescriptor, name string) protoreflect.FieldDescriptor {
	if f := d.Fields().ByName(protoreflect.Name(name)); f != nil {
		return f
	}
	return d.Fields().ByJSONName(name)
}

// cursorOf returns the field in which a watch is told where to go on, and tells where it
// stands; nil where there is none.
func cursorOf(d protoreflect.MessageDescriptor) protoreflect.FieldDescriptor {
	f := d.Fields().ByName("cursor")
	if f == nil || f.Kind() != protoreflect.StringKind || f.Cardinality() == protoreflect.Repeated {
		return nil
	}
	return f
}
