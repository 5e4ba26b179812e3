package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/crossfade-project/crossfade/internal/spans"
	crossfadev1 "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// callTimeout bounds one unary call.
const callTimeout = 30 * time.Second

// uploadTimeout bounds one upload of up to 100,000 rows.
const uploadTimeout = 5 * time.Minute

// client is a connection to the service.
type client struct {
	conn         *grpc.ClientConn
	rotations    crossfadev1.RotationServiceClient
	desk         crossfadev1.DeskServiceClient
	inventory    crossfadev1.InventoryServiceClient
	certificates crossfadev1.CertificateServiceClient
	targetSets   crossfadev1.TargetSetServiceClient
	token        tokenFile // that calls are made with; without a path: none
	errOut       io.Writer // where it is said that a watch is waited for
}

// dial returns a client. Nothing is sent before the first call.
func (a *app) dial() (*client, error) {
	creds, err := a.credentials()
	if err != nil {
		return nil, err
	}
	opts, err := a.calling(creds.Info().SecurityProtocol == "tls")
	if err != nil {
		return nil, err
	}
	opts = append(opts, hearing(a.heard)...)
	// Pipelines that are traced say so to what they call.
	opts = append(opts, saying(spans.Header, os.Getenv("TRACEPARENT"))...)
	conn, err := grpc.NewClient(a.address, append(opts, grpc.WithTransportCredentials(creds))...)
	if err != nil {
		return nil, usage("--address %q: %w", a.address, err)
	}
	return &client{
		conn: conn, rotations: crossfadev1.NewRotationServiceClient(conn), desk: crossfadev1.NewDeskServiceClient(conn),
		inventory: crossfadev1.NewInventoryServiceClient(conn), certificates: crossfadev1.NewCertificateServiceClient(conn),
		targetSets: crossfadev1.NewTargetSetServiceClient(conn), token: tokenFile{path: a.proof.tokenFile}, errOut: a.errOut,
	}, nil
}

// credentials are TLS, but for a loopback address without --ca.
func (a *app) credentials() (credentials.TransportCredentials, error) {
	pairs, err := a.proof.certificates()
	if err != nil {
		return nil, err
	}
	if a.caFile == "" {
		host, _, err := net.SplitHostPort(a.address)
		if err != nil {
			return nil, usage("--address %q: want host:port", a.address)
		}
		if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
			if len(pairs) > 0 {
				return nil, usage("--client-cert: %s is spoken to in plaintext; name the authorities of its certificate with --ca", a.address)
			}
			return insecure.NewCredentials(), nil
		}
		return credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS13, ServerName: a.serverName, Certificates: pairs}), nil
	}
	pem, err := os.ReadFile(a.caFile)
	if err != nil {
		return nil, usage("--ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, usage("--ca %s: no certificate in it", a.caFile)
	}
	return credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool, ServerName: a.serverName, Certificates: pairs}), nil
}

// with dials, calls f, and closes the connection.
func (a *app) with(f func(*client) error) error {
	c, err := a.dial()
	if err != nil {
		return err
	}
	defer func() { _ = c.conn.Close() }() // All calls are answered.
	return f(c)
}

// bounded returns ctx with the deadline of one unary call.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, callTimeout)
}

// explain shows an error of the service: what happened, to which field or
// resource, and what to do next.
func (a *app) explain(err error) {
	s, _ := status.FromError(err)
	if a.json {
		a.object("error", map[string]any{"code": s.Code().String(), "message": s.Message(), "details": details(s)})
		return
	}
	fmt.Fprintln(a.errOut, "crossfade:", s.Message())
	for _, line := range details(s) {
		if line != s.Message() { // One field that is wrong is the message.
			fmt.Fprintln(a.errOut, "  "+line)
		}
	}
	if next := a.next(s); next != "" {
		fmt.Fprintln(a.errOut, "  "+next)
	}
}

// next says what to do next on this command line, where the service cannot know it.
func (a *app) next(s *status.Status) string {
	if s.Code() == codes.Unavailable && len(s.Details()) == 0 {
		text := fmt.Sprintf("Is the service running at %s? Start it with \"crossfade serve\", or name it with --address.", a.address)
		if a.caFile == "" {
			text += " If it speaks TLS with a certificate of its own authority, name that with --ca."
		}
		// A certificate that the service's TLS does not take ends the connection, by which it looks gone.
		if a.proof.certFile != "" {
			text += " If it is, look whether its tls.client_ca has the authority of your --client-cert."
		}
		return text
	}
	for _, d := range s.Details() {
		info, ok := d.(*errdetails.ErrorInfo)
		if !ok {
			continue
		}
		switch info.GetReason() {
		case "UNAUTHENTICATED":
			return "Say who you are with --client-cert and --client-key, or with --token-file."
		case "APPROVALS_NEEDED":
			return "Others give their word with \"crossfade rotation approve\"; \"crossfade rotation show\" says whose there is."
		}
	}
	return ""
}

// details returns a line for each thing that the service said besides.
func details(s *status.Status) []string {
	var out []string
	for _, d := range s.Details() {
		switch d := d.(type) {
		case *errdetails.BadRequest:
			for _, v := range d.FieldViolations {
				out = append(out, fmt.Sprintf("%s: %s", v.Field, v.Description))
			}
		case *errdetails.PreconditionFailure:
			for _, v := range d.Violations {
				out = append(out, fmt.Sprintf("%s (%s): %s", v.Subject, v.Type, v.Description))
			}
		case *errdetails.ResourceInfo:
			out = append(out, strings.TrimSpace(d.ResourceName+" "+d.Description))
		case *errdetails.ErrorInfo:
			out = append(out, "reason: "+d.Reason)
			if id := d.Metadata["error_id"]; id != "" {
				out = append(out, "the service's log has it as error_id="+id)
			}
		case *errdetails.RetryInfo:
			out = append(out, "try again in "+d.RetryDelay.AsDuration().String())
		}
	}
	return out
}

// object prints one JSON object with its kind first.
func (a *app) object(kind string, fields map[string]any) {
	b, err := json.Marshal(fields)
	if err != nil {
		fmt.Fprintln(a.errOut, "crossfade:", err)
		return
	}
	sep := ","
	if len(fields) == 0 {
		sep = ""
	}
	fmt.Fprintf(a.out, "{\"kind\":%q%s%s\n", kind, sep, b[1:])
}

// message prints a message as one JSON object: {"kind": …, "<kind>": {…}}.
func (a *app) message(kind string, m proto.Message) {
	a.object(kind, map[string]any{kind: asJSON(m)})
}

// asJSON returns a message as it stands in JSON, in one line and with the
// fields' names as in the contract.
func asJSON(m proto.Message) json.RawMessage {
	b, err := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: false}.Marshal(m)
	if err != nil {
		return json.RawMessage(`{}`)
	}
	var compact strings.Builder // protojson varies its spaces on purpose
	var v any
	if json.Unmarshal(b, &v) != nil {
		return json.RawMessage(b)
	}
	enc := json.NewEncoder(&compact)
	enc.SetEscapeHTML(false)
	if enc.Encode(v) != nil {
		return json.RawMessage(b)
	}
	return json.RawMessage(strings.TrimSpace(compact.String()))
}
