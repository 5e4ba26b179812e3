package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/crossfade-project/crossfade/services/edge"
)

// The media types of streams.
const (
	eventsType = "text/event-stream"
	linesType  = "application/x-ndjson"
)

// accepted returns how a stream is to be written: as events where those are asked for, as
// lines where anything will do.
func accepted(r *http.Request) (string, error) {
	found := ""
	header := strings.Join(r.Header.Values("Accept"), ",")
	if strings.TrimSpace(header) == "" {
		return linesType, nil
	}
	for _, part := range strings.Split(header, ",") {
		media, params, err := mime.ParseMediaType(part)
		if err != nil || params["q"] == "0" {
			continue
		}
		switch media {
		case eventsType:
			return eventsType, nil
		case linesType, "application/*", "*/*":
			found = linesType
		}
	}
	if found == "" {
		return "", edge.Invalid(edge.Violated("metadata.accept", "UNKNOWN", "want "+eventsType+" or "+linesType))
	}
	return found, nil
}

// stream answers one call that has many answers.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, m method) {
	media, err := accepted(r)
	if err != nil {
		s.refuse(w, r, http.StatusNotAcceptable, err)
		return
	}
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
	conn, err := s.inside(r)
	if err != nil {
		s.refuse(w, r, 0, err)
		return
	}
	call, err := conn.NewStream(ctx, &grpc.StreamDesc{StreamName: string(m.desc.Name()), ServerStreams: true}, m.path)
	if err == nil {
		if err = call.SendMsg(req); err == nil || errors.Is(err, io.EOF) { // EOF: why comes with the answer.
			err = call.CloseSend()
		}
	}
	if err != nil {
		s.fail(w, r, 0, s.told(err))
		return
	}
	news := make(chan item) // Without room: who reads slowly holds up the call, not our memory.
	done := make(chan struct{})
	go func() {
		defer close(done)
		receive(ctx, call, m.desc.Output(), news)
	}()
	defer func() { <-done }()
	defer cancel() // Before the wait above.
	o := &output{s: s, w: w, r: r, rc: http.NewResponseController(w), media: media}
	o.run(ctx, news)
}

// item is what a call said: a message, or its end.
type item struct {
	m      proto.Message
	header metadata.MD
	err    error // io.EOF: it ended well
}

func receive(ctx context.Context, call grpc.ClientStream, d protoreflect.MessageDescriptor, to chan<- item) {
	for {
		m, err := newMessage(d)
		if err == nil {
			err = call.RecvMsg(m)
		}
		header, _ := call.Header() // It is there, or err says why not.
		select {
		case to <- item{m, header, err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// output writes one stream. It is for one goroutine.
type output struct {
	s     *Server
	w     http.ResponseWriter
	r     *http.Request
	rc    *http.ResponseController
	media string
	begun bool
}

// run writes what comes until the call or its reader ends.
func (o *output) run(ctx context.Context, news <-chan item) {
	open := time.NewTimer(o.s.c.OpenAfter)
	defer open.Stop()
	alive := time.NewTicker(o.s.c.AliveEvery)
	defer alive.Stop()
	for {
		var err error
		select {
		case it := <-news:
			if !o.begun {
				carry(o.w.Header(), it.header)
			}
			if it.err != nil {
				o.end(it.err)
				return
			}
			err = o.message(it.m)
			alive.Reset(o.s.c.AliveEvery)
		case <-open.C:
			err = o.begin()
		case <-alive.C:
			if o.media == eventsType {
				err = o.send(": alive\n\n")
			}
		case <-ctx.Done():
			o.end(status.FromContextError(ctx.Err()).Err())
			return
		}
		if err != nil {
			return // The reader is gone, or takes nothing.
		}
	}
}

// begin begins the answer, if it has not begun.
func (o *output) begin() error {
	if o.begun {
		return nil
	}
	o.begun = true
	o.w.Header().Set("Content-Type", o.media)
	o.w.Header().Set("X-Accel-Buffering", "no") // nginx would keep events until there are many.
	if o.media == eventsType {
		return o.send(fmt.Sprintf("retry: %d\n\n", o.s.c.Retry.Milliseconds()))
	}
	return o.send("")
}

// message writes one message.
func (o *output) message(m proto.Message) error {
	b, err := protojson.Marshal(m)
	if err != nil {
		o.end(err)
		return err
	}
	if err := o.begin(); err != nil {
		return err
	}
	if o.media == linesType {
		return o.send(string(b) + "\n")
	}
	id := ""
	if f := cursorOf(m.ProtoReflect().Descriptor()); f != nil {
		// One that could end the line is none of ours.
		if c := m.ProtoReflect().Get(f).String(); c != "" && !strings.ContainsAny(c, "\r\n\x00") {
			id = "id: " + c + "\n"
		}
	}
	return o.send(id + "data: " + string(b) + "\n\n")
}

// end says how the call ended. One that was refused before its answer began has a status
// of HTTP, except what passes: an EventSource comes back after a stream that ended, and
// never after a status.
func (o *output) end(err error) {
	good := errors.Is(err, io.EOF)
	st := o.s.told(err)
	passes := st.Code() == codes.Unavailable || st.Code() == codes.ResourceExhausted
	if !good && !o.begun && (o.media == linesType || !passes) {
		o.s.fail(o.w, o.r, 0, st)
		return
	}
	if o.begin() != nil {
		return
	}
	if good {
		if o.media == eventsType {
			_ = o.send("event: end\ndata: {}\n\n") // Who went away gets nothing.
		}
		return
	}
	e, _, _ := describe(st)
	b, err := json.Marshal(e)
	if err != nil { // It is made of text alone.
		return
	}
	if o.media == eventsType {
		_ = o.send("event: error\ndata: " + string(b) + "\n\n") // As above.
		return
	}
	_ = o.send(`{"error":` + string(b) + "}\n") // As above.
}

// send writes text and sees it on its way, within the time that a reader has.
func (o *output) send(text string) error {
	_ = o.rc.SetWriteDeadline(time.Now().Add(o.s.c.WriteTimeout)) // As far as the connection can.
	if _, err := io.WriteString(o.w, text); err != nil {
		return fmt.Errorf("writing to a browser: %w", err)
	}
	if err := o.rc.Flush(); err != nil {
		return fmt.Errorf("writing to a browser: %w", err)
	}
	return nil
}
