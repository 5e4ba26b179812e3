package bridge

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/crossfade-project/crossfade/services/edge"
)

// codeNames are Connect's names of the codes, and the HTTP status that each has.
func codeNames() map[codes.Code]struct {
	name string
	http int
} {
	type line = struct {
		name string
		http int
	}
	return map[codes.Code]line{
		codes.Canceled: {"canceled", 499}, codes.Unknown: {"unknown", 500}, codes.InvalidArgument: {"invalid_argument", 400},
		codes.DeadlineExceeded: {"deadline_exceeded", 504}, codes.NotFound: {"not_found", 404}, codes.AlreadyExists: {"already_exists", 409},
		codes.PermissionDenied: {"permission_denied", 403}, codes.ResourceExhausted: {"resource_exhausted", 429},
		codes.FailedPrecondition: {"failed_precondition", 400}, codes.Aborted: {"aborted", 409}, codes.OutOfRange: {"out_of_range", 400},
		codes.Unimplemented: {"unimplemented", 501}, codes.Internal: {"internal", 500}, codes.Unavailable: {"unavailable", 503},
		codes.DataLoss: {"data_loss", 500}, codes.Unauthenticated: {"unauthenticated", 401},
	}
}

// connectError is an error as Connect writes it.
type connectError struct {
	Code    string          `json:"code"`
	Message string          `json:"message,omitempty"`
	Details []connectDetail `json:"details,omitempty"`
}

// connectDetail is one google.rpc detail: its bytes, and for people its JSON.
type connectDetail struct {
	Type  string          `json:"type"`
	Value string          `json:"value"`
	Debug json.RawMessage `json:"debug,omitempty"`
}

// describe makes Connect's error of a status, with its HTTP status and after how long to
// ask again; 0: asking again will not help.
func describe(st *status.Status) (e connectError, code int, retry time.Duration) {
	p := st.Proto()
	if p == nil {
		p = &spb.Status{}
	}
	line, ok := codeNames()[st.Code()]
	if !ok {
		line = codeNames()[codes.Unknown]
	}
	e = connectError{Code: line.name, Message: st.Message()}
	for _, d := range p.GetDetails() {
		t := d.GetTypeUrl()
		c := connectDetail{Type: t[strings.LastIndex(t, "/")+1:], Value: base64.RawStdEncoding.EncodeToString(d.GetValue())}
		if m, err := d.UnmarshalNew(); err == nil {
			if c.Debug, err = protojson.Marshal(m); err != nil {
				c.Debug = nil
			}
			if r, ok := m.(*errdetails.RetryInfo); ok {
				retry = r.GetRetryDelay().AsDuration()
			}
		}
		e.Details = append(e.Details, c)
	}
	return e, line.http, retry
}

// told returns the status of what a call ended with. While the server stops, a call that
// did not get inside any more ends like those that did.
func (s *Server) told(err error) *status.Status {
	st, ok := status.FromError(err)
	if !ok {
		return edge.Status(err, "")
	}
	if st.Code() == codes.Unavailable && len(st.Details()) == 0 {
		// Of the connection inside, whose words are for nobody.
		return edge.Status(edge.Draining(), "")
	}
	return st
}

// refuse answers with an error of ours. code is the HTTP status; 0: that of the error.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, code int, err error) {
	switch {
	case errors.Is(err, errMediaType):
		code = http.StatusUnsupportedMediaType
	case errors.Is(err, errTooLarge):
		code = http.StatusRequestEntityTooLarge
	}
	s.fail(w, r, code, edge.Status(err, ""))
}

// fail answers with an error.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, code int, st *status.Status) {
	e, own, retry := describe(st)
	if code == 0 {
		code = own
	}
	if retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(retry.Seconds()))))
	}
	if code == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	b, err := json.Marshal(e)
	if err != nil { // It is made of text alone.
		b = []byte(`{"code":"internal"}`)
	}
	s.write(w, r, code, b)
}

// write answers with JSON, within the time that a reader has.
func (s *Server) write(w http.ResponseWriter, r *http.Request, code int, b []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.c.WriteTimeout)) // As far as the connection can.
	w.WriteHeader(code)
	if r.Method != http.MethodHead {
		_, _ = w.Write(b) // Who went away gets nothing.
	}
}

// unary answers one call that has one answer.
func (s *Server) unary(w http.ResponseWriter, r *http.Request, m method) {
	req, err := s.read(w, r, m)
	if err != nil {
		s.refuse(w, r, 0, err)
		return
	}
	ctx, cancel, err := outgoing(r)
	if err != nil {
		s.refuse(w, r, 0, err)
		return
	}
	defer cancel()
	resp, err := newMessage(m.desc.Output())
	if err != nil {
		s.refuse(w, r, 0, err)
		return
	}
	conn, err := s.inside(r)
	if err != nil {
		s.refuse(w, r, 0, err)
		return
	}
	var header metadata.MD
	err = conn.Invoke(ctx, m.path, req, resp, grpc.Header(&header))
	carry(w.Header(), header)
	if err != nil {
		s.fail(w, r, 0, s.told(err))
		return
	}
	b, err := protojson.Marshal(resp)
	if err != nil {
		s.refuse(w, r, 0, err)
		return
	}
	s.write(w, r, http.StatusOK, b)
}

// carry hands on the id of the call.
func carry(h http.Header, md metadata.MD) {
	if id := md.Get("x-request-id"); len(id) > 0 {
		h.Set("X-Request-Id", id[0])
	}
}
