package main

import (
	"bytes"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestExplain_SaysWhatToDoOnThisCommandLine(t *testing.T) {
	reason := func(c codes.Code, r string) error {
		s, err := status.New(c, "no").WithDetails(&errdetails.ErrorInfo{Reason: r, Domain: "crossfade"})
		if err != nil {
			t.Fatal(err)
		}
		return s.Err()
	}
	for name, c := range map[string]struct {
		err    error
		ca     string
		cert   string
		has    string
		hasNot string
	}{
		"nobody is there":         {status.Error(codes.Unavailable, "connection refused"), "", "", "--ca", ""},
		"nobody is there, by TLS": {status.Error(codes.Unavailable, "connection refused"), "ca.pem", "", "crossfade serve", "--ca"},
		"a caller's certificate":  {status.Error(codes.Unavailable, "broken pipe"), "ca.pem", "caller.pem", "tls.client_ca", ""},
		"the service is busy":     {reason(codes.Unavailable, "DRAINING"), "", "", "DRAINING", "crossfade serve"},
		"nobody was proven":       {reason(codes.Unauthenticated, "UNAUTHENTICATED"), "ca.pem", "", "--client-cert", ""},
		"others must approve":     {reason(codes.FailedPrecondition, "APPROVALS_NEEDED"), "ca.pem", "", "rotation approve", ""},
	} {
		var out bytes.Buffer
		(&app{errOut: &out, address: "127.0.0.1:7443", caFile: c.ca, proof: proof{certFile: c.cert}}).explain(c.err)
		if got := out.String(); !strings.Contains(got, c.has) || c.hasNot != "" && strings.Contains(got, c.hasNot) {
			t.Errorf("%s: %q, want %q in it and not %q", name, got, c.has, c.hasNot)
		}
	}
}

func TestDetails_NameTheErrorInTheServicesLog(t *testing.T) {
	info := &errdetails.ErrorInfo{Reason: "INTERNAL", Domain: "crossfade", Metadata: map[string]string{"error_id": "ad783abb8a38"}}
	s, err := status.New(codes.Internal, "no").WithDetails(info)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(details(s), "; "); !strings.Contains(got, "error_id=ad783abb8a38") {
		t.Errorf("details of INTERNAL = %s, want the id in them", got)
	}
}
